package executor

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/facts"
	"github.com/fitout-dev/fitout/engine/executor/preflight"
	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

// run carries out one document, resource by resource.
type run struct {
	doc        *wire.Document
	st         *state
	items      []*item
	host       *host.Host
	store      *contents
	log        *eventLog
	owed       *owed
	now        func() time.Time
	counts     wire.Counts
	failed     map[string]string // addresses that failed, or were left out for that, and which of the two
	locked     map[string]bool   // addresses that wait for the controller's key
	wants      []restart         // why the machine must be restarted
	trials     []*trial          // changes of the connection that aren't confirmed yet
	trialsOnly bool              // what comes beyond them waits for the controller
	watchman   func()            // ends who takes them up should this process be killed
	reports    []string          // restarts that are needed and aren't made
	goingDown  bool              // the machine was told to restart, and is still up
	dir        string            // the executor's own folder
	older      []keptFile        // what other runs keep, the oldest first; nil: not looked for yet
	keeps      int64             // bytes that this one keeps
	cut        bool              // a resource was left half-way, since the system ends this process
	detached   bool              // the machine may be restarted under this process
	settledNow map[string]bool

	stopOnce, suspendOnce sync.Once
	stopping              chan struct{} // closed: stop before the next resource
	suspending            chan struct{} // closed: leave the rest for another time
	confirmed             chan int      // the numbers of events that the controller has confirmed
}

// shownLater is why a resource that was applied isn't as declared yet.
const shownLater = "shows after a restart"

// outcome is how far execute came.
type outcome int

const (
	finished  outcome = iota
	suspended         // somebody told the process to end; the run isn't at its end
	held              // waits for the controller
	restarting
)

// stop ends the run after the current resource.
func (r *run) stop() { r.stopOnce.Do(func() { close(r.stopping) }) }

// suspend leaves what comes after the current resource for another process.
func (r *run) suspend() { r.suspendOnce.Do(func() { close(r.suspending) }) }

func (r *run) stopped(ctx context.Context) bool {
	select {
	case <-r.stopping:
		return true
	default:
		return ctx.Err() != nil
	}
}

func (r *run) isSuspended() bool {
	select {
	case <-r.suspending:
		return true
	default:
		return false
	}
}

// drift observes everything once more before the first change and compares with what the plan showed.
func (r *run) drift(ctx context.Context) []wire.Observation {
	if len(r.doc.Expect) == 0 {
		return nil
	}
	var drift []wire.Observation
	results := observeAll(ctx, r.host, r.items, r.owed.reasons())
	for _, it := range r.items {
		o := results[it.Address].report(r.host, it)
		if want, ok := r.doc.Expect[it.Address]; ok && want != o.Digest {
			drift = append(drift, o)
		}
	}
	r.host.Forget()
	if r.stopped(ctx) { // then nothing is tried, and what was seen may be half
		return nil
	}
	return drift
}

// pause is how long the run waits before it tries a resource again. Tests shorten it.
var pause = func(attempt int) time.Duration {
	d := min(time.Second<<min(attempt, 5), 30*time.Second)
	return d + rand.N(d/4)
}

// execute is the loop: per resource, alone: observe, diff, apply, observe. What an earlier process has settled stays so.
func (r *run) execute(ctx context.Context) outcome {
	start := r.now()
	r.locked, r.settledNow = map[string]bool{}, map[string]bool{}
	var rest []*item
	for _, it := range r.items {
		if e, ok := r.st.settled[it.Address]; ok {
			r.count(e)
		}
	}
	if len(r.st.events) == 0 {
		r.log.add(wire.Event{Type: wire.Started, Text: r.doc.ID, Boot: bootID()})
	} else {
		r.comeBack()
		if r.takeUp(ctx, r.trialsOnly); !r.confirm(ctx, true) {
			return suspended
		}
	}
	if r.trialsOnly {
		r.log.add(interruptedByPower)
		return held
	}
	for _, it := range r.items {
		if !r.settledNow[it.Address] && !r.awaitsRestart(it.Address) {
			rest = append(rest, it)
		}
	}
	if r.host.Living() {
		defer preflight.Inhibit(ctx, r.host, "fitout run "+r.doc.ID)()
	}
	for _, batch := range batches(rest) {
		if r.isSuspended() {
			r.log.add(wire.Event{Type: wire.Log, Level: "WARN", Text: "the device told the run to end; what is left is not lost"})
			return suspended
		}
		if r.restartBefore(batch) {
			if o, ok := r.restart(ctx); !ok {
				return o
			}
		}
		for _, e := range r.batch(ctx, batch) {
			if e.Status != "" {
				r.finish(e)
			}
		}
		if r.cut || !r.confirm(ctx, false) {
			return suspended
		}
	}
	if !r.confirm(ctx, true) {
		return suspended
	}
	if len(r.wants) > 0 && !r.stopped(ctx) {
		if o, ok := r.restart(ctx); !ok {
			return o
		}
	}
	r.settle()
	if len(r.locked) > 0 && !r.stopped(ctx) {
		r.log.add(wire.Event{Type: wire.Waiting, Reason: forController, Text: fmt.Sprintf("for the controller, which holds the key to the secrets of %s", some(r.locked))})
		return held
	}
	r.log.add(wire.Event{Type: wire.Finished, Counts: &r.counts, Seconds: max(r.now().Sub(start).Seconds(), 0), Reboot: r.reported()})
	return finished
}

// some names a few of many addresses.
func some(set map[string]bool) string {
	names := slices.Sorted(maps.Keys(set))
	if n := len(names); n > 3 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:3], ", "), n-3)
	}
	return strings.Join(names, ", ")
}

// count counts what became of a resource.
func (r *run) count(e wire.Event) {
	r.settledNow[e.Address] = true
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
	if e.Reboot != "" {
		r.reports = append(r.reports, e.Reboot)
	}
}

func (r *run) finish(e wire.Event) {
	r.count(e)
	r.log.add(e)
}

// reported are the restarts that the device needs and that this run wasn't to make.
func (r *run) reported() string {
	slices.Sort(r.reports)
	return strings.Join(slices.Compact(r.reports), "; ")
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
		case len(it.Sealed) > 0 || r.afterLocked(it):
			r.locked[it.Address] = true
			events[i] = wire.Event{}
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
		if events[i].Status == wire.FailedStatus && r.endedWithUs() { // it is tried again when the run goes on
			events[i] = wire.Event{}
			continue
		}
		if events[i].Status != "" && events[i].Status != wire.NotTried {
			events[i].Seconds = time.Since(start).Seconds()
		}
		r.notify(ctx, batch[i], &events[i])
		r.hold(batch[i], &events[i])
	}
	return events
}

// endedWithUs says whether the system is ending this process: at a shutdown it ends the programs that a resource runs just
// before or after that.
func (r *run) endedWithUs() bool {
	if !r.detached {
		return false
	}
	select {
	case <-r.suspending:
		r.cut = true
		return true
	case <-time.After(100 * time.Millisecond):
		return false
	}
}

// afterLocked says whether a resource comes after one that waits for its secrets.
func (r *run) afterLocked(it *item) bool {
	return slices.ContainsFunc(it.After, func(a string) bool { return r.locked[a] })
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
	case <-r.suspending: // it is tried again by whoever goes on
		for _, i := range retry {
			events[i] = wire.Event{}
		}
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
			if in := r.st.intents[batch[i].Address]; in != nil { // this very run did it, and was interrupted
				e.Status, e.Op, e.Changes, e.Before = wire.Changed, in.Event.Op, in.Event.Changes, in.Event.Before
			}
		default:
			todo = append(todo, i)
		}
	}
	if len(todo) == 0 {
		return
	}
	wants, from, reports := make([]any, len(todo)), make([]any, len(todo)), make([]*wire.Event, len(todo))
	for k, i := range todo {
		wants[k], from[k], reports[k] = batch[i].want, haves[i].have, &events[i]
	}
	err := r.owed.add(pick(todo)...)
	if err == nil {
		err = r.intend(pick(todo), from, reports)
	}
	if err != nil { // a crash would lose what was done now
		for _, i := range todo {
			r.fail(&events[i], fmt.Errorf("not changed, since the run's journal can't be written: %w", err))
		}
		return
	}
	r.watch(pick(todo))
	pending := facts.RebootPending(r.host)
	results := r.apply(ctx, pick(todo), wants, from)
	r.host.Forget()
	if now := facts.RebootPending(r.host); now != pending && now != "" {
		for k := range results {
			results[k].Outcome.Reboot = cmp.Or(results[k].Outcome.Reboot, now)
		}
	}
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
		if f.op != modules.Same && e.Reboot != "" {
			e.Status, e.Reason = wire.Changed, shownLater
			continue
		}
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
	if err := r.host.Settle(ctx); err != nil { // what will be recorded as done must not be undone by a power cut
		for i := range results {
			results[i].Err = cmp.Or(results[i].Err, err)
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
	if from, ok := r.st.notified[it.Address]; ok { // by a process that was ended before it could tell what became of the resource
		r.owed.delivered(it.Address)
		if e.Status == wire.InDesiredState || e.Status == wire.Changed {
			wasNotified(e, from)
		}
		return
	}
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
	if err == nil {
		err = r.host.Settle(ctx) // what a notified command has written
	}
	if err != nil && !errors.Is(err, host.ErrNeedsSystem) {
		r.fail(e, fmt.Errorf("notified by %s: %w", from, err))
		return
	}
	if err != nil { // nothing runs there that could be told
		r.owed.delivered(it.Address)
		return
	}
	// What isn't owed any more must be told of for good.
	r.log.add(wire.Event{Type: wire.Notified, Address: it.Address, Text: from})
	if err := r.log.flush(); err != nil {
		r.host.Log().Warn("a notification may be delivered once more", "error", err)
	}
	r.owed.delivered(it.Address)
	wasNotified(e, from)
}

// wasNotified makes a notification part of what became of a resource.
func wasNotified(e *wire.Event, from string) {
	e.Status = wire.Changed
	if e.Op == modules.Same || e.Op == "" {
		e.Op = modules.Update
	}
	e.Changes = append(e.Changes, modules.Change{Property: "notification", After: "from " + from})
}
