//go:build windows

package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// wish is where the machine's service manager looks for what shutdown.exe was asked for.
const wish = `Z:\run\windows-shutdown`

// shutdownMain restarts the machine or shuts it down as Windows' own program does: it returns at once, and the end comes
// after the seconds of /t, if no shutdown /a comes first. Processes of any session may ask, services included.
func shutdownMain(args []string) (int, error) {
	what, wait := "", 30
	for i := 0; i < len(args); i++ {
		switch strings.ToLower(strings.Replace(args[i], "-", "/", 1)) {
		case "/r", "/g":
			what = "reboot"
		case "/s":
			what = "poweroff"
		case "/p":
			what, wait = "poweroff", 0
		case "/a":
			if os.Remove(wish) != nil {
				return 1116, errors.New("Unable to abort the system shutdown because no shutdown was in progress.(1116)")
			}
			return 0, nil
		case "/f":
		case "/t", "/c", "/d":
			if i+1 == len(args) {
				return 1, fmt.Errorf("%s without a value", args[i])
			}
			i++
			if n, err := strconv.Atoi(args[i]); strings.EqualFold(args[i-1][1:], "t") {
				if err != nil {
					return 1, err
				}
				wait = n
			}
		default:
			return 1, fmt.Errorf("the lab knows no %s", args[i])
		}
	}
	if what == "" {
		return 1, errors.New("one of /r, /s, /p and /a is needed")
	}
	if _, err := os.Stat(wish); err == nil {
		return 1190, errors.New("A system shutdown has already been scheduled.(1190)")
	}
	return 0, want(what, wait)
}

// want tells the machine's service manager what to do after some seconds.
func want(what string, seconds int) error {
	// Complete when it appears.
	if err := os.WriteFile(wish+".new", fmt.Appendf(nil, "%s %d\n", what, seconds), 0o644); err != nil {
		return err
	}
	return os.Rename(wish+".new", wish)
}
