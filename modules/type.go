package modules

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/fitout-dev/fitout/modules/host"
)

// Type is a registered resource type with the Go type erased: what the engine works with. Values handed in and out are
// of the type's struct (not pointers).
type Type struct {
	Name   string
	Fields []Field

	goType   reflect.Type
	resource any
	observe  func(context.Context, *host.Host, any) (any, error)
	apply    func(context.Context, *host.Host, any, any) (Outcome, error)
	// optional powers; nil where the type has none
	compare    func(property string, want, have any) (met, ok bool)
	inverse    func(want, have any) (any, error)
	contents   func(want, have any) []Content
	doubts     func(context.Context, *host.Host, []any, []any) []string
	observeAll func(context.Context, *host.Host, []any) []Observation[any]
	applyAll   func(context.Context, *host.Host, []any, []any) []Result
	notified   func(context.Context, *host.Host, any) error
	refs       func(any) []string
	check      func(any) error
	checkOn    func(string, any) error
	key        func(any) string
}

// Define makes a Type of a Resource. name is its key in a profile.
func Define[T any](name string, r Resource[T]) *Type {
	t := &Type{Name: name, goType: reflect.TypeFor[T](), resource: r}
	t.Fields = fieldsOf(t.goType)
	if keys := t.keys(); len(keys) == 1 && !slices.ContainsFunc(t.Fields, func(f Field) bool { return f.Short }) {
		t.Fields[keys[0]].Short = true
	}
	t.observe = func(ctx context.Context, h *host.Host, want any) (any, error) { return r.Observe(ctx, h, want.(T)) }
	t.apply = func(ctx context.Context, h *host.Host, want, have any) (Outcome, error) {
		return r.Apply(ctx, h, want.(T), have.(T))
	}
	if p, ok := r.(Comparer[T]); ok {
		t.compare = func(property string, want, have any) (bool, bool) { return p.Compare(property, want.(T), have.(T)) }
	}
	if p, ok := r.(Inverter[T]); ok {
		t.inverse = func(want, have any) (any, error) { return p.Inverse(want.(T), have.(T)) }
	}
	if p, ok := r.(Doubter[T]); ok {
		t.doubts = func(ctx context.Context, h *host.Host, wants, haves []any) []string {
			return p.Doubts(ctx, h, typed[T](wants), typed[T](haves))
		}
	}
	if p, ok := r.(Keeper[T]); ok {
		t.contents = func(want, have any) []Content { return p.Contents(want.(T), have.(T)) }
	}
	if p, ok := r.(BatchObserver[T]); ok {
		t.observeAll = func(ctx context.Context, h *host.Host, wants []any) []Observation[any] {
			var out []Observation[any]
			for _, o := range p.ObserveAll(ctx, h, typed[T](wants)) {
				out = append(out, Observation[any]{o.Have, o.Err})
			}
			return out
		}
	}
	if p, ok := r.(BatchApplier[T]); ok {
		t.applyAll = func(ctx context.Context, h *host.Host, wants, haves []any) []Result {
			return p.ApplyAll(ctx, h, typed[T](wants), typed[T](haves))
		}
	}
	if p, ok := r.(Notified[T]); ok {
		t.notified = func(ctx context.Context, h *host.Host, want any) error { return p.Notified(ctx, h, want.(T)) }
	}
	if p, ok := r.(Referrer[T]); ok {
		t.refs = func(want any) []string { return p.Refs(want.(T)) }
	}
	if p, ok := r.(Checker[T]); ok {
		t.check = func(want any) error { return p.Check(want.(T)) }
	}
	if p, ok := r.(PlatformChecker[T]); ok {
		t.checkOn = func(os string, want any) error { return p.CheckOn(os, want.(T)) }
	}
	if p, ok := r.(Keyer[T]); ok {
		t.key = func(want any) string { return p.Key(want.(T)) }
	}
	return t
}

func typed[T any](in []any) []T {
	out := make([]T, len(in))
	for i, v := range in {
		out[i] = v.(T)
	}
	return out
}

func (t *Type) keys() []int {
	var keys []int
	for i, f := range t.Fields {
		if f.Role == Key {
			keys = append(keys, i)
		}
	}
	return keys
}

// Singleton says whether a device has one of these at most.
func (t *Type) Singleton() bool { return len(t.keys()) == 0 }

// GoType is the type's struct.
func (t *Type) GoType() reflect.Type { return t.goType }

// Short is the property that a bare scalar in a profile stands for, or "".
func (t *Type) Short() string {
	for _, f := range t.Fields {
		if f.Short {
			return f.Name
		}
	}
	return ""
}

// Field finds a property by its name in a profile.
func (t *Type) Field(name string) (Field, bool) {
	i := slices.IndexFunc(t.Fields, func(f Field) bool { return f.Name == name })
	if i < 0 {
		return Field{}, false
	}
	return t.Fields[i], true
}

// Platforms lists where the type exists.
func (t *Type) Platforms() []string {
	if p, ok := t.resource.(Platformed); ok {
		return p.Platforms()
	}
	return everywhere
}

var everywhere = []string{"linux", "windows", "darwin"}

// Experimental lists the platforms on which the type was never seen to work on a real system.
func (t *Type) Experimental() []string {
	if e, ok := t.resource.(Experimenter); ok {
		return e.Experimental()
	}
	return nil
}

// Notes is what a plan says beside a declaration on a platform: properties that don't exist there, and what is
// experimental.
func (t *Type) Notes(want any, os string) []string {
	var notes []string
	if slices.Contains(t.Experimental(), os) {
		notes = append(notes, "experimental on "+os)
	}
	for _, f := range t.Fields {
		switch {
		case f.Role == Observed || t.Value(want, f) == nil:
		case !f.Exists(os):
			notes = append(notes, f.Name+": not on "+os)
		case slices.Contains(f.Experimental, os):
			notes = append(notes, f.Name+": experimental on "+os)
		}
	}
	return notes
}

// Batch says whether all changes of the type are applied in one transaction.
func (t *Type) Batch() bool { return t.applyAll != nil }

// ReadsForAll says whether all resources of the type are observed with one reading.
func (t *Type) ReadsForAll() bool { return t.observeAll != nil }

// Guarded says whether observing runs programs that the profile names.
func (t *Type) Guarded() bool {
	g, ok := t.resource.(Guarded)
	return ok && g.Guarded()
}

// CanNotify says whether an entry may be notified.
func (t *Type) CanNotify() bool { return t.notified != nil }

// Decode reads a declaration, or an observation, from JSON. Unknown properties are errors.
func (t *Type) Decode(raw []byte) (any, error) {
	v := reflect.New(t.goType)
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(v.Interface()); err != nil {
		return nil, fmt.Errorf("%s: %w", t.Name, err)
	}
	return v.Elem().Interface(), nil
}

// KeyOf is the part of an address behind "type/". It is "" for a singleton.
func (t *Type) KeyOf(v any) string {
	if t.key != nil {
		return t.key(v)
	}
	var parts []string
	for _, i := range t.keys() {
		parts = append(parts, reflect.ValueOf(v).Field(t.Fields[i].index).String())
	}
	return strings.Join(parts, "/")
}

// StateOf is a value's state: "present" where it says nothing else.
func (t *Type) StateOf(v any) string {
	for _, f := range t.Fields {
		if f.Role == State {
			if s := reflect.ValueOf(v).Field(f.index).String(); s != "" {
				return s
			}
		}
	}
	return Present
}

// Value is one property of v: nil where it is not set.
func (t *Type) Value(v any, f Field) any {
	rv := reflect.ValueOf(v).Field(f.index)
	if rv.IsZero() {
		return nil
	}
	if rv.Kind() == reflect.Pointer {
		return rv.Elem().Interface()
	}
	return rv.Interface()
}

// Refs lists the addresses that v names by its tags and powers; those that are declared come before it.
func (t *Type) Refs(v any) []string {
	var refs []string
	for _, f := range t.Fields {
		kind := f.Tag.Get("ref")
		if kind == "" {
			continue
		}
		switch x := t.Value(v, f).(type) {
		case string:
			refs = append(refs, kind+"/"+x)
		case []string:
			for _, s := range x {
				refs = append(refs, kind+"/"+s)
			}
		}
	}
	if t.refs != nil {
		refs = append(refs, t.refs(v)...)
	}
	return refs
}

// Paths lists the values of v that are paths on the device.
func (t *Type) Paths(v any) []string {
	var paths []string
	for _, f := range t.Fields {
		if s, ok := t.Value(v, f).(string); ok && f.Path {
			paths = append(paths, s)
		}
	}
	return paths
}

// Check runs the type's own checks of a declaration for a device that may be of any platform.
func (t *Type) Check(v any) error { return t.CheckOn("", v) }

// CheckOn runs them for a platform; "" is one that isn't known yet.
func (t *Type) CheckOn(os string, v any) error {
	if t.check != nil {
		if err := t.check(v); err != nil {
			return err
		}
	}
	switch {
	case t.checkOn == nil:
		return nil
	case os != "":
		return t.checkOn(os, v)
	}
	var first error
	for _, os := range t.Platforms() {
		err := t.checkOn(os, v)
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}

// Observe observes several resources; the results match wants one by one. A type without a reading for all is asked for
// each.
func (t *Type) Observe(ctx context.Context, h *host.Host, wants []any) []Observation[any] {
	if t.observeAll != nil {
		return t.observeAll(ctx, h, wants)
	}
	out := make([]Observation[any], len(wants))
	for i, w := range wants {
		out[i].Have, out[i].Err = t.observe(ctx, h, w)
	}
	return out
}

// Apply applies several changes; the results match wants one by one.
func (t *Type) Apply(ctx context.Context, h *host.Host, wants, haves []any) []Result {
	if t.applyAll != nil {
		return t.applyAll(ctx, h, wants, haves)
	}
	out := make([]Result, len(wants))
	for i := range wants {
		out[i].Outcome, out[i].Err = t.apply(ctx, h, wants[i], haves[i])
	}
	return out
}

// Notify tells a resource that something it depends on has changed.
func (t *Type) Notify(ctx context.Context, h *host.Host, want any) error {
	return t.notified(ctx, h, want)
}
