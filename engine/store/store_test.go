package store

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/google/go-cmp/cmp"
)

func open(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestARunComesBackAsItWas(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "odd %?#name", "runs.db"))
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	r := Run{ID: "20261122-100000-aaaaaa", Command: "apply", Who: "ann", From: "desk", Started: at, Devices: []Device{{Name: "b", Status: "pending"}, {Name: "a", Status: "pending"}}}
	if err := s.Begin(r); err != nil {
		t.Fatal(err)
	}
	events := []wire.Event{{N: 1, Type: wire.Started}, {N: 2, Type: wire.Resolved, Address: "users/x", Status: wire.Changed, Before: map[string]any{"name": "x"}}}
	for range 2 { // an event that comes twice, after attaching again, is kept once
		if err := s.AddEvents(r.ID, "b", events); err != nil {
			t.Fatal(err)
		}
	}
	r.Devices = []Device{{Name: "b", Status: "changed", Counts: wire.Counts{Changed: 1}}, {Name: "a", Status: "unreachable", Error: "refused"}}
	r.Finished = at.Add(time.Minute)
	if err := s.Finish(r.ID, r.Finished, r.Devices); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{r.ID, "20261122", "aaaaaa", "", "last"} {
		got, err := s.Find(id)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(r, got); d != "" {
			t.Errorf("Find(%q) (-want +got):\n%s", id, d)
		}
	}
	got, err := s.Events(r.ID, "b")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(events, got); d != "" {
		t.Error(d)
	}
	if _, err := s.Find("nope%"); err == nil {
		t.Error("a run that isn't there was found")
	}
}

// The last run is the one that was begun last, also when the clock was set back before it.
func TestTheLastRunByAClockThatIsSetBack(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "runs.db"))
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	for i, id := range []string{"20261122-100000-aaaaaa", "20200101-000000-bbbbbb", "20210101-000000-cccccc"} {
		if err := s.Begin(Run{ID: id, Started: at.AddDate(-i*(3-i), 0, 0)}); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := s.Find("last"); err != nil || r.ID != "20210101-000000-cccccc" {
		t.Errorf("the last: %+v, %v", r, err)
	}
	all, err := s.Runs(2)
	if err != nil || len(all) != 2 || all[0].ID != "20210101-000000-cccccc" || all[1].ID != "20200101-000000-bbbbbb" {
		t.Errorf("the newest: %+v, %v", all, err)
	}
}

// TestSeveralProcesses writes from other processes at once: none may fail or lose what it wrote.
func TestSeveralProcesses(t *testing.T) {
	const processes, each = 4, 20
	if path := os.Getenv("FITOUT_TEST_STORE"); path != "" {
		s := open(t, path)
		for i := range each {
			id := fmt.Sprintf("%d-%d", os.Getpid(), i)
			if err := s.Begin(Run{ID: id, Started: time.Now()}); err != nil {
				t.Fatal(err)
			}
			if err := s.AddEvents(id, "d", []wire.Event{{N: 1}, {N: 2}}); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	path := filepath.Join(t.TempDir(), "runs.db")
	var running []*exec.Cmd
	for range processes {
		c := exec.Command(os.Args[0], "-test.run=^TestSeveralProcesses$")
		c.Env = append(os.Environ(), "FITOUT_TEST_STORE="+path)
		c.Stdout, c.Stderr = os.Stderr, os.Stderr
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		running = append(running, c)
	}
	for _, c := range running {
		if err := c.Wait(); err != nil {
			t.Errorf("a process failed: %v", err)
		}
	}
	runs, err := open(t, path).Runs(1000)
	if err != nil {
		t.Fatal(err)
	}
	if len(runs) != processes*each {
		t.Errorf("%d runs were kept of %d", len(runs), processes*each)
	}
}

func TestAFileThatIsNoStoreIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runs.db")
	if err := os.WriteFile(path, []byte("this is not a database, but it is long enough to look at"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil {
		t.Fatal("a file that is no store was opened")
	}
}

// TestDoubts: a run is in doubt from before it begins until its device owes nothing.
func TestDoubts(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "runs.db"))
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	for i, id := range []string{"20261122-100000-aaaaaa", "20200101-000000-bbbbbb"} { // the clock was set back
		if err := s.Begin(Run{ID: id, Started: at}); err != nil {
			t.Fatal(err)
		}
		for _, device := range []string{"a", "b"} {
			if err := s.SetKey(id, device, []byte{1}, []string{"m1", "m2"}[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	both := []Doubt{{"20261122-100000-aaaaaa", "m1"}, {"20200101-000000-bbbbbb", "m2"}}
	want := map[string][]Doubt{"a": both, "b": both}
	for range 2 {
		got, err := s.Doubts()
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
		if err := s.Settled([]string{"a", "elsewhere"}); err != nil {
			t.Fatal(err)
		}
		delete(want, "a")
	}
	for i := range maxDoubts + 3 {
		id := fmt.Sprintf("20261123-%06d-aaaaaa", i)
		if err := s.Begin(Run{ID: id, Started: at}); err != nil {
			t.Fatal(err)
		}
		if err := s.SetKey(id, "a", []byte{1}, "m3"); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := s.Doubts(); err != nil || len(got["a"]) != maxDoubts || got["a"][0].Run != "20261123-000003-aaaaaa" {
		t.Errorf("%v: %d in doubt, from %v", err, len(got["a"]), got["a"])
	}
}
