//go:build !linux && !windows

package preflight

import (
	"context"

	"github.com/fitout-dev/fitout/modules/host"
)

// Inhibit does nothing here: only Linux and Windows have a way without cgo or another process.
func Inhibit(ctx context.Context, h *host.Host, why string) (release func()) { return func() {} }
