package executor

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/fitout-dev/fitout/modules/host"
)

const (
	// longestLook and longestApply are what a resource without a timeout of its own may take.
	longestLook  = 10 * time.Minute
	longestApply = 2 * time.Hour
)

// grace is how long a module that was told to stop may take to do so, before it is left behind. Tests shorten it.
var grace = 15 * time.Second

// abandoned is a module that did not stop in time. It may still be at work.
type abandoned struct{ error }

func (a *abandoned) Unwrap() error { return a.error }

type panicked struct{ value any }

func (p *panicked) Error() string { return fmt.Sprintf("panicked: %v", p.value) }

// call lets a module do its work on items: no longer than limit or the largest timeout of the items, and with a panic
// turned into an error whose stack is in the log.
func call[V any](ctx context.Context, h *host.Host, items []*item, limit time.Duration, work func(context.Context) V) (V, error) {
	own := time.Duration(0)
	for _, it := range items {
		if own = max(own, it.Timeout); it.Timeout <= 0 {
			own = limit
			break
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, own, fmt.Errorf("timed out after %s", own))
	defer cancel()
	type answer struct {
		v   V
		err error
	}
	answered := make(chan answer, 1)
	go func() {
		a := answer{err: errors.New("gave up without an answer")} // stands if the module ends its goroutine
		defer func() {
			if p := recover(); p != nil {
				h.Log().Error("panic", "address", items[0].Address, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
				a.err = &panicked{p}
			}
			answered <- a
		}()
		a.v = work(ctx)
		a.err = nil
	}()
	select {
	case a := <-answered:
		return a.v, a.err
	case <-ctx.Done():
	}
	late := time.NewTimer(grace)
	defer late.Stop()
	select {
	case a := <-answered:
		return a.v, a.err
	case <-late.C:
		var none V
		return none, &abandoned{fmt.Errorf("%w, and did not stop when it was told to", context.Cause(ctx))}
	}
}

// because puts the reason first where a module only says that its context has ended.
func because(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if cause == nil || errors.Is(err, cause) || !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w: %w", cause, err)
}
