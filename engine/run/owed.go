package run

import (
	"fmt"
	"slices"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/engine/profile"
)

// What a device owes, it knows itself, and it alone knows it exactly. Where somebody has removed what it remembers, the
// events that came here are the next best: a notification is delivered then that may have been delivered before, but none is
// forgotten.

// Doubt is a run since which a device may owe notifications.
type Doubt struct {
	Memory string // what the device remembered then, by name
	Events func() ([]wire.Event, error)
}

// doubtful is a run in doubt with what is known of it.
type doubtful struct {
	events    []wire.Event
	forgotten bool // the device knows nothing of it
}

// owed is what the device has forgotten that it owes: to whom, from whom.
func (w *worker) owed() (map[string][]string, error) {
	memory := w.session.Hello.Memory
	forgotten := func(d Doubt) bool { return d.Memory != memory }
	if w.r.Undo != "" || !slices.ContainsFunc(w.d.Doubts, forgotten) {
		return nil, nil
	}
	var runs []doubtful
	for _, d := range w.d.Doubts {
		events, err := d.Events()
		if err != nil {
			return nil, fmt.Errorf("look up what is owed since earlier runs: %w", err)
		}
		runs = append(runs, doubtful{events, forgotten(d)})
	}
	return owing(runs, w.resources), nil
}

// owing goes through runs, the oldest first. A source notifies unless it is known to have been left as it was, and a target
// is owed nothing once it was notified, or has come to its state, after that: it comes after all that notify it.
func owing(runs []doubtful, resources []profile.Resource) map[string][]string {
	notifies := map[string][]string{}
	for _, r := range resources {
		if len(r.Notify) > 0 {
			notifies[r.Address] = r.Notify
		}
	}
	owed := map[string]map[string]bool{}
	owe := func(from string) {
		for _, to := range notifies[from] {
			if owed[to] == nil {
				owed[to] = map[string]bool{}
			}
			owed[to][from] = true
		}
	}
	for _, run := range runs {
		resolved, ended := map[string]bool{}, false
		for _, e := range run.events {
			switch e.Type {
			case wire.Notified:
				delete(owed, e.Address)
			case wire.Finished:
				ended = true
			case wire.Resolved:
				resolved[e.Address] = true
				if e.Status == wire.InDesiredState || e.Status == wire.Changed {
					delete(owed, e.Address)
				}
				if run.forgotten && e.Status != wire.InDesiredState && e.Status != wire.Skipped {
					owe(e.Address)
				}
			}
		}
		for from := range notifies { // what was done after the last that was heard
			if run.forgotten && !ended && !resolved[from] {
				owe(from)
			}
		}
	}
	out := map[string][]string{}
	for to, from := range owed {
		for f := range from {
			out[to] = append(out[to], f)
		}
		slices.Sort(out[to])
	}
	return out
}
