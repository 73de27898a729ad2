package executor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/google/go-cmp/cmp"
)

// finals are probes that nothing takes back.
type finals struct{ probes }

func (finals) Inverse(_, have probe) (probe, error) { return have, errors.New("it is for good") }

func init() { testTypes["final"] = modules.Define("final", finals{}) }

// undo asks for the way back.
func (c *client) undo(run string, key []byte, only ...string) *wire.Undoing {
	c.t.Helper()
	c.send(wire.Message{Undo: &wire.Undo{Run: run, Key: key, Only: only}})
	return c.next(func(m wire.Message) bool { return m.Undoing != nil }).Undoing
}

// shape is a way back in short: each resource, what it comes after, and what it notifies.
func shape(rs []wire.Resource) (out []string) {
	for _, r := range rs {
		line := r.Address
		if len(r.After) > 0 {
			line += " after " + strings.Join(r.After, ", ")
		}
		if len(r.Notify) > 0 {
			line += " notifies " + strings.Join(r.Notify, ", ")
		}
		out = append(out, line)
	}
	return out
}

func stuckOnes(u *wire.Undoing) (out []string) {
	for _, s := range u.Stuck {
		out = append(out, s.Address+": "+s.Reason)
	}
	return out
}

func driftedOnes(u *wire.Undoing) (out []string) {
	for _, o := range u.Drifted {
		out = append(out, strings.TrimSpace(o.Address+" "+o.Reason))
	}
	return out
}

// same fails the test unless two lists are the same.
func same(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s (-want +got):\n%s", what, cmp.Diff(want, got))
	}
}

func TestTheWayBackIsReversed(t *testing.T) {
	d := newDevice(t)
	d.write(t, "probe/old", `{"value":"old"}`)
	d.write(t, "probe/same", `{}`)
	c := connect(t, d)
	run := doc("r1", resource("probe", "same", ""), resource("probe", "base", `"value":"1"`, after("probe/same")), resource("probe", "old", `"value":"new"`, after("probe/base")),
		resource("probe", "leaf", "", after("probe/base", "probe/old")), resource("probe", "free", ""))
	c.run(run)
	u := c.undo("r1", nil)
	same(t, "the way back", shape(u.Resources), "probe/free", "probe/leaf", "probe/old after probe/leaf", "probe/base after probe/leaf, probe/old")
	same(t, "stuck", stuckOnes(u))
	same(t, "drifted", driftedOnes(u))
	var old probe
	if err := json.Unmarshal(u.Resources[2].Want, &old); err != nil || old.Value == nil || *old.Value != "old" {
		t.Errorf("probe/old becomes %s: %v", u.Resources[2].Want, err)
	}
	back := doc("r2", u.Resources...)
	if got := resolved(c.run(back)); got != "probe/free changed, probe/leaf changed, probe/old changed, probe/base changed" {
		t.Errorf("undone: %s", got)
	}
	if d.read("probe/old") != `{"name":"old","value":"old"}` || !strings.Contains(d.read("probe/base"), "no such file") {
		t.Errorf("old: %s, base: %s", d.read("probe/old"), d.read("probe/base"))
	}

	// Again there is nothing to do, and the undo can be undone.
	u = c.undo("r1", nil)
	same(t, "drifted after the undo", driftedOnes(u))
	for _, o := range c.observe(nil, u.Resources...).Observations {
		if o.Op != modules.Same {
			t.Errorf("after the undo there is still something to do: %+v", o)
		}
	}
	u = c.undo("r2", nil)
	same(t, "the way back from the way back", shape(u.Resources), "probe/base", "probe/old after probe/base", "probe/leaf after probe/base, probe/old", "probe/free")
	c.run(doc("r3", u.Resources...))
	if got := d.read("probe/old") + d.read("probe/base") + d.read("probe/leaf"); got != `{"name":"old","value":"new"}{"name":"base","value":"1"}{"name":"leaf"}` {
		t.Errorf("the undo undone: %s", got)
	}
}

func TestUndoOnly(t *testing.T) {
	c := connect(t, newDevice(t))
	c.run(doc("r1", resource("probe", "a", ""), resource("batched", "b", "", after("probe/a")), resource("probe", "c", "", after("batched/b"))))
	same(t, "one type", shape(c.undo("r1", nil, "probe").Resources), "probe/c", "probe/a")
	same(t, "two addresses", shape(c.undo("r1", nil, "probe/c", "batched/b").Resources), "probe/c", "batched/b after probe/c")
	same(t, "nothing of it", shape(c.undo("r1", nil, "files").Resources))
}

// TestUndoNotifies takes changes back of which others were told: they are told again, when all of that is done.
func TestUndoNotifies(t *testing.T) {
	d := newDevice(t)
	d.write(t, "probe/conf", `{"value":"old"}`)
	d.write(t, "probe/service", `{"name":"service","value":"stopped"}`)
	d.write(t, "probe/idle", `{"name":"idle","value":"stopped"}`)
	c := connect(t, d)
	c.run(doc("r1", resource("probe", "conf", `"value":"new"`, notifies("probe/service", "probe/idle")), resource("probe", "more", "", notifies("probe/idle")),
		resource("probe", "service", `"value":"running"`, after("probe/conf")), resource("probe", "idle", `"value":"stopped","list":["x"]`, after("probe/conf", "probe/more"), func(r *wire.Resource) { r.Want = []byte(`{"name":"idle"}`) }),
		resource("probe", "last", "", after("probe/service"))))
	u := c.undo("r1", nil)
	same(t, "the way back", shape(u.Resources), "probe/last", "probe/more notifies probe/idle", "probe/conf notifies probe/idle, probe/service",
		"probe/idle after probe/conf, probe/more", "probe/service after probe/conf, probe/last")
	before := count("notify service") + count("notify idle")
	events := c.run(doc("r2", u.Resources...))
	if got := count("notify service") + count("notify idle") - before; got != 2 {
		t.Errorf("%d notifications of 2: %s", got, resolved(events))
	}
	if o := loadOwed(d.dir); len(o.m) > 0 {
		t.Errorf("still owed: %v", o.m)
	}
	if d.read("probe/idle") != `{"name":"idle","value":"stopped"}` {
		t.Errorf("what was told only was changed: %s", d.read("probe/idle"))
	}

	// And once more for the way back from that.
	u = c.undo("r2", nil)
	same(t, "the way back from the way back", shape(u.Resources), "probe/conf notifies probe/service, probe/idle", "probe/service after probe/conf",
		"probe/more notifies probe/idle", "probe/idle after probe/conf, probe/more", "probe/last after probe/service")
}

// TestUndoOfWhatGoesAway tells nobody who goes away with what brought them.
func TestUndoOfWhatGoesAway(t *testing.T) {
	c := connect(t, newDevice(t))
	// A service refers to its unit's file.
	unit := resource("files", "/etc/systemd/system/x.service", `"content":`+func() string { _, j := blob("[Service]\n"); return strings.TrimPrefix(j, `"content":`) }(), notifies("services/x"))
	b, _ := blob("[Service]\n")
	if err := c.conn.SendBlob(wire.Blob{Hash: b.Hash, Size: b.Size}, strings.NewReader("[Service]\n")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(c.device.root, "etc/systemd/system"), 0o755); err != nil {
		t.Fatal(err)
	}
	events := c.run(doc("r1", unit, resource("services", "x", "", after("files//etc/systemd/system/x.service")),
		resource("probe", "absent", "", notifies("probe/removed")), resource("probe", "removed", "")))
	if got := resolved(events); !strings.HasPrefix(got, "files//etc/systemd/system/x.service changed") {
		t.Fatal(got)
	}
	same(t, "the way back", shape(c.undo("r1", nil).Resources), "probe/removed", "probe/absent", "files//etc/systemd/system/x.service")
}

func TestUndoSeesDrift(t *testing.T) {
	d := newDevice(t)
	d.write(t, "probe/old", `{"value":"old"}`)
	c := connect(t, d)
	behave(t, "half", behaviour{apply: func(_ context.Context, h *host.Host, want, _ probe) (modules.Outcome, error) {
		return modules.Outcome{}, errors.Join(h.WriteFile("/probe/half", `{"value":"half"}`, host.Attr{}), errors.New("it broke"))
	}})
	behave(t, "later", behaviour{apply: func(_ context.Context, h *host.Host, want, _ probe) (modules.Outcome, error) {
		return modules.Outcome{Unproven: "shows another time"}, nil
	}})
	c.run(doc("r1", resource("probe", "old", `"value":"new"`), resource("probe", "new", `"value":"new"`), resource("probe", "half", `"value":"whole"`), resource("probe", "later", "")))
	u := c.undo("r1", nil)
	same(t, "drifted at once", driftedOnes(u))
	same(t, "what is to do", shape(u.Resources), "probe/later", "probe/half", "probe/new", "probe/old")
	d.write(t, "probe/old", `{"value":"theirs"}`)
	same(t, "drifted", driftedOnes(c.undo("r1", nil)), "probe/old")
	same(t, "drift of what isn't asked for", driftedOnes(c.undo("r1", nil, "probe/new")))
	d.write(t, "probe/old", `{"value":"old"}`)
	same(t, "by hand it is as before", driftedOnes(c.undo("r1", nil)))
	if err := os.Remove(filepath.Join(d.root, "probe/new")); err != nil {
		t.Fatal(err)
	}
	d.write(t, "probe/old", `{"value":"theirs"}`)
	same(t, "all else is taken back", driftedOnes(c.undo("r1", nil)), "probe/old "+takenBack)
}

func TestUndoIsStuck(t *testing.T) {
	d := newDevice(t)
	d.write(t, "probe/pruned", "")
	for _, f := range []string{"pruned", "sealed", "plain"} {
		d.write(t, "etc/"+f, "old "+f)
	}
	d.write(t, "etc/shows", "it is s3cret-canary") // by chance, says nobody
	c := connect(t, d)
	key := []byte(strings.Repeat("k", keySize))
	b, content := blob("new")
	if err := c.conn.SendBlob(wire.Blob{Hash: b.Hash, Size: b.Size}, strings.NewReader("new")); err != nil {
		t.Fatal(err)
	}
	run := doc("r1", resource("files", "/etc/pruned", content), resource("files", "/etc/sealed", content, func(r *wire.Resource) { r.Secret = []string{"content"} }), resource("files", "/etc/plain", content),
		resource("files", "/etc/shows", content), resource("final", "f", ""), resource("probe", "hush", `"value":"s3cret-canary"`))
	run.Key, run.Secrets = key, []string{"s3cret-canary"}
	c.run(run)
	old, _ := blob("old pruned")
	if err := os.Remove(filepath.Join(runDir(d.dir, "r1"), "kept", old.Hash)); err != nil {
		t.Fatal(err)
	}
	const gone = "files//etc/pruned: its old content isn't there any more"
	const final = "final/f: it is for good"
	same(t, "stuck without the key", stuckOnes(connect(t, d).undo("r1", nil)), "probe/hush: "+errLocked.Error(), final, "files//etc/shows: "+errLocked.Error(), "files//etc/sealed: "+errLocked.Error(), gone)
	u := connect(t, d).undo("r1", key)
	same(t, "stuck with the key", stuckOnes(u), final, gone)
	same(t, "to be scrubbed", u.Secrets, "s3cret-canary")
	bad := connect(t, d)
	bad.send(wire.Message{Undo: &wire.Undo{Run: "r1", Key: []byte(strings.Repeat("x", keySize))}})
	if f := bad.failure(); f.Error == "" {
		t.Error("a wrong key passes")
	}

	// The undo of what was sealed needs nothing of the controller but the key and the document.
	c = connect(t, d)
	u = c.undo("r1", key)
	again := doc("r2", u.Resources...)
	again.Secrets = u.Secrets
	again.Key = []byte(strings.Repeat("2", keySize))
	c.run(again)
	if got := d.read("etc/sealed") + d.read("etc/plain") + d.read("etc/shows"); got != "old sealedold plainit is s3cret-canary" {
		t.Errorf("undone: %q", got)
	}
	u = connect(t, d).undo("r2", again.Key)
	same(t, "the way back from the way back", stuckOnes(u))
	for _, run := range []string{"r1", "r2"} {
		raw, err := os.ReadFile(journalFile(d.dir, run))
		if err != nil || strings.Contains(string(raw), "old sealed") || strings.Contains(string(raw), "s3cret-canary") {
			t.Errorf("the journal of %s holds what was sealed: %v", run, err)
		}
	}
	kept, err := filepath.Glob(filepath.Join(d.dir, "runs", "*", "kept", "*"))
	if err != nil || len(kept) == 0 {
		t.Fatalf("nothing is kept: %v", err)
	}
	for _, path := range kept {
		if raw, err := os.ReadFile(path); err != nil || strings.Contains(string(raw), "old sealed") || strings.Contains(string(raw), "s3cret-canary") {
			t.Errorf("%s holds what should be sealed: %v", path, err)
		}
	}
}

func TestUndoRefuses(t *testing.T) {
	d := newDevice(t)
	c := connect(t, d)
	for run, want := range map[string]string{"../../etc": "bad run id", "r0": "no journal of run r0"} {
		c.send(wire.Message{Undo: &wire.Undo{Run: run}})
		if f := c.failure(); !strings.Contains(f.Error, want) {
			t.Errorf("%s: %+v", run, f)
		}
	}
}

// doubtful are probes whose way back may be blocked, as the device alone knows.
type doubtful struct{ probes }

func (doubtful) Doubts(_ context.Context, h *host.Host, wants, haves []probe) []string {
	out := make([]string, len(wants))
	for i, w := range wants {
		if h.Exists("/etc/blocked-" + w.Name) {
			out[i] = fmt.Sprintf("%s is blocked; asked of %d", w.Name, len(wants))
		}
	}
	return out
}

func init() { testTypes["doubtful"] = modules.Define("doubtful", doubtful{}) }

// TestDoubts asks for all pending changes at once whether the device has what undo will need.
func TestDoubts(t *testing.T) {
	d := newDevice(t)
	d.write(t, "probe/there", "{}")
	for _, name := range []string{"a", "there"} {
		d.write(t, "etc/blocked-"+name, "")
	}
	for i, o := range connect(t, d).observe(nil, resource("doubtful", "a", ""), resource("doubtful", "b", ""), resource("doubtful", "there", "")).Observations {
		if want := []string{"a is blocked; asked of 2", "", ""}[i]; o.NoUndo != want {
			t.Errorf("%s: %q, not %q", o.Address, o.NoUndo, want)
		}
	}
}

// TestNoUndo says before a change that it can't be taken back.
func TestNoUndo(t *testing.T) {
	d := newDevice(t)
	for _, f := range []struct {
		name string
		size int64
	}{{"small", 10}, {"large", maxKept + 1}, {"secret", maxSealed + 1}} {
		d.write(t, "etc/"+f.name, "")
		if err := os.Truncate(filepath.Join(d.root, "etc", f.name), f.size); err != nil {
			t.Fatal(err)
		}
	}
	_, content := blob("new")
	out := connect(t, d).observe(nil, resource("files", "/etc/small", content), resource("files", "/etc/large", content),
		resource("files", "/etc/secret", content, func(r *wire.Resource) { r.Secret = []string{"content"} }), resource("final", "x", ""), resource("probe", "p", ""))
	got := map[string]bool{}
	for _, o := range out.Observations {
		got[o.Address] = o.NoUndo != ""
	}
	want := map[string]bool{"files//etc/small": false, "files//etc/large": true, "files//etc/secret": true, "final/x": true, "probe/p": false}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("what can't be undone (-want +got):\n%s%+v", d, out.Observations)
	}
}
