//go:build windows

package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"time"
)

// stream does what tests ask of a program and cmd.exe has nothing for: copy stdin to stdout as it comes, count stdin's
// bytes, sleep for seconds after the process id was printed.
func stream(what string, args []string) error {
	switch what {
	case "copy":
		// Not io.Copy: os.File would try what only sockets can.
		_, err := io.CopyBuffer(struct{ io.Writer }{os.Stdout}, struct{ io.Reader }{os.Stdin}, make([]byte, 1<<16))
		return err
	case "count":
		n, err := io.Copy(io.Discard, os.Stdin)
		fmt.Println(n)
		return err
	}
	if len(args) != 1 {
		return fmt.Errorf("usage: lab sleep SECONDS")
	}
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	fmt.Println(os.Getpid())
	time.Sleep(time.Duration(n) * time.Second)
	return nil
}
