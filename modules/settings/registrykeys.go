package settings

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/fitout-dev/fitout/modules/host/registry"
)

// RegistryKey is a whole key in the registry of Windows: that it is there, whatever is in it, or that it is gone with all
// that was in it. For single values there is registry.
type RegistryKey struct {
	// The key, as registry has it.
	Path string `json:"path" fit:"key,short" title:"Key" example:"HKLM\\SOFTWARE\\Example"`
	// Whose HKCU, as in registry.
	User string `json:"user,omitzero" fit:"key" experimental:"windows" title:"User" example:"alice"`
	// For programs of how many bits, as in registry.
	View int `json:"view,omitzero" fit:"behaviour" title:"View" minimum:"32" maximum:"64" default:"64"`
	// absent removes the key with all keys and values in it. Up to 256 KiB of them can be brought back by undo; the plan says
	// where they are more.
	State string `json:"state,omitzero" fit:"state" enum:"present,absent" title:"State"`
	// What is there now, in each hive that this is about.
	Kept []KeptKey `json:"kept,omitzero" fit:"observed,undo" title:"Stored"`
}

// KeptKey is what one hive has.
type KeptKey struct {
	// Whose hive it is: a SID, or default; empty is the machine's.
	Hive string `json:"hive,omitzero" title:"Hive"`
	// The topmost key on the way that is missing; empty where the key is there.
	Missing string `json:"missing,omitzero" title:"Missing key"`
	// What is in the key that is to be removed.
	Tree registry.Tree `json:"tree,omitzero" title:"Content"`
	// Why that is not kept.
	Lost string `json:"lost,omitzero" title:"Why it is lost"`
}

// maxTree is how many bytes of a key undo keeps.
const maxTree = 256 << 10

// RegistryKeys implements RegistryKey.
type RegistryKeys struct{}

var (
	_ modules.Resource[RegistryKey] = RegistryKeys{}
	_ modules.Checker[RegistryKey]  = RegistryKeys{}
	_ modules.Comparer[RegistryKey] = RegistryKeys{}
	_ modules.Inverter[RegistryKey] = RegistryKeys{}
	_ modules.Keyer[RegistryKey]    = RegistryKeys{}
	_ modules.Referrer[RegistryKey] = RegistryKeys{}
)

// Platforms are where the type exists.
func (RegistryKeys) Platforms() []string { return []string{"windows"} }

// Key is the path with its hive's short name, and whose and which it is where that isn't plain.
func (RegistryKeys) Key(want RegistryKey) string { return placeKey(want.Path, want.User, want.View) }

// Refs names the user, whose profile comes first.
func (RegistryKeys) Refs(want RegistryKey) []string { return userRef(want.User) }

// Check finds what can be no key.
func (RegistryKeys) Check(want RegistryKey) error {
	if err := checkPlace(want.Path, want.User, want.View); err != nil {
		return err
	}
	if hive, key, _ := registry.Split(want.Path); want.State == modules.Absent && isVital(hive, key) {
		return fmt.Errorf("path: Windows can't do without %s", want.Path)
	}
	return nil
}

// isVital says whether Windows wouldn't start, or nobody could log on, without a key. It isn't about all such keys: those that
// a slip of the hand leaves when the last part of a path is missing.
func isVital(hive, key string) bool {
	key = strings.ToLower(key)
	switch hive {
	case registry.LocalMachine:
		return slices.Contains([]string{"software", "system", "sam", "security", "hardware", `software\classes`, `software\policies`, `software\wow6432node`,
			`software\microsoft`, `software\microsoft\windows`, `software\microsoft\windows nt`, `software\microsoft\windows\currentversion`,
			`software\microsoft\windows nt\currentversion`, `system\currentcontrolset`, `system\currentcontrolset\control`,
			`system\currentcontrolset\services`, `system\currentcontrolset\enum`}, key)
	case registry.CurrentUser:
		return slices.Contains([]string{"software", `software\microsoft`, `software\microsoft\windows`, `software\microsoft\windows\currentversion`, "environment", "control panel"}, key)
	}
	return !strings.Contains(key, `\`) && hive == registry.Users
}

// Observe looks for the key in all hives that it is about.
func (r RegistryKeys) Observe(_ context.Context, h *host.Host, want RegistryKey) (RegistryKey, error) {
	have := RegistryKey{Path: want.Path, User: want.User, View: want.View, State: modules.Absent}
	if err := r.Check(want); err != nil {
		return have, err
	}
	kept, err := readKeys(h, want)
	if err != nil {
		return have, err
	}
	have.Kept = kept
	// Wanted, it counts as there where all have it; not wanted, where any has.
	there := 0
	for _, k := range kept {
		if k.Missing == "" {
			there++
		}
	}
	if want.State == modules.Absent && there > 0 || want.State != modules.Absent && there == len(kept) {
		have.State = modules.Present
	}
	return have, nil
}

// Compare compares what undo wants back.
func (RegistryKeys) Compare(property string, want, have RegistryKey) (met, ok bool) {
	if property != "kept" && (property != "state" || want.Kept == nil) {
		return false, false
	}
	now := map[string]KeptKey{}
	for _, k := range have.Kept {
		now[k.Hive] = k
	}
	for _, k := range want.Kept {
		if h, ok := now[k.Hive]; !ok || (h.Missing == "") != (k.Missing == "") || k.Tree != nil && !k.Tree.Equal(h.Tree) {
			return false, true
		}
	}
	return true, true
}

// Apply makes or removes the key in all hives that it is about, or brings back what each had.
func (r RegistryKeys) Apply(_ context.Context, h *host.Host, want, _ RegistryKey) (modules.Outcome, error) {
	if err := r.Check(want); err != nil {
		return modules.Outcome{}, err
	}
	return modules.Outcome{}, writeKeys(h, want)
}

// Inverse brings back what each hive had.
func (RegistryKeys) Inverse(want, have RegistryKey) (RegistryKey, error) {
	for _, k := range have.Kept {
		if k.Lost != "" {
			return have, fmt.Errorf("%s can't be brought back: %s", have.Path, k.Lost)
		}
	}
	return have, nil
}
