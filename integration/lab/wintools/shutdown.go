//go:build windows

package main

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// shutdownMain asks Windows to end. The lab restarts the machine then, as after ExitWindowsEx from any program.
func shutdownMain(args []string) (int, error) {
	flags, wait := uintptr(0), 30*time.Second
	for i := 0; i < len(args); i++ {
		switch strings.ToLower(strings.Replace(args[i], "-", "/", 1)) {
		case "/r", "/g":
			flags |= 2 // EWX_REBOOT
		case "/s", "/p":
			flags |= 8 // EWX_POWEROFF
		case "/f":
			flags |= 4 // EWX_FORCE
		case "/t":
			i++
			if i == len(args) {
				return 1, fmt.Errorf("/t without seconds")
			}
			n, err := strconv.Atoi(args[i])
			if err != nil {
				return 1, err
			}
			wait = time.Duration(n) * time.Second
		case "/c", "/d":
			i++ // why
		default:
			return 1, fmt.Errorf("the lab knows no %s", args[i])
		}
	}
	time.Sleep(wait)
	if ok, _, err := syscall.NewLazyDLL("user32.dll").NewProc("ExitWindowsEx").Call(flags, 0); ok == 0 {
		return 1, fmt.Errorf("ExitWindowsEx: %w", err)
	}
	return 0, nil
}
