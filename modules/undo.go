package modules

import (
	"context"
	"reflect"

	"github.com/fitout-dev/fitout/modules/host"
)

// Content is what a file on the device holds before a change that takes it away.
type Content struct {
	Property string // that names it
	Path     string // where it can be read until the change
	Blob     host.Blob
}

// Inverse is what undoes a change from have to want, or the reason why nothing can.
func (t *Type) Inverse(want, have any) (any, error) {
	if t.inverse == nil {
		return have, nil
	}
	return t.inverse(want, have)
}

// Doubtful says whether Doubts has something to say of this type.
func (t *Type) Doubtful() bool { return t.doubts != nil }

// Doubts says for each pending change why its undo may fail although Inverse knows a way, or "".
func (t *Type) Doubts(ctx context.Context, h *host.Host, wants, haves []any) []string {
	if t.doubts == nil {
		return make([]string, len(wants))
	}
	return t.doubts(ctx, h, wants, haves)
}

// Contents lists what a change from have to want takes away and Inverse refers to: whoever applies the change keeps these
// contents first, by their hashes, where undo can open them.
func (t *Type) Contents(want, have any) []Content {
	if t.StateOf(have) != Present {
		return nil
	}
	if t.contents != nil {
		return t.contents(want, have)
	}
	paths := t.Paths(have)
	if len(paths) == 0 {
		return nil
	}
	var out []Content
	for _, f := range t.Fields {
		old, ok := t.Value(have, f).(host.Blob)
		if !ok || old.Hash == "" || f.Type != reflect.TypeFor[*host.Blob]() {
			continue
		}
		if t.StateOf(want) != Present || !isUnset(want, f) && !equal(want, have, f) {
			out = append(out, Content{f.Name, paths[0], old})
		}
	}
	return out
}

// Told is what is left of want where it is only to be notified: what it is called, and how it does what it does.
func (t *Type) Told(want any) any {
	v := reflect.New(t.goType).Elem()
	v.Set(reflect.ValueOf(want))
	for _, f := range t.Fields {
		if f.Role == Managed && !f.Argv || f.Role == Observed {
			v.Field(f.index).SetZero()
		}
	}
	return v.Interface()
}
