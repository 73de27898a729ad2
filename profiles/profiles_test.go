package profiles_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/engine/profile"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/profiles"
)

// TestShipped loads and compiles every shipped profile, with and without facts.
func TestShipped(t *testing.T) {
	list := profiles.List()
	if !slices.Contains(list, "baseline-linux") || !slices.Contains(list, "baseline-windows") {
		t.Fatal(list)
	}
	for _, name := range list {
		p, err := new(profile.Loader).Load(profiles.Shipped + name)
		if err != nil {
			t.Fatal(err)
		}
		if p.Name != name || p.Description == "" {
			t.Errorf("%s calls itself %q: %q", name, p.Name, p.Description)
		}
		for _, facts := range []map[string]any{nil, {"os": "linux"}, {"os": "windows"}} {
			c, err := p.Compile(profile.Device{Name: "d", Facts: facts})
			if err != nil || len(c.Resources) == 0 {
				t.Error(name, c, err)
			}
		}
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	for name, want := range map[string]string{
		"baseline-linux": profiles.Shipped + "baseline-linux",
		"x/y":            dir + "/x/y",
		"y.yaml":         dir + "/y.yaml",
		"/abs/y.yml":     "/abs/y.yml",
	} {
		if got, err := profiles.Find(dir, name); err != nil || got != want {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
	_, err := profiles.Find(dir, "baseline-linx")
	if err == nil || !strings.Contains(hint.Text(err), `did you mean "baseline-linux"?`) {
		t.Error(err)
	}
	if _, err := profiles.Open("../profiles"); err == nil {
		t.Error("opened something else")
	}
}
