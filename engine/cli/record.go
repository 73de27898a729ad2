package cli

import (
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
	facts map[string]map[string]any

	mu     sync.Mutex
	events map[string][]wire.Event
	failed bool
	stop   chan struct{}
	ended  chan struct{}
}

// flushEvery is how long an event may wait for the next write.
const flushEvery = 300 * time.Millisecond

func newRecorder(a *app, s *store.Store, id, command string, devices []run.Device) *recorder {
	r := &recorder{a: a, s: s, id: id, facts: map[string]map[string]any{}, events: map[string][]wire.Event{}, stop: make(chan struct{}), ended: make(chan struct{})}
	rec := store.Run{ID: id, Command: command, Started: time.Now()}
	if u, err := user.Current(); err == nil {
		rec.Who = u.Username
	}
	rec.From, _ = os.Hostname()
	for _, d := range devices {
		rec.Devices = append(rec.Devices, store.Device{Name: d.Name, Address: d.Address, Profile: d.Profile, Status: "not ended"})
	}
	r.check(s.Begin(rec))
	go r.run()
	return r
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
	r.events, r.facts = map[string][]wire.Event{}, map[string]map[string]any{}
	r.mu.Unlock()
	if len(facts) > 0 {
		r.check(r.s.SetFacts(facts))
	}
	for device, es := range events {
		r.check(r.s.AddEvents(r.id, device, es))
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
	if e.Event != nil && e.Event.Type != wire.Begin {
		r.events[e.Device] = append(r.events[e.Device], *e.Event)
	}
}

// finish records the results.
func (r *recorder) finish(results []run.Result, devices []run.Device) {
	close(r.stop)
	<-r.ended
	var out []store.Device
	for i, res := range results {
		d := store.Device{Name: res.Device, Address: devices[i].Address, Profile: devices[i].Profile, Status: string(res.Status), Counts: res.Counts, Reboot: res.Reboot}
		if res.Err != nil {
			d.Error = res.Err.Error()
		}
		out = append(out, d)
	}
	r.check(r.s.Finish(r.id, time.Now(), out))
}
