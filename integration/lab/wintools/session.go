//go:build windows

package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// ready is where the machine's service manager looks for word that Windows has started.
const ready = `Z:\run\windows-ready`

// session logs on, as it were, and stays: with one process and its desktop alive every other starts at once, and no daemon
// of Wine's is another one's child. It ends when Windows is shut down.
func session() error {
	runtime.LockOSThread() // the desktop belongs to the thread
	syscall.NewLazyDLL("user32.dll").NewProc("GetDesktopWindow").Call()
	// What is registered to run at the start, services included, and files to be renamed.
	if out, err := exec.Command(`C:\windows\system32\wineboot.exe`).CombinedOutput(); err != nil {
		return fmt.Errorf("wineboot: %w: %s", err, out)
	}
	if err := os.WriteFile(ready, nil, 0o644); err != nil {
		return err
	}
	for {
		time.Sleep(time.Hour)
	}
}
