//go:build windows

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// run runs a program with its own standard streams and writes the exit code to a file, whole: what Wine gives to the Unix
// side is its last eight bits.
//
//	run CODEFILE DIR LINE      LINE is handed to the program as it stands
func run(args []string) (int, error) {
	if len(args) != 3 {
		return 2, errors.New("usage: lab run CODEFILE DIR LINE")
	}
	if err := os.Chdir(args[1]); err != nil {
		return 1, err
	}

	cmd := &exec.Cmd{SysProcAttr: &syscall.SysProcAttr{CmdLine: args[2]}, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	var err error
	if cmd.Path, err = program(args[2]); err != nil {
		return 1, err
	}
	err = cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		return 1, err
	}
	code := uint32(cmd.ProcessState.ExitCode())
	return int(code & 0xff), os.WriteFile(args[0], fmt.Append(nil, code), 0o644)
}

// program is the file of a command line's first word.
func program(line string) (string, error) {
	words, err := split(line)
	if err != nil {
		return "", err
	}
	return exec.LookPath(words[0])
}

func split(line string) ([]string, error) {
	p, err := syscall.UTF16PtrFromString(line)
	if err != nil {
		return nil, err
	}
	var n int32
	argv, err := syscall.CommandLineToArgv(p, &n)
	if err != nil {
		return nil, err
	}
	words := make([]string, n)
	for i := range words {
		words[i] = syscall.UTF16ToString(argv[i][:])
	}
	return words, nil
}
