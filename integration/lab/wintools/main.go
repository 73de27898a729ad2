//go:build windows

// Command wintools is what the lab adds to Wine: one program under several names, made of the standard library alone.
//
//	tar.exe        unpacks as Windows' own does (bsdtar): tar -xf - -C DIR
//	shutdown.exe   restarts or shuts down, as Windows' own does: shutdown /r /t 0
//	wineboot.exe   stands before Wine's own: see session.go
//	lab.exe        see session.go, run.go, service.go and stream.go
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	name := strings.TrimSuffix(strings.ToLower(filepath.Base(os.Args[0])), ".exe")
	command := map[string]func(args []string) (code int, err error){
		"tar": tarMain, "shutdown": shutdownMain, "wineboot": wineboot, "lab": labMain,
	}[name]
	if command == nil {
		fmt.Fprintf(os.Stderr, "wintools: no tool is called %q\n", name)
		os.Exit(2)
	}
	code, err := command(os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func labMain(args []string) (int, error) {
	if len(args) == 0 {
		return 2, errors.New("usage: lab COMMAND")
	}
	switch args[0] {
	case "session":
		return 0, session()
	case "run":
		return run(args[1:])
	case "service":
		if len(args) != 2 {
			return 2, errors.New("usage: lab service NAME")
		}
		return 0, service(args[1])
	case "exit-windows":
		return 0, exitWindows()
	case "powershell":
		return powershell(os.Getenv("LAB_POWERSHELL"))
	}
	return small(args[0], args[1:])
}

// exitWindows restarts as a program does that asks Windows' own interface.
func exitWindows() error {
	const reboot = 2
	if ok, _, err := user32.NewProc("ExitWindowsEx").Call(reboot, 0); ok == 0 {
		return fmt.Errorf("ExitWindowsEx: %w", err)
	}
	return nil
}
