package executor

import (
	"maps"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/wire"
)

// moving is a run that stands still once ("stands"), and then changes how the device is reached ("way", which tells "told").
func moving(within time.Duration) wire.Document {
	d := doc("r1", resource("probe", "stands", ""), resource("probe", "way", `"value":"new"`, notifies("probe/told"), func(r *wire.Resource) {
		r.Connect = map[string]any{"port": 2222}
	}), resource("probe", "told", ""), resource("probe", "last", "", after("probe/way")))
	d.Settings.ConfirmWithin = within
	return d
}

// ask starts such a run and returns with its confirming event. early is a session from before that.
func (r *runners) ask(t *testing.T, within time.Duration) (c, early *client, asked wire.Event) {
	t.Helper()
	r.d.write(t, "probe/way", `{"name":"way","value":"old"}`)
	r.d.write(t, "probe/hold", "")
	c = r.connect(t)
	run := moving(within)
	c.send(wire.Message{Run: &run})
	reached(t, r.d)
	early = r.connect(t)
	r.goOn()
	return c, early, event(t, c.until(wire.Confirming, "probe/way"), wire.Confirming, "probe/way")
}

func (c *client) confirms(n int) { c.send(wire.Message{Confirm: &wire.Confirm{Run: "r1", N: n}}) }

func TestOnlyASessionInTheNewWayConfirms(t *testing.T) {
	r := newRunners(t)
	c, early, asked := r.ask(t, time.Minute)
	if port := asked.Connect["port"]; port != 2222.0 || asked.Text != "1m0s" {
		t.Errorf("asked for: %+v", asked)
	}
	for name, old := range map[string]*client{"that began it": c, "from before the change": early} {
		old.confirms(asked.N)
		if f := old.failure(); !strings.Contains(f.Error, "opened before the change") {
			t.Errorf("the session %s: %+v", name, f)
		}
	}
	fresh := r.connect(t)
	fresh.confirms(asked.N + 1)
	if f := fresh.failure(); !strings.Contains(f.Error, "this session was opened before") {
		t.Errorf("of a later event: %+v", f)
	}
	fresh.confirms(asked.N - 1)
	if f := fresh.failure(); !strings.Contains(f.Error, "announces no change") {
		t.Errorf("of another event: %+v", f)
	}
	if events := r.d.events(t, "r1"); len(events) != asked.N {
		t.Fatalf("the run went on: %+v", events[asked.N:])
	}
	fresh.confirms(asked.N)
	if got := resolved(c.until(wire.Finished, "")); got != "probe/way changed, probe/last changed" {
		t.Errorf("resolved %s", got)
	}
	r.end(syscall.Signal(0))
	if _, err := os.Stat(keyFile(r.d.dir, "r1")); err == nil {
		t.Error("the key is left")
	}
}

func TestTakenBack(t *testing.T) {
	for how, says := range map[string]string{"nobody": "nobody has reached the device in the new way (port 2222) within 300ms", "cancel": "cancelled before"} {
		t.Run(how, func(t *testing.T) {
			r := newRunners(t)
			within := 300 * time.Millisecond
			if how == "cancel" {
				within = time.Minute
			}
			c, _, _ := r.ask(t, within)
			if how == "cancel" {
				c.send(wire.Message{Cancel: &wire.Cancel{}})
			}
			events := c.until(wire.Finished, "")
			e := event(t, events, wire.Resolved, "probe/way")
			if e.Status != wire.FailedStatus || !strings.Contains(e.Error, says) || !strings.Contains(e.Error, "taken back") {
				t.Errorf("%+v", e)
			}
			if got := r.d.read("probe/way"); !strings.Contains(got, "old") {
				t.Errorf("it is %s", got)
			}
			if how == "nobody" && !strings.HasSuffix(resolved(events), "probe/last skipped") {
				t.Errorf("resolved %s", resolved(events))
			}
			if o := loadOwed(r.d.dir); len(o.m) > 0 {
				t.Errorf("owed: %v", o.m)
			}
		})
	}
}

// TestNobodyConfirmsByTheOldWay: that the session is a new one isn't enough.
func TestNobodyConfirmsByTheOldWay(t *testing.T) {
	r := newRunners(t)
	r.d.write(t, "probe/way", `{"name":"way","value":"old"}`)
	c := r.connectAs(t, &login{User: "root", Address: "10.0.0.5", Port: 22})
	run := moving(time.Minute)
	c.send(wire.Message{Run: &run})
	n := event(t, c.until(wire.Confirming, "probe/way"), wire.Confirming, "probe/way").N
	fresh := r.connectAs(t, &login{User: "root", Address: "10.0.0.5", Port: 22})
	fresh.confirms(n)
	if f := fresh.failure(); !strings.Contains(f.Error, "came in at port 22, as before") {
		t.Errorf("%+v", f)
	}
	r.connectAs(t, &login{User: "root", Address: "10.0.0.5", Port: 2222}).confirms(n)
	if got := resolved(c.until(wire.Finished, "")); got != "probe/way changed, probe/last changed" {
		t.Errorf("resolved %s", got)
	}
}

// TestARunnerDiesOverTakingBack: what it had taken back isn't done once more.
func TestARunnerDiesOverTakingBack(t *testing.T) {
	r := newRunners(t)
	c, early, _ := r.ask(t, time.Minute)
	early.hangUp()
	c.hangUp()
	r.end(syscall.SIGKILL)
	r.d.write(t, "probe/way", `{"name":"way","value":"old"}`)
	next := r.connect(t)
	next.send(wire.Message{Attach: &wire.Attach{Run: "r1", From: 1, Resume: true}})
	next.until(wire.Log, "") // that it was interrupted
	next.until(wire.Confirming, "probe/way")
	if got := r.d.read("probe/way"); !strings.Contains(got, "old") {
		t.Errorf("it is %s", got)
	}
	next.send(wire.Message{Cancel: &wire.Cancel{}})
	if got := resolved(next.until(wire.Finished, "")); got != "probe/way failed, probe/last cancelled" {
		t.Errorf("resolved %s", got)
	}
}

// TestARunnerDiesBeforeItIsConfirmed: the next one asks again, and what was asked before counts for nothing.
func TestARunnerDiesBeforeItIsConfirmed(t *testing.T) {
	for _, then := range []string{"confirmed", "not confirmed"} {
		t.Run(then, func(t *testing.T) {
			r := newRunners(t)
			within := time.Minute
			if then == "not confirmed" {
				within = 2 * time.Second
			}
			c, _, first := r.ask(t, within)
			r.end(syscall.SIGKILL)
			again := event(t, c.until(wire.Confirming, "probe/way"), wire.Confirming, "probe/way")
			if again.N <= first.N {
				t.Errorf("asked by event %d, then by %d", first.N, again.N)
			}
			want := "probe/way failed, probe/last skipped"
			if then == "confirmed" {
				fresh := r.connect(t)
				fresh.confirms(first.N)
				fresh.confirms(again.N)
				want = "probe/way changed, probe/last changed"
			}
			if got := resolved(c.until(wire.Finished, "")); got != want {
				t.Errorf("resolved %s", got)
			}
			if got, new := strings.Contains(r.d.read("probe/way"), "new"), then == "confirmed"; got != new {
				t.Errorf("it is %s", r.d.read("probe/way"))
			}
		})
	}
}

func TestTheOldWayConfirmsNothing(t *testing.T) {
	old := &login{User: "root", Address: "10.0.0.5", Port: 22}
	for name, c := range map[string]struct {
		now     *login
		connect map[string]any
		says    string
	}{
		"new port":                   {&login{User: "root", Address: "10.0.0.5", Port: 2222}, map[string]any{"port": 2222.0}, ""},
		"old port":                   {&login{User: "root", Address: "10.0.0.5", Port: 22}, map[string]any{"port": 2222.0}, "port 22, as before"},
		"a port behind a gateway":    {&login{User: "root", Address: "10.0.0.5", Port: 2222}, map[string]any{"port": 40022.0}, ""},
		"new address":                {&login{User: "root", Address: "10.0.0.6", Port: 22}, map[string]any{"address": "10.0.0.6"}, ""},
		"old address":                {&login{User: "root", Address: "10.0.0.5", Port: 22}, map[string]any{"address": "10.0.0.6"}, "10.0.0.5, as before"},
		"a name, that may be either": {&login{User: "root", Address: "10.0.0.5", Port: 22}, map[string]any{"address": "pc.example"}, ""},
		"new user":                   {&login{User: "tech", Address: "10.0.0.5", Port: 22}, map[string]any{"user": "tech"}, ""},
		"old user":                   {&login{User: "root", Address: "10.0.0.5", Port: 22}, map[string]any{"user": "tech"}, "logged in by root"},
		"the same way":               {old, map[string]any{"password": true, "hostKey": "new"}, ""},
		"not over ssh":               {nil, map[string]any{"port": 2222.0}, ""},
	} {
		err := old.otherThan(c.now, c.connect)
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	back := old.reached(map[string]any{"port": 2222, "password": true})
	if !maps.Equal(back, map[string]any{"port": 22}) {
		t.Errorf("undone, it is reached by %v", back)
	}
}
