package preflight

import (
	"strings"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/modules/host"
)

func TestClock(t *testing.T) {
	now := time.Date(2026, 11, 3, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		device time.Time
		want   []string // parts of the text; none: no finding
	}{
		{now, nil},
		{now.Add(5 * time.Minute), nil},
		{now.Add(-5 * time.Minute), nil},
		{now.In(time.FixedZone("somewhere", 5*3600)), nil},
		{now.Add(5*time.Minute + time.Second), []string{"5 minutes ahead of", "Kerberos"}},
		{now.Add(-3 * time.Hour), []string{"3 hours behind", "2026-11-03 09:00:00 UTC here, 2026-11-03 12:00:00 UTC there", "Kerberos"}},
		{now.AddDate(0, 0, -3), []string{"3 days behind", "TLS"}},
		{time.Unix(0, 0), []string{"days behind", "1970-01-01 00:00:00 UTC here", "TLS"}},
		{now.AddDate(500, 0, 0), []string{"ahead of", "TLS"}}, // further than a Duration reaches
		{now.AddDate(-500, 0, 0), []string{"behind", "TLS"}},
	} {
		found := clock(now, c.device)
		if len(c.want) == 0 {
			if len(found) != 0 {
				t.Errorf("%s: %v", c.device, found)
			}
			continue
		}
		if len(found) != 1 || found[0].Fatal || found[0].Check != Clock || found[0].Remedy == "" {
			t.Errorf("%s: %+v", c.device, found)
			continue
		}
		for _, part := range c.want {
			if !strings.Contains(found[0].Text, part) {
				t.Errorf("%s: %q isn't in %q", c.device, part, found[0].Text)
			}
		}
	}
}

func TestClockIsComparedWhereItIsTheDevices(t *testing.T) {
	h := host.New(t.TempDir())
	wrong := Options{Now: time.Now().AddDate(0, 0, 2)}
	count := func(living bool, o Options) (n int) {
		for _, f := range (device{h, living}).check(t.Context(), o) {
			if f.Check == Clock {
				n++
			}
		}
		return n
	}
	for name, c := range map[string]struct {
		living bool
		o      Options
		want   int
	}{
		"the device's own":       {true, wrong, 1},
		"of an image":            {false, wrong, 0},
		"not compared":           {true, Options{}, 0},
		"right, by a test's own": {true, Options{Now: wrong.Now, DeviceNow: wrong.Now.Add(time.Second)}, 0},
	} {
		if got := count(c.living, c.o); got != c.want {
			t.Errorf("%s: %d findings, want %d", name, got, c.want)
		}
	}
}

func TestSizes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 bytes", 999: "999 bytes", 1000: "1.0 kB", 12345: "12 kB", 200_000_000: "200 MB", 8_100_000_000: "8.1 GB", 5e15: "5000 TB"} {
		if got := size(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

// Inhibiting elsewhere than on a living system is nothing, and its release is.
func TestInhibitInAnImage(t *testing.T) {
	release := Inhibit(t.Context(), host.New(t.TempDir()), "test")
	release()
	release()
}
