//go:build linux && amd64

// Command winssh is what sshd runs on a Wine machine in the place of a shell: the line is handed to Windows as Windows' own
// sshd does it, and what it started ends with it, or with the connection. (There a job object sees to that.)
//
//	ssh-windows cmd | powershell      the line is in SSH_ORIGINAL_COMMAND
//	ssh-windows sftp                  the file channel
package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

const (
	mark    = "FITOUT_LAB_RUN=" // in the environment of all that one line started
	profile = `C:\users\root`
	longest = 8191 // characters of cmd.exe's line
)

func main() {
	code, err := serve(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "winssh:", err)
		code = 255
	}
	os.Exit(code)
}

func serve(args []string) (int, error) {
	if len(args) != 1 {
		return 0, errors.New("usage: ssh-windows cmd | powershell")
	}
	line := os.Getenv("SSH_ORIGINAL_COMMAND")
	switch {
	case strings.HasSuffix(line, "ssh-windows sftp"):
		line = `C:\windows\system32\sftp-server.exe`
	case line == "":
		return 0, errors.New("there are no interactive sessions")
	case args[0] == "powershell":
		return windows(`C:\windows\system32\lab.exe powershell`, line)
	case len(line) > longest:
		fmt.Fprint(os.Stderr, "The command line is too long.\r\n")
		return 1, nil
	default:
		line = `C:\windows\system32\cmd.exe /c "` + line + `"`
	}
	return windows(line, "")
}

// windows runs a line in the machine's Windows, with the connection as its standard streams. The exit code is the last eight
// bits of Windows': the real OpenSSH here has room for no more, where Windows' own passes them all.
func windows(line, script string) (int, error) {
	id := rand.Text()
	codeFile := "/run/winssh-" + id
	defer os.Remove(codeFile)
	cmd := exec.Command("/usr/local/bin/wine64", "lab.exe", "run", `Z:\run\winssh-`+id, profile, line)
	cmd.Env = append(os.Environ(), mark+id)
	if script != "" {
		cmd.Env = append(cmd.Env, "LAB_POWERSHELL="+script)
	}
	// Pipes of our own: sshd gives sockets, and what stays may hold the connection's.
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	stdout, stdoutW, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	stderr, stderrW, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	cmd.Stdout, cmd.Stderr = stdoutW, stderrW
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	stdoutW.Close()
	stderrW.Close()
	go hungUp(func() { killMarked(id); os.Exit(255) })
	go func() {
		_, _ = io.Copy(stdin, os.Stdin)
		stdin.Close()
	}()
	var output sync.WaitGroup
	output.Go(func() { _, _ = io.Copy(os.Stdout, stdout) })
	output.Go(func() { _, _ = io.Copy(os.Stderr, stderr) })
	err = cmd.Wait()
	killMarked(id)
	drained := make(chan struct{})
	go func() { output.Wait(); close(drained) }()
	select {
	case <-drained:
	case <-time.After(2 * time.Second):
	}
	b, readErr := os.ReadFile(codeFile)
	if readErr != nil {
		return 0, errors.Join(err, readErr)
	}
	code, err := strconv.ParseUint(string(b), 10, 32)
	return int(code & 0xff), err
}

// hungUp calls f when nobody listens to stdout any more.
func hungUp(f func()) {
	poll := struct {
		fd              int32
		events, revents int16
	}{fd: 1}
	for {
		n, _, errno := syscall.Syscall(syscall.SYS_POLL, uintptr(unsafe.Pointer(&poll)), 1, uintptr(1<<31-1))
		if errno == syscall.EINTR || n == 0 {
			continue
		}
		f()
		return
	}
}

// killMarked kills what has the mark in its environment.
func killMarked(id string) {
	want := []byte(mark + id)
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		for _, v := range bytes.Split(b, []byte{0}) {
			if bytes.Equal(v, want) {
				pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}
}
