package executor

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/disk"
	"github.com/fitout-dev/fitout/engine/executor/journal"
	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/modules/hint"
)

func TestInWindow(t *testing.T) {
	for _, c := range []struct {
		window, now string
		want        bool
	}{
		{"22:00-06:00", "21:59", false},
		{"22:00-06:00", "22:00", true},
		{"22:00-06:00", "23:59", true},
		{"22:00-06:00", "00:00", true},
		{"22:00-06:00", "05:59", true},
		{"22:00-06:00", "06:00", false},
		{"12:00-13:30", "11:59", false},
		{"12:00-13:30", "13:29", true},
		{"12:00-13:30", "13:30", false},
		{"nonsense", "13:30", true},
	} {
		now, err := time.ParseInLocation("2006-01-02 15:04", "2026-11-22 "+c.now, time.Local)
		if err != nil {
			t.Fatal(err)
		}
		if got := inWindow(c.window, now.UTC()); got != c.want {
			t.Errorf("%s at %s: %t", c.window, c.now, got)
		}
	}
}

// clock is one that jumps: to the next of its times whenever it was looked at often enough.
type clock struct {
	mu     sync.Mutex
	times  []string
	looked int
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.looked++; c.looked%5 == 0 && len(c.times) > 1 {
		c.times = c.times[1:]
	}
	t, err := time.ParseInLocation("2006-01-02 15:04", c.times[0], time.Local)
	if err != nil {
		panic(err)
	}
	return t
}

func forWindow(t *testing.T, now func() time.Time) *run {
	t.Helper()
	windowTick = time.Millisecond
	j, err := journal.Create(disk.OS, t.TempDir()+"/journal")
	if err != nil {
		t.Fatal(err)
	}
	r := &run{doc: &wire.Document{Settings: wire.Settings{RebootWindow: "22:00-06:00"}}, log: newEventLog(j, nil, now), now: now,
		stopping: make(chan struct{}), suspending: make(chan struct{})}
	t.Cleanup(func() {
		r.log.leave()
		r.log.wait()
	})
	return r
}

func TestAWindowIsWaitedForByTheClockOfTheDevice(t *testing.T) {
	// It is set back a day, then the machine sleeps for half a year and wakes up in the window.
	c := &clock{times: []string{"2026-11-22 20:00", "2026-11-21 21:00", "2027-05-01 03:00"}}
	r := forWindow(t, c.now)
	if !r.awaitWindow(t.Context(), "updated: linux") {
		t.Error("the run is to end")
	}
	if len(c.times) != 1 {
		t.Errorf("it went on at %s", c.times[0])
	}
	if e := r.log.events[0]; len(r.log.events) != 1 || e.Type != wire.Waiting || e.Text != "until 22:00-06:00 to restart the machine: updated: linux" {
		t.Errorf("events %+v", r.log.events)
	}
}

func TestAWindowIsNotWaitedForWhenTheRunIsToEnd(t *testing.T) {
	for name, end := range map[string]func(*run){"cancelled": (*run).stop, "suspended": (*run).suspend} {
		c := &clock{times: []string{"2026-11-22 20:00"}}
		r := forWindow(t, c.now)
		done := make(chan bool)
		go func() { done <- r.awaitWindow(t.Context(), "x") }()
		end(r)
		select {
		case ok := <-done:
			if ok {
				t.Errorf("%s: the machine would be restarted", name)
			}
		case <-time.After(patience):
			t.Errorf("%s: it waits on", name)
		}
	}
}

func TestTooMany(t *testing.T) {
	re := func(reason string, changed int, addresses ...string) restart {
		return restart{Reason: reason, Changed: changed, Addresses: addresses, Boot: "x", Now: true}
	}
	var six []restart
	for i := range 5 {
		six = append(six, re(fmt.Sprint("reason ", i), i, "a"))
	}
	for _, c := range []struct {
		name   string
		before []restart
		now    restart
		most   int
		want   string // part of the error
	}{
		{"the first", nil, re("x", 0, "a"), 0, ""},
		{"another reason", []restart{re("x", 1, "a")}, re("y", 1, "a"), 0, ""},
		{"the same reason, but something was done", []restart{re("x", 1, "a")}, re("x", 2, "a"), 0, ""},
		{"the same reason of another resource", []restart{re("x", 1, "a")}, re("x", 1, "b"), 0, ""},
		{"in vain", []restart{re("x", 1, "a")}, re("x", 1, "a"), 0, "gained nothing: x"},
		{"what is wanted counts for nothing", []restart{{Reason: "x", Changed: 1, Addresses: []string{"a"}}}, re("x", 1, "a"), 0, ""},
		{"the sixth", six, re("last", 9, "a"), 0, "after 5 restarts in this run: reason 0; reason 1; reason 2; reason 3; reason 4; last"},
		{"the second of one", six[:1], re("last", 9, "a"), 1, "after 1 restarts"},
		{"the sixth of seven", six, re("last", 9, "a"), 7, ""},
	} {
		r := &run{doc: &wire.Document{Settings: wire.Settings{MaxReboots: c.most}}, st: &state{restarts: c.before}}
		err := r.tooMany(c.now)
		switch {
		case c.want == "" && err != nil, c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v", c.name, err)
		case err != nil && hint.Of(err) == "":
			t.Errorf("%s: no hint", c.name)
		}
	}
}
