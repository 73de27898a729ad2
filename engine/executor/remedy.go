package executor

import (
	"errors"
	"syscall"

	"github.com/fitout-dev/fitout/modules/hint"
)

// remedy is what to do about an error: its own hint, or what helps whatever was done.
func remedy(err error) string {
	switch h := hint.Of(err); {
	case h != "":
		return h
	case errors.Is(err, syscall.ENOSPC):
		return "free some space on the device"
	case errors.Is(err, syscall.EROFS):
		return "mount it writable; a disk that fails is often remounted read-only: see the device's kernel log"
	}
	return ""
}
