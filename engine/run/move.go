package run

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/wire"
)

// move is what a worker knows of changes of how its device is reached. The device holds such a change for valid only when we
// confirm it over a session that was opened in the new way; that session then takes the place of the old one.
type move struct {
	asked  *wire.Event     // we are to confirm, and nothing has come of it yet
	way    *Way            // by which we have confirmed, until the device says that it counts
	before *Device         // how the device was reached before
	begun  map[string]bool // addresses that are changed by now, maybe
	over   map[string]bool // addresses of which it is known what became of them
	heard  []wire.Message  // on the new session, and not dealt with yet
}

// impatience is how long a device may be silent while a change of how it is reached is under way, before we look for it anew.
const impatience = 5 * time.Second

// hear is the next message, of those that were read ahead or that come.
func (w *worker) hear(ctx context.Context) (wire.Message, error) {
	if h := w.move.heard; len(h) > 0 {
		w.move.heard = h[1:]
		return h[0], nil
	}
	for w.isMoving() {
		wait, cancel := context.WithTimeoutCause(ctx, impatience, errQuiet)
		m, err := w.session.next(wait)
		cancel()
		if !errors.Is(err, errQuiet) {
			return m, err
		}
		if silence := w.session.silence(); silence >= impatience {
			return m, fellSilent(silence)
		}
	}
	return w.await(ctx)
}

// isMoving says whether the device may be about to be reached in another way.
func (w *worker) isMoving() bool {
	for address := range w.moves() {
		if w.move.begun[address] {
			return true
		}
	}
	return false
}

// begins notes that a resource is being changed.
func (w *worker) begins(e *wire.Event) {
	if w.move.begun == nil {
		w.move.begun = map[string]bool{}
	}
	w.move.begun[e.Address] = true
}

// moves are the changes of how the device is reached that are still to come, or under way: what each says of it, by address.
func (w *worker) moves() map[string]map[string]any {
	out := map[string]map[string]any{}
	for _, r := range w.resources {
		if len(r.Connect) > 0 && r.Skip == "" && !w.move.over[r.Address] {
			out[r.Address] = reveal(r.Connect).(map[string]any)
		}
	}
	if e := w.move.asked; e != nil { // the device knows its host keys, and we the password
		both := map[string]any{}
		maps.Copy(both, e.Connect)
		maps.Copy(both, out[e.Address])
		out[e.Address] = both
	}
	return out
}

// confirm reaches the device as a change wants it and tells the run so, over that very way. It gives up when the time is over,
// or when the device says something else meanwhile.
func (w *worker) confirm(ctx context.Context, id string, e *wire.Event) {
	w.move.asked = e
	if err := w.tryFor(ctx, id, e); err != nil && ctx.Err() == nil {
		w.warn(e.Address, "the device could not be reached in the new way: "+err.Error())
	}
}

func (w *worker) warn(address, text string) { w.log("WARN", address, text) }

func (w *worker) log(level, address, text string) {
	w.r.report(Event{Device: w.d.Name, Phase: Applying, Event: &wire.Event{Type: wire.Log, Level: level, Address: address, Text: text}})
}

func (w *worker) tryFor(ctx context.Context, id string, e *wire.Event) error {
	if w.d.Redial == nil {
		return errors.New("this transport has no other way")
	}
	way, err := w.d.Redial(w.moves()[e.Address])
	if err != nil {
		return err
	}
	within, err := time.ParseDuration(e.Text)
	if err != nil {
		within = time.Minute
	}
	late := time.NewTimer(within)
	defer late.Stop()
	for {
		err := within30(ctx, func(ctx context.Context) error { return w.tryNew(ctx, way, id, e.N) })
		if err == nil || len(w.session.in) > 0 { // done, or the device has something to say of it
			return err
		}
		t := time.NewTimer(500 * time.Millisecond) // a service may be restarting
		select {
		case <-t.C:
		case <-late.C:
			t.Stop()
			return err
		case <-ctx.Done():
			t.Stop()
			return err
		}
	}
}

// tryNew opens a session in the new way, confirms, and follows the run on over it.
func (w *worker) tryNew(ctx context.Context, way Way, id string, n int) error {
	t, err := way.Dial(ctx)
	if err != nil {
		return err
	}
	s, err := open(ctx, t, way.Target)
	if err != nil {
		t.Close()
		return err
	}
	err = s.conn.Send(wire.Message{Confirm: &wire.Confirm{Run: id, N: n}}, wire.Message{Attach: &wire.Attach{Run: id, From: n + 1, Key: w.key, Resume: true}})
	var m wire.Message
	if err == nil {
		m, err = s.next(ctx)
	}
	if err == nil && m.Failed != nil {
		err = describe(m.Failed)
	}
	if err != nil {
		w.r.part(s, t)
		return err
	}
	w.hangUpKeeping()
	w.mu.Lock()
	w.transport, w.session = t, s
	w.mu.Unlock()
	before := w.d
	w.move.heard, w.move.way, w.move.before = []wire.Message{m}, &way, &before
	w.d.Dial, w.d.Target, w.d.Redial = way.Dial, way.Target, way.Redial
	return nil
}

// moved takes in what became of a change of how the device is reached.
func (w *worker) moved(ctx context.Context, e *wire.Event) {
	if w.move.over == nil {
		w.move.over = map[string]bool{}
	}
	w.move.over[e.Address] = true
	if w.move.asked == nil || w.move.asked.Address != e.Address {
		return
	}
	way, before := w.move.way, w.move.before
	w.move.asked, w.move.way, w.move.before = nil, nil, nil
	switch {
	case way == nil:
	case e.Status != wire.Changed: // taken back
		w.d.Dial, w.d.Target, w.d.Redial = before.Dial, before.Target, before.Redial
	default:
		if way.News != "" {
			w.res.Moved = append(w.res.Moved, way.News)
		}
		if way.Keep == nil {
			return
		}
		if err := way.Keep(ctx); err != nil {
			w.warn(e.Address, "its host key could not be kept for the new way: "+err.Error())
		}
	}
}

// connectAnyhow connects as the device was reached last, or as it may be reached by now: a change of that may have cut the
// connection before we were asked to confirm it. While one is under way, its way comes first.
func (w *worker) connectAnyhow(ctx context.Context) error {
	d := w.d
	defer func() { w.d.Dial, w.d.Target = d.Dial, d.Target }()
	ways := []Way{{Dial: d.Dial, Target: d.Target}}
	if d.Redial != nil {
		for address, connect := range w.moves() {
			switch way, err := d.Redial(connect); {
			case err != nil:
			case w.move.begun[address]:
				ways = append([]Way{way}, ways...)
			default:
				ways = append(ways, way)
			}
		}
	}
	var first error
	for _, way := range ways {
		w.d.Dial, w.d.Target = way.Dial, way.Target
		err := w.connect(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		first = cmp.Or(first, err)
	}
	return first
}

// within30 gives up after 30 seconds. What was opened until then lives on: ctx bounds its life.
func within30(ctx context.Context, do func(context.Context) error) error {
	ctx, giveUp := context.WithCancel(ctx)
	late := time.AfterFunc(30*time.Second, giveUp)
	defer late.Stop()
	err := do(ctx)
	if err != nil {
		giveUp()
	}
	return err
}
