package profile

import (
	"path/filepath"
	"testing"

	"github.com/fitout-dev/fitout/engine/executor/wire"
)

// TestRebootPolicy: the command line is above a resource, and that above the profile.
func TestRebootPolicy(t *testing.T) {
	file := filepath.Join(t.TempDir(), "p.yaml")
	writeFile(t, file, []byte(`run: {reboot: never, rebootWindow: "22:00-06:00"}
hostname: {name: a, reboot: ifNeeded}
updates: {install: all, reboot: never}
`))
	p, err := new(Loader).Load(file)
	if err != nil {
		t.Fatal(err)
	}
	of := func(policy string) (*Compiled, []string) {
		c, err := p.Compile(Device{Name: "d", Facts: map[string]any{"os": "linux"}})
		if err != nil {
			t.Fatal(err)
		}
		if policy != "" {
			c.RebootPolicy(policy)
		}
		var each []string
		for _, r := range c.Resources {
			if r.Reboot == "" {
				r.Reboot = c.Settings.Reboot
			}
			each = append(each, r.Reboot)
		}
		return c, each
	}
	for _, policy := range []string{wire.RebootIfNeeded, wire.RebootNever} {
		c, each := of(policy)
		if c.Settings.Reboot != policy || each[0] != policy || each[1] != policy {
			t.Errorf("--reboot %s: %v", policy, each)
		}
		if c.Settings.RebootWindow != "22:00-06:00" {
			t.Errorf("--reboot %s takes the window away", policy)
		}
	}
	// Another compilation of the same profile isn't touched.
	if _, each := of(""); each[0] != wire.RebootIfNeeded || each[1] != wire.RebootNever {
		t.Errorf("the profile's own: %v", each)
	}
}
