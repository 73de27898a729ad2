// Package secret keeps secrets: the value that is tainted by one, and the age-encrypted file they come from.
//
//	v := secret.New("hunter2")
//	fmt.Println(v)            // (secret)
//	send(v.Reveal())          // the one explicit way, for the frame encoder
//
// It promises that a Value never prints, logs or marshals what it holds.
package secret

import (
	"fmt"
	"log/slog"
	"unique"

	"github.com/fitout-dev/fitout/modules/host"
)

// Value is a string that holds a secret, or that was made of one.
type Value struct {
	text unique.Handle[string] // behind a pointer: fmt reads the unexported fields of structs that hold a Value
}

// New taints a text.
func New(text string) Value { return Value{unique.Make(text)} }

// Reveal returns the text. Only the frame encoder and what hands a secret to a device may call it; a test lists who does.
func (v Value) Reveal() string { return v.plain() }

func (v Value) plain() string {
	if v == (Value{}) {
		return ""
	}
	return v.text.Value()
}

// Equal says whether two secrets are the same text.
func (v Value) Equal(w Value) bool { return v.plain() == w.plain() }

// IsZero says whether there is nothing to keep.
func (v Value) IsZero() bool { return v.plain() == "" }

func (Value) String() string               { return host.Marker }
func (Value) GoString() string             { return host.Marker }
func (Value) Format(f fmt.State, _ rune)   { fmt.Fprint(f, host.Marker) }
func (Value) LogValue() slog.Value         { return slog.StringValue(host.Marker) }
func (Value) MarshalJSON() ([]byte, error) { return []byte(`"` + host.Marker + `"`), nil }
func (Value) MarshalText() ([]byte, error) { return []byte(host.Marker), nil }
func (Value) MarshalYAML() (any, error)    { return host.Marker, nil }
