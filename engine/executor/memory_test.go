package executor

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/modules"
)

// TestTheNameOfAMemory: the first run gives it, and it stays as long as what the device remembers does.
func TestTheNameOfAMemory(t *testing.T) {
	d := newDevice(t)
	n := 0
	run := func(name string) {
		t.Helper()
		c := connect(t, d)
		n++
		dc := doc(fmt.Sprint("r", n), resource("probe", "a", ""))
		dc.Memory = name
		c.run(dc)
		if err := c.hangUp(); err != nil {
			t.Fatal(err)
		}
	}
	named := func() string { return connect(t, d).hello.Memory }
	if got := named(); got != "" {
		t.Errorf("before the first run: %q", got)
	}
	run("one")
	run("two")
	if got := named(); got != "one" {
		t.Errorf("%q, not that of the first run", got)
	}
	for _, damage := range []func() error{
		func() error { return os.RemoveAll(d.dir) },
		func() error { return os.WriteFile(memoryFile(d.dir), nil, 0o600) },
		func() error { return os.WriteFile(memoryFile(d.dir), []byte("on"), 0o600) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		if got := named(); got != "" {
			t.Errorf("lost, and still called %q", got)
		}
		run("") // of a controller that knew it by its name
		if got := named(); got == "" || got == "one" {
			t.Errorf("what is remembered since is called %q", got)
		}
		if err := os.RemoveAll(d.dir); err != nil {
			t.Fatal(err)
		}
		run("one")
	}
}

// TestWhatTheControllerKnowsToBeOwed is shown by an observation, and delivered once.
func TestWhatTheControllerKnowsToBeOwed(t *testing.T) {
	for name, meanwhile := range map[string]func(d device){
		"as it is":                               func(device) {},
		"the folder is removed once it is shown": func(d device) { os.RemoveAll(d.dir) },
	} {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t)
			d.write(t, "probe/conf", "{}")
			d.write(t, "probe/daemon", "{}")
			rs := []wire.Resource{resource("probe", "conf", "", notifies("probe/daemon")), resource("probe", "daemon", "", after("probe/conf"))}
			c := connect(t, d)
			c.send(wire.Message{Observe: &wire.Observe{Resources: rs, Owed: map[string][]string{"probe/daemon": {"probe/conf"}}}})
			o := c.next(func(m wire.Message) bool { return m.Observed != nil }).Observed.Observations[1]
			if o.Op != modules.Update || len(o.Changes) != 1 || o.Changes[0].Property != "notification" {
				t.Errorf("observed %+v", o)
			}
			if owed := loadOwed(d.dir).all(); len(owed) > 0 {
				t.Errorf("an observation has changed what is owed: %v", owed)
			}
			meanwhile(d)
			before := count("notify daemon")
			events := c.run(doc("r1", rs...))
			if e := event(t, events, wire.Resolved, "probe/daemon"); e.Status != wire.Changed || count("notify daemon") != before+1 {
				t.Errorf("%d notifications, %+v", count("notify daemon")-before, e)
			}
			if err := c.hangUp(); err != nil {
				t.Fatal(err)
			}
			if owed := loadOwed(d.dir).all(); len(owed) > 0 {
				t.Errorf("still owed: %v", owed)
			}
		})
	}
}

// TestWhatTheControllerKnowsIsKept until it is delivered, over an interruption.
func TestWhatTheControllerKnowsIsKept(t *testing.T) {
	d := newDevice(t)
	d.write(t, "probe/stops", "{}")
	d.write(t, "probe/daemon", "{}")
	rs := []wire.Resource{resource("probe", "stops", `"value":"x"`), resource("probe", "daemon", "", after("probe/stops"))}
	c := connect(t, d)
	behave(t, "stops", failing("it broke"))
	c.send(wire.Message{Observe: &wire.Observe{Resources: rs, Owed: map[string][]string{"probe/daemon": {"probe/conf"}}}})
	c.next(func(m wire.Message) bool { return m.Observed != nil })
	c.run(doc("r1", rs...))
	if err := c.hangUp(); err != nil {
		t.Fatal(err)
	}
	if got := loadOwed(d.dir).to("probe/daemon"); !slices.Equal(got, []string{"probe/conf"}) {
		t.Errorf("owed: %q", got)
	}
}
