package executor

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/host"
)

// found is an observation before its secrets are removed.
type found struct {
	have    any
	op      modules.Op
	changes []modules.Change
	reason  string
	err     error
	waits   string // what is pending before it, directly or through others
}

// pending says whether something will happen to a resource, or may.
func (f *found) pending() bool {
	return f.err != nil || f.op != modules.Same && f.op != modules.Skip
}

// observeAll looks at everything: concurrently, a type at a time where the type can read for all. Types that run
// programs of the profile's come last, and not behind anything that is pending.
func observeAll(ctx context.Context, h *host.Host, items []*item, owed map[string]string) map[string]*found {
	results := make(map[string]*found, len(items))
	byType := map[*modules.Type][]*item{}
	var order []*modules.Type
	for _, it := range items {
		switch {
		case it.Skip != "":
			results[it.Address] = &found{op: modules.Skip, reason: it.Skip}
		case it.bad != nil:
			results[it.Address] = &found{err: it.bad}
		case it.typ.Guarded():
		default:
			if byType[it.typ] == nil {
				order = append(order, it.typ)
			}
			byType[it.typ] = append(byType[it.typ], it)
		}
	}
	var groups [][]*item
	for _, t := range order {
		if t.ReadsForAll() {
			groups = append(groups, byType[t])
		} else {
			groups = append(groups, split(byType[t], 8)...)
		}
	}
	look(ctx, h, groups, results)

	// In the profile's order, so that what waits for something unknown is unknown too. A round ends before what comes
	// after one of its guards.
	waits := map[string]string{} // what each waits for, by itself or through others
	for rest := items; len(rest) > 0; {
		var round [][]*item
		n := 0
		for _, it := range rest {
			undecided := false
			for _, a := range it.After {
				switch r := results[a]; {
				case r == nil:
					undecided = undecided || inRound(round, a)
				case waits[it.Address] != "":
				case r.pending():
					waits[it.Address] = a
				default:
					waits[it.Address] = waits[a]
				}
			}
			if undecided {
				delete(waits, it.Address)
				break
			}
			n++
			f, wait := results[it.Address], waits[it.Address]
			switch {
			case wait != "" && (f == nil || f.err != nil):
				results[it.Address] = &found{op: modules.Unknown, reason: "after " + wait}
			case f == nil:
				round = append(round, []*item{it})
			}
		}
		look(ctx, h, round, results)
		rest = rest[n:]
	}
	for _, it := range items {
		results[it.Address].waits = waits[it.Address]
		if f, why := results[it.Address], owed[it.Address]; why != "" && f.op == modules.Same && it.mayBeNotified() {
			f.op, f.changes = modules.Update, []modules.Change{{Property: "notification", After: "owed since " + why}}
		}
	}
	return results
}

func inRound(round [][]*item, address string) bool {
	for _, g := range round {
		if g[0].Address == address {
			return true
		}
	}
	return false
}

// look observes groups side by side.
func look(ctx context.Context, h *host.Host, groups [][]*item, results map[string]*found) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, 8)
	for _, g := range groups {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			fs := observe(ctx, h, g)
			mu.Lock()
			defer mu.Unlock()
			for i, f := range fs {
				results[g[i].Address] = f
			}
		})
	}
	wg.Wait()
}

func split(items []*item, n int) [][]*item {
	var out [][]*item
	size := (len(items) + n - 1) / n
	for len(items) > 0 {
		k := min(size, len(items))
		out, items = append(out, items[:k]), items[k:]
	}
	return out
}

// observe asks the module about items of one type. What goes wrong with one of them is an error of that one alone.
func observe(ctx context.Context, h *host.Host, items []*item) []*found {
	t := items[0].typ
	if len(items) > 1 && !t.ReadsForAll() {
		return each(ctx, h, items)
	}
	wants := make([]any, len(items))
	for i, it := range items {
		wants[i] = it.want
	}
	observed, err := call(ctx, h, items, longestLook, func(ctx context.Context) []modules.Observation[any] {
		out := t.Observe(ctx, h, wants)
		for i := range out {
			out[i].Err = because(ctx, out[i].Err)
		}
		return out
	})
	if _, ok := errors.AsType[*panicked](err); ok && len(items) > 1 {
		return each(ctx, h, items)
	}
	if err == nil && len(observed) != len(items) {
		err = fmt.Errorf("type %s answered for %d resources of %d", t.Name, len(observed), len(items))
	}
	out := make([]*found, len(items))
	for i := range items {
		if err != nil {
			out[i] = &found{err: fmt.Errorf("observing: %w", err)}
			continue
		}
		o := observed[i]
		f := &found{have: o.Have}
		switch {
		case errors.Is(o.Err, host.ErrNeedsSystem):
			f.op, f.reason = modules.Skip, host.ErrNeedsSystem.Error()
		case o.Err != nil:
			f.err = o.Err
		default:
			f.op, f.changes = t.Diff(wants[i], o.Have, h.Living())
		}
		out[i] = f
	}
	guard(ctx, h, items, out)
	return out
}

func each(ctx context.Context, h *host.Host, items []*item) []*found {
	out := make([]*found, len(items))
	for i, it := range items {
		out[i] = observe(ctx, h, []*item{it})[0]
	}
	return out
}
