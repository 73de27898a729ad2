package run

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/engine/profile"
	"github.com/fitout-dev/fitout/engine/secret"
)

// onWire turns compiled resources into what goes to the executor. This is where secrets are revealed, and nowhere else.
func onWire(resources []profile.Resource) ([]wire.Resource, error) {
	out := make([]wire.Resource, len(resources))
	for i, r := range resources {
		want, err := json.Marshal(reveal(r.Want))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.Address, err)
		}
		out[i] = wire.Resource{Address: r.Address, Type: r.Type, Want: want, Secret: r.Secret, After: r.After, Notify: r.Notify,
			Timeout: r.Timeout, Retries: r.Retries, Skip: r.Skip, Reboot: r.Reboot, Connect: announced(r.Connect)}
	}
	return out, nil
}

// announced is what a device is told of how it will be reached: it hands it back when that is to be tried, and keeps it
// in its journal. A password is for the controller alone: the device learns that there is another.
func announced(connect map[string]any) map[string]any {
	if connect == nil {
		return nil
	}
	out := maps.Clone(connect)
	for name, x := range out {
		if _, hidden := x.(secret.Value); hidden {
			out[name] = true
		}
	}
	return out
}

func reveal(v any) any {
	switch x := v.(type) {
	case secret.Value:
		return x.Reveal()
	case map[string]any:
		out := make(map[string]any, len(x))
		for k, e := range x {
			out[k] = reveal(e)
		}
		return out
	case []any:
		out := make([]any, len(x))
		for i, e := range x {
			out[i] = reveal(e)
		}
		return out
	}
	return v
}

// pick keeps the resources that only and skip leave, by address or type, and the edges between them.
func pick(resources []profile.Resource, only, skip []string) []profile.Resource {
	if len(only) == 0 && len(skip) == 0 {
		return resources
	}
	in := func(list []string, r profile.Resource) bool {
		return slices.Contains(list, r.Address) || slices.Contains(list, r.Type)
	}
	var kept []profile.Resource
	names := map[string]bool{}
	for _, r := range resources {
		if (len(only) == 0 || in(only, r)) && !in(skip, r) {
			kept = append(kept, r)
			names[r.Address] = true
		}
	}
	gone := func(a string) bool { return !names[a] }
	for i := range kept {
		kept[i].After = slices.DeleteFunc(slices.Clone(kept[i].After), gone)
		kept[i].Notify = slices.DeleteFunc(slices.Clone(kept[i].Notify), gone)
	}
	return kept
}

// unmatched returns the words of only and skip that name nothing in any of the profiles.
func unmatched(words []string, resources []profile.Resource) []string {
	return slices.DeleteFunc(slices.Clone(words), func(w string) bool {
		return slices.ContainsFunc(resources, func(r profile.Resource) bool { return r.Address == w || r.Type == w })
	})
}
