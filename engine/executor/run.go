package executor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"sort"
	"strings"
	"sync/atomic"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

// longest is the time that a resource without a timeout of its own may take.
const longest = 2 * time.Hour

func withTimeout(ctx context.Context, it *item) (context.Context, context.CancelFunc) {
	d := it.Timeout
	if d <= 0 {
		d = longest
	}
	return context.WithTimeoutCause(ctx, d, fmt.Errorf("timed out after %s", d))
}

// run carries out one document, resource by resource.
type run struct {
	doc    *wire.Document
	items  []*item
	host   *host.Host
	log    *eventLog
	owed   *owed
	soft   atomic.Bool // stop before the next resource
	counts wire.Counts
	status map[string]wire.Status
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
	case wire.Skipped:
		r.counts.Skipped++
	case wire.NotTried:
		r.counts.Cancelled++
	}
	r.status[e.Address] = e.Status
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
		case r.soft.Load() || ctx.Err() != nil:
			e.Status = wire.NotTried
		case it.Skip != "":
			e.Status, e.Op, e.Reason = wire.Skipped, modules.Skip, it.Skip
		case it.bad != nil:
			r.fail(e, it.bad)
		case blocked != "":
			e.Status, e.Op, e.Reason = wire.Skipped, modules.Skip, blocked
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
		switch r.status[a] {
		case wire.FailedStatus:
			return a + " failed"
		case wire.Skipped:
			if r.left(a) {
				return a + " was skipped"
			}
		}
	}
	return ""
}

// left tells a resource that was left out because of a failure from one that isn't for this device at all.
func (r *run) left(address string) bool {
	for _, it := range r.items {
		if it.Address == address {
			return it.Skip == ""
		}
	}
	return false
}

// again returns which of live failed and are to be tried once more, after a pause.
func (r *run) again(ctx context.Context, batch []*item, live []int, events []wire.Event, attempt int) []int {
	var retry []int
	for _, i := range live {
		if events[i].Status == wire.FailedStatus && attempt < batch[i].Retries && ctx.Err() == nil && !r.soft.Load() {
			retry = append(retry, i)
			r.log.add(wire.Event{Type: wire.Log, Level: "warn", Address: batch[i].Address, Text: fmt.Sprintf("try %d of %d failed: %s", attempt+1, batch[i].Retries+1, events[i].Error)})
			events[i] = wire.Event{Type: wire.Resolved, Address: batch[i].Address}
		}
	}
	if len(retry) == 0 {
		return nil
	}
	pause := min(time.Second<<attempt, 30*time.Second)
	t := time.NewTimer(pause + rand.N(pause/4))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	return retry
}

// attempt observes, applies what differs, and proves it.
func (r *run) attempt(ctx context.Context, batch []*item, live []int, events []wire.Event) {
	typ := batch[live[0]].typ
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
	for _, i := range todo {
		r.owed.add(batch[i].Notify, batch[i].Address)
	}
	wants, from := make([]any, len(todo)), make([]any, len(todo))
	for k, i := range todo {
		wants[k], from[k] = batch[i].want, haves[i].have
	}
	results := r.apply(ctx, typ, batch[todo[0]], wants, from)
	r.host.Forget()
	var proof []int
	for k, i := range todo {
		e := &events[i]
		e.Reboot = r.host.Scrub(results[k].Outcome.Reboot)
		switch {
		case results[k].Err != nil:
			r.fail(e, results[k].Err)
		case results[k].Outcome.Unproven != "":
			e.Status, e.Reason = wire.Changed, results[k].Outcome.Unproven
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

// apply asks the module; a panic in it fails these resources alone.
func (r *run) apply(ctx context.Context, typ *modules.Type, first *item, wants, haves []any) (results []modules.Result) {
	failAll := func(err error) []modules.Result {
		results := make([]modules.Result, len(wants))
		for i := range results {
			results[i].Err = err
		}
		return results
	}
	defer func() {
		if p := recover(); p != nil {
			r.host.Log().Error("panic while applying", "type", typ.Name, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			results = failAll(fmt.Errorf("applying panicked: %v", p))
		}
	}()
	ctx, cancel := withTimeout(ctx, first)
	defer cancel()
	results = typ.Apply(ctx, r.host, wants, haves)
	if len(results) != len(wants) {
		return failAll(fmt.Errorf("type %s applied the wrong number of resources", typ.Name))
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
	e.Status, e.Error, e.Hint = wire.FailedStatus, r.host.Scrub(err.Error()), r.host.Scrub(hint.Of(err))
	if errors.Is(err, host.ErrNeedsSystem) {
		e.Status, e.Op, e.Reason, e.Error = wire.Skipped, modules.Skip, host.ErrNeedsSystem.Error(), ""
	}
}

// notify delivers what is owed to a resource at its own turn: everything that notifies it came before.
func (r *run) notify(ctx context.Context, it *item, e *wire.Event) {
	sources := r.owed.to(it.Address)
	if len(sources) == 0 || it.typ == nil || !it.typ.CanNotify() || (e.Status != wire.InDesiredState && e.Status != wire.Changed) {
		return
	}
	from := strings.Join(sources, ", ")
	err := r.deliver(ctx, it)
	r.host.Forget()
	if err != nil && !errors.Is(err, host.ErrNeedsSystem) {
		r.fail(e, fmt.Errorf("notified by %s: %w", from, err))
		return
	}
	e.Status = wire.Changed
	if e.Op == modules.Same {
		e.Op = modules.Update
	}
	e.Changes = append(e.Changes, modules.Change{Property: "notification", After: "from " + from})
	r.log.add(wire.Event{Type: wire.Notified, Address: it.Address, Text: from})
	r.owed.delivered(it.Address)
}

func (r *run) deliver(ctx context.Context, it *item) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("notifying panicked: %v", p)
		}
	}()
	ctx, cancel := withTimeout(ctx, it)
	defer cancel()
	return it.typ.Notify(ctx, r.host, it.want)
}

// owed are the notifications that are due, kept on the device until they are delivered: they survive a run that was
// interrupted between a change and its notification.
type owed struct {
	file string
	m    map[string]map[string]bool // to, from
}

func loadOwed(dir string) *owed {
	o := &owed{file: filepath.Join(dir, "owed.json"), m: map[string]map[string]bool{}}
	if b, err := os.ReadFile(o.file); err == nil {
		if json.Unmarshal(b, &o.m) != nil || o.m == nil {
			o.m = map[string]map[string]bool{}
		}
	}
	return o
}

func (o *owed) add(to []string, from string) {
	if len(to) == 0 {
		return
	}
	for _, t := range to {
		if o.m[t] == nil {
			o.m[t] = map[string]bool{}
		}
		o.m[t][from] = true
	}
	o.save()
}

func (o *owed) to(address string) []string {
	var from []string
	for f := range o.m[address] {
		from = append(from, f)
	}
	sort.Strings(from)
	return from
}

func (o *owed) delivered(address string) {
	delete(o.m, address)
	o.save()
}

func (o *owed) reasons() map[string]string {
	out := map[string]string{}
	for a := range o.m {
		out[a] = strings.Join(o.to(a), ", ") + " changed"
	}
	return out
}

func (o *owed) save() {
	if len(o.m) == 0 {
		os.Remove(o.file)
		return
	}
	b, _ := json.Marshal(o.m)
	tmp := o.file + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		os.Rename(tmp, o.file)
	}
}
