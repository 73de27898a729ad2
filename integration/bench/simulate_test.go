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
