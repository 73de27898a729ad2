package modules_test

import (
	"context"
	"runtime"
	"slices"
	"testing"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/google/go-cmp/cmp"
)

type door struct {
	Name   string    `json:"name" fit:"key"`
	Colour *string   `json:"colour,omitzero" fit:"managed"`
	Bolt   *string   `json:"bolt,omitzero" fit:"managed" on:"windows"`
	Latch  *string   `json:"latch,omitzero" fit:"managed" on:"linux,darwin"`
	Owners *[]string `json:"owners,omitzero" fit:"managed" experimental:"windows"`
}

type doors struct{}

func (doors) Observe(_ context.Context, _ *host.Host, want door) (door, error) { return want, nil }
func (doors) Apply(context.Context, *host.Host, door, door) (modules.Outcome, error) {
	return modules.Outcome{}, nil
}
func (doors) Experimental() []string { return []string{"darwin"} }

// A property that the device's platform lacks is not compared, and the plan says so.
func TestPropertiesOfOtherPlatforms(t *testing.T) {
	typ := modules.Define("doors", doors{})
	text := modules.Ptr("x")
	want := door{Name: "front", Colour: text, Bolt: text, Latch: text, Owners: &[]string{"alice"}}
	_, changes := typ.Diff(want, door{Name: "front"}, true)
	var differ []string
	for _, c := range changes {
		differ = append(differ, c.Property)
	}
	expect := []string{"colour", "latch", "owners"}
	if runtime.GOOS == "windows" {
		expect = []string{"bolt", "colour", "owners"}
	}
	slices.Sort(differ)
	if d := cmp.Diff(expect, differ); d != "" {
		t.Error(d)
	}
	for os, notes := range map[string][]string{
		"linux":   {"bolt: not on linux"},
		"windows": {"latch: not on windows", "owners: experimental on windows"},
		"darwin":  {"experimental on darwin", "bolt: not on darwin"},
	} {
		if d := cmp.Diff(notes, typ.Notes(want, os)); d != "" {
			t.Errorf("on %s: %s", os, d)
		}
	}
	if notes := typ.Notes(door{Name: "front", Colour: text}, "windows"); notes != nil {
		t.Errorf("notes about what isn't declared: %v", notes)
	}
}
