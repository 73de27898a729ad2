package settings

import (
	_ "embed"
	"strings"
	"sync"
)

//go:embed windowszones.txt
var windowsZonesText string

// windowsZones are Windows' names of IANA's zones, and the zones that stand for those names.
var windowsZones = sync.OnceValues(func() (windows, iana map[string]string) {
	windows, iana = map[string]string{}, map[string]string{}
	for line := range strings.Lines(windowsZonesText) {
		parts := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if strings.HasPrefix(line, "#") || len(parts) < 2 {
			continue
		}
		iana[parts[0]] = parts[1]
		windows[parts[1]] = parts[0]
		for _, other := range strings.Fields(strings.Join(parts[2:], " ")) {
			windows[other] = parts[0]
		}
	}
	return windows, iana
})
