package executor

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/modules/host"
)

func (c *client) push(text string, b wire.Blob) {
	c.t.Helper()
	if err := c.conn.SendBlob(b, strings.NewReader(text)); err != nil {
		c.t.Fatal(err)
	}
}

func TestADamagedContentIsSentAgain(t *testing.T) {
	d := newDevice(t)
	c := connect(t, d)
	b, content := blob("what should be there\n")
	r := resource("files", "/etc/x", content)
	stored := filepath.Join(d.dir, "store", b.Hash)
	c.push("what should be there\n", wire.Blob{Hash: b.Hash, Size: b.Size})
	if o := c.observe(nil, r); len(o.Missing) != 0 {
		t.Fatalf("missing although it came: %v", o.Missing)
	}
	// Shorter: seen at once.
	if err := os.Truncate(stored, 5); err != nil {
		t.Fatal(err)
	}
	if o := c.observe(nil, r); len(o.Missing) != 1 {
		t.Error("a cut content is not missing")
	}
	// Of the same size: seen when it is used, and the file isn't touched.
	if err := os.WriteFile(stored, []byte("what shouldn't be the\n")[:b.Size], 0o600); err != nil {
		t.Fatal(err)
	}
	e := event(t, c.run(doc("r1", r)), wire.Resolved, r.Address)
	if e.Status != wire.FailedStatus || !strings.Contains(e.Error, "damaged") || e.Hint == "" {
		t.Errorf("%+v", e)
	}
	if _, err := os.Stat(filepath.Join(d.root, "etc/x")); err == nil {
		t.Error("a damaged content was put in place")
	}
	if o := c.observe(nil, r); len(o.Missing) != 1 {
		t.Error("the damaged content is not asked for again")
	}
	c.push("what should be there\n", wire.Blob{Hash: b.Hash, Size: b.Size})
	if got := resolved(c.run(doc("r2", r))); got != "files//etc/x changed" {
		t.Errorf("resolved %s", got)
	}
}

func TestAContentThatCannotBeKeptFailsOnlyItsResource(t *testing.T) {
	d := newDevice(t)
	c := connect(t, d)
	b, content := blob("right\n")
	_, other := blob("")
	rs := []wire.Resource{resource("files", "/etc/x", content), resource("files", "/etc/y", other), resource("probe", "p", "")}
	c.push("wrong\n", wire.Blob{Hash: b.Hash, Size: b.Size})
	c.push("", wire.Blob{Hash: hashOf(""), Size: 0})
	events := c.run(doc("r1", rs...))
	if got := resolved(events); got != "files//etc/x failed, files//etc/y changed, probe/p changed" {
		t.Errorf("resolved %s", got)
	}
	if e := event(t, events, wire.Resolved, "files//etc/x"); !strings.Contains(e.Error, "could not be kept on the device: it arrived damaged") {
		t.Errorf("%+v", e)
	}

	// No room for a store.
	os.RemoveAll(filepath.Join(d.dir, "store"))
	if err := os.WriteFile(filepath.Join(d.dir, "store"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c.push("right\n", wire.Blob{Hash: b.Hash, Size: b.Size})
	events = c.run(doc("r2", rs...))
	if got := resolved(events); got != "files//etc/x failed, files//etc/y same, probe/p same" {
		t.Errorf("resolved %s", got)
	}
}

func TestNamesOfContentsAreNoPaths(t *testing.T) {
	d := newDevice(t)
	c := connect(t, d)
	outside := filepath.Join(d.dir, "outside")
	for _, name := range []string{"../outside", "../../outside", outside, "", ".", "..", strings.ToUpper(hashOf("x")), hashOf("x") + "/../../outside", strings.Repeat("0", 63)} {
		c.push("x", wire.Blob{Hash: name, Size: 1})
		r := resource("files", "/etc/x", `"content":{"hash":"`+name+`","size":1}`)
		if o := c.observe(nil, r); len(o.Missing) != 1 {
			t.Errorf("%q is said to be there", name)
		}
	}
	var found []string
	filepath.WalkDir(filepath.Dir(d.dir), func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			found = append(found, path)
		}
		return nil
	})
	if len(found) > 0 {
		t.Errorf("it left %v", found)
	}
	s := newContents(filepath.Join(d.dir, "store"))
	os.WriteFile(outside, []byte("x"), 0o600)
	if r, err := s.OpenBlob("../outside"); err == nil {
		r.Close()
		t.Error("a path was opened")
	}
}

func TestSecretContentsAreKeptInMemoryOnly(t *testing.T) {
	d := newDevice(t)
	c := connect(t, d)
	b, content := blob("hunter2")
	r := resource("files", "/etc/x", content, func(r *wire.Resource) { r.Secret = []string{"content"} })
	c.push("hunter2", wire.Blob{Hash: b.Hash, Size: b.Size, Secret: true})
	if o := c.observe([]string{"hunter2"}, r); len(o.Missing) != 0 {
		t.Errorf("missing %v", o.Missing)
	}
	if _, err := os.Stat(d.dir); err == nil {
		t.Error("something was written to the executor's folder")
	}
	if o := connect(t, d).observe([]string{"hunter2"}, r); len(o.Missing) != 1 {
		t.Error("the next session has it still")
	}
	if got := resolved(c.run(wire.Document{ID: "r1", Resources: []wire.Resource{r}, Secrets: []string{"hunter2"}})); got != "files//etc/x changed" || d.read("etc/x") != "hunter2" {
		t.Errorf("resolved %s", got)
	}
}

func TestOldThingsAreRemoved(t *testing.T) {
	d := newDevice(t)
	c := connect(t, d)
	for _, text := range []string{"old", "new", "used"} {
		c.push(text, wire.Blob{Hash: hashOf(text), Size: int64(len(text))})
	}
	c.run(doc("r1", resource("probe", "a", "")))
	long := time.Now().Add(-2 * keep)
	for i := range keepRuns { // a name tells when a run was
		if err := os.MkdirAll(filepath.Join(d.dir, fmt.Sprintf("runs/20260101-1200%02d-abc", i)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []string{"store/" + hashOf("old"), "store/" + hashOf("used"), "runs/r1"} {
		if err := os.Chtimes(filepath.Join(d.dir, p), long, long); err != nil {
			t.Fatal(err)
		}
	}
	_, content := blob("used")
	c.observe(nil, resource("files", "/etc/x", content)) // touches it
	c.run(doc("r2", resource("probe", "a", "")))
	c.hangUp()
	for p, want := range map[string]bool{"store/" + hashOf("old"): false, "store/" + hashOf("used"): true, "store/" + hashOf("new"): true,
		"runs/20260101-120000-abc": false, "runs/20260101-120001-abc": false, "runs/20260101-120002-abc": true, "runs/r1": true, "runs/r2": true} {
		if _, err := os.Stat(filepath.Join(d.dir, p)); (err == nil) != want {
			t.Errorf("%s: there %t, want %t", p, err == nil, want)
		}
	}
}

// Whatever comes in place of frames, the executor ends by itself, and leaves nothing.
func FuzzServe(f *testing.F) {
	var good bytes.Buffer
	w := wire.NewConn(nil, &good)
	_, content := blob("x")
	rs := []wire.Resource{resource("files", "/etc/x", content), resource("probe", "p", `"value":"v"`)}
	w.Send(wire.Message{Observe: &wire.Observe{Resources: rs}})
	w.SendBlob(wire.Blob{Hash: hashOf("x"), Size: 1}, strings.NewReader("x"))
	w.Send(wire.Message{Run: &wire.Document{ID: "r", Resources: rs}}, wire.Message{Cancel: &wire.Cancel{}}, wire.Message{Attach: &wire.Attach{Run: "r"}})
	f.Add(good.Bytes())
	f.Add([]byte(wire.Magic + "m\x00\x00\x00\x00\x02{}"))
	f.Add([]byte(wire.Magic + `m` + "\x00\x00\x00\x00\x2a" + `{"run":{"id":"r","resources":[{"type":""}]}}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		root := t.TempDir()
		os.Mkdir(filepath.Join(root, "probe"), 0o755)
		os.Mkdir(filepath.Join(root, "etc"), 0o755)
		host.New(root) // no more than this is touched
		ended := make(chan error, 1)
		go func() {
			ended <- Serve(t.Context(), bytes.NewReader(in), io.Discard, Options{Root: root, Dir: filepath.Join(root, "fitout")})
		}()
		select {
		case <-ended:
		case <-time.After(patience):
			t.Fatal("it does not end")
		}
	})
}

// A session needs no pipes in particular: any two streams will do.
func TestOverASocket(t *testing.T) {
	d := newDevice(t)
	here, there := net.Pipe()
	defer here.Close()
	ended := make(chan error, 1)
	go func() {
		ended <- Serve(t.Context(), there, there, Options{Root: d.root, Dir: d.dir, Alive: time.Millisecond})
		there.Close()
	}()
	c := wire.NewConn(here, here)
	for alive := 0; alive < 3; {
		m, err := c.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if m.Alive {
			alive++
		}
	}
	here.Close()
	<-ended
}
