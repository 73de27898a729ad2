package run

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"strings"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/engine/profile"
	"github.com/fitout-dev/fitout/modules/hint"
)

// errAway says that the conversation broke in the middle of a run, which goes on without us.
type errAway struct{ error }

func (e *errAway) Unwrap() error { return e.error }

// followOn reports a run's events to its end, over as many connections as that takes.
func (w *worker) followOn(ctx context.Context, id string) {
	for {
		err := w.follow(ctx, id, func(e *wire.Event) {
			w.resolved(e)
			w.r.report(Event{Device: w.d.Name, Phase: Applying, Event: e})
		})
		away, isAway := errors.AsType[*errAway](err)
		switch {
		case err == nil:
			return
		case ctx.Err() != nil:
			w.session.conn.Send(wire.Message{Cancel: &wire.Cancel{Now: true}})
			w.res.Status = Cancelled
			return
		case !isAway:
			w.fail(err)
			return
		}
		if err := w.rejoin(ctx, id, away.error); err != nil {
			if ctx.Err() != nil || w.r.isStopped() {
				w.res.Status = Cancelled
			}
			w.fail(hint.New(err, "the run goes on without us: `fitout attach %s` follows it", id))
			w.res.Status = Unreachable
			return
		}
	}
}

// resolved takes an event into the result.
func (w *worker) resolved(e *wire.Event) {
	if e.Type == wire.Resolved && e.Status == wire.FailedStatus {
		w.res.Failures = append(w.res.Failures, *e)
	}
	if e.Type == wire.Finished {
		w.finished(e)
	}
}

// rejoin connects again and asks for what happened meanwhile. A machine that restarts for the run may take its time.
func (w *worker) rejoin(ctx context.Context, id string, why error) error {
	patience := w.r.Patience
	if w.last.Type == wire.Rebooting {
		patience = w.r.RestartPatience
		why = fmt.Errorf("it restarts: %s", w.last.Reboot)
	}
	w.r.report(Event{Device: w.d.Name, Phase: Away, Why: why.Error()})
	w.hangUpKeeping()
	w.giveWay()
	first := 100 * time.Millisecond
	if w.last.N == w.awayAfter && !w.awaySince.IsZero() { // the last connection was good for nothing
		first = 2 * time.Second
	} else {
		w.awayAfter, w.awaySince = w.last.N, time.Now()
	}
	for deadline, wait := w.awaySince.Add(patience), first; ; wait = min(2*wait, 5*time.Second) {
		t := time.NewTimer(wait + mathrand.N(wait/2))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return why
		}
		if w.r.isStopped() {
			return why
		}
		again, giveUp := context.WithCancel(ctx) // it bounds the connection's life, too
		late := time.AfterFunc(30*time.Second, giveUp)
		err := w.connectAnyhow(again)
		late.Stop()
		if err == nil {
			err = w.session.conn.Send(wire.Message{Attach: &wire.Attach{Run: id, From: w.last.N + 1, Key: w.key, Resume: true}})
		}
		if err == nil && time.Now().Before(deadline) {
			if err := w.retake(ctx); err != nil {
				return err
			}
			if e := w.move.asked; e != nil {
				w.confirm(ctx, id, e)
			}
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%w; and it could not be followed on within %s: %w", why, patience, cmp.Or(err, errQuiet))
		}
	}
}

// follow reports a run's events until its end, or until the conversation breaks.
func (w *worker) follow(ctx context.Context, id string, report func(*wire.Event)) error {
	for {
		m, err := w.hear(ctx)
		switch {
		case err != nil && ctx.Err() != nil:
			return err
		case err != nil:
			return &errAway{err}
		case m.Failed != nil:
			w.res.Drifted = m.Failed.Kind == wire.Drift
			if m.Failed.Kind != wire.Stopped {
				w.res.Open = false
			}
			return describe(m.Failed)
		case m.Event == nil:
			continue
		}
		e := m.Event
		if e.N <= w.last.N && e.Type != wire.Finished {
			continue
		}
		w.last = *e
		report(e)
		switch e.Type {
		case wire.Finished:
			return nil
		case wire.Begin:
			w.begins(e)
		case wire.Confirming:
			w.confirm(ctx, id, e)
		case wire.Resolved:
			w.moved(ctx, e)
		}
		if w.r.Detach && e.Type != wire.Started && len(w.moves()) == 0 {
			w.res.Status = Pending
			return nil
		}
	}
}

// catchUp learns what became of runs that were begun from here and not followed to their end. One that is under way is
// followed; one that stopped half-way is closed, since what is left of it is planned anew.
func (w *worker) catchUp(ctx context.Context) error {
	unsettled := w.d.Unsettled
	w.d.Unsettled = nil
	for _, u := range unsettled {
		h := w.session.Hello.Holder
		live := h != nil && h.Run == u.Run && !w.session.Hello.Stopped
		if err := w.session.conn.Send(wire.Message{Attach: &wire.Attach{Run: u.Run, From: u.Last + 1, Key: u.Key, Close: !live}}); err != nil {
			return w.session.lost()
		}
		saved := w.res
		w.res, w.last = Result{Device: w.d.Name, Open: true}, wire.Event{N: u.Last}
		err := w.follow(ctx, u.Run, func(e *wire.Event) {
			w.resolved(e)
			w.r.report(Event{Device: w.d.Name, Phase: Following, Run: u.Run, Event: e})
		})
		before := w.res
		w.res, w.last = saved, wire.Event{}
		if away, ok := errors.AsType[*errAway](err); ok {
			return away.error
		}
		if ctx.Err() != nil {
			return err
		}
		if err != nil {
			before.Status, before.Err = Failed, err
		}
		if !before.Open {
			w.r.report(Event{Device: w.d.Name, Phase: Following, Run: u.Run, Result: &before})
		}
	}
	return nil
}

// attach follows the one unsettled run of a device, and has it go on where it stopped.
func (w *worker) attach(ctx context.Context) {
	if len(w.d.Unsettled) == 0 {
		w.fail(errors.New("nothing of this run is open on the device"))
		return
	}
	u := w.d.Unsettled[0]
	w.d.Unsettled = nil
	w.key, w.last = u.Key, wire.Event{N: u.Last}
	w.res.Open = true
	if err := w.connect(ctx); err != nil {
		w.fail(err)
		return
	}
	if !w.startRunning() {
		return
	}
	defer w.stopRunning()
	if err := w.session.conn.Send(wire.Message{Attach: &wire.Attach{Run: u.Run, From: u.Last + 1, Key: u.Key, Resume: true}}); err != nil {
		w.fail(w.session.lost())
		return
	}
	w.followOn(ctx, u.Run)
}

// declared is what is wanted of the device: what its profile says, or the way back from a run.
func (w *worker) declared(ctx context.Context) (*profile.Compiled, error) {
	if w.r.Undo == "" {
		return w.d.Compile(w.session.Hello.Facts)
	}
	m, err := w.ask(ctx, wire.Message{Undo: &wire.Undo{Run: w.r.Undo, Key: w.r.Undone[w.d.Name], Only: w.r.Only}},
		func(m wire.Message) bool { return m.Undoing != nil })
	if err != nil {
		return nil, err
	}
	return w.wayBack(m.Undoing)
}

// wayBack makes of a device's answer what a profile would be. What can't be taken back is in it as skipped.
func (w *worker) wayBack(u *wire.Undoing) (*profile.Compiled, error) {
	var names []string
	theirs := map[string]string{} // what is left alone, and why
	for _, o := range u.Drifted {
		if theirs[o.Address] = o.Reason; o.Reason == "" {
			names = append(names, o.Address)
		}
	}
	if len(names) > 0 && !w.r.Force {
		w.res.Drifted = true
		return nil, hint.New(fmt.Errorf("changed by others since the run: %s", some(names)), "--force takes the run back all the same, theirs with it; --only takes back other resources alone")
	}
	c := &profile.Compiled{Profile: "undo of " + w.r.Undo, Secrets: u.Secrets}
	c.RebootPolicy(w.r.Reboot)
	at := profile.Position{File: "run " + w.r.Undo}
	for _, r := range u.Resources {
		d := json.NewDecoder(bytes.NewReader(r.Want))
		d.UseNumber()
		var want map[string]any
		if err := d.Decode(&want); err != nil {
			return nil, fmt.Errorf("%s: %w", r.Address, err)
		}
		skip := theirs[r.Address]
		if w.r.Force {
			skip = ""
		}
		c.Resources = append(c.Resources, profile.Resource{Address: r.Address, Type: r.Type, Position: at, Skip: skip,
			Want: want, Secret: r.Secret, After: r.After, Notify: r.Notify, Timeout: r.Timeout, Retries: r.Retries, Connect: r.Connect})
	}
	for _, s := range u.Stuck {
		typ, _, _ := strings.Cut(s.Address, "/")
		c.Resources = append(c.Resources, profile.Resource{Address: s.Address, Type: typ, Position: at, Want: map[string]any{}, Skip: "can't be undone: " + s.Reason})
	}
	w.res.Stuck = u.Stuck
	if bad := unmatched(w.r.Only, c.Resources); len(bad) > 0 {
		return nil, hint.New(fmt.Errorf("run %s has changed nothing of %s here", w.r.Undo, strings.Join(bad, ", ")), "`fitout runs show %s` lists what it did", w.r.Undo)
	}
	return c, nil
}
