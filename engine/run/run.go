// Package run drives devices: it connects, plans, applies and follows, many devices at once.
//
//	r := &run.Runner{Parallel: 50, Report: func(e run.Event) { ... }}
//	p := r.Plan(ctx, devices)
//	results := r.Apply(ctx, devices, func(p *plan.Plan) bool { return ask(p) })
//
// It promises that a device which hangs or dies delays no other: one that is silent gives up its slot. Stop lets every
// device finish its current resource; cancelling ctx stops at once.
package run

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/engine/plan"
	"github.com/fitout-dev/fitout/engine/profile"
	"github.com/fitout-dev/fitout/engine/run/offer"
	"github.com/fitout-dev/fitout/engine/transport"
	"github.com/fitout-dev/fitout/modules/hint"
)

// Device is one machine to work on.
type Device struct {
	Name    string
	Address string // as shown to people
	Profile string
	// Compile makes its resources, once its facts are known.
	Compile func(facts map[string]any) (*profile.Compiled, error)
	// Dial connects to it.
	Dial   func(ctx context.Context) (transport.Transport, error)
	Target Target
	// Redial says how it is reached when a run changes that: connect holds what changes. Nil where it can't.
	Redial func(connect map[string]any) (Way, error)
	// NoPull has contents sent over the transport, however slow it is, and not fetched by the device.
	NoPull bool
	// Unsettled are the runs that were begun on it from here and whose end isn't known, the oldest first.
	Unsettled []Unsettled
	// Doubts are runs on it since which it may owe notifications, the oldest first.
	Doubts []Doubt
}

// Way is how a device is reached once a run has changed that.
type Way struct {
	Dial   func(ctx context.Context) (transport.Transport, error)
	Target Target
	Redial func(connect map[string]any) (Way, error) // after that
	// Keep remembers the device's host key under its new name or address, once the device was reached so.
	Keep func(ctx context.Context) error
	// News is what the inventory must say from now on, "port: 2222"; "" where it says so.
	News string
}

// Unsettled is a run that may go on, or have ended, without us.
type Unsettled struct {
	Run  string
	Last int    // the last event that is known
	Key  []byte // opens the secrets in the device's journal
}

// Status is what became of a device.
type Status string

const (
	Converged   Status = "converged"
	Changed     Status = "changed"
	Pending     Status = "pending"
	Failed      Status = "failed"
	Unreachable Status = "unreachable"
	Cancelled   Status = "cancelled"
)

// Phases of a device's way through a run.
type Phase string

const (
	Connecting Phase = "connecting"
	Observing  Phase = "observing"
	Planned    Phase = "planned"
	Applying   Phase = "applying"
	Silent     Phase = "silent"    // nothing was heard for a while; the slot is given up
	Away       Phase = "away"      // the connection is lost; the run goes on, and we try to follow it on
	Following  Phase = "following" // a run that was begun before
	Done       Phase = "done"
)

// Event is progress, for whoever shows it.
type Event struct {
	Device string
	Phase  Phase
	Run    string         // with following: which run; "" is the one at hand
	Why    string         // with away
	Plan   *plan.Device   // with planned
	Event  *wire.Event    // of the executor, while applying
	Result *Result        // with done
	Facts  map[string]any // with observing
	Log    *wire.Event    // what modules logged while observing
}

// Result is the end of a device's run.
type Result struct {
	Device   string
	Status   Status
	Plan     *plan.Device
	Counts   wire.Counts
	Reboot   string // why a reboot is needed
	Err      error
	Failures []wire.Event // the resources that failed
	NotTried int          // resources that were not reached
	Drifted  bool
	Stuck    []wire.Stuck // changes that can't be taken back
	// Moved is what the inventory must say from now on, since the run has changed how the device is reached.
	Moved []string
	// Open says that the run was begun on the device and that its end isn't known.
	Open bool
}

// Runner works on devices.
type Runner struct {
	ID       string // of the run; "" makes one
	Parallel int    // how many devices are worked on at once; 0 is 50
	Only     []string
	Skip     []string
	// Expected, if set, is a plan that was made before: a device that is not as it says has drifted, and is refused.
	Expected *plan.Plan
	// Report receives progress, one event at a time.
	Report func(Event)
	// Keep remembers, before a device begins with the run, what opens the secrets in its journal.
	// Memory names what the device remembers of its runs.
	Keep func(device string, key []byte, memory string) error
	// Detach has Apply return as soon as each device has begun.
	Detach bool
	// Undo, if set, is the run to take back: what to apply comes from the device's journal of it. Undone are its keys, by
	// device.
	Undo   string
	Undone map[string][]byte
	Force  bool   // although others have changed something since
	Reboot string // the way back's policy of rebooting
	// Patience is how long a device may be out of reach in the middle of a run before we let it go on alone. A machine that
	// restarts gets RestartPatience. 0: 3 min, 15 min.
	Patience, RestartPatience time.Duration
	// Quiet is how long a device may be silent before it gives up its slot, and Lost before it is given up. 0: 7 s, 3 min.
	Quiet, Lost time.Duration

	mu        sync.Mutex
	reporting sync.Mutex
	stopped   bool
	live      map[*worker]bool
	offers    *offer.Server
	parting   sync.WaitGroup // connections that have to be ended before this program
	slots     chan struct{}
	mute      atomic.Int64 // devices under way that gave up their slots
}

// sooner shortens the patience with one device by how many don't answer already: a thousand dead ones would otherwise
// hold up the others for twenty times as long as fifty do. Only the slot is at stake; who answers late goes on.
func (r *Runner) sooner(patience time.Duration) time.Duration {
	shortest := min(patience, 250*time.Millisecond)
	return max(shortest, patience/time.Duration(1+r.mute.Load()/int64(r.Parallel)))
}

// NewID names a run: by its time, so that names sort, and by chance.
func NewID() string {
	var b [3]byte
	rand.Read(b[:])
	return time.Now().UTC().Format("20060102-150405") + "-" + hex.EncodeToString(b[:])
}

func (r *Runner) begin() {
	if r.ID == "" {
		r.ID = NewID()
	}
	if r.Parallel <= 0 {
		r.Parallel = 50
	}
	if r.Quiet == 0 {
		r.Quiet = 7 * time.Second
	}
	if r.Lost == 0 {
		r.Lost = 3 * time.Minute
	}
	if r.Patience == 0 {
		r.Patience = 3 * time.Minute
	}
	if r.RestartPatience == 0 {
		r.RestartPatience = 15 * time.Minute
	}
	r.slots, r.live, r.offers = make(chan struct{}, r.Parallel), map[*worker]bool{}, offer.New()
}

func (r *Runner) report(e Event) {
	if r.Report != nil {
		r.reporting.Lock()
		defer r.reporting.Unlock()
		r.Report(e)
	}
}

// Stop lets each device finish the resource it is at, and begins no other.
func (r *Runner) Stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	for w := range r.live {
		w.cancel()
	}
}

func (r *Runner) isStopped() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stopped
}

// each works on all devices at once, as far as there are slots.
func (r *Runner) each(ctx context.Context, ws []*worker, do func(context.Context, *worker)) {
	var wg sync.WaitGroup
	for _, w := range ws {
		if !w.acquire(ctx) {
			continue
		}
		wg.Go(func() {
			defer w.release()
			do(ctx, w)
		})
	}
	wg.Wait()
}

func (r *Runner) workers(devices []Device) []*worker {
	ws := make([]*worker, len(devices))
	for i := range devices {
		ws[i] = &worker{r: r, d: devices[i], res: Result{Device: devices[i].Name, Status: Cancelled}}
	}
	return ws
}

// Plan observes all devices and changes nothing.
func (r *Runner) Plan(ctx context.Context, devices []Device) []Result {
	r.begin()
	defer r.parting.Wait()
	ws := r.workers(devices)
	r.each(ctx, ws, func(ctx context.Context, w *worker) {
		w.prepare(ctx)
		w.hangUp()
		w.done()
	})
	return results(ws)
}

// Apply brings all devices to their state. With confirm, everything is planned and shown before anything changes; it gets
// the results so far, and nothing is changed if it returns false. Without, each device goes on as soon as its plan stands,
// and of a large fleet's plans the results keep only what had to be done.
func (r *Runner) Apply(ctx context.Context, devices []Device, confirm func([]Result) bool) []Result {
	r.begin()
	defer r.parting.Wait()
	defer r.offers.Close()
	ws := r.workers(devices)
	if confirm == nil {
		r.each(ctx, ws, func(ctx context.Context, w *worker) {
			if w.prepare(ctx) {
				w.perform(ctx)
			}
			w.hangUp()
			if len(ws) > r.Parallel {
				w.summarize()
			}
			w.done()
		})
		return results(ws)
	}
	keep := len(devices) <= r.Parallel // otherwise the connections would wait for one another
	r.each(ctx, ws, func(ctx context.Context, w *worker) {
		if !w.prepare(ctx) || !keep {
			w.hangUp()
		}
	})
	defer func() {
		for _, w := range ws {
			w.hangUp()
		}
	}()
	todo := slices.DeleteFunc(slices.Clone(ws), func(w *worker) bool { return w.res.Status != Pending })
	if ctx.Err() == nil && !r.isStopped() && (len(todo) == 0 || confirm(results(ws))) {
		for _, w := range todo {
			w.res.Status = Cancelled
		}
		r.each(ctx, todo, func(ctx context.Context, w *worker) {
			if w.reconnect(ctx) {
				w.perform(ctx)
			}
			w.hangUp()
		})
	}
	for _, w := range ws {
		w.done()
	}
	return results(ws)
}

// Attach follows a run to its end on devices where it was begun, and has it go on where it stopped half-way.
func (r *Runner) Attach(ctx context.Context, devices []Device) []Result {
	r.begin()
	defer r.parting.Wait()
	ws := r.workers(devices)
	r.each(ctx, ws, func(ctx context.Context, w *worker) {
		w.attach(ctx)
		w.hangUp()
		w.done()
	})
	return results(ws)
}

func results(ws []*worker) []Result {
	out := make([]Result, len(ws))
	for i, w := range ws {
		out[i] = w.res
	}
	return out
}

// me is who holds a device's lock.
func me() (h wire.Holder) {
	h.Since = time.Now().UTC()
	if u, err := user.Current(); err == nil {
		h.Who = u.Username
	}
	h.From, _ = os.Hostname()
	return h
}

// Describe turns the error of a device into what people need: a refusal that names the holder, for example.
func describe(f *wire.Failed) error {
	err := errors.New(f.Error)
	switch {
	case f.Kind == wire.Locked && f.Holder != nil:
		h := f.Holder
		return hint.New(fmt.Errorf("run %s of %s from %s is under way since %s", h.Run, h.Who, h.From, h.Since.Local().Format("15:04:05")),
			"wait for it to end, then run this again")
	case f.Kind == wire.Drift:
		for i, o := range f.Drift {
			if i == 5 {
				err = fmt.Errorf("%w; and %d more", err, len(f.Drift)-i)
				break
			}
			sep := ": "
			if i > 0 {
				sep = ", "
			}
			err = fmt.Errorf("%w%s%s", err, sep, o.Address)
		}
		return hint.New(err, "somebody changed it meanwhile; plan again")
	case f.Hint != "":
		return hint.New(err, "%s", f.Hint)
	}
	return err
}
