package files

import (
	"context"
	"io"

	"github.com/fitout-dev/fitout/modules/host"
)

// cancellable ends a long copy when its run is cancelled.
type cancellable struct {
	ctx context.Context
	io.Reader
}

func (c cancellable) Read(p []byte) (int, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	return c.Reader.Read(p)
}

// MoveTo implements host.Movable where the content does.
func (c cancellable) MoveTo(path string) bool {
	m, ok := c.Reader.(host.Movable)
	return ok && context.Cause(c.ctx) == nil && m.MoveTo(path)
}
