//go:build windows

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// small is what tests ask of a program and cmd.exe has nothing for, or has in a way of its own.
func small(what string, args []string) (int, error) {
	arg := strings.Join(args, " ")
	number := func() int { n, _ := strconv.Atoi(arg); return n }
	path := arg
	if len(path) > 2 && path[0] == '/' && path[2] == ':' { // as SFTP has it
		path = path[1:]
	}
	switch what {
	case "copy": // stdin to stdout, as it comes
		// Not io.Copy: os.File would try what only sockets can.
		_, err := io.CopyBuffer(struct{ io.Writer }{os.Stdout}, struct{ io.Reader }{os.Stdin}, make([]byte, 1<<16))
		return 0, err
	case "count": // stdin's bytes
		n, err := io.Copy(io.Discard, os.Stdin)
		fmt.Println(n)
		return 0, err
	case "echo": // its arguments
		fmt.Print(strings.Join(args, "|"))
		return 0, nil
	case "stderr": // a megabyte to stderr, and more
		fmt.Fprint(os.Stderr, strings.Repeat("x", 1_000_000), "last words\r\n")
		fmt.Print("out\r\n")
		return 3, nil
	case "sleep": // seconds, after the process id
		fmt.Println(os.Getpid())
		time.Sleep(time.Duration(number()) * time.Second)
		return 0, nil
	case "alive": // a process
		if alive(uint32(number())) {
			fmt.Println("alive")
		} else {
			fmt.Println("gone")
		}
		return 0, nil
	case "cat": // a file
		f, err := os.Open(path)
		if err != nil {
			return 1, err
		}
		defer f.Close()
		_, err = io.Copy(struct{ io.Writer }{os.Stdout}, f)
		return 0, err
	case "remove": // a file
		return 0, os.Remove(path)
	}
	return 2, errors.New("lab: no such command: " + what)
}

func alive(pid uint32) bool {
	const synchronize, timedOut = 0x100000, 0x102
	h, err := syscall.OpenProcess(synchronize, false, pid)
	if err != nil {
		return false
	}
	defer syscall.CloseHandle(h)
	e, err := syscall.WaitForSingleObject(h, 0)
	return err == nil && e == timedOut
}
