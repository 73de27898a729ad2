package executor

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/host"
)

// patience bounds every wait of these tests.
const patience = 20 * time.Second

// device is a folder that serves as a device, with the executor's folder beside it.
type device struct{ root, dir string }

func newDevice(t *testing.T) device {
	t.Helper()
	d := device{t.TempDir(), filepath.Join(t.TempDir(), "fitout")}
	for _, p := range []string{"probe", "etc"} {
		if err := os.MkdirAll(filepath.Join(d.root, p), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	d.write(t, "etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
	d.write(t, "etc/group", "root:x:0:\n")
	return d
}

func (d device) write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(d.root, path), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (d device) read(path string) string {
	b, err := os.ReadFile(filepath.Join(d.root, path))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// events are those that the device has kept of a run.
func (d device) events(t *testing.T, run string) []wire.Event {
	t.Helper()
	events, err := readEvents(d.dir, run)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// client is the controller's side of a session.
type client struct {
	t      *testing.T
	device device
	conn   *wire.Conn
	in     io.Closer
	hello  wire.Hello
	served chan error

	mu       sync.Mutex
	messages chan wire.Message
	said     []wire.Message // all that came
}

func connect(t *testing.T, d device) *client {
	t.Helper()
	return connectWith(t, d, func(*Options) {})
}

func connectWith(t *testing.T, d device, change func(*Options)) *client {
	t.Helper()
	o := Options{Root: d.root, Dir: d.dir, Alive: time.Hour}
	change(&o)
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	c := &client{t: t, device: d, conn: wire.NewConn(outR, inW), in: inW, served: make(chan error, 1), messages: make(chan wire.Message, 4096)}
	go func() {
		err := Serve(context.Background(), inR, outW, o)
		inR.CloseWithError(io.ErrClosedPipe)
		outW.Close()
		c.served <- err
	}()
	go c.read()
	t.Cleanup(func() {
		inW.Close()
		outR.Close()
	})
	c.hello = *c.next(func(m wire.Message) bool { return m.Hello != nil }).Hello
	return c
}

func (c *client) read() {
	defer close(c.messages)
	for {
		m, err := c.conn.Receive()
		if err != nil {
			return
		}
		c.mu.Lock()
		c.said = append(c.said, m)
		c.mu.Unlock()
		c.messages <- m
	}
}

// next waits for a message that fits; a failure that isn't asked for ends the test.
func (c *client) next(fits func(wire.Message) bool) wire.Message {
	c.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case m, ok := <-c.messages:
			switch {
			case !ok:
				c.t.Fatal("the executor hung up")
			case fits(m):
				return m
			case m.Failed != nil:
				c.t.Fatalf("failed: %+v", *m.Failed)
			}
		case <-deadline:
			c.t.Fatal("no answer in time")
		}
	}
}

func (c *client) send(m wire.Message) {
	c.t.Helper()
	if err := c.conn.Send(m); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) observe(secrets []string, rs ...wire.Resource) *wire.Observed {
	c.t.Helper()
	c.send(wire.Message{Observe: &wire.Observe{Resources: rs, Secrets: secrets}})
	return c.next(func(m wire.Message) bool { return m.Observed != nil }).Observed
}

// run sends a document and returns its events up to the last one.
func (c *client) run(doc wire.Document) []wire.Event {
	c.t.Helper()
	c.send(wire.Message{Run: &doc})
	return c.until(wire.Finished, "")
}

func (c *client) until(kind, address string) []wire.Event {
	c.t.Helper()
	var events []wire.Event
	for {
		e := c.next(func(m wire.Message) bool { return m.Event != nil }).Event
		events = append(events, *e)
		if e.Type == kind && (address == "" || e.Address == address) {
			return events
		}
	}
}

func (c *client) failure() wire.Failed {
	c.t.Helper()
	return *c.next(func(m wire.Message) bool { return m.Failed != nil }).Failed
}

// hangUp ends the session as a controller that dies does, and waits for the executor to end.
func (c *client) hangUp() error {
	c.t.Helper()
	c.in.Close()
	select {
	case err := <-c.served:
		return err
	case <-time.After(patience):
		c.t.Fatal("the executor did not end")
		return nil
	}
}

// resource declares one: want is JSON without its braces.
func resource(typ, key, want string, change ...func(*wire.Resource)) wire.Resource {
	r := wire.Resource{Address: typ + "/" + key, Type: typ}
	name := "name"
	if typ == "files" || typ == "directories" {
		name = "path"
	}
	if want != "" {
		want = "," + want
	}
	r.Want = json.RawMessage(fmt.Sprintf(`{%q:%q%s}`, name, key, want))
	for _, f := range change {
		f(&r)
	}
	return r
}

func after(addresses ...string) func(*wire.Resource) {
	return func(r *wire.Resource) { r.After = addresses }
}

func notifies(addresses ...string) func(*wire.Resource) {
	return func(r *wire.Resource) { r.Notify = addresses }
}

func blob(text string) (host.Blob, string) {
	b, _ := host.BlobOf(strings.NewReader(text))
	j, _ := json.Marshal(b)
	return b, `"content":` + string(j)
}

// resolved are what became of the resources, in the order of the events.
func resolved(events []wire.Event) string {
	var out []string
	for _, e := range events {
		if e.Type == wire.Resolved {
			out = append(out, e.Address+" "+string(e.Status))
		}
	}
	return strings.Join(out, ", ")
}

func event(t *testing.T, events []wire.Event, kind, address string) wire.Event {
	t.Helper()
	for _, e := range events {
		if e.Type == kind && e.Address == address {
			return e
		}
	}
	t.Fatalf("no event %s of %q in %+v", kind, address, events)
	return wire.Event{}
}

func TestAWholeSession(t *testing.T) {
	d := newDevice(t)
	c := connect(t, d)
	if c.hello.Version != wire.Version || c.hello.Root != d.root || c.hello.Facts["os"] == nil || c.hello.Holder != nil {
		t.Errorf("hello %+v", c.hello)
	}
	motd, content := blob("welcome\n")
	rs := []wire.Resource{
		resource("directories", "/srv/data", `"mode":"0750"`),
		resource("files", "/etc/motd", content+`,"mode":"0644"`),
		resource("files", "/srv/data/same", content, after("directories//srv/data")),
	}
	observed := c.observe(nil, rs...)
	for i, op := range []modules.Op{modules.Create, modules.Create, modules.Create} {
		if o := observed.Observations[i]; o.Op != op || o.Address != rs[i].Address || o.Digest == "" {
			t.Errorf("observation %d: %+v", i, o)
		}
	}
	if len(observed.Missing) != 1 || observed.Missing[0] != motd.Hash {
		t.Errorf("missing %v, want %s once", observed.Missing, motd.Hash)
	}
	if _, err := os.Stat(d.dir); err == nil {
		t.Error("observing made the executor's folder")
	}
	if err := c.conn.SendBlob(wire.Blob{Hash: motd.Hash, Size: motd.Size}, strings.NewReader("welcome\n")); err != nil {
		t.Fatal(err)
	}
	expect := map[string]string{}
	for _, o := range observed.Observations {
		expect[o.Address] = o.Digest
	}
	events := c.run(wire.Document{ID: "r1", Resources: rs, Expect: expect})
	if got, want := resolved(events), "directories//srv/data changed, files//etc/motd changed, files//srv/data/same changed"; got != want {
		t.Errorf("resolved %s\nwant %s", got, want)
	}
	for i, e := range events {
		if e.N != i+1 || e.Time.IsZero() {
			t.Errorf("event %d has number %d, time %s", i+1, e.N, e.Time)
		}
	}
	if events[0].Type != wire.Started {
		t.Errorf("the first event is %+v", events[0])
	}
	if last := events[len(events)-1]; last.Counts == nil || last.Counts.Changed != 3 {
		t.Errorf("last event %+v", last)
	}
	begun := map[string]bool{}
	for _, e := range events {
		if e.Type == wire.Begin {
			begun[e.Address] = true
		}
		if e.Type == wire.Resolved && !begun[e.Address] {
			t.Errorf("%s was resolved before it began", e.Address)
		}
	}
	if e := event(t, events, wire.Resolved, "files//etc/motd"); e.Op != modules.Create || e.Before["state"] != "absent" || e.After["mode"] != "0644" || len(e.Changes) != 2 {
		t.Errorf("event %+v", e)
	}
	if d.read("etc/motd") != "welcome\n" || d.read("srv/data/same") != "welcome\n" {
		t.Error("the files are not what was wanted")
	}
	if kept := d.events(t, "r1"); len(kept) != len(events) || resolved(kept) != resolved(events) {
		t.Errorf("the device kept %d events of %d", len(kept), len(events))
	}

	observed = c.observe(nil, rs...)
	for _, o := range observed.Observations {
		if o.Op != modules.Same || len(o.Changes) != 0 {
			t.Errorf("afterwards %+v", o)
		}
	}
	if len(observed.Missing) != 0 {
		t.Errorf("missing afterwards: %v", observed.Missing)
	}
	if got := resolved(c.run(wire.Document{ID: "r2", Resources: rs})); strings.Contains(got, "changed") {
		t.Errorf("the second run: %s", got)
	}
	// The same document again would repeat what is recorded as complete.
	c.send(wire.Message{Run: &wire.Document{ID: "r1", Resources: rs}})
	if f := c.failure(); !strings.Contains(f.Error, "carried out") {
		t.Errorf("the same run again: %+v", f)
	}
	if err := c.hangUp(); err != nil {
		t.Error(err)
	}
}

func TestFollowFromANumber(t *testing.T) {
	c := connect(t, newDevice(t))
	events := c.run(wire.Document{ID: "r1", Resources: []wire.Resource{resource("probe", "a", ""), resource("probe", "b", "")}})
	c.send(wire.Message{Attach: &wire.Attach{Run: "r1", From: 3}})
	if again := c.until(wire.Finished, ""); len(again) != len(events)-2 || again[0].N != 3 {
		t.Errorf("%d events from number %d", len(again), again[0].N)
	}
	c.send(wire.Message{Attach: &wire.Attach{Run: "r7", From: 1}})
	if f := c.failure(); !strings.Contains(f.Error, "r7") {
		t.Errorf("failed %+v", f)
	}
}

func TestOldContentForTheDiff(t *testing.T) {
	d := newDevice(t)
	d.write(t, "etc/motd", "old\n")
	d.write(t, "etc/bin", "a\x00b")
	d.write(t, "etc/large", strings.Repeat("x", maxText+1))
	c := connect(t, d)
	_, content := blob("new\n")
	o := c.observe(nil, resource("files", "/etc/motd", content), resource("files", "/etc/bin", content), resource("files", "/etc/large", content)).Observations
	if o[0].Text == nil || *o[0].Text != "old\n" || o[1].Text != nil || !o[1].Binary || o[2].Text != nil {
		t.Errorf("text %+v", o)
	}
	if len(o[0].Changes) != 1 || o[0].Changes[0].Property != "content" {
		t.Errorf("changes %+v", o[0].Changes)
	}
}

// A thousand changed files of 60 KB each would make a message that no frame holds.
func TestOldContentsAreBounded(t *testing.T) {
	d := newDevice(t)
	_, content := blob("new\n")
	var rs []wire.Resource
	for i := range 100 {
		d.write(t, fmt.Sprintf("etc/f%d", i), strings.Repeat("a line\n", 8<<10))
		rs = append(rs, resource("files", fmt.Sprintf("/etc/f%d", i), content))
	}
	texts := 0
	for _, o := range connect(t, d).observe(nil, rs...).Observations {
		if o.Text != nil {
			texts += len(*o.Text)
		}
	}
	if texts < maxTexts/2 || texts > maxTexts+maxText {
		t.Errorf("%d bytes of old contents", texts)
	}
}

func TestUnknown(t *testing.T) {
	d := newDevice(t)
	d.write(t, "probe/there", "{}")
	c := connect(t, d)
	behave(t, "cannot-see", behaviour{observe: func(ctx context.Context, h *host.Host, want probe) (probe, error) {
		if _, err := h.ReadFile("/probe/missing"); err != nil {
			return probe{}, err
		}
		return readProbe(h, want)
	}})
	before := count("observe g1")
	rs := []wire.Resource{
		resource("probe", "missing", ""),
		resource("probe", "cannot-see", "", after("probe/missing")),
		resource("probe", "there", "", after("probe/missing")),
		resource("guarded", "g1", "", after("probe/missing")),
		resource("guarded", "g2", "", after("probe/there")), // waits through another
		resource("guarded", "g3", ""),
		resource("guarded", "g4", "", after("guarded/g3")),
		wire.Resource{Address: "probe/elsewhere", Type: "probe", Want: json.RawMessage(`{"name":"elsewhere"}`), Skip: "windows only"},
		resource("guarded", "g5", "", after("probe/elsewhere")),
		resource("probe", "cannot-see", "", func(r *wire.Resource) { r.Address = "probe/alone" }),
	}
	want := []string{"create", "unknown after probe/missing", "same", "unknown after probe/missing", "unknown after probe/missing", "create",
		"unknown after guarded/g3", "skip windows only", "create", "error"}
	for i, o := range c.observe(nil, rs...).Observations {
		got := strings.TrimSpace(string(o.Op) + " " + o.Reason)
		if o.Error != "" {
			got = "error"
		}
		if got != want[i] {
			t.Errorf("%s: %s, want %s", o.Address, got, want[i])
		}
	}
	if count("observe g1") != before {
		t.Error("a guard ran although something before it is pending")
	}
	// At its turn each of them is known.
	events := c.run(wire.Document{ID: "r1", Resources: rs[:9]})
	if got := resolved(events); strings.Contains(got, "failed") || strings.Count(got, "changed") != 7 {
		t.Errorf("resolved %s", got)
	}
}

func TestContentsOfWhatMayChangeInTheRunAreAskedFor(t *testing.T) {
	d := newDevice(t)
	d.write(t, "etc/conf", "site\n")
	c := connect(t, d)
	b, content := blob("site\n")
	behave(t, "package", behaviour{apply: func(ctx context.Context, h *host.Host, want, have probe) (modules.Outcome, error) {
		if err := h.WriteFile("/etc/conf", "the package's own\n", host.Attr{}); err != nil {
			return modules.Outcome{}, err
		}
		return modules.Outcome{}, writeProbe(h, want)
	}})
	rs := []wire.Resource{resource("probe", "package", ""), resource("files", "/etc/conf", content, after("probe/package"))}
	o := c.observe(nil, rs...)
	if o.Observations[1].Op != modules.Same || len(o.Missing) != 1 {
		t.Fatalf("observed %+v", o)
	}
	if err := c.conn.SendBlob(wire.Blob{Hash: b.Hash, Size: b.Size}, strings.NewReader("site\n")); err != nil {
		t.Fatal(err)
	}
	events := c.run(wire.Document{ID: "r1", Resources: rs, Expect: map[string]string{rs[1].Address: o.Observations[1].Digest}})
	if got := resolved(events); got != "probe/package changed, files//etc/conf changed" || d.read("etc/conf") != "site\n" {
		t.Errorf("resolved %s, the file is %q", got, d.read("etc/conf"))
	}
}

func TestNonsenseFromTheController(t *testing.T) {
	d := newDevice(t)
	c := connect(t, d)
	for _, id := range []string{"", ".", "..", "../../etc", "a/b", `a\b`, "a b", "Ä", strings.Repeat("a", 65)} {
		c.send(wire.Message{Run: &wire.Document{ID: id}})
		if f := c.failure(); !strings.Contains(f.Error, "run id") {
			t.Errorf("run %q: %+v", id, f)
		}
	}
	c.send(wire.Message{})
	if f := c.failure(); f.Error == "" {
		t.Error("an empty message was no error")
	}
	events := c.run(wire.Document{ID: "r1", Resources: []wire.Resource{
		{Address: "nonsense/x", Type: "nonsense", Want: json.RawMessage(`{}`)},
		resource("probe", "a", `"unheard":1`),
		resource("probe", "b", ""),
	}})
	if got := resolved(events); got != "nonsense/x failed, probe/a failed, probe/b changed" {
		t.Errorf("resolved %s", got)
	}
}
