package main

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fitout-dev/fitout/engine/run"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestHangingDevicesDelayNobody has far more hanging devices than slots. They hang until all others have ended, so this
// test ends only if a hanging device holds up none.
func TestHangingDevicesDelayNobody(t *testing.T) {
	f, err := newFleet(t.TempDir(), simulation{devices: 500, hanging: 50, resources: 5})
	if err != nil {
		t.Fatal(err)
	}
	results := f.apply(t.Context(), 8, 100*time.Millisecond)
	count := map[run.Status]int{}
	for _, r := range results {
		count[r.Status]++
		if r.Status != run.Unreachable && r.Err != nil {
			t.Errorf("%s: %v", r.Device, r.Err)
		}
		if r.Status == run.Changed && r.Counts.Changed != 5 {
			t.Errorf("%s: %+v", r.Device, r.Counts)
		}
	}
	if count[run.Changed] != 450 || count[run.Unreachable] != 50 {
		t.Errorf("devices ended as %v", count)
	}
}

// TestWhatGoesWrongOnSomeDevicesIsTheirs: devices that fail half-way, that are gone for good in mid-run and whose connection
// breaks every second leave the others alone; and those that come back lose nothing.
func TestWhatGoesWrongOnSomeDevicesIsTheirs(t *testing.T) {
	f, err := newFleet(t.TempDir(), simulation{devices: 60, hanging: 6, failing: 6, reconnecting: 3, resources: 57, seeded: true})
	if err != nil {
		t.Fatal(err)
	}
	results := f.apply(t.Context(), 8, 100*time.Millisecond)
	count := map[run.Status]int{}
	for i, r := range results {
		count[r.Status]++
		if r.Status == run.Changed && r.Counts.Changed+r.Counts.Unchanged != 57 {
			t.Errorf("%s: %+v", r.Device, r.Counts)
		}
		if f.links[i].slow && r.Status != run.Changed {
			t.Errorf("%s, which reconnects: %s: %v", r.Device, r.Status, r.Err)
		}
	}
	if count[run.Changed] != 48 || count[run.Failed] != 3 || count[run.Unreachable] != 9 {
		t.Errorf("devices ended as %v", count)
	}
	if f.cuts.Load() < 6 { // three have left, and three reconnect at least once
		t.Errorf("%d connections were cut: this proves nothing", f.cuts.Load())
	}
}
