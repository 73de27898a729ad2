package modules

import (
	"reflect"
	"runtime"
	"slices"

	"github.com/fitout-dev/fitout/modules/host"
)

// Op is what a plan will do to a resource.
type Op string

const (
	Create  Op = "create"
	Update  Op = "update"
	Delete  Op = "delete"
	Same    Op = "same"
	Skip    Op = "skip"
	Unknown Op = "unknown"
)

// States that every type with a state has.
const (
	Present = "present"
	Absent  = "absent"
)

// Change is one property that differs. Before and After are nil where the property isn't set. Of a secret property both
// are host.Marker, or nil.
type Change struct {
	Property string `json:"property"`
	Before   any    `json:"before,omitzero"`
	After    any    `json:"after,omitzero"`
}

// Diff compares what a profile wants with what is there, on the device. living is false for a root that no system runs in.
func (t *Type) Diff(want, have any, living bool) (Op, []Change) {
	wantState, haveState := t.StateOf(want), t.StateOf(have)
	if wantState != Present {
		switch {
		case wantState == haveState, t.met(stateField, want, have):
			return Same, nil
		}
		return Delete, []Change{{Property: "state", Before: haveState, After: wantState}}
	}
	op := Update
	if haveState != Present {
		op = Create
	}
	var changes []Change
	for _, f := range t.Fields {
		if f.Role != Managed && !f.Undo || f.Living && !living || !f.Exists(runtime.GOOS) {
			continue
		}
		if isUnset(want, f) {
			continue
		}
		after := t.Value(want, f)
		before := t.Value(have, f)
		if op == Update && (equal(want, have, f) || t.met(f.Name, want, have)) {
			continue
		}
		changes = append(changes, Change{f.Name, before, after})
	}
	if op == Update && len(changes) == 0 {
		return Same, nil
	}
	return op, changes
}

const stateField = "state"

func (t *Type) met(property string, want, have any) bool {
	if t.compare == nil {
		return false
	}
	met, ok := t.compare(property, want, have)
	return ok && met
}

// isUnset is about the declaration alone: an empty list is a value, a missing one is not.
func isUnset(v any, f Field) bool { return reflect.ValueOf(v).Field(f.index).IsNil() }

func equal(want, have any, f Field) bool {
	w, h := reflect.ValueOf(want).Field(f.index), reflect.ValueOf(have).Field(f.index)
	if h.IsNil() {
		return w.Kind() != reflect.Pointer && w.Len() == 0 // an empty list wanted, none there
	}
	return reflect.DeepEqual(w.Interface(), h.Interface())
}

// Redact returns v's properties for a report: each declared or observed property by its name, secrets as markers.
// secret names further properties that hold one; where any does, so may what only undo wants back.
func (t *Type) Redact(v any, secret []string) map[string]any {
	out := map[string]any{}
	for _, f := range t.Fields {
		x := t.Value(v, f)
		if x == nil {
			continue
		}
		if f.hides(secret) {
			x = host.Marker
		}
		out[f.Name] = x
	}
	return out
}

// RedactChanges hides the values of secret properties in changes.
func (t *Type) RedactChanges(changes []Change, secret []string) []Change {
	out := slices.Clone(changes)
	for i, c := range out {
		f, _ := t.Field(c.Property)
		if !f.hides(secret) {
			continue
		}
		if c.Before != nil {
			out[i].Before = host.Marker
		}
		out[i].After = host.Marker
	}
	return out
}

func (f Field) hides(secret []string) bool {
	return f.Secret || slices.Contains(secret, f.Name) || f.Undo && len(secret) > 0
}
