//go:build unix

package executor

import (
	"os"
	"os/exec"
	"syscall"
)

// spawnRunner starts a program in a session of its own, without anything of ours: neither a hang-up nor the end of our process
// group reaches it.
func spawnRunner(args []string) error {
	c := exec.Command(args[0], args[1:]...)
	c.Dir = "/"
	c.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=" + os.Getenv("HOME")}
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := c.Start(); err != nil {
		return err
	}
	go c.Wait() // no zombie, as long as we live
	return nil
}
