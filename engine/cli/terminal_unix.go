//go:build unix

package cli

import (
	"io"
	"syscall"
)

const terminate = syscall.SIGTERM

func enableColors(io.Writer) bool { return true }
