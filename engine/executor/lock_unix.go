//go:build unix

package executor

import (
	"os"
	"syscall"
)

func tryLock(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == syscall.EWOULDBLOCK {
		return errHeld
	}
	return err
}

// claim marks a file as that of a living process, until release.
func claim(name string) (release func()) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return func() {}
	}
	_ = tryLock(f)
	return func() { f.Close() }
}
