//go:build !linux

package host

import "errors"

// SetHostname sets the running kernel's host name: on Linux only.
func (h *Host) SetHostname(string) error { return errors.ErrUnsupported }

// WriteKernel writes to a file of the kernel's below /proc or /sys: on Linux only.
func (h *Host) WriteKernel(string, string) error { return errors.ErrUnsupported }
