// Package preflight looks at what speaks against a run, before it changes anything on the device.
//
//	for _, f := range preflight.Check(ctx, h, preflight.Options{Settings: s, Dir: dir, Writes: writes, Now: theirs}) {
//		// f.Fatal: refuse the run; else: tell
//	}
//	release := preflight.Inhibit(ctx, h, "fitout run 01J...")
//	defer release()
//
// It promises to change nothing, to start no process, to read a few dozen small files or registry values and no more, and that every finding
// has its remedy. Fatal is what would break a run half-way or can't be mended by one: no room for what will be written, a
// file system that can't be written to, a battery that may not last. All else is a warning, as the run may be what mends it.
//
// In a root that no system runs in, only what lies on its file systems is looked at: room, read-only mounts, and other
// tools that will begin to work there with the next start. On macOS there is only the clock so far.
package preflight

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/modules/host"
)

// Checks, as Finding.Check names them.
const (
	Battery  = "battery"
	Clock    = "clock"
	Disk     = "disk"
	Managed  = "managed" // by another configuration tool
	Memory   = "memory"
	Packages = "packages" // are locked by another program
	ReadOnly = "readOnly"
	Reboot   = "reboot" // is pending
)

// Options say what a run will do.
type Options struct {
	Settings wire.Settings
	Dir      string    // the executor's own folder; it and its parents may be missing
	Writes   []Write   // in the order of the run
	Now      time.Time // the controller's clock; zero: the clocks aren't compared
	// DeviceNow is the device's clock at the same moment, for tests; zero: it is asked.
	DeviceNow time.Time
}

// Write is a file that will be written. Another of its name is replaced, by a new one beside it.
type Write struct {
	Path  string
	Bytes int64
}

// Check returns what was found, the fatal first. It stops early when ctx ends.
func Check(ctx context.Context, h *host.Host, o Options) []wire.Finding {
	return device{h, h.Living()}.check(ctx, o)
}

// device is what is looked at. A test says of a folder that it is a living system.
type device struct {
	*host.Host
	living bool
}

const (
	minBattery = 20
	minDisk    = 200_000_000
)

func (d device) check(ctx context.Context, o Options) []wire.Finding {
	if o.Settings.MinBattery == 0 {
		o.Settings.MinBattery = minBattery
	}
	if o.Settings.MinDisk == 0 {
		o.Settings.MinDisk = minDisk
	}
	var found []wire.Finding
	if d.living && !o.Now.IsZero() {
		if o.DeviceNow.IsZero() {
			o.DeviceNow = time.Now()
		}
		found = clock(o.Now, o.DeviceNow)
	}
	for _, look := range d.looks() {
		if ctx.Err() != nil {
			break
		}
		found = append(found, look(o)...)
	}
	slices.SortStableFunc(found, func(a, b wire.Finding) int {
		switch {
		case a.Fatal == b.Fatal:
			return 0
		case a.Fatal:
			return -1
		}
		return 1
	})
	return found
}

// clock compares the controller's clock with the device's.
//
// Beyond five minutes Kerberos refuses tickets, and apt refuses lists that seem to come from the future (10 s are forgiven
// there). Beyond a day TLS begins to fail, as short-lived certificates are not valid yet or any more, and after a week
// Debian's lists are past their Valid-Until. All of that fails loudly, alone, and changes nothing, and a profile that sets up
// time synchronisation is what puts a laptop with an empty clock battery right: so it is never fatal. What stays wrong
// silently is the day that shadow(5) records for a password; that is said.
func clock(controller, device time.Time) []wire.Finding {
	off, how := device.Sub(controller), "ahead of"
	if off < 0 {
		off, how = off.Abs(), "behind"
	}
	if off <= 5*time.Minute {
		return nil
	}
	const format = "2006-01-02 15:04:05"
	text := fmt.Sprintf("the clock is %s %s the controller's: %s UTC here, %s UTC there; ", span(off), how, device.UTC().Format(format), controller.UTC().Format(format))
	if off <= 24*time.Hour {
		text += "Kerberos logons and fresh package lists may be refused"
	} else {
		text += "TLS and package lists will be refused, and passwords that are set now get the wrong day"
	}
	return []wire.Finding{{Check: Clock, Text: text,
		Remedy: "set the clock that is wrong, and see that it is kept (`timedatectl set-ntp true` on the device); the profile may do that, too"}}
}

// span is a duration as people say it.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= 2*day:
		return fmt.Sprintf("%d days", d/day)
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours", d/time.Hour)
	}
	return fmt.Sprintf("%d minutes", d/time.Minute)
}

// size is a number of bytes as people say it.
func size(n int64) string {
	units := []string{"bytes", "kB", "MB", "GB", "TB"}
	f, i := float64(n), 0
	for f >= 1000 && i < len(units)-1 {
		f, i = f/1000, i+1
	}
	if f >= 10 || i == 0 {
		return fmt.Sprintf("%.0f %s", f, units[i])
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}
