package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/fitout-dev/fitout/engine/run"
)

// endure applies to one fleet again and again, each time with something to change on every device, and prints what the
// process holds after each time: memory that is lost, or goroutines, would add up.
func (s simulation) endure(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "fitout-soak-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s.seeded = true
	f, err := newFleet(dir, s)
	if err != nil {
		return err
	}
	fmt.Printf("| pass | after, s | changed | failed | unreachable | cut | live heap, MB | goroutines | memory, MB |\n|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n")
	began := time.Now()
	for pass := 1; time.Since(began) < s.soak && ctx.Err() == nil; pass++ {
		if err := f.reset(); err != nil {
			return err
		}
		count := map[run.Status]int{}
		for i, r := range f.apply(ctx, 50, 0) {
			if count[r.Status]++; r.Status == run.Unreachable && !f.hang[r.Device] && !f.links[i].leaves {
				return fmt.Errorf("pass %d: %s: %w", pass, r.Device, r.Err)
			}
		}
		if ill := s.hanging + s.failing/2; count[run.Unreachable] != ill || count[run.Failed] != s.failing-s.failing/2 {
			return fmt.Errorf("pass %d: devices ended as %v, and %d were to be out of reach", pass, count, ill)
		}
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		fmt.Printf("| %d | %.0f | %d | %d | %d | %d | %.1f | %d | %.0f |\n", pass, time.Since(began).Seconds(), count[run.Changed], count[run.Failed], count[run.Unreachable],
			f.cuts.Load(), float64(m.HeapAlloc)/1e6, runtime.NumGoroutine(), residentMB())
	}
	return ctx.Err()
}

// reset makes the fleet as it was at first: what hangs, hangs again, and each device has something to change.
func (f *fleet) reset() error {
	f.gate, f.others = make(chan struct{}), 0
	f.cuts.Store(0)
	for _, l := range f.links {
		l.reset()
		if err := os.WriteFile(filepath.Join(l.target.Root, "etc", "asset"), []byte("old\n"), 0o644); err != nil {
			return err
		}
		if l.leaves { // the last run's end was never heard
			if err := os.RemoveAll(filepath.Join(l.target.Dir, "runs")); err != nil {
				return err
			}
		}
	}
	return nil
}

// residentMB is what the process holds of the machine's memory.
func residentMB() float64 {
	var total, resident int64
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0
	}
	fmt.Sscan(string(b), &total, &resident)
	return float64(resident) * float64(os.Getpagesize()) / 1e6
}
