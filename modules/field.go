package modules

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Role is what a property is for.
type Role string

const (
	Key       Role = "key"
	Managed   Role = "managed"
	Behaviour Role = "behaviour"
	Observed  Role = "observed"
	State     Role = "state"
)

// Field is one property of a resource type, as its struct's tags describe it.
type Field struct {
	Name                        string // in a profile
	Go                          string // of the struct's field
	Type                        reflect.Type
	Tag                         reflect.StructTag
	Role                        Role
	Short, Path, Living, Secret bool
	Argv                        bool     // a program's arguments, which every user of a device can read
	Undo                        bool     // compared where undo wants it, though a profile can't declare it
	Blob                        []string // what a profile writes for it
	On                          []string // the platforms that have it; nil is all
	Experimental                []string // the platforms on which it was never seen to work on a real system
	index                       int
}

// IsBlob says whether the property is a file's content.
func (f Field) IsBlob() bool { return len(f.Blob) > 0 }

// Exists says whether a platform has the property.
func (f Field) Exists(os string) bool { return f.On == nil || slices.Contains(f.On, os) }

// Enum lists the allowed values, or nil.
func (f Field) Enum() []string {
	if e := f.Tag.Get("enum"); e != "" {
		return strings.Split(e, ",")
	}
	return nil
}

// fieldsOf reads a struct's tags. A wrong tag is a programmer's mistake and panics at registration.
func fieldsOf(t reflect.Type) []Field {
	var fields []Field
	for i := range t.NumField() {
		sf := t.Field(i)
		name, options, _ := strings.Cut(sf.Tag.Get("json"), ",")
		fit := strings.Split(sf.Tag.Get("fit"), ",")
		f := Field{Name: name, Go: sf.Name, Type: sf.Type, Tag: sf.Tag, Role: Role(fit[0]), index: i}
		bad := func(format string, args ...any) {
			panic(fmt.Sprintf("modules: %s.%s: %s", t, sf.Name, fmt.Sprintf(format, args...)))
		}
		if name == "" || name == "-" {
			bad("needs a json name")
		}
		for _, o := range fit[1:] {
			switch o {
			case "short":
				f.Short = true
			case "path":
				f.Path = true
			case "living":
				f.Living = true
			case "secret":
				f.Secret = true
			case "argv":
				f.Argv = true
			case "undo":
				f.Undo = true
			default:
				bad("unknown option %q", o)
			}
		}
		if b := sf.Tag.Get("blob"); b != "" {
			f.Blob = strings.Split(b, ",")
		}
		for tag, to := range map[string]*[]string{"on": &f.On, "experimental": &f.Experimental} {
			if s := sf.Tag.Get(tag); s != "" {
				*to = strings.Split(s, ",")
			}
			for _, p := range *to {
				if !slices.Contains(everywhere, p) {
					bad("%s: no platform %q", tag, p)
				}
			}
		}
		unset := slices.Contains([]reflect.Kind{reflect.Pointer, reflect.Slice, reflect.Map}, sf.Type.Kind())
		switch f.Role {
		case Key:
			if k := sf.Type.Kind(); k != reflect.String {
				bad("a key is a string")
			}
		case Managed:
			if !unset || !strings.Contains(options, "omitzero") {
				bad("a managed property is a pointer, slice or map with omitzero: absent means not managed")
			}
		case State:
			if sf.Type.Kind() != reflect.String || !strings.Contains(options, "omitzero") {
				bad("a state is a string with omitzero")
			}
		case Behaviour, Observed:
			if f.Undo && (f.Role != Observed || !unset) {
				bad("what undo wants back is an observed pointer, slice or map")
			}
		default:
			bad("unknown role %q", f.Role)
		}
		if sf.Tag.Get("default") != "" && f.Role != Behaviour {
			bad("only behaviour has defaults")
		}
		fields = append(fields, f)
	}
	return fields
}
