package apt

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/fitout-dev/fitout/modules/host"
)

// extendedStates is where apt notes which packages came only because others need them.
const extendedStates = "/var/lib/apt/extended_states"

// Keep notes that packages were asked for themselves, so that autoremove leaves them when nothing needs them any more.
func Keep(ctx context.Context, h *host.Host, names []string) error {
	automatic, err := readAutomatic(h)
	if err != nil {
		return err
	}
	names = slices.DeleteFunc(slices.Clone(names), func(n string) bool {
		return !slices.ContainsFunc(automatic, func(a string) bool { return sameName(a, n) })
	})
	if len(names) == 0 {
		return nil
	}
	out, ok, err := run(ctx, h, "", append([]string{"/usr/bin/apt-mark", "-q", "manual"}, names...)...)
	if err != nil || ok {
		return err
	}
	return diagnose(out).error("note what was asked for (apt-mark manual)")
}

// readAutomatic lists the packages, as name:architecture, that apt would remove once nothing needs them.
func readAutomatic(h *host.Host) ([]string, error) {
	b, err := h.ReadFile(extendedStates)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return parseAutomatic(string(b)), err
}

func parseAutomatic(states string) []string {
	var out []string
	name, arch := "", ""
	for line := range strings.Lines(states) {
		switch key, value, _ := strings.Cut(line, ":"); key {
		case "Package":
			name, arch = strings.TrimSpace(value), ""
		case "Architecture":
			arch = strings.TrimSpace(value)
		case "Auto-Installed":
			if strings.TrimSpace(value) == "1" && name != "" && !strings.Contains(name, ":") {
				out = append(out, name+":"+arch)
			}
		}
	}
	return out
}
