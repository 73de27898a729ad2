package profile

import (
	"errors"
	"fmt"

	"github.com/fitout-dev/fitout/engine/profile/expression"
	"github.com/fitout-dev/fitout/engine/secret"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/schema"
)

// checkSecret fetches a secret that is mentioned. A source that can't be read at all is reported once.
func (p *Profile) checkSecret(r expression.Ref, failed map[string]error) (msg, remedy string) {
	if _, have := p.secrets[r.Name]; have {
		return "", ""
	}
	src := p.loader.source()
	v, err := src.Get(r.Name)
	switch {
	case err == nil:
		p.secrets[r.Name] = expression.Reveal(v)
	case errors.Is(err, secret.ErrUnknown):
		if r.Optional {
			return "", ""
		}
		return fmt.Sprintf("unknown secret %q", r.Name), didYouMean(r.Name, src.Names(), hint.Of(err))
	case failed[err.Error()] == nil:
		failed[err.Error()] = err
		return err.Error(), hint.Of(err)
	}
	return "", ""
}

// didYouMean is a hint: the name that is probably meant, or what else to do.
func didYouMean(word string, among []string, otherwise string) string {
	if s := schema.Suggest(word, among); s != "" {
		return fmt.Sprintf("did you mean %q?", s)
	}
	return otherwise
}
