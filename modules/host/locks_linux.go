package host

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// LockHolder names the program that holds a record lock (fcntl) on a file, as "apt-get (process 123)"; "" where none does
// or the file is missing.
func (h *Host) LockHolder(name string) (string, error) {
	f, err := h.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock); err != nil {
		return "", fmt.Errorf("ask for the lock on %s: %w", name, err)
	}
	if lock.Type == unix.F_UNLCK {
		return "", nil
	}
	if lock.Pid <= 0 { // its holder is in another PID namespace
		return "another program", nil
	}
	comm, err := h.ReadFile("/proc/" + strconv.Itoa(int(lock.Pid)) + "/comm")
	if err != nil {
		return fmt.Sprintf("process %d", lock.Pid), nil
	}
	return fmt.Sprintf("%s (process %d)", strings.TrimSpace(string(comm)), lock.Pid), nil
}
