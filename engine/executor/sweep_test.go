package executor

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/google/go-cmp/cmp"
)

// What a crash left goes with the next session, but nothing of a run that is under way, stopped, or about to begin.
func TestLeftoversAreSwept(t *testing.T) {
	d := newDevice(t)
	c := connect(t, d)
	c.run(wire.Document{ID: "ended", Resources: []wire.Resource{resource("probe", "a", "")}})
	if err := c.hangUp(); err != nil {
		t.Fatal(err)
	}
	beginning := runDir(d.dir, "beginning")
	if err := os.MkdirAll(filepath.Join(beginning, "kept"), 0o700); err != nil {
		t.Fatal(err)
	}
	files := []string{"owed.json.new", "runs/beginning/key", "runs/beginning/socket", "runs/ended/key", "runs/ended/journal.new", "runs/ended/kept/x.new", "runs/ended/socket"}
	session := func() (left []string) {
		t.Helper()
		for _, f := range files {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(d.dir, f)), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(d.dir, f), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		c := connect(t, d)
		c.observe(nil) // after the sweep
		if err := c.hangUp(); err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if _, err := os.Lstat(filepath.Join(d.dir, f)); err == nil {
				left = append(left, f)
			}
		}
		return left
	}
	l, _, err := acquire(d.dir, wire.Holder{Run: "beginning"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(files, session()); diff != "" {
		t.Errorf("while a run is under way (-want +got):\n%s", diff)
	}
	l.leave()
	if diff := cmp.Diff(files, session()); diff != "" {
		t.Errorf("after a run stopped half-way (-want +got):\n%s", diff)
	}
	if l, _, err = acquire(d.dir, wire.Holder{}); err != nil {
		t.Fatal(err)
	}
	l.release()
	if diff := cmp.Diff([]string{"runs/beginning/key", "runs/beginning/socket"}, session()); diff != "" {
		t.Errorf("the next session (-want +got):\n%s", diff)
	}
	if len(d.events(t, "ended")) == 0 {
		t.Error("the run's journal is gone")
	}
}

func TestAbandonedUploadsAreRemoved(t *testing.T) {
	d := newDevice(t)
	old, fresh := filepath.Join(d.dir, "bin", ".new-1"), filepath.Join(d.dir, "bin", ".new-2")
	for _, dir := range []string{old, fresh} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	before := time.Now().Add(-2 * uploadLasts)
	if err := os.Chtimes(old, before, before); err != nil {
		t.Fatal(err)
	}
	connect(t, d).observe(nil)
	if _, err := os.Lstat(old); err == nil {
		t.Error("what a controller left that died is still there")
	}
	if _, err := os.Lstat(fresh); err != nil {
		t.Error("what is being sent now is gone")
	}
}
