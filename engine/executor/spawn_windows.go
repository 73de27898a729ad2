package executor

import (
	"errors"
	"os/exec"
	"syscall"

	"golang.org/x/sys/windows"
)

// detached is a program without our console and outside of our job: neither ends it.
func detached(args []string) *exec.Cmd {
	c := exec.Command(args[0], args[1:]...)
	c.SysProcAttr = &syscall.SysProcAttr{HideWindow: true,
		CreationFlags: windows.DETACHED_PROCESS | windows.CREATE_BREAKAWAY_FROM_JOB | windows.CREATE_NEW_PROCESS_GROUP}
	return c
}

// spawnRunner starts a program that outlives the session, as far as the job that the session is in allows that.
func spawnRunner(args []string) error {
	c := detached(args)
	err := c.Start()
	if errors.Is(err, windows.ERROR_ACCESS_DENIED) { // the job lets nobody out
		c = detached(args)
		c.SysProcAttr.CreationFlags &^= windows.CREATE_BREAKAWAY_FROM_JOB
		err = c.Start()
	}
	if err != nil {
		return err
	}
	return c.Process.Release()
}
