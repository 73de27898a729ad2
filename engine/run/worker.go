package run

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/engine/plan"
	"github.com/fitout-dev/fitout/engine/profile"
	"github.com/fitout-dev/fitout/engine/transport"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
)

// patience is how long connecting may take before the slot goes to another device.
const patience = 2 * time.Second

// worker takes one device through a run.
type worker struct {
	r   *Runner
	d   Device
	res Result

	mu      sync.Mutex
	slot    bool // held
	yielded bool // to another device, for want of an answer
	session *session
	running bool

	transport  transport.Transport
	noPull     bool // the device couldn't fetch a content
	repeatable bool // what is under way may be done from the start again when the connection breaks
	compiled   *profile.Compiled
	resources  []profile.Resource
	observed   *wire.Observed
	key        []byte
	last       wire.Event // of the run that is followed
	move       move
	awayAfter  int // the number of the last event before the connection broke
	awaySince  time.Time
}

// acquire waits for a slot. It is false when the run is over before there was one.
func (w *worker) acquire(ctx context.Context) bool {
	if w.r.isStopped() || ctx.Err() != nil {
		return false
	}
	select {
	case w.r.slots <- struct{}{}:
		w.mu.Lock()
		w.slot = true
		w.mu.Unlock()
		return !w.r.isStopped() || func() bool { w.release(); return false }()
	case <-ctx.Done():
		return false
	}
}

// release gives the slot up.
func (w *worker) release() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.yield(false)
	if w.yielded {
		w.yielded = false
		w.r.mute.Add(-1)
	}
}

// giveWay lets another device have the slot of one that doesn't answer.
func (w *worker) giveWay() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.yield(true)
}

// retake waits for a slot again, before a device that has answered after all takes its next step. Otherwise all of a fleet
// that is merely slow would be under way at once.
func (w *worker) retake(ctx context.Context) error {
	w.mu.Lock()
	yielded := w.yielded
	w.yielded = false
	w.mu.Unlock()
	if !yielded {
		return nil
	}
	w.r.mute.Add(-1)
	select {
	case w.r.slots <- struct{}{}:
		w.mu.Lock()
		w.slot = true
		w.mu.Unlock()
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// yield needs w.mu.
func (w *worker) yield(mute bool) {
	if !w.slot {
		return
	}
	w.slot = false
	<-w.r.slots
	if mute {
		w.yielded = true
		w.r.mute.Add(1)
	}
}

func (w *worker) fail(err error) bool {
	w.res.Err, w.res.Status = err, Failed
	if te, ok := errors.AsType[*transport.Error](err); ok && te.Kind != transport.Elevation {
		w.res.Status = Unreachable
	}
	if errors.Is(err, context.Canceled) {
		w.res.Status, w.res.Err = Cancelled, nil
	}
	if w.res.Plan == nil {
		w.res.Plan = &plan.Device{Name: w.d.Name, Address: w.d.Address, Profile: w.d.Profile}
	}
	if w.res.Err != nil {
		w.res.Plan.Error, w.res.Plan.Hint = w.res.Err.Error(), hint.Of(w.res.Err)
	}
	return false
}

// summarize keeps of a plan that was carried out what had to be done, without the details.
func (w *worker) summarize() {
	short := *w.res.Plan
	short.Resources = nil
	for _, r := range w.res.Plan.Resources {
		if r.Op != modules.Same || r.Error != "" {
			short.Resources = append(short.Resources, plan.Resource{Address: r.Address, Position: r.Position, Op: r.Op, Reason: r.Reason, Error: r.Error, Hint: r.Hint})
		}
	}
	short.Resources = slices.Clip(short.Resources)
	w.res.Plan = &short
}

func (w *worker) done() { w.r.report(Event{Device: w.d.Name, Phase: Done, Result: &w.res}) }

// connect opens a session. A device that is slow to answer lets others go first.
func (w *worker) connect(ctx context.Context) error {
	w.r.report(Event{Device: w.d.Name, Phase: Connecting})
	impatient := time.AfterFunc(w.r.sooner(patience), w.giveWay)
	defer impatient.Stop()
	w.repeatable = false
	t, err := w.d.Dial(ctx)
	if err != nil {
		return err
	}
	w.repeatable = true
	// What ends ctx from now on doesn't end the conversation: the device is yet to hear that it shall stop.
	talking, silence := context.WithCancel(context.WithoutCancel(ctx))
	bound := context.AfterFunc(ctx, silence)
	s, err := open(talking, t, w.d.Target)
	if err == nil && !bound() {
		err = context.Cause(ctx)
	}
	if err != nil {
		silence()
		t.Close()
		return err
	}
	w.mu.Lock()
	w.transport, w.session = t, s
	w.mu.Unlock()
	return nil
}

// farewell is how long an executor may take to end by itself before its connection is closed.
const farewell = 5 * time.Second

// hangUp ends the conversation and waits for nothing: an executor that has nothing to do ends when its input does, while
// closing the connection would have the device kill it. What it takes to go on is forgotten: a fleet may be large.
func (w *worker) hangUp() {
	w.compiled, w.resources, w.observed = nil, nil, nil
	w.hangUpKeeping()
}

// hangUpKeeping is hangUp in the middle of a run, which needs all of it again.
func (w *worker) hangUpKeeping() {
	w.mu.Lock()
	s, t := w.session, w.transport
	w.session, w.transport = nil, nil
	w.mu.Unlock()
	switch {
	case s != nil:
		w.r.part(s, t)
	case t != nil:
		t.Close()
	}
}

// part ends a session, and then its connection. Who comes to an end waits for parting.
func (r *Runner) part(s *session, t transport.Transport) {
	_, remembered := t.(transport.Remembering)
	if remembered {
		r.parting.Add(1)
	}
	late := time.AfterFunc(farewell, func() { t.Close() })
	first := s.close(func() {
		late.Stop()
		t.Close()
		if remembered {
			r.parting.Done()
		}
	})
	if !first && remembered {
		r.parting.Done()
	}
}

// planned connects, compiles and observes, once.
func (w *worker) planned(ctx context.Context) (todo bool, err error) {
	if err := w.connect(ctx); err != nil {
		return false, err
	}
	if err := w.retake(ctx); err != nil {
		return false, err
	}
	w.repeatable = len(w.d.Unsettled) == 0 // what was told of an earlier run would be told again
	if err := w.catchUp(ctx); err != nil {
		return false, err
	}
	w.repeatable = true
	w.r.report(Event{Device: w.d.Name, Phase: Observing, Facts: w.session.Hello.Facts})
	compiled, err := w.declared(ctx)
	if err != nil {
		return false, err
	}
	w.compiled, w.resources = compiled, compiled.Resources
	if w.r.Undo == "" { // else the device has chosen
		w.resources = pick(compiled.Resources, w.r.Only, w.r.Skip)
		if bad := unmatched(append(w.r.Only[:len(w.r.Only):len(w.r.Only)], w.r.Skip...), compiled.Resources); len(bad) > 0 {
			return false, hint.New(fmt.Errorf("no resource or type %s in this profile", strings.Join(bad, ", ")), "`fitout plan` shows the addresses")
		}
	}
	observed, err := w.observe(ctx)
	if err == nil {
		err = w.retake(ctx)
	}
	if err != nil {
		return false, err
	}
	w.observed = observed
	p := plan.Make(w.d.Name, w.d.Address, w.resources, compiled.Blobs, observed)
	p.Profile, p.Settings = w.d.Profile, compiled.Settings
	w.res.Plan = &p
	w.res.Reboot = observed.Reboot
	count := p.Count()
	w.res.Counts = wire.Counts{Unchanged: count.Same, Skipped: count.Skip, Failed: count.Errors}
	w.r.report(Event{Device: w.d.Name, Phase: Planned, Plan: &p})
	if w.r.Expected != nil {
		if err := drifted(w.r.Expected, &p); err != nil {
			w.res.Drifted = true
			return false, err
		}
	}
	switch {
	case count.Pending() > 0:
		if err := p.Refused(); err != nil {
			return false, err
		}
		w.res.Status = Pending
		return true, nil
	case count.Errors > 0:
		return false, planErrors(&p)
	}
	w.res.Status = Converged
	return false, nil
}

// planErrors sums up what could not be observed.
func planErrors(p *plan.Device) error {
	for _, r := range p.Resources {
		if r.Error != "" {
			err := fmt.Errorf("%s: %s: %s", r.Position, r.Address, r.Error)
			if n := p.Count().Errors; n > 1 {
				err = fmt.Errorf("%w (and %d more)", err, n-1)
			}
			if r.Hint != "" {
				return hint.New(err, "%s", r.Hint)
			}
			return err
		}
	}
	return nil
}

// drifted compares a device with the plan that was made before.
func drifted(expected *plan.Plan, now *plan.Device) error {
	for i := range expected.Devices {
		if expected.Devices[i].Name != now.Name {
			continue
		}
		was := map[string]plan.Resource{}
		for _, r := range expected.Devices[i].Resources {
			was[r.Address] = r
		}
		var other, declared []string
		for _, r := range now.Resources {
			old, ok := was[r.Address]
			switch {
			case !ok || old.Shape != r.Shape:
				declared = append(declared, r.Address)
			case old.Digest != r.Digest || old.Error != r.Error:
				other = append(other, r.Address)
			}
			delete(was, r.Address)
		}
		for a := range was {
			declared = append(declared, a)
		}
		if len(declared) > 0 {
			return hint.New(fmt.Errorf("what is declared is no longer what the plan was made of: %s", some(declared)), "plan again")
		}
		if len(other) > 0 {
			return hint.New(fmt.Errorf("the device has drifted since the plan was made: %s", some(other)), "see what changed with a new `fitout plan`, then apply that")
		}
		return nil
	}
	return hint.New(errors.New("the plan has nothing for this device"), "plan again")
}

func some(list []string) string {
	if len(list) > 5 {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:5], ", "), len(list)-5)
	}
	return strings.Join(list, ", ")
}

func (w *worker) observe(ctx context.Context) (*wire.Observed, error) {
	rs, err := onWire(w.resources)
	if err != nil {
		return nil, err
	}
	owed, err := w.owed()
	if err != nil {
		return nil, err
	}
	m, err := w.ask(ctx, wire.Message{Observe: &wire.Observe{Resources: rs, Secrets: w.compiled.Secrets, Settings: w.compiled.Settings, Now: time.Now(), Owed: owed}},
		func(m wire.Message) bool { return m.Observed != nil })
	if err == nil && len(m.Observed.Observations) != len(rs) {
		err = &transport.Error{Kind: transport.Protocol, Err: errors.New("the executor observed the wrong number of resources")}
	}
	return m.Observed, err
}

// ask sends a question and waits for what answers it; what is logged meanwhile is told.
func (w *worker) ask(ctx context.Context, question wire.Message, answers func(wire.Message) bool) (wire.Message, error) {
	if err := w.session.conn.Send(question); err != nil {
		return wire.Message{}, w.session.lost()
	}
	for {
		m, err := w.await(ctx)
		switch {
		case err != nil:
			return wire.Message{}, err
		case m.Failed != nil:
			return wire.Message{}, describe(m.Failed)
		case m.Event != nil:
			w.r.report(Event{Device: w.d.Name, Phase: Observing, Log: m.Event})
		case answers(m):
			return m, nil
		}
	}
}

// await is the session's next message. While nothing is heard, the slot goes to another device, and in the end the device
// is given up.
func (w *worker) await(ctx context.Context) (wire.Message, error) {
	for {
		quiet := w.r.sooner(w.r.Quiet)
		wait, cancel := context.WithTimeoutCause(ctx, quiet, errQuiet)
		m, err := w.session.next(wait)
		cancel()
		if !errors.Is(err, errQuiet) {
			return m, err
		}
		silence := w.session.silence()
		if silence >= quiet {
			w.giveWay()
		}
		if silence >= w.r.Quiet {
			w.r.report(Event{Device: w.d.Name, Phase: Silent})
		}
		if silence >= w.r.Lost {
			return m, fellSilent(silence)
		}
	}
}

var errQuiet = errors.New("no sign of life")

func fellSilent(silence time.Duration) error {
	return &transport.Error{Kind: transport.Lost, Err: fmt.Errorf("%w for %s", errQuiet, silence.Round(time.Second))}
}

// cancel asks the executor to stop after its current resource.
func (w *worker) cancel() {
	w.mu.Lock()
	s, running := w.session, w.running
	w.mu.Unlock()
	if s != nil && running {
		go s.conn.Send(wire.Message{Cancel: &wire.Cancel{}})
	}
}

// perform sends what the device lacks and one run document, and follows the events.
func (w *worker) perform(ctx context.Context) {
	w.r.report(Event{Device: w.d.Name, Phase: Applying})
	if !w.supply(ctx) {
		return
	}
	rs, err := onWire(w.resources)
	if err != nil {
		w.fail(err)
		return
	}
	w.key = make([]byte, 32)
	rand.Read(w.key)
	doc := &wire.Document{ID: w.r.ID, Key: w.key, Settings: w.compiled.Settings, Holder: me(), Resources: rs, Secrets: w.compiled.Secrets, Expect: map[string]string{}}
	doc.Holder.Run = doc.ID
	memory := w.session.Hello.Memory
	if memory == "" {
		doc.Memory = rand.Text()
		memory = doc.Memory
	}
	for _, o := range w.observed.Observations {
		if o.Error == "" && o.Op != modules.Skip {
			doc.Expect[o.Address] = o.Digest
		}
	}
	if !w.startRunning() {
		w.res.Status = Cancelled
		return
	}
	defer w.stopRunning()
	if w.r.Keep != nil {
		if err := w.r.Keep(w.d.Name, w.key, memory); err != nil {
			w.fail(err)
			return
		}
	}
	w.res.Open = true
	if err := w.session.conn.Send(wire.Message{Run: doc}); err != nil {
		w.fail(w.session.lost())
		return
	}
	w.followOn(ctx, w.r.ID)
}

func (w *worker) startRunning() bool {
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	if w.r.stopped {
		return false
	}
	w.r.live[w] = true
	w.mu.Lock()
	w.running = true
	w.mu.Unlock()
	return true
}

func (w *worker) stopRunning() {
	w.r.mu.Lock()
	delete(w.r.live, w)
	w.r.mu.Unlock()
	w.mu.Lock()
	w.running = false
	w.mu.Unlock()
}

func (w *worker) finished(e *wire.Event) {
	if e.Counts != nil {
		w.res.Counts = *e.Counts
	}
	if e.Reboot != "" {
		w.res.Reboot = e.Reboot
	}
	w.res.Open = false
	w.res.NotTried = w.res.Counts.Cancelled
	switch c := w.res.Counts; {
	case len(w.res.Failures) > 0:
		w.res.Status, w.res.Err = Failed, w.failures()
	case c.Failed > 0: // we were told before, in another life
		w.res.Status = Failed
		w.res.Err = hint.New(fmt.Errorf("%d failed", c.Failed), "`fitout runs show` has their errors")
	case c.Cancelled > 0:
		w.res.Status = Cancelled
	case c.Changed > 0:
		w.res.Status = Changed
	default:
		w.res.Status = Converged
	}
}

// failures lists what failed, each with its place and its remedy.
func (w *worker) failures() error {
	const most = 10
	var lines []string
	for i, e := range w.res.Failures {
		if i == most {
			lines = append(lines, fmt.Sprintf("and %d more: see `fitout runs show %s`", len(w.res.Failures)-most, w.r.ID))
			break
		}
		line := fmt.Sprintf("%s%s: %s", w.position(e.Address), e.Address, e.Error)
		if e.Hint != "" && len(w.res.Failures) > 1 {
			line += "\n  hint: " + e.Hint
		}
		lines = append(lines, line)
	}
	err := errors.New(strings.Join(lines, "\n"))
	if len(w.res.Failures) == 1 && w.res.Failures[0].Hint != "" {
		return hint.New(err, "%s", w.res.Failures[0].Hint)
	}
	return err
}

func (w *worker) position(address string) string {
	for _, r := range w.resources {
		if r.Address == address {
			return r.Position.String() + ": "
		}
	}
	if w.d.Profile != "" {
		return w.d.Profile + ": "
	}
	return ""
}
