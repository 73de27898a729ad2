package executor

import (
	"os/exec"
	"syscall"
)

// spawnRunner starts a program without our console and outside of our job: neither ends it.
func spawnRunner(args []string) error {
	const detachedProcess, breakawayFromJob = 0x8, 0x01000000
	c := exec.Command(args[0], args[1:]...)
	c.SysProcAttr = &syscall.SysProcAttr{HideWindow: true, CreationFlags: detachedProcess | breakawayFromJob | syscall.CREATE_NEW_PROCESS_GROUP}
	if err := c.Start(); err != nil {
		return err
	}
	return c.Process.Release()
}
