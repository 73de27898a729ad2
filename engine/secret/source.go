package secret

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/fitout-dev/fitout/modules/hint"
)

// Source is where secrets come from. Its methods may be called concurrently.
type Source interface {
	// Get returns a secret. The error is ErrUnknown where the source can be read and has none of that name.
	Get(name string) (Value, error)
	// Names lists the secrets, sorted; none where the source can't be read.
	Names() []string
}

// ErrUnknown says that there is no secret of a name.
var ErrUnknown = errors.New("unknown secret")

// Env takes secrets from FITOUT_SECRET_NAME where that is set, and else from Else, which may be nil.
type Env struct {
	Lookup func(string) (string, bool) // nil: os.LookupEnv
	Else   Source
}

// Variable is the environment variable that a secret may come from: db-password from FITOUT_SECRET_DB_PASSWORD.
func Variable(name string) string {
	return "FITOUT_SECRET_" + strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, name)
}

func (e Env) Get(name string) (Value, error) {
	lookup := e.Lookup
	if lookup == nil {
		lookup = os.LookupEnv
	}
	if text, ok := lookup(Variable(name)); ok {
		return New(text), nil
	}
	if e.Else == nil {
		return Value{}, hint.New(fmt.Errorf("%w %q", ErrUnknown, name),
			"set %s, or name a file of secrets in the inventory", Variable(name))
	}
	return e.Else.Get(name)
}

func (e Env) Names() []string {
	if e.Else == nil {
		return nil
	}
	return e.Else.Names()
}
