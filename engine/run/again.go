package run

import (
	"context"
	"errors"
	mathrand "math/rand/v2"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/engine/plan"
	"github.com/fitout-dev/fitout/engine/transport"
)

// tries is how often a device is worked on from the start when its connection breaks before the run document was sent: nothing
// was changed then. A device that can't be connected to is tried once: more logins than one may lock an account.
const tries = 3

// prepare connects, compiles and observes. It is true when there is something to do and nothing against doing it.
func (w *worker) prepare(ctx context.Context) bool {
	before := w.res
	for n := 1; ; n++ {
		todo, err := w.planned(ctx)
		if err == nil {
			return todo
		}
		if !w.again(ctx, n, err) {
			return w.fail(err)
		}
		w.res = before
	}
}

// supply sends what the device lacks.
func (w *worker) supply(ctx context.Context) bool {
	for n := 1; ; n++ {
		err := w.bringAll(ctx)
		if err == nil {
			return true
		}
		if !w.again(ctx, n, err) {
			return w.fail(err)
		}
		if !w.reconnect(ctx) {
			return false
		}
	}
}

func (w *worker) bringAll(ctx context.Context) error {
	for _, hash := range w.observed.Missing {
		if err := w.bring(ctx, hash); err != nil {
			return err
		}
	}
	return nil
}

// again waits a while after the nth try, if another is worth it, and leaves the device without a session. One that has fallen
// silent was waited for long enough.
func (w *worker) again(ctx context.Context, n int, err error) bool {
	te, ok := errors.AsType[*transport.Error](err)
	if !ok || te.Kind != transport.Lost || errors.Is(err, errQuiet) || !w.repeatable || n == tries || ctx.Err() != nil || w.r.isStopped() {
		return false
	}
	w.r.report(Event{Device: w.d.Name, Phase: Observing, Event: &wire.Event{Type: wire.Log, Level: "WARN",
		Text: "before anything was changed, the conversation broke: " + err.Error() + "; trying again"}})
	w.hangUp()
	w.giveWay()
	wait := 250 * time.Millisecond << n
	select {
	case <-time.After(wait + mathrand.N(wait/2)):
	case <-ctx.Done():
		return false
	}
	return w.retake(ctx) == nil && !w.r.isStopped()
}

// reconnect makes sure of a session after the plan was shown, maybe long ago, and that the plan still holds.
func (w *worker) reconnect(ctx context.Context) bool {
	if w.session != nil {
		if w.alive() {
			return true
		}
		w.hangUp()
	}
	before := plan.Plan{Devices: []plan.Device{*w.res.Plan}}
	if !w.prepare(ctx) {
		return false
	}
	if err := drifted(&before, w.res.Plan); err != nil {
		w.res.Drifted = true
		return w.fail(err)
	}
	return true
}

func (w *worker) alive() bool {
	select {
	case _, ok := <-w.session.in:
		return ok
	default:
		return w.session.silence() < w.r.Quiet
	}
}
