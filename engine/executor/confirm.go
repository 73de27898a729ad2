package executor

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
)

// confirmWithin is how long the controller may take to reach the device in its new way.
const confirmWithin = 2 * time.Minute

// trial is a change of how the device is reached. It counts only once the controller has reached the device so; until then it
// can take itself back.
type trial struct {
	it    *item
	event wire.Event
}

// confirm has the controller try the new way, when all that was notified of the change has had its turn.
func (r *run) confirm(ctx context.Context) {
	r.trials = slices.DeleteFunc(r.trials, func(t *trial) bool {
		if slices.ContainsFunc(t.it.Notify, func(a string) bool { return r.declared(a) && !r.settledNow[a] }) {
			return false
		}
		r.try(ctx, t)
		return true
	})
}

func (r *run) declared(address string) bool {
	return slices.ContainsFunc(r.items, func(it *item) bool { return it.Address == address })
}

func (r *run) try(ctx context.Context, t *trial) {
	within := cmp.Or(r.doc.Settings.ConfirmWithin, confirmWithin)
	shown := maps.Clone(t.it.Connect)
	delete(shown, "password")
	n := r.log.add(wire.Event{Type: wire.Confirming, Address: t.it.Address, Connect: shown, Text: within.String()})
	late := time.NewTimer(within)
	defer late.Stop()
	for {
		select {
		case m := <-r.confirmed:
			if m == n {
				r.finish(t.event)
				return
			}
			continue
		case <-late.C:
		case <-ctx.Done():
		case <-r.stopping:
		}
		break
	}
	err := hint.New(fmt.Errorf("the controller did not reach the device as %s within %s", way(shown), within),
		"is something between them that lets only the old way through, such as a firewall?")
	if backErr := r.takeBack(context.WithoutCancel(ctx), t); backErr != nil {
		err = fmt.Errorf("%w, and the change could not be taken back: %w", err, backErr)
	} else {
		err = hint.New(fmt.Errorf("%w: the change was taken back", err), "%s", hint.Of(err))
	}
	e := t.event
	r.fail(&e, err)
	r.finish(e)
}

// way names a way to reach a device: "port 2222, user admin".
func way(connect map[string]any) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(connect)) {
		parts = append(parts, fmt.Sprintf("%s %v", k, connect[k]))
	}
	return cmp.Or(strings.Join(parts, ", "), "declared")
}

// takeBack undoes a change and tells those who were notified of it.
func (r *run) takeBack(ctx context.Context, t *trial) error {
	in := r.st.intents[t.it.Address]
	if in == nil {
		return errors.New("how it was before isn't known")
	}
	have, err := r.st.before(t.it, in)
	if err != nil {
		return err
	}
	back, err := t.it.typ.Inverse(t.it.want, have)
	if err != nil {
		return err
	}
	undo := *t.it
	undo.want = back
	f := observe(ctx, r.host, []*item{&undo})[0]
	if f.err != nil {
		return f.err
	}
	if f.op != modules.Same {
		res := r.apply(ctx, []*item{&undo}, []any{back}, []any{f.have})
		r.host.Forget()
		if res[0].Err != nil {
			return res[0].Err
		}
	}
	var errs []error
	for _, it := range r.items {
		if slices.Contains(t.it.Notify, it.Address) && it.mayBeNotified() {
			_, err := call(ctx, r.host, []*item{it}, longestApply, func(ctx context.Context) error {
				return it.typ.Notify(ctx, r.host, it.want)
			})
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// before is how a resource was before the run changed it.
func (s *state) before(it *item, in *intent) (any, error) {
	have := []byte(in.Have)
	if len(in.Sealed) > 0 {
		var err error
		if have, err = unseal(s.key, about(s.Document.ID, "before "+in.Address), in.Sealed); err != nil {
			return nil, err
		}
	}
	if len(have) == 0 {
		return nil, errors.New("how it was before was not recorded")
	}
	return it.typ.Decode(json.RawMessage(have))
}
