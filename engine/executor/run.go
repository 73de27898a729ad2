package executor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

// run carries out one document, resource by resource.
type run struct {
	doc    *wire.Document
	items  []*item
	host   *host.Host
	log    *eventLog
	owed   *owed
	counts wire.Counts
	failed map[string]string // addresses that failed, or were left out for that, and which of the two

	stopOnce sync.Once
	stopping chan struct{} // closed: stop before the next resource
}

// stop ends the run after the current resource.
func (r *run) stop() { r.stopOnce.Do(func() { close(r.stopping) }) }

func (r *run) stopped(ctx context.Context) bool {
	select {
	case <-r.stopping:
		return true
	default:
		return ctx.Err() != nil
	}
}

// pause is how long the run waits before it tries a resource again. Tests shorten it.
var pause = func(attempt int) time.Duration {
	d := min(time.Second<<min(attempt, 5), 30*time.Second)
	return d + rand.N(d/4)
}

// execute is the loop: per resource, alone: observe, diff, apply, observe.
func (r *run) execute(ctx context.Context) {
	start := time.Now()
	r.log.add(wire.Event{Type: wire.Started, Text: r.doc.ID})
	var reboots []string
	for _, batch := range batches(r.items) {
		for _, e := range r.batch(ctx, batch) {
			r.finish(e)
			if e.Reboot != "" {
				reboots = append(reboots, e.Reboot)
			}
		}
	}
	r.log.add(wire.Event{Type: wire.Finished, Counts: &r.counts, Seconds: time.Since(start).Seconds(), Reboot: strings.Join(reboots, "; ")})
}

func (r *run) finish(e wire.Event) {
	switch e.Status {
	case wire.Changed:
		r.counts.Changed++
	case wire.InDesiredState:
		r.counts.Unchanged++
	case wire.FailedStatus:
		r.counts.Failed++
		r.failed[e.Address] = "failed"
	case wire.Skipped:
		r.counts.Skipped++
	case wire.NotTried:
		r.counts.Cancelled++
	}
	r.log.add(e)
}

// batch brings a batch of one type to its state; the events match it one by one.
func (r *run) batch(ctx context.Context, batch []*item) []wire.Event {
	events := make([]wire.Event, len(batch))
	var live []int
	for i, it := range batch {
		e := &events[i]
		*e = wire.Event{Type: wire.Resolved, Address: it.Address}
		switch blocked := r.blockedBy(it); {
		case r.stopped(ctx):
			e.Status = wire.NotTried
		case it.Skip != "":
			e.Status, e.Op, e.Reason = wire.Skipped, modules.Skip, it.Skip
		case it.bad != nil:
			r.fail(e, it.bad)
		case blocked != "":
			e.Status, e.Op, e.Reason = wire.Skipped, modules.Skip, blocked
			r.failed[it.Address] = "was skipped"
		default:
			live = append(live, i)
		}
	}
	if len(live) == 0 {
		return events
	}
	start := time.Now()
	for _, i := range live {
		r.log.add(wire.Event{Type: wire.Begin, Address: batch[i].Address})
	}
	for attempt := 0; ; attempt++ {
		r.attempt(ctx, batch, live, events)
		live = r.again(ctx, batch, live, events, attempt)
		if len(live) == 0 {
			break
		}
	}
	for i := range events {
		if events[i].Status != "" && events[i].Status != wire.NotTried {
			events[i].Seconds = time.Since(start).Seconds()
		}
		r.notify(ctx, batch[i], &events[i])
	}
	return events
}

// blockedBy says why a resource can't be tried: what it comes after has failed, or was itself left out for that.
func (r *run) blockedBy(it *item) string {
	for _, a := range it.After {
		if what := r.failed[a]; what != "" {
			return a + " " + what
		}
	}
	return ""
}

// again returns which of live failed and are to be tried once more, after a pause.
func (r *run) again(ctx context.Context, batch []*item, live []int, events []wire.Event, attempt int) []int {
	var retry []int
	for _, i := range live {
		if events[i].Status == wire.FailedStatus && attempt < batch[i].Retries && !r.stopped(ctx) {
			retry = append(retry, i)
			r.log.add(wire.Event{Type: wire.Log, Level: "WARN", Address: batch[i].Address, Text: fmt.Sprintf("try %d of %d failed: %s", attempt+1, batch[i].Retries+1, events[i].Error)})
		}
	}
	if len(retry) == 0 {
		return nil
	}
	t := time.NewTimer(pause(attempt))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return nil
	case <-r.stopping:
		return nil
	}
	for _, i := range retry {
		events[i] = wire.Event{Type: wire.Resolved, Address: batch[i].Address}
	}
	return retry
}

// attempt observes, applies what differs, and proves it.
func (r *run) attempt(ctx context.Context, batch []*item, live []int, events []wire.Event) {
	pick := func(idx []int) []*item {
		out := make([]*item, len(idx))
		for k, i := range idx {
			out[k] = batch[i]
		}
		return out
	}
	var todo []int
	haves := map[int]*found{}
	for k, f := range observe(ctx, r.host, pick(live)) {
		i := live[k]
		e := &events[i]
		haves[i] = f
		if f.err != nil {
			r.fail(e, f.err)
			continue
		}
		o := f.report(r.host, batch[i])
		e.Op, e.Changes, e.Before, e.Reason = o.Op, o.Changes, o.Before, o.Reason
		switch f.op {
		case modules.Skip:
			e.Status = wire.Skipped
		case modules.Same:
			e.Status, e.After = wire.InDesiredState, o.Before
			e.Before = nil
		default:
			todo = append(todo, i)
		}
	}
	if len(todo) == 0 {
		return
	}
	if err := r.owed.add(pick(todo)...); err != nil {
		r.host.Log().Warn("what this run notifies can't be kept on the device; it is lost if the run is interrupted", "error", err.Error())
	}
	wants, from := make([]any, len(todo)), make([]any, len(todo))
	for k, i := range todo {
		wants[k], from[k] = batch[i].want, haves[i].have
	}
	results := r.apply(ctx, pick(todo), wants, from)
	r.host.Forget()
	var proof []int
	for k, i := range todo {
		e := &events[i]
		e.Reboot = r.host.Scrub(results[k].Outcome.Reboot)
		switch {
		case results[k].Err != nil:
			r.fail(e, results[k].Err)
		case results[k].Outcome.Unproven != "":
			e.Status, e.Reason = wire.Changed, r.host.Scrub(results[k].Outcome.Unproven)
		default:
			proof = append(proof, i)
		}
	}
	if len(proof) == 0 {
		return
	}
	for k, f := range observe(ctx, r.host, pick(proof)) {
		i := proof[k]
		e := &events[i]
		if f.err != nil {
			r.fail(e, fmt.Errorf("applied, but can't be observed afterwards: %w", f.err))
			continue
		}
		o := f.report(r.host, batch[i])
		if f.op != modules.Same {
			r.fail(e, mismatch(o))
			continue
		}
		e.Status, e.After = wire.Changed, o.Before
	}
}

// apply asks the module. One that can't be stopped ends the run: nothing may be changed beside it.
func (r *run) apply(ctx context.Context, items []*item, wants, haves []any) []modules.Result {
	typ := items[0].typ
	results, err := call(ctx, r.host, items, longestApply, func(ctx context.Context) []modules.Result {
		out := typ.Apply(ctx, r.host, wants, haves)
		for i := range out {
			out[i].Err = because(ctx, out[i].Err)
		}
		return out
	})
	if _, ok := errors.AsType[*abandoned](err); ok {
		r.stop()
	}
	if err == nil && len(results) != len(items) {
		err = fmt.Errorf("type %s answered for %d resources of %d", typ.Name, len(results), len(items))
	}
	if err != nil {
		results = make([]modules.Result, len(items))
		for i := range results {
			results[i].Err = fmt.Errorf("applying: %w", err)
		}
	}
	return results
}

// mismatch says what was wanted and what was found instead, after an Apply that claimed to have worked.
func mismatch(o wire.Observation) error {
	var parts []string
	for _, c := range o.Changes {
		parts = append(parts, fmt.Sprintf("%s: wanted %s, found %s", c.Property, jsonText(c.After), jsonText(c.Before)))
	}
	return hint.New(fmt.Errorf("not in the desired state after it was applied: %s", strings.Join(parts, "; ")),
		"something on the device undoes the change, or two resources contradict each other")
}

func jsonText(v any) string {
	if v == nil {
		return "nothing"
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

func (r *run) fail(e *wire.Event, err error) {
	e.Status, e.Error, e.Hint = wire.FailedStatus, r.host.Scrub(err.Error()), r.host.Scrub(remedy(err))
	if errors.Is(err, host.ErrNeedsSystem) {
		e.Status, e.Op, e.Reason, e.Error = wire.Skipped, modules.Skip, host.ErrNeedsSystem.Error(), ""
	}
}

// notify delivers what is owed to a resource at its own turn: everything that notifies it came before.
func (r *run) notify(ctx context.Context, it *item, e *wire.Event) {
	sources := r.owed.to(it.Address)
	if len(sources) == 0 || (e.Status != wire.InDesiredState && e.Status != wire.Changed) {
		return
	}
	if !it.mayBeNotified() {
		r.owed.delivered(it.Address)
		return
	}
	from := strings.Join(sources, ", ")
	err, callErr := call(ctx, r.host, []*item{it}, longestApply, func(ctx context.Context) error {
		return because(ctx, it.typ.Notify(ctx, r.host, it.want))
	})
	r.host.Forget()
	if _, ok := errors.AsType[*abandoned](callErr); ok {
		r.stop()
	}
	if err == nil {
		err = callErr
	}
	if err != nil && !errors.Is(err, host.ErrNeedsSystem) {
		r.fail(e, fmt.Errorf("notified by %s: %w", from, err))
		return
	}
	r.owed.delivered(it.Address)
	if err != nil { // nothing runs there that could be told
		return
	}
	e.Status = wire.Changed
	if e.Op == modules.Same {
		e.Op = modules.Update
	}
	e.Changes = append(e.Changes, modules.Change{Property: "notification", After: "from " + from})
	r.log.add(wire.Event{Type: wire.Notified, Address: it.Address, Text: from})
}
