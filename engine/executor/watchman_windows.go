package executor

import (
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// startSleeper is a watchman that is a process of its own: this program, which Watch lets wait.
func startSleeper(args []string, every time.Duration) (end func(), err error) {
	c := detached(append(args[:len(args):len(args)], "-every", strconv.Itoa(int(every.Seconds()))))
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
			c.Process.Kill()
		}
	}, nil
}

// Watch starts a runner every so often until one says that the run is at its end.
func Watch(args []string, every time.Duration) {
	for {
		time.Sleep(every)
		c := exec.Command(args[0], args[1:]...)
		c.SysProcAttr = &syscall.SysProcAttr{HideWindow: true}
		if c.Run() == nil {
			return
		}
	}
}
