package settings

import (
	"slices"
	"strings"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/fitout-dev/fitout/modules/host/registry"
)

// The variables of Windows are values of two keys.
const (
	machineEnvironment = `HKLM\SYSTEM\CurrentControlSet\Control\Session Manager\Environment`
	userEnvironment    = `HKCU\Environment`
)

// value is where the registry has the variable.
func (e Environment) value() RegistryValue {
	path := machineEnvironment
	if e.User != "" {
		path = userEnvironment
	}
	return RegistryValue{Path: path, Name: e.Name, User: e.User, Kept: e.Kept, State: e.State}
}

func observeEnvironment(h *host.Host, want Environment) (Environment, error) {
	have := Environment{Name: want.Name, User: want.User, State: modules.Absent}
	kept, err := readValues(h, want.value())
	if err != nil {
		return have, err
	}
	have.Kept = kept
	have.describe(want)
	return have, nil
}

// describe sums up what the hives hold: the first that isn't as wanted stands for all.
func (e *Environment) describe(want Environment) {
	if len(e.Kept) == 0 { // there is nobody to have it
		e.State, e.Value, e.Add, e.Remove = want.State, want.Value, want.Add, want.Remove
		return
	}
	show := max(0, slices.IndexFunc(e.Kept, func(k KeptValue) bool { return !metBy(want, k.Stored) }))
	for _, k := range e.Kept {
		if k.Stored != nil {
			e.State = modules.Present
		}
	}
	s := textOf(e.Kept[show].Stored)
	if e.Kept[show].Stored != nil {
		e.Value = &s
		if v := e.Kept[show].Stored; want.Value != nil && *want.Value == s && !metBy(want, v) {
			*e.Value = s + " (" + registry.TypeName(v.Type) + ")" // programs would get %NAME% as it stands
		}
	}
	if want.Add != nil {
		e.Add = slices.DeleteFunc(slices.Clone(want.Add), func(a string) bool { return !hasEntry(entries(s), a) })
	}
	if want.Remove != nil {
		e.Remove = slices.DeleteFunc(slices.Clone(want.Remove), func(r string) bool { return hasEntry(entries(s), r) })
		if e.State == modules.Absent && want.Add == nil && want.Value == nil {
			e.State = modules.Present // nothing is to be removed from what isn't there
		}
	}
}

// metBy says whether a stored value is what is wanted.
func metBy(want Environment, v *registry.Value) bool {
	next := nextValue(want, v)
	return (next == nil) == (v == nil) && (v == nil || sameValue(*v, *next))
}

// nextValue is what is to be stored instead of v.
func nextValue(want Environment, v *registry.Value) *registry.Value {
	s := textOf(v)
	switch {
	case want.State == modules.Absent:
		return nil
	case want.Value != nil:
		s = *want.Value
	default:
		if next := changeEntries(s, want.Add, want.Remove); next != s {
			s = next
		} else if v == nil || v.Type == registry.ExpandSZ || !strings.Contains(s, "%") {
			return v
		}
	}
	next := registry.String(s)
	if strings.Count(s, "%") > 1 || want.Value == nil && v != nil && v.Type == registry.ExpandSZ {
		next = registry.Expand(s)
	}
	return &next
}

func textOf(v *registry.Value) string {
	if v == nil {
		return ""
	}
	s, _ := v.Text()
	return s
}

func applyEnvironment(h *host.Host, want Environment) error {
	changed := false
	place := want.value()
	var err error
	if want.Kept != nil {
		changed, err = true, writeValues(h, place)
	} else {
		err = eachHive(h, place.Path, place.User, func(root registry.Root, key string) error {
			old, err := root.Get(key, want.Name, registry.View64)
			if err != nil || metBy(want, old) {
				return err
			}
			changed = true
			if next := nextValue(want, old); next != nil {
				return root.Set(h, key, want.Name, registry.View64, *next)
			}
			return root.Delete(h, key, want.Name, registry.View64)
		})
	}
	if changed {
		registry.EnvironmentChanged(h)
	}
	return err
}
