package settings

import (
	"fmt"
	"maps"
	"slices"

	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/fitout-dev/fitout/modules/host/clock"
)

func observeWindowsZone(h *host.Host, want Timezone) (Timezone, error) {
	var have Timezone
	name, err := clock.Zone(h)
	if err != nil {
		return have, err
	}
	have.Windows = &name
	windows, iana := windowsZones()
	if zone, ok := iana[name]; ok {
		have.Name = &zone
	}
	if want.Name == nil {
		return have, nil
	}
	wanted, err := windowsZone(*want.Name)
	if err == nil && wanted == name && windows[*want.Name] == name {
		have.Name = want.Name
	}
	return have, err
}

// windowsZone is Windows' name of a zone.
func windowsZone(name string) (string, error) {
	windows, _ := windowsZones()
	if w, ok := windows[name]; ok {
		return w, nil
	}
	err := fmt.Errorf("Windows has no time zone %q", name)
	if near := hint.Near(name, slices.Sorted(maps.Keys(windows))); near != "" {
		return "", hint.New(err, "did you mean %q?", near)
	}
	return "", hint.New(err, "name a city whose clocks are the same")
}

func setWindowsZone(h *host.Host, want Timezone) error {
	name := value(want.Windows)
	if want.Name != nil {
		var err error
		if name, err = windowsZone(*want.Name); err != nil {
			return err
		}
	}
	return clock.SetZone(h, name)
}
