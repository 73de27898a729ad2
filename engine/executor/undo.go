package executor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/host"
)

// undo works out the way back from a run that this device has the journal of: what was changed last comes first.
func (s *session) undo(ctx context.Context, u *wire.Undo) {
	if err := checkRun(u.Run); err != nil {
		s.fail(wire.Failed{Error: err.Error()})
		return
	}
	st, err := readState(s.Dir, u.Run)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.fail(wire.Failed{Kind: wire.NoRun, Error: "the device has no journal of run " + u.Run,
			Hint: fmt.Sprintf("it keeps those of its last %d runs in its own folder, until that is removed", keepRuns)})
		return
	case err != nil:
		s.fail(wire.Failed{Error: err.Error(), Hint: remedy(err)})
		return
	case !st.ended:
		s.fail(wire.Failed{Kind: wire.Stopped, Error: "run " + u.Run + " isn't at its end", Hint: "`fitout attach " + u.Run + "` goes on with it"})
		return
	}
	if len(u.Key) > 0 {
		if err := st.unlock(u.Key, s.store); err != nil {
			s.fail(wire.Failed{Error: err.Error()})
			return
		}
	}
	h := newHost(s.Options, s.store, st.Document.Secrets, func(e wire.Event) { s.say(wire.Message{Event: &e}) })
	back := wayBack(st, u.Only, blobs{s.store, s.Dir})
	out := back.onWire(h, st.Login)
	out.Secrets, out.Drifted = st.Document.Secrets, back.drifted(ctx, h, st)
	s.say(wire.Message{Undoing: out})
}

// undoing is the way back from a run.
type undoing struct {
	steps []*step // in order
	stuck []wire.Stuck
}

// step takes one resource back, or tells it that what it is notified of was.
type step struct {
	*item           // as the run had it
	back    any     // what it is to be
	only    bool    // it was not changed by the run, and is told only
	sources []*step // that notify it
}

// wayBack turns what a run has changed around.
func wayBack(st *state, only []string, have blobs) *undoing {
	u := &undoing{}
	items := decode(st.Document.Resources)
	undone := map[string]*step{}
	for _, it := range slices.Backward(items) {
		in := st.intents[it.Address]
		if in == nil || len(only) > 0 && !slices.Contains(only, it.Address) && !slices.Contains(only, it.Type) {
			continue
		}
		back, err := inverse(st, it, in, have)
		if err != nil {
			u.stuck = append(u.stuck, wire.Stuck{Address: it.Address, Reason: err.Error()})
			continue
		}
		s := &step{item: it, back: back}
		undone[it.Address] = s
		u.steps = append(u.steps, s)
	}
	for _, it := range items {
		u.notify(it, undone)
	}
	return u
}

// notify has a resource told of the undoing of what it was told of: after the last of that. One that goes away with what
// brought it is not told, and goes first.
func (u *undoing) notify(it *item, undone map[string]*step) {
	var sources []*step
	for _, s := range u.steps {
		if slices.Contains(s.Notify, it.Address) {
			sources = append(sources, s)
		}
	}
	if len(sources) == 0 || it.bad != nil && len(it.Sealed) == 0 {
		return
	}
	if len(it.Sealed) > 0 {
		if undone[it.Address] == nil {
			u.stuck = append(u.stuck, wire.Stuck{Address: it.Address, Reason: "it can't be told of the rest: " + errLocked.Error()})
		}
		return
	}
	refs := it.typ.Refs(it.want)
	goes := func(s *step) bool { return s.gone() && slices.Contains(refs, s.Address) }
	self := undone[it.Address]
	if slices.ContainsFunc(u.steps, goes) || !it.mayBeNotified() || self != nil && self.gone() {
		return
	}
	if self == nil {
		self = &step{item: it, only: true, back: it.typ.Told(it.want)}
	} else {
		u.steps = slices.DeleteFunc(u.steps, func(s *step) bool { return s == self })
	}
	self.sources = sources
	u.steps = slices.Insert(u.steps, slices.Index(u.steps, sources[len(sources)-1])+1, self)
}

// gone says whether the resource is absent once it is taken back.
func (s *step) gone() bool { return s.typ.StateOf(s.back) == modules.Absent }

// onWire is the way back as the controller gets it.
func (u *undoing) onWire(h *host.Host, by *login) *wire.Undoing {
	out := &wire.Undoing{}
	stuck := func(address string, reason string) {
		out.Stuck = append(out.Stuck, wire.Stuck{Address: address, Reason: h.Scrub(reason)})
	}
	for _, s := range u.stuck {
		stuck(s.Address, s.Reason)
	}
	for i, s := range u.steps {
		want, err := json.Marshal(s.back)
		if err != nil {
			stuck(s.Address, err.Error())
			continue
		}
		r := wire.Resource{Address: s.Address, Type: s.Type, Want: want, Secret: s.Secret, Timeout: s.Timeout, Retries: s.Retries}
		if !s.only {
			r.Connect = by.reached(s.Connect)
		}
		after := map[string]bool{}
		for _, source := range s.sources {
			after[source.Address] = true
		}
		for _, earlier := range u.steps[:i] { // edges turn around
			if slices.Contains(earlier.After, s.Address) {
				after[earlier.Address] = true
			}
		}
		r.After = slices.Sorted(maps.Keys(after))
		for _, later := range u.steps[i+1:] {
			if slices.Contains(later.sources, s) {
				r.Notify = append(r.Notify, later.Address)
			}
		}
		out.Resources = append(out.Resources, r)
	}
	return out
}

// drifted is what others have changed since: it is neither as the run has left it, nor as it was before. What the run itself
// left half done, or what shows after a restart only, is no drift.
func (u *undoing) drifted(ctx context.Context, h *host.Host, st *state) []wire.Observation {
	var now, before []*item
	for i, s := range u.steps {
		if e := st.settled[s.Address]; s.only || e.Status != wire.Changed || e.Reboot != "" || e.Reason != "" || s.overtaken(u.steps[:i]) {
			continue
		}
		back := *s.item
		back.want = s.back
		now, before = append(now, s.item), append(before, &back)
	}
	var out []wire.Observation
	asLeft := observeAll(ctx, h, now, nil)
	asBefore := observeAll(ctx, h, before, nil)
	met := func(f *found) bool { return f.err == nil && (f.op == modules.Same || f.op == modules.Skip) }
	for i, it := range now {
		if f := asLeft[it.Address]; !met(f) && !met(asBefore[before[i].Address]) {
			out = append(out, f.report(h, it))
		}
	}
	left := slices.ContainsFunc(now, func(it *item) bool { return met(asLeft[it.Address]) && !met(asBefore[it.Address]) })
	if !left && len(out) < len(now) { // what still differs is others' alone, or came of a kernel's settings that change each other
		for i := range out {
			out[i].Reason = takenBack
		}
	}
	return out
}

// overtaken says whether the run changed something after s that s hangs on, as a run does that takes another back: a kernel
// resets some settings when it is given others.
func (s *step) overtaken(later []*step) bool {
	refs := s.typ.Refs(s.want)
	return slices.ContainsFunc(later, func(o *step) bool { return slices.Contains(refs, o.Address) })
}

// takenBack is the reason of drift that nothing of the run is in any more.
const takenBack = "changed since, and all else is taken back already"

// inverse is the declaration that brings a resource back to how it was before the run.
func inverse(st *state, it *item, in *intent, have blobs) (any, error) {
	if len(it.Sealed) > 0 || st.key == nil && len(in.Sealed) > 0 {
		return nil, errLocked
	}
	if it.bad != nil {
		return nil, it.bad
	}
	before, err := st.before(it, in)
	if err != nil {
		return nil, err
	}
	back, err := it.typ.Inverse(it.want, before)
	if err != nil {
		return nil, err
	}
	for _, k := range in.Kept {
		switch {
		case k.Lost != "":
			return nil, fmt.Errorf("its old content was not kept: %s", k.Lost)
		case have.has(k.Blob):
		case k.Sealed && st.key == nil:
			return nil, errLocked
		default:
			return nil, errors.New("its old content isn't there any more")
		}
	}
	return back, nil
}

// toUndo says whether something is known to be changed that undo would take back: a notification is none.
func (f *found) toUndo() bool {
	if !f.pending() || f.err != nil || f.op == modules.Unknown {
		return false
	}
	return len(f.changes) == 0 || slices.ContainsFunc(f.changes, func(c modules.Change) bool { return c.Property != "notification" })
}

// doubt asks types whether the device has what undo will need, of those changes that Inverse knows a way back from.
func doubt(ctx context.Context, h *host.Host, items []*item, results map[string]*found, out []wire.Observation) {
	of := map[*modules.Type][]int{}
	for i, it := range items {
		if f := results[it.Address]; it.bad == nil && it.typ.Doubtful() && f.toUndo() && out[i].NoUndo == "" {
			of[it.typ] = append(of[it.typ], i)
		}
	}
	for typ, which := range of {
		var wants, haves []any
		var asked []*item
		for _, i := range which {
			wants, haves, asked = append(wants, items[i].want), append(haves, results[items[i].Address].have), append(asked, items[i])
		}
		doubts, err := call(ctx, h, asked, longestLook, func(ctx context.Context) []string { return typ.Doubts(ctx, h, wants, haves) })
		if err != nil || len(doubts) != len(which) {
			continue // undo will see for itself
		}
		for j, i := range which {
			out[i].NoUndo = h.Scrub(doubts[j])
		}
	}
}

// noUndo is why nothing could take a planned change back, or "". keeps counts what the run will keep.
func noUndo(it *item, f *found, keeps *int64) string {
	if !f.toUndo() {
		return ""
	}
	if _, err := it.typ.Inverse(it.want, f.have); err != nil {
		return err.Error()
	}
	for _, c := range it.typ.Contents(it.want, f.have) {
		err := tooLarge(c, it.observesSecret())
		if err == nil && *keeps+c.Blob.Size > keptRoom {
			err = fmt.Errorf("the run replaces more, and %w", errNoRoom)
		}
		if err != nil {
			return "its old content would be lost: " + err.Error()
		}
		*keeps += c.Blob.Size
	}
	return ""
}
