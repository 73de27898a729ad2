//go:build unix

package executor

import (
	"context"
	"slices"

	"github.com/fitout-dev/fitout/modules/host"
)

// restartMachine tells the machine to restart.
func restartMachine(ctx context.Context, h *host.Host, reason string) error {
	_, err := h.Must(ctx, host.Cmd{Args: rebootCommand})
	return err
}

// warnAll tells those who are logged on.
func warnAll(ctx context.Context, h *host.Host, text string) error {
	if len(warnCommand) == 0 {
		return nil
	}
	_, err := h.Must(ctx, host.Cmd{Args: append(slices.Clone(warnCommand), text)})
	return err
}
