//go:build unix

package executor

import (
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func tryLock(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == syscall.EWOULDBLOCK {
		return errHeld
	}
	return err
}

// bootID names this start of the machine.
func bootID() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b))
}

// outliveListener keeps a run going when nobody listens any more: neither a closed terminal nor a closed pipe ends it.
func outliveListener() { signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE) }
