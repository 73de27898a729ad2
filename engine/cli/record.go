package cli

import (
	"cmp"
	"os"
	"os/user"
	"sync"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/engine/run"
	"github.com/fitout-dev/fitout/engine/store"
)

// recorder writes a run into the store while it goes on. A store that fails must not end a run: it is told once.
type recorder struct {
	a     *app
	s     *store.Store
	id    string
	whole bool // the run began here, with all its devices
	all   bool // and with all their resources
	facts map[string]map[string]any

	mu      sync.Mutex
	events  map[of][]wire.Event
	settled []run.Event // of runs that were begun before
	failed  bool
	stop    chan struct{}
	ended   chan struct{}
}

// of is a run on a device.
type of struct{ run, device string }

// flushEvery is how long an event may wait for the next write.
const flushEvery = 300 * time.Millisecond

// newRecorder begins a run's record.
func newRecorder(a *app, s *store.Store, id, command string, source store.Source, devices []run.Device) *recorder {
	rec := store.Run{ID: id, Command: command, Started: time.Now(), Source: source}
	if u, err := user.Current(); err == nil {
		rec.Who = u.Username
	}
	rec.From, _ = os.Hostname()
	for _, d := range devices {
		rec.Devices = append(rec.Devices, store.Device{Name: d.Name, Address: d.Address, Profile: d.Profile, Status: store.NotEnded})
	}
	r := goOnRecording(a, s, id)
	r.whole = true
	r.check(s.Begin(rec))
	return r
}

// goOnRecording records what is left of a run.
func goOnRecording(a *app, s *store.Store, id string) *recorder {
	r := &recorder{a: a, s: s, id: id, facts: map[string]map[string]any{}, events: map[of][]wire.Event{}, stop: make(chan struct{}), ended: make(chan struct{})}
	go r.run()
	return r
}

// keep remembers what opens the secrets in a device's journal, and what the device remembers. Without it the run is as good;
// only what needs a secret can't go on after a restart, nor be undone.
func (r *recorder) keep(device string, key []byte, memory string) error {
	r.check(r.s.SetKey(r.id, device, key, memory))
	return nil
}

func (r *recorder) run() {
	defer close(r.ended)
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.flush()
		case <-r.stop:
			r.flush()
			return
		}
	}
}

func (r *recorder) flush() {
	r.mu.Lock()
	events, facts := r.events, r.facts
	r.events, r.facts = map[of][]wire.Event{}, map[string]map[string]any{}
	r.mu.Unlock()
	if len(facts) > 0 {
		r.check(r.s.SetFacts(facts))
	}
	for of, es := range events {
		r.check(r.s.AddEvents(of.run, of.device, es))
	}
}

func (r *recorder) check(err error) {
	if err == nil || r.failed {
		return
	}
	r.failed = true
	r.a.say("warning: this run can't be recorded: %v", err)
}

func (r *recorder) report(e run.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Facts != nil {
		r.facts[e.Device] = e.Facts
	}
	run := cmp.Or(e.Run, r.id)
	if e.Event != nil && e.Event.Type != wire.Begin && e.Event.N > 0 {
		r.events[of{run, e.Device}] = append(r.events[of{run, e.Device}], *e.Event)
	}
	if e.Run != "" && e.Result != nil {
		r.settled = append(r.settled, e)
	}
}

// settle writes what is left, and the ends of runs that were begun before.
func (r *recorder) settle(devices []run.Device) {
	close(r.stop)
	<-r.ended
	for _, e := range r.settled {
		for _, d := range devices {
			if d.Name == e.Device {
				r.check(r.s.Settle(e.Run, time.Now(), recorded(*e.Result, d)))
			}
		}
	}
}

// finish records the results: of the whole run, or of those devices on which it was followed to its end.
func (r *recorder) finish(results []run.Result, devices []run.Device) {
	r.settle(devices)
	var out []store.Device
	for i, res := range results {
		d := recorded(res, devices[i])
		if out = append(out, d); !r.whole && d.Status != store.NotEnded {
			r.check(r.s.Settle(r.id, time.Now(), d))
		}
	}
	if r.whole {
		r.check(r.s.Finish(r.id, time.Now(), out))
	}
	if r.all {
		var well []string
		for _, res := range results {
			if !res.Open && (res.Status == run.Converged || res.Status == run.Changed) {
				well = append(well, res.Device)
			}
		}
		r.check(r.s.Settled(well))
	}
}

func recorded(res run.Result, d run.Device) store.Device {
	out := store.Device{Name: res.Device, Address: d.Address, Profile: d.Profile, Status: string(res.Status), Counts: res.Counts, Reboot: res.Reboot}
	if res.Err != nil {
		out.Error = res.Err.Error()
	}
	if res.Open {
		out.Status = store.NotEnded
	}
	return out
}
