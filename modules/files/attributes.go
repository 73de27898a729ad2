package files

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

// windowsAttributes are those of Windows that a profile can set.
var windowsAttributes = map[string]uint32{
	"readOnly": host.AttributeReadOnly, "hidden": host.AttributeHidden, "system": host.AttributeSystem,
	"archive": host.AttributeArchive, "notIndexed": host.AttributeNotIndexed,
}

func checkAttributes(want map[string]bool) error {
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if _, ok := windowsAttributes[name]; !ok {
			return hint.New(fmt.Errorf("attributes: %q is none", name), "there are %s", strings.Join(slices.Sorted(maps.Keys(windowsAttributes)), ", "))
		}
	}
	return nil
}

// setIn is what an entry's attributes become.
func setIn(old uint32, want map[string]bool) uint32 {
	for name, on := range want {
		if on {
			old |= windowsAttributes[name]
		} else {
			old &^= windowsAttributes[name]
		}
	}
	return old
}

// spellAttributes names those that are asked for, or where nobody asks all but archive, which each change sets anew.
func spellAttributes(has uint32, want map[string]bool) map[string]bool {
	out := map[string]bool{}
	for name, bit := range windowsAttributes {
		if _, asked := want[name]; asked || want == nil && name != "archive" {
			out[name] = has&bit != 0
		}
	}
	return out
}
