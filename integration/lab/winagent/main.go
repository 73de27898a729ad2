//go:build windows

// Command winagent is the ssh-agent that comes with Windows, as far as its clients see: the same pipe, with one key.
//
//	ssh-agent KEYFILE
package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/sys/windows"
)

func main() {
	if err := serve(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "ssh-agent:", err)
		os.Exit(1)
	}
}

func serve(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: ssh-agent KEYFILE")
	}
	pem, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	key, err := ssh.ParseRawPrivateKey(pem)
	if err != nil {
		return err
	}
	keys := agent.NewKeyring()
	if err := keys.Add(agent.AddedKey{PrivateKey: key, Comment: "from the agent"}); err != nil {
		return err
	}
	name, err := windows.UTF16PtrFromString(`\\.\pipe\openssh-ssh-agent`)
	if err != nil {
		return err
	}
	for first := true; ; first = false {
		h, err := windows.CreateNamedPipe(name, windows.PIPE_ACCESS_DUPLEX, windows.PIPE_TYPE_BYTE|windows.PIPE_WAIT,
			windows.PIPE_UNLIMITED_INSTANCES, 1<<16, 1<<16, 0, nil)
		if err != nil {
			return fmt.Errorf("make the pipe: %w", err)
		}
		if first {
			fmt.Println("listening")
		}
		if err := windows.ConnectNamedPipe(h, nil); err != nil && err != windows.ERROR_PIPE_CONNECTED {
			return fmt.Errorf("wait for a client: %w", err)
		}
		go func() {
			pipe := os.NewFile(uintptr(h), "pipe")
			_ = agent.ServeAgent(keys, pipe) // until the client goes
			pipe.Close()
		}()
	}
}
