package expression

import (
	"errors"
	"fmt"
	"os"

	"github.com/fitout-dev/fitout/engine/secret"
	"github.com/fitout-dev/fitout/modules/hint"
)

// Names takes the secrets and the environment variables that expressions mention, and only those: a file of secrets is
// not even opened for a profile that needs none.
type Names struct {
	Secrets secret.Source               // nil: FITOUT_SECRET_NAME alone
	Env     func(string) (string, bool) // nil: os.LookupEnv

	SecretTexts, EnvTexts map[string]any
	failed                map[string]bool
}

// Fault is what is wrong with a name. Msg is "" where the same was said before: a source that can't be read is reported
// once.
type Fault struct{ Msg, Hint string }

// Take takes what r mentions, or says what is wrong.
func (n *Names) Take(r Ref) *Fault {
	if n.SecretTexts == nil {
		n.SecretTexts, n.EnvTexts, n.failed = map[string]any{}, map[string]any{}, map[string]bool{}
	}
	if r.Root == "env" {
		lookup := n.Env
		if lookup == nil {
			lookup = os.LookupEnv
		}
		if text, ok := lookup(r.Name); ok {
			n.EnvTexts[r.Name] = text
		} else if !r.Optional {
			return &Fault{fmt.Sprintf("environment variable %q is not set", r.Name), "set it, or give another value with ??"}
		}
		return nil
	}
	if _, have := n.SecretTexts[r.Name]; have {
		return nil
	}
	src := n.Secrets
	if src == nil {
		src = secret.Env{Lookup: n.Env}
	}
	v, err := src.Get(r.Name)
	switch {
	case err == nil:
		n.SecretTexts[r.Name] = v.Reveal()
		return nil
	case errors.Is(err, secret.ErrUnknown):
		if r.Optional {
			return nil
		}
		return &Fault{fmt.Sprintf("unknown secret %q", r.Name), hint.Of(err)}
	case n.failed[err.Error()]:
		return &Fault{}
	}
	n.failed[err.Error()] = true
	return &Fault{err.Error(), hint.Of(err)}
}
