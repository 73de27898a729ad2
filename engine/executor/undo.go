package executor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/modules"
)

// undo works out the way back from a run that this device has the journal of: what was changed last comes first.
func (s *session) undo(ctx context.Context, u *wire.Undo) {
	if !validRun(u.Run) {
		s.fail(wire.Failed{Error: fmt.Sprintf("bad run id %q", u.Run)})
		return
	}
	st, err := readState(s.Dir, u.Run)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.fail(wire.Failed{Kind: wire.NoRun, Error: "the device has no journal of run " + u.Run, Hint: "it keeps those of its last runs, in its own folder"})
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
	out := wayBack(st, u.Only, blobs{s.store, s.Dir})
	out.Secrets = st.Document.Secrets
	items := decode(st.Document.Resources)
	results := observeAll(ctx, h, items, nil)
	for _, it := range items {
		if slices.ContainsFunc(out.Resources, func(r wire.Resource) bool { return r.Address == it.Address }) {
			if f := results[it.Address]; f.op != modules.Same && f.op != modules.Skip {
				out.Drifted = append(out.Drifted, f.report(h, it))
			}
		}
	}
	s.say(wire.Message{Undoing: out})
}

// wayBack turns what a run has changed around.
func wayBack(st *state, only []string, have blobs) *wire.Undoing {
	out := &wire.Undoing{}
	items := decode(st.Document.Resources)
	byAddress := map[string]*item{}
	undone := map[string]bool{}
	for _, it := range slices.Backward(items) {
		byAddress[it.Address] = it
		in := st.intents[it.Address]
		if in == nil || len(only) > 0 && !slices.Contains(only, it.Address) && !slices.Contains(only, it.Type) {
			continue
		}
		back, err := inverse(st, it, in, have)
		if err != nil {
			out.Stuck = append(out.Stuck, wire.Stuck{Address: it.Address, Reason: err.Error()})
			continue
		}
		undone[it.Address] = true
		out.Resources = append(out.Resources, wire.Resource{Address: it.Address, Type: it.Type, Want: back, Secret: it.Secret,
			Notify: it.Notify, Timeout: it.Timeout, Retries: it.Retries})
	}
	// What was notified of a change is notified of its undoing.
	for _, r := range slices.Clone(out.Resources) {
		for _, a := range r.Notify {
			if it := byAddress[a]; it != nil && !undone[a] && it.bad == nil && len(it.Sealed) == 0 {
				undone[a] = true
				again := it.Resource
				again.After = nil
				out.Resources = append(out.Resources, again)
			}
		}
	}
	for i := range out.Resources {
		r := &out.Resources[i]
		r.Notify = slices.DeleteFunc(slices.Clone(r.Notify), func(a string) bool { return !undone[a] })
		for _, it := range items { // edges turn around, too
			if undone[it.Address] && it.Address != r.Address && slices.Contains(it.After, r.Address) && !slices.Contains(r.Notify, it.Address) {
				r.After = append(r.After, it.Address)
			}
		}
	}
	return out
}

// inverse is the declaration that brings a resource back to how it was before the run.
func inverse(st *state, it *item, in *intent, have blobs) (json.RawMessage, error) {
	if it.bad != nil {
		return nil, it.bad
	}
	if len(it.Sealed) > 0 {
		return nil, errLocked
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
		if k.Lost != "" {
			return nil, fmt.Errorf("its old content was not kept: %s", k.Lost)
		}
		if !have.has(k.Blob) {
			return nil, errors.New("its old content isn't there any more")
		}
	}
	return json.Marshal(back)
}

// noUndo is why nothing could take a planned change back, or "".
func noUndo(it *item, f *found) string {
	if f.err != nil || f.op == modules.Same || f.op == modules.Skip || f.op == modules.Unknown {
		return ""
	}
	if len(f.changes) > 0 && !slices.ContainsFunc(f.changes, func(c modules.Change) bool { return c.Property != "notification" }) {
		return ""
	}
	if _, err := it.typ.Inverse(it.want, f.have); err != nil {
		return err.Error()
	}
	for _, c := range it.typ.Contents(it.want, f.have) {
		if c.Blob.Size > maxKept {
			return fmt.Sprintf("its old content of %d MB is too large to be kept", c.Blob.Size>>20)
		}
	}
	return ""
}
