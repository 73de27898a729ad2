package schema

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// TimeZone is a format: the name of a zone in the IANA database.
const TimeZone = "timezone"

//go:embed zones.txt
var zoneNames string

// zones are the names in the IANA database, sorted, as Go 1.26 has them.
var zones = sync.OnceValue(func() []string { return strings.Fields(zoneNames) })

// isTimeZone says whether a value is no text, or names a zone that is known here or, since there are new ones now and
// then, to this machine.
func isTimeZone(v any) bool {
	name, ok := v.(string)
	if !ok {
		return true
	}
	if _, known := slices.BinarySearch(zones(), name); known {
		return true
	}
	if name == "" || name == "Local" {
		return false
	}
	_, err := time.LoadLocation(name)
	return err == nil
}

// zoneFor is a hint at the zone that is meant.
func zoneFor(name string) string {
	city := strings.ReplaceAll(strings.ToLower(name), " ", "_")
	for _, z := range zones() {
		if l := strings.ToLower(z); l == city || strings.HasSuffix(l, "/"+city) {
			return fmt.Sprintf("did you mean %q?", z)
		}
	}
	if s := didYouMean(name, zones()); s != "" && strings.Contains(name, "/") {
		return s
	}
	return "a zone is named after a city: Europe/Luxembourg"
}
