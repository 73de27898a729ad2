package executor

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fitout-dev/fitout/engine/executor/wire"
)

// TestTheClockJumps: it is another year whenever the run looks at its clock. The events' numbers tell their order; whoever
// follows from one gets all from there.
func TestTheClockJumps(t *testing.T) {
	var looks atomic.Int64
	jumps := []int{0, 1, -30, 7, -3}
	now := func() time.Time {
		n := looks.Add(1)
		return time.Date(2026+jumps[n%int64(len(jumps))], 2, 29, 23, 59, 59, 0, time.Local).Round(0)
	}
	d := newDevice(t)
	c := connectWith(t, d, func(o *Options) { o.Now = now })
	run := doc("r1", resource("probe", "a", "", notifies("probe/b")), resource("probe", "b", ""), resource("probe", "c", "", after("probe/b")))
	run.Settings.RebootWindow = "22:00-06:00"
	events := c.run(run)
	if got, want := resolved(events), "probe/a changed, probe/b changed, probe/c changed"; got != want {
		t.Errorf("resolved %s", got)
	}
	back := 0
	for i, e := range events {
		if e.N != i+1 {
			t.Errorf("event %d has number %d", i+1, e.N)
		}
		if e.Seconds < 0 {
			t.Errorf("event %d took %f s", e.N, e.Seconds)
		}
		if i > 0 && e.Time.Before(events[i-1].Time) {
			back++
		}
	}
	if back == 0 {
		t.Error("the clock was never set back: this proves nothing")
	}
	for n := range events {
		c.send(wire.Message{Attach: &wire.Attach{Run: "r1", From: n + 1}})
		if diff := cmp.Diff(events[n:], c.until(wire.Finished, "")); diff != "" {
			t.Errorf("from %d on:\n%s", n+1, diff)
		}
	}
	if diff := cmp.Diff(events, d.events(t, "r1")); diff != "" {
		t.Errorf("in the journal:\n%s", diff)
	}
}

// Journals go by their number, and never that of the run that just ended, whatever its name, which is of a controller's clock,
// and the device's own clock say.
func TestJournalsArePrunedByTheirNumber(t *testing.T) {
	dir := t.TempDir()
	ages := []time.Duration{-100 * 365 * 24 * time.Hour, 0, 40 * 365 * 24 * time.Hour}
	name := func(i int) string { return fmt.Sprintf("2026%04d", i) }
	make := func(name string, age time.Duration) {
		if err := os.MkdirAll(runDir(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(age)
		if err := os.Chtimes(runDir(dir, name), at, at); err != nil {
			t.Fatal(err)
		}
	}
	for i := range keepRuns + 7 {
		make(name(i), ages[i%len(ages)])
	}
	make("19700101", ages[0])
	pruneRuns(dir, "19700101")
	var left, want []string
	entries, err := os.ReadDir(filepath.Join(dir, "runs"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		left = append(left, e.Name())
	}
	want = append(want, "19700101")
	for i := 7; i < keepRuns+7; i++ {
		want = append(want, name(i))
	}
	if diff := cmp.Diff(want, left); diff != "" {
		t.Error(diff)
	}
}
