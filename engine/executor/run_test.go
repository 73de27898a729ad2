package executor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

func failing(text string) behaviour {
	return behaviour{apply: func(context.Context, *host.Host, probe, probe) (modules.Outcome, error) {
		return modules.Outcome{}, hint.New(errors.New(text), "look at it")
	}}
}

func doc(id string, rs ...wire.Resource) wire.Document { return wire.Document{ID: id, Resources: rs} }

func TestAFailureTakesAlongOnlyWhatHangsOnIt(t *testing.T) {
	c := connect(t, newDevice(t))
	behave(t, "bad", failing("it broke"))
	elsewhere := resource("probe", "elsewhere", "", func(r *wire.Resource) { r.Skip = "windows only" })
	events := c.run(doc("r1", elsewhere, resource("probe", "bad", ""), resource("probe", "free", ""), resource("probe", "child", "", after("probe/bad")),
		resource("probe", "grandchild", "", after("probe/child")), resource("probe", "guest", "", after("probe/elsewhere"))))
	want := "probe/elsewhere skipped, probe/bad failed, probe/free changed, probe/child skipped, probe/grandchild skipped, probe/guest changed"
	if got := resolved(events); got != want {
		t.Errorf("resolved %s\nwant     %s", got, want)
	}
	if e := event(t, events, wire.Resolved, "probe/bad"); e.Error != "it broke" || e.Hint != "look at it" || e.Op != modules.Create {
		t.Errorf("%+v", e)
	}
	if e := event(t, events, wire.Resolved, "probe/grandchild"); e.Reason != "probe/child was skipped" {
		t.Errorf("%+v", e)
	}
	if n := *events[len(events)-1].Counts; n != (wire.Counts{Changed: 2, Failed: 1, Skipped: 3}) {
		t.Errorf("counts %+v", n)
	}
}

func TestWhatNeedsASystemHoldsUpNothing(t *testing.T) {
	c := connect(t, newDevice(t))
	behave(t, "kernel", behaviour{observe: func(context.Context, *host.Host, probe) (probe, error) { return probe{}, host.ErrNeedsSystem }})
	behave(t, "daemon", behaviour{apply: func(context.Context, *host.Host, probe, probe) (modules.Outcome, error) {
		return modules.Outcome{}, host.ErrNeedsSystem
	}})
	events := c.run(doc("r1", resource("probe", "kernel", ""), resource("probe", "daemon", ""), resource("probe", "file", "", after("probe/kernel", "probe/daemon"))))
	if got := resolved(events); got != "probe/kernel skipped, probe/daemon skipped, probe/file changed" {
		t.Errorf("resolved %s", got)
	}
	if e := event(t, events, wire.Resolved, "probe/daemon"); e.Reason != "needs a running system" || e.Error != "" {
		t.Errorf("%+v", e)
	}
}

func TestProof(t *testing.T) {
	c := connect(t, newDevice(t))
	behave(t, "liar", behaviour{apply: func(_ context.Context, h *host.Host, want, _ probe) (modules.Outcome, error) {
		return modules.Outcome{}, h.WriteFile("/probe/liar", `{"value":"other"}`, host.Attr{})
	}})
	behave(t, "blind", behaviour{observe: func(_ context.Context, h *host.Host, want probe) (probe, error) {
		if h.Exists("/probe/blind") {
			return probe{}, errors.New("it hides")
		}
		return probe{State: modules.Absent}, nil
	}})
	behave(t, "unproven", behaviour{
		observe: func(context.Context, *host.Host, probe) (probe, error) { return probe{State: modules.Absent}, nil },
		apply: func(context.Context, *host.Host, probe, probe) (modules.Outcome, error) {
			return modules.Outcome{Unproven: "it has no guard", Reboot: "a new kernel"}, nil
		}})
	events := c.run(doc("r1", resource("probe", "liar", `"value":"mine"`), resource("probe", "blind", ""), resource("probe", "unproven", "")))
	if got := resolved(events); got != "probe/liar failed, probe/blind failed, probe/unproven changed" {
		t.Errorf("resolved %s", got)
	}
	if e := event(t, events, wire.Resolved, "probe/liar"); !strings.Contains(e.Error, `value: wanted "mine", found "other"`) || e.Hint == "" {
		t.Errorf("%+v", e)
	}
	if e := event(t, events, wire.Resolved, "probe/blind"); !strings.Contains(e.Error, "can't be observed afterwards: it hides") {
		t.Errorf("%+v", e)
	}
	if e := event(t, events, wire.Resolved, "probe/unproven"); e.Reason != "it has no guard" || e.Reboot != "a new kernel" {
		t.Errorf("%+v", e)
	}
	if last := events[len(events)-1]; last.Reboot != "a new kernel" {
		t.Errorf("%+v", last)
	}
}

func TestPanic(t *testing.T) {
	c := connect(t, newDevice(t))
	explode := func() { panic("the module's fault") }
	behave(t, "looks", behaviour{observe: func(context.Context, *host.Host, probe) (probe, error) { explode(); return probe{}, nil }})
	behave(t, "acts", behaviour{apply: func(context.Context, *host.Host, probe, probe) (modules.Outcome, error) {
		explode()
		return modules.Outcome{}, nil
	}})
	behave(t, "told", behaviour{notified: func(context.Context, *host.Host, probe) error { explode(); return nil }})
	rs := []wire.Resource{resource("probe", "looks", ""), resource("probe", "acts", ""), resource("probe", "source", "", notifies("probe/told")),
		resource("probe", "told", ""), resource("probe", "fine", ""),
		resource("batched", "looks", "", func(r *wire.Resource) { r.Address = "batched/looks" }), resource("batched", "beside", "")}
	for _, o := range c.observe(nil, rs...).Observations {
		if bad := strings.HasSuffix(o.Address, "/looks"); bad != strings.Contains(o.Error, "panicked: the module's fault") {
			t.Errorf("observed %+v", o)
		}
	}
	events := c.run(doc("r1", rs...))
	want := "probe/looks failed, probe/acts failed, probe/source changed, probe/told failed, probe/fine changed, batched/looks failed, batched/beside changed"
	if got := resolved(events); got != want {
		t.Errorf("resolved %s\nwant     %s", got, want)
	}
	stacks := 0
	for _, e := range events {
		if e.Type == wire.Log && strings.Contains(e.Text, "run_test.go") && strings.Contains(e.Text, "the module's fault") {
			stacks++
		}
	}
	if stacks < 4 {
		t.Errorf("%d stacks in the log", stacks)
	}
}

func TestTimeouts(t *testing.T) {
	c := connect(t, newDevice(t))
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	obey := func(ctx context.Context, h *host.Host, want, have probe) (modules.Outcome, error) {
		<-ctx.Done()
		return modules.Outcome{}, ctx.Err()
	}
	hang := func(ctx context.Context, h *host.Host, want, have probe) (modules.Outcome, error) {
		<-release
		return modules.Outcome{}, nil
	}
	behave(t, "slow", behaviour{apply: obey})
	behave(t, "deaf", behaviour{observe: func(context.Context, *host.Host, probe) (probe, error) { <-release; return probe{}, nil }})
	behave(t, "stuck", behaviour{apply: hang})
	soon := func(r *wire.Resource) { r.Timeout = 30 * time.Millisecond }
	events := c.run(doc("r1", resource("probe", "slow", "", soon), resource("probe", "deaf", "", soon), resource("probe", "next", ""),
		resource("probe", "stuck", "", soon), resource("probe", "last", "")))
	// Beside a module that is still at work nothing may be changed.
	want := "probe/slow failed, probe/deaf failed, probe/next changed, probe/stuck failed, probe/last cancelled"
	if got := resolved(events); got != want {
		t.Errorf("resolved %s\nwant     %s", got, want)
	}
	for address, text := range map[string]string{"probe/slow": "timed out after 30ms", "probe/deaf": "timed out after 30ms, and did not stop", "probe/stuck": "timed out after 30ms, and did not stop"} {
		if e := event(t, events, wire.Resolved, address); !strings.Contains(e.Error, text) {
			t.Errorf("%+v, want %q", e, text)
		}
	}
}

// waiting is a probe that says when it is at work, and ends its work when it is told to or its context ends.
func waiting(t *testing.T, name string) (working chan struct{}, finish chan struct{}) {
	working, finish = make(chan struct{}, 1), make(chan struct{})
	behave(t, name, behaviour{apply: func(ctx context.Context, h *host.Host, want, have probe) (modules.Outcome, error) {
		working <- struct{}{}
		select {
		case <-finish:
			return modules.Outcome{}, writeProbe(h, want)
		case <-ctx.Done():
			return modules.Outcome{}, context.Cause(ctx)
		}
	}})
	return working, finish
}

func wait(t *testing.T, ch <-chan struct{}) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(patience):
		t.Fatal("it did not happen in time")
	}
}

func TestCancelAfterTheCurrentResource(t *testing.T) {
	d := newDevice(t)
	c := connect(t, d)
	working, finish := waiting(t, "current")
	run := doc("r1", resource("probe", "done", ""), resource("probe", "current", ""), resource("probe", "next", ""))
	c.send(wire.Message{Run: &run})
	wait(t, working)
	c.send(wire.Message{Cancel: &wire.Cancel{}})
	c.send(wire.Message{}) // its answer says that the cancellation has arrived
	c.failure()
	close(finish)
	if err := c.hangUp(); err != nil {
		t.Error(err)
	}
	events := d.events(t, "r1")
	if got := resolved(events); got != "probe/done changed, probe/current changed, probe/next cancelled" {
		t.Errorf("resolved %s", got)
	}
	if n := *events[len(events)-1].Counts; n != (wire.Counts{Changed: 2, Cancelled: 1}) {
		t.Errorf("counts %+v", n)
	}
}

func TestCancelNow(t *testing.T) {
	c := connect(t, newDevice(t))
	working, _ := waiting(t, "current")
	d := doc("r1", resource("probe", "current", "", func(r *wire.Resource) { r.Retries = 5 }), resource("probe", "next", ""))
	c.send(wire.Message{Run: &d})
	wait(t, working)
	c.send(wire.Message{Cancel: &wire.Cancel{Now: true}})
	events := c.until(wire.Finished, "")
	if got := resolved(events); got != "probe/current failed, probe/next cancelled" {
		t.Errorf("resolved %s", got)
	}
	if e := event(t, events, wire.Resolved, "probe/current"); e.Error != "cancelled" {
		t.Errorf("%+v", e)
	}
}

func TestTheEndOfStdinIsNoCancellation(t *testing.T) {
	d := newDevice(t)
	c := connect(t, d)
	working, finish := waiting(t, "current")
	run := doc("r1", resource("probe", "current", "", notifies("probe/next")), resource("probe", "next", ""), resource("files", "/etc/x", ""))
	c.send(wire.Message{Run: &run})
	wait(t, working)
	c.in.Close() // nobody reads from now on, either
	close(finish)
	if err := c.hangUp(); err != nil {
		t.Error(err)
	}
	events := d.events(t, "r1")
	if got := resolved(events); got != "probe/current changed, probe/next changed, files//etc/x changed" {
		t.Errorf("resolved %s", got)
	}
	if last := events[len(events)-1]; last.Type != wire.Finished || last.Counts.Changed != 3 {
		t.Errorf("last %+v", last)
	}
	if h := connect(t, d).hello.Holder; h != nil {
		t.Errorf("the lock is still held: %+v", h)
	}
}

// What comes on stdin when a connection dies in the middle of a frame is nonsense. The run goes on all the same.
func TestABrokenStreamIsNoCancellation(t *testing.T) {
	d := newDevice(t)
	c := connect(t, d)
	working, finish := waiting(t, "current")
	run := doc("r1", resource("probe", "current", ""), resource("probe", "next", ""))
	c.send(wire.Message{Run: &run})
	wait(t, working)
	c.in.(interface{ Write([]byte) (int, error) }).Write([]byte("m\x01\xff\xff\xff\xffnonsense"))
	close(finish)
	if err := c.hangUp(); err == nil {
		t.Error("nonsense was no error")
	}
	if got := resolved(d.events(t, "r1")); got != "probe/current changed, probe/next changed" {
		t.Errorf("resolved %s", got)
	}
}

func TestTheSecondRunIsToldWhoHoldsTheDevice(t *testing.T) {
	d := newDevice(t)
	c := connect(t, d)
	working, finish := waiting(t, "current")
	run := doc("r1", resource("probe", "current", ""))
	run.Holder = wire.Holder{Run: "r1", Who: "alice", From: "desk-7", Since: time.Now()}
	c.send(wire.Message{Run: &run})
	wait(t, working)
	other := connect(t, d)
	if h := other.hello.Holder; h == nil || h.Who != "alice" {
		t.Errorf("hello tells of %+v", h)
	}
	if o := other.observe(nil, resource("probe", "current", "")); o.Observations[0].Op != modules.Create {
		t.Error("a held device can be looked at")
	}
	second := doc("r2", resource("probe", "x", ""))
	other.send(wire.Message{Run: &second})
	if f := other.failure(); f.Kind != wire.Locked || f.Holder == nil || f.Holder.Who != "alice" || f.Holder.From != "desk-7" || f.Holder.PID != os.Getpid() {
		t.Errorf("failed %+v", f)
	}
	close(finish)
	c.until(wire.Finished, "")
	if got := resolved(other.run(doc("r3", resource("probe", "x", "")))); got != "probe/x changed" {
		t.Errorf("once it is free: %s", got)
	}
}

func TestDriftIsRefusedBeforeAnythingChanges(t *testing.T) {
	d := newDevice(t)
	c := connect(t, d)
	rs := []wire.Resource{resource("probe", "first", ""), resource("probe", "drifts", `"value":"mine"`), resource("probe", "fine", "")}
	expect := map[string]string{}
	for _, o := range c.observe(nil, rs...).Observations {
		expect[o.Address] = o.Digest
	}
	d.write(t, "probe/drifts", `{"value":"theirs"}`)
	c.send(wire.Message{Run: &wire.Document{ID: "r1", Resources: rs, Expect: expect}})
	f := c.failure()
	if f.Kind != wire.Drift || len(f.Drift) != 1 || f.Drift[0].Address != "probe/drifts" || f.Drift[0].Changes[0].Before != "theirs" {
		t.Errorf("failed %+v", f)
	}
	if _, err := os.Stat(filepath.Join(d.root, "probe/first")); err == nil {
		t.Error("something was changed")
	}
	if got := resolved(c.run(doc("r2", rs...))); strings.Count(got, "changed") != 3 {
		t.Errorf("without expectations: %s", got)
	}
}

// What the run itself changes is no drift.
func TestWhatTheRunChangesIsNoDrift(t *testing.T) {
	d := newDevice(t)
	c := connect(t, d)
	behave(t, "first", behaviour{apply: func(_ context.Context, h *host.Host, want, _ probe) (modules.Outcome, error) {
		return modules.Outcome{}, errors.Join(writeProbe(h, want), h.WriteFile("/probe/second", `{"value":"from the first"}`, host.Attr{}))
	}})
	rs := []wire.Resource{resource("probe", "first", ""), resource("probe", "second", `"value":"mine"`)}
	expect := map[string]string{}
	for _, o := range c.observe(nil, rs...).Observations {
		expect[o.Address] = o.Digest
	}
	if got := resolved(c.run(wire.Document{ID: "r1", Resources: rs, Expect: expect})); got != "probe/first changed, probe/second changed" {
		t.Errorf("resolved %s", got)
	}
}

func TestCancelWhileLookingForDrift(t *testing.T) {
	c := connect(t, newDevice(t))
	looking := make(chan struct{}, 1)
	behave(t, "slow", behaviour{observe: func(ctx context.Context, h *host.Host, want probe) (probe, error) {
		looking <- struct{}{}
		<-ctx.Done()
		return probe{}, ctx.Err()
	}})
	d := doc("r1", resource("probe", "slow", ""))
	d.Expect = map[string]string{"probe/slow": "what it was"}
	c.send(wire.Message{Run: &d})
	wait(t, looking)
	c.send(wire.Message{Cancel: &wire.Cancel{Now: true}})
	if got := resolved(c.until(wire.Finished, "")); got != "probe/slow cancelled" {
		t.Errorf("resolved %s", got)
	}
}

func TestRetries(t *testing.T) {
	c := connect(t, newDevice(t))
	before := count("apply shaky")
	behave(t, "shaky", behaviour{apply: func(_ context.Context, h *host.Host, want, _ probe) (modules.Outcome, error) {
		if count("apply shaky")-before < 3 {
			return modules.Outcome{}, errors.New("not yet")
		}
		return modules.Outcome{}, writeProbe(h, want)
	}})
	behave(t, "hopeless", failing("never"))
	again := func(r *wire.Resource) { r.Retries = 2 }
	events := c.run(doc("r1", resource("probe", "shaky", "", again), resource("probe", "hopeless", "", again)))
	if got := resolved(events); got != "probe/shaky changed, probe/hopeless failed" {
		t.Errorf("resolved %s", got)
	}
	tries := 0
	for _, e := range events {
		if e.Type == wire.Log && strings.Contains(e.Text, "of 3 failed: ") {
			tries++
		}
	}
	if tries != 4 || count("apply hopeless") < 3 {
		t.Errorf("%d tries in the log", tries)
	}
}

func TestBatches(t *testing.T) {
	c := connect(t, newDevice(t))
	behave(t, "b3", failing("no such package"))
	before := count("together b1 b2 b3") + count("together b4 b6")
	events := c.run(doc("r1", resource("batched", "b1", ""), resource("batched", "b2", ""), resource("batched", "b3", ""),
		resource("batched", "b4", "", after("batched/b2")), resource("batched", "b5", "", after("batched/b3")), resource("batched", "b6", "")))
	want := "batched/b1 changed, batched/b2 changed, batched/b3 failed, batched/b4 changed, batched/b5 skipped, batched/b6 changed"
	if got := resolved(events); got != want {
		t.Errorf("resolved %s\nwant     %s", got, want)
	}
	if n := count("together b1 b2 b3") + count("together b4 b6") - before; n != 2 {
		t.Errorf("%d transactions of b1, b2, b3 and b4, b6; want 2", n)
	}
}

func TestDeletions(t *testing.T) {
	d := newDevice(t)
	d.write(t, "probe/a", "{}")
	c := connect(t, d)
	rs := []wire.Resource{resource("probe", "a", `"state":"absent"`), resource("probe", "b", `"state":"absent"`)}
	o := c.observe(nil, rs...).Observations
	if o[0].Op != modules.Delete || o[1].Op != modules.Same {
		t.Errorf("observed %+v", o)
	}
	events := c.run(doc("r1", rs...))
	if e := event(t, events, wire.Resolved, "probe/a"); e.Op != modules.Delete || e.Status != wire.Changed || e.After["state"] != "absent" {
		t.Errorf("%+v", e)
	}
}

// TestAPlanThatOnlyDeletesIsLookedAtBefore: what speaks against a run speaks against one that takes away, too.
func TestAPlanThatOnlyDeletesIsLookedAtBefore(t *testing.T) {
	d := newDevice(t)
	d.write(t, "etc/crontab", "0 * * * * root puppet agent --test\n") // another tool that manages it
	d.write(t, "probe/a", "{}")
	for want, r := range map[int]wire.Resource{1: resource("probe", "a", `"state":"absent"`), 0: resource("probe", "b", `"state":"absent"`)} {
		if found := connect(t, d).observe(nil, r).Findings; len(found) != want {
			t.Errorf("%s: %d findings, not %d: %v", r.Address, len(found), want, found)
		}
	}
}

func TestNotifications(t *testing.T) {
	d := newDevice(t)
	d.write(t, "probe/daemon", "{}")
	d.write(t, "probe/quiet", "{}")
	c := connect(t, d)
	rs := []wire.Resource{
		resource("probe", "conf", "", notifies("probe/daemon", "probe/gone")), resource("probe", "more", "", notifies("probe/daemon")),
		resource("probe", "quiet", "", notifies("probe/idle")),
		resource("probe", "daemon", "", after("probe/conf", "probe/more")), resource("probe", "idle", ""),
		resource("probe", "gone", `"state":"absent"`),
	}
	told, idle, gone := count("notify daemon"), count("notify idle"), count("notify gone")
	events := c.run(doc("r1", rs...))
	if e := event(t, events, wire.Resolved, "probe/daemon"); e.Status != wire.Changed || e.Changes[0].After != "from probe/conf, probe/more" {
		t.Errorf("%+v", e)
	}
	if count("notify daemon") != told+1 || count("notify idle") != idle || count("notify gone") != gone {
		t.Error("each that is notified, and no other, is told once")
	}
	c.run(doc("r2", rs...))
	if count("notify daemon") != told+1 {
		t.Error("a second run tells it again")
	}
	if _, err := os.Stat(filepath.Join(d.dir, "owed.json")); err == nil {
		t.Error("something is still owed")
	}
}

func TestAFailedNotificationStaysOwed(t *testing.T) {
	d := newDevice(t)
	d.write(t, "probe/daemon", "{}")
	c := connect(t, d)
	works := false
	behave(t, "daemon", behaviour{notified: func(context.Context, *host.Host, probe) error {
		if !works {
			return errors.New("it does not come up")
		}
		return nil
	}})
	rs := []wire.Resource{resource("probe", "conf", "", notifies("probe/daemon")), resource("probe", "daemon", "", after("probe/conf"))}
	if e := event(t, c.run(doc("r1", rs...)), wire.Resolved, "probe/daemon"); e.Status != wire.FailedStatus || !strings.Contains(e.Error, "notified by probe/conf: it does not come up") {
		t.Errorf("%+v", e)
	}
	works = true
	o := c.observe(nil, rs...).Observations[1]
	if o.Op != modules.Update || o.Changes[0].After != "owed since probe/conf changed" {
		t.Errorf("the plan does not show what is owed: %+v", o)
	}
	if got := resolved(c.run(doc("r2", rs...))); got != "probe/conf same, probe/daemon changed" {
		t.Errorf("resolved %s", got)
	}
	if got := resolved(c.run(doc("r3", rs...))); got != "probe/conf same, probe/daemon same" {
		t.Errorf("resolved %s", got)
	}
}
