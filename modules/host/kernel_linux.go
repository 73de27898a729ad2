package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// SetHostname sets the running kernel's host name.
func (h *Host) SetHostname(name string) error {
	if !h.Living() {
		return ErrNeedsSystem
	}
	if err := unix.Sethostname([]byte(name)); err != nil {
		return fmt.Errorf("set the host name: %w", err)
	}
	return nil
}

// WriteKernel writes to a file of the kernel's below /proc or /sys, in place and in one write. Where these are read-only,
// as in a container, the error is an fs.ErrPermission.
func (h *Host) WriteKernel(name, value string) error {
	if !h.Living() {
		return ErrNeedsSystem
	}
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if errors.Is(err, unix.EROFS) {
		return fmt.Errorf("%w: %w", fs.ErrPermission, clean(err, "open", name))
	}
	if err != nil {
		return clean(err, "open", name)
	}
	defer f.Close()
	_, err = f.WriteString(value)
	return clean(err, "write", name)
}
