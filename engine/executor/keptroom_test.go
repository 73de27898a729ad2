package executor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/engine/executor/wire"
)

// keepLess has devices keep so many bytes in this test.
func keepLess(t *testing.T, bytes int64) {
	all := keptRoom
	keptRoom = bytes
	t.Cleanup(func() { keptRoom = all })
}

// replace has a run give a file another content of 40 bytes.
func replace(t *testing.T, d device, run, path, letter string) {
	t.Helper()
	c := connect(t, d)
	text := strings.Repeat(letter, 40)
	b, content := blob(text)
	if len(c.observe(nil, resource("files", path, content)).Missing) > 0 {
		c.push(text, wire.Blob{Hash: b.Hash, Size: b.Size})
	}
	if got := resolved(c.run(doc(run, resource("files", path, content)))); got != "files/"+path+" changed" {
		t.Fatalf("%s: %s", run, got)
	}
}

func TestTheOldestKeptContentsGoFirst(t *testing.T) {
	keepLess(t, 100)
	d := newDevice(t)
	d.write(t, "etc/x", strings.Repeat("0", 40))
	for _, run := range []string{"r1", "r2", "r3"} {
		replace(t, d, run, "/etc/x", run[1:])
	}
	_, oldest := keptByRuns(d.dir, "r1")
	_, newer := keptByRuns(d.dir, "r2")
	_, newest := keptByRuns(d.dir, "r3")
	if oldest != 0 || newer != 40 || newest != 40 {
		t.Errorf("%d, %d and %d bytes are kept", oldest, newer, newest)
	}
	same(t, "stuck", stuckOnes(connect(t, d).undo("r1", nil)), "files//etc/x: its old content isn't there any more")
	same(t, "stuck", stuckOnes(connect(t, d).undo("r3", nil)))
}

// TestWhatARunNeedsIsKept: the way back of the oldest run needs what that has kept, though more is to be kept meanwhile.
func TestWhatARunNeedsIsKept(t *testing.T) {
	keepLess(t, 100)
	d := newDevice(t)
	for _, f := range []string{"etc/a", "etc/b"} {
		d.write(t, f, strings.Repeat(f[4:], 40))
	}
	replace(t, d, "r1", "/etc/a", "1")
	replace(t, d, "r2", "/etc/b", "2")
	if err := os.RemoveAll(filepath.Join(d.dir, "store")); err != nil { // a month later
		t.Fatal(err)
	}
	c := connect(t, d)
	u := c.undo("r1", nil)
	c.run(doc("r3", u.Resources...))
	if got := d.read("etc/a"); got != strings.Repeat("a", 40) {
		t.Errorf("undone: %q", got)
	}
	same(t, "the way back from r3", stuckOnes(connect(t, d).undo("r3", nil)))
	same(t, "the way back from r2", stuckOnes(connect(t, d).undo("r2", nil)), "files//etc/b: its old content isn't there any more")
}

// TestAPlanSaysWhatWontBeKept also of what would be kept by itself, and isn't beside the rest.
func TestAPlanSaysWhatWontBeKept(t *testing.T) {
	keepLess(t, 100)
	d := newDevice(t)
	var rs []wire.Resource
	for _, f := range []string{"a", "b", "c"} {
		d.write(t, "etc/"+f, strings.Repeat(f, 40))
		_, content := blob("new")
		rs = append(rs, resource("files", "/etc/"+f, content))
	}
	c := connect(t, d)
	c.push("new", wire.Blob{Hash: hashOf("new"), Size: 3})
	const lost = "its old content would be lost: the run replaces more, and a device keeps no more than 1 GB"
	for i, o := range c.observe(nil, rs...).Observations {
		if want := []string{"", "", lost}[i]; o.NoUndo != want {
			t.Errorf("%s: %q, not %q", o.Address, o.NoUndo, want)
		}
	}
	c.run(doc("r1", rs...))
	same(t, "stuck", stuckOnes(connect(t, d).undo("r1", nil)), "files//etc/c: its old content was not kept: a device keeps no more than 1 GB")
}
