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

// Take takes what r mentions. msg says what is wrong, or is "". A source that can't be read is reported once.
func (n *Names) Take(r Ref) (msg, remedy string) {
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
			return fmt.Sprintf("environment variable %q is not set", r.Name), "set it, or give another value with ??"
		}
		return "", ""
	}
	if _, have := n.SecretTexts[r.Name]; have {
		return "", ""
	}
	src := n.Secrets
	if src == nil {
		src = secret.Env{Lookup: n.Env}
	}
	v, err := src.Get(r.Name)
	switch {
	case err == nil:
		n.SecretTexts[r.Name] = v.Reveal()
	case errors.Is(err, secret.ErrUnknown):
		if !r.Optional {
			return fmt.Sprintf("unknown secret %q", r.Name), hint.Of(err)
		}
	default:
		n.SecretTexts[r.Name] = "" // the load has failed; this keeps it from complaining about the same again
		if !n.failed[err.Error()] {
			n.failed[err.Error()] = true
			return err.Error(), hint.Of(err)
		}
	}
	return "", ""
}
