//go:build windows

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"syscall"
	"time"
)

// ready is where the machine's service manager looks for word that Windows has started.
const ready = `Z:\run\windows-ready`

// session logs on, as it were, and stays: with one process and its desktop alive every other starts at once, and no daemon
// of Wine's is another one's child. It never ends by itself.
func session() error {
	runtime.LockOSThread() // the desktop belongs to the thread
	user32.NewProc("GetDesktopWindow").Call()
	// What is registered to run at the start, services included, and files to be renamed.
	if out, err := exec.Command(realWineboot).CombinedOutput(); err != nil {
		return fmt.Errorf("wineboot: %w: %s", err, out)
	}
	if err := os.WriteFile(ready, nil, 0o644); err != nil {
		return err
	}
	for {
		time.Sleep(time.Hour)
	}
}

var user32 = syscall.NewLazyDLL("user32.dll")

// realWineboot is Wine's own.
const realWineboot = `C:\windows\system32\wineboot-real.exe`

// wineboot stands before Wine's own: whoever calls ExitWindowsEx, a service included, starts it to end the session, which
// Wine would do by closing windows and no more. Here it restarts the machine. All else is left to Wine's.
func wineboot(args []string) (int, error) {
	for _, arg := range args {
		if slices.Contains([]string{"--end-session", "-e", "--kill", "-k", "--shutdown", "-s", "--restart", "-r"}, arg) {
			return 0, want("reboot", 0)
		}
	}
	cmd := exec.Command(realWineboot, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); ok {
		return cmd.ProcessState.ExitCode(), nil
	}
	return 0, err
}
