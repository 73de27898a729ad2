//go:build windows

// Command winsftp is the file channel of a Wine machine's sshd: paths are as in OpenSSH for Windows, /C:/x/y, and files as
// Windows has them.
package main

import (
	"fmt"
	"os"

	"github.com/pkg/sftp"
)

func main() {
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "sftp-server:", err)
		os.Exit(1)
	}
}

type stdio struct{}

func (stdio) Read(p []byte) (int, error)  { return os.Stdin.Read(p) }
func (stdio) Write(p []byte) (int, error) { return os.Stdout.Write(p) }
func (stdio) Close() error                { return os.Stdin.Close() }

func serve() error {
	s, err := sftp.NewServer(stdio{}, sftp.WithServerWorkingDirectory("/C:/users/root"))
	if err != nil {
		return err
	}
	return s.Serve()
}
