//go:build unix

package executor

import (
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// startSleeper is a watchman that is a process of its own. It ends when the run has.
func startSleeper(args []string, every time.Duration) (end func(), err error) {
	script := `n=$1; shift; while sleep "$n"; do "$@" && exit; done`
	c := exec.Command("/bin/sh", append([]string{"-c", script, "sh", strconv.Itoa(int(every.Seconds()))}, args...)...)
	c.Dir = "/"
	c.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"}
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := c.Start(); err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	go func() {
		c.Wait()
		close(ended)
	}()
	return func() {
		select {
		case <-ended:
		default:
			syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
		}
	}, nil
}
