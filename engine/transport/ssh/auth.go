package ssh

import (
	"context"
	"fmt"
	"slices"
	"strings"

	gossh "golang.org/x/crypto/ssh"
)

// auth is one attempt to log in. It goes through stages: each is made only when those before it have failed, and none
// that the server doesn't allow.
type auth struct {
	stages []stage
	agent  agentConn
	tried  []string // for the error: what was offered
	notes  []string // for the error: what couldn't be offered, and why
	asked  bool     // the server has named the methods it allows
	allows []string
}

type stage struct {
	method string
	make   func() gossh.AuthMethod // nil: nothing to offer
}

func (a *auth) next(c *gossh.ClientAuthContext) (gossh.AuthMethod, error) {
	a.asked, a.allows = true, c.AllowedMethods
	for {
		i := slices.IndexFunc(a.stages, func(s stage) bool { return slices.Contains(c.AllowedMethods, s.method) })
		if i < 0 {
			return nil, nil
		}
		s := a.stages[i]
		a.stages = slices.Delete(a.stages, i, i+1)
		if m := s.make(); m != nil {
			return m, nil
		}
	}
}

func (a *auth) note(err error) {
	if err != nil {
		a.notes = append(a.notes, err.Error())
	}
}

// newAuth prepares the stages for a hop: the identities that were named, the agent, OpenSSH's default identities, at last
// the password. A password that was configured where no identity was goes first. pause stops the clock of the handshake
// while a person thinks; what it returns starts it again.
func newAuth(ctx context.Context, h *hop, pause func() (resume func())) *auth {
	a := &auth{agent: agentConn{socket: h.agent}}
	offered := map[string]bool{}
	ask := func(question string, echo bool) (string, error) {
		defer pause()()
		return h.prompt.ask(ctx, question, echo)
	}
	unlock := func(k *keyFile) (gossh.Signer, error) {
		defer pause()()
		signer, err := k.unlock(ctx, h.prompt)
		a.note(err)
		return signer, err
	}

	keys := func(paths []string) func() gossh.AuthMethod {
		return func() gossh.AuthMethod {
			var signers []gossh.Signer
			for _, path := range paths {
				k, err := h.keyFile(path)
				if err != nil {
					if path == h.requiredIdentity || !isMissing(err) {
						a.note(err)
					}
					continue
				}
				ss, note := k.signers(&a.agent, unlock)
				a.note(note)
				for _, s := range ss {
					if id := string(s.PublicKey().Marshal()); !offered[id] {
						offered[id] = true
						signers = append(signers, s)
						a.tried = append(a.tried, describeKey("key "+path, s.PublicKey()))
					}
				}
			}
			return publicKeys(signers)
		}
	}
	fromAgent := func() gossh.AuthMethod {
		held, err := a.agent.list()
		a.note(err)
		var signers []gossh.Signer
		for _, s := range held {
			if !offered[string(s.PublicKey().Marshal())] {
				signers = append(signers, s)
				a.tried = append(a.tried, describeKey("agent's key", s.PublicKey()))
			}
		}
		return publicKeys(signers)
	}

	if h.password != nil && h.requiredIdentity == "" {
		a.addPassword(h, ask)
	}
	a.stages = append(a.stages, stage{"publickey", keys(h.identities)})
	if !h.identitiesOnly {
		a.stages = append(a.stages, stage{"publickey", fromAgent})
	}
	if len(h.defaultIdentities) > 0 {
		a.stages = append(a.stages, stage{"publickey", keys(h.defaultIdentities)})
	}
	if h.password == nil || h.requiredIdentity != "" {
		a.addPassword(h, ask)
	}
	return a
}

func publicKeys(signers []gossh.Signer) gossh.AuthMethod {
	if len(signers) == 0 {
		return nil
	}
	return gossh.PublicKeys(signers...)
}

func describeKey(what string, key gossh.PublicKey) string {
	if c, ok := key.(*gossh.Certificate); ok {
		return fmt.Sprintf("%s with its certificate %q", what, c.KeyId)
	}
	return fmt.Sprintf("%s (%s)", what, gossh.FingerprintSHA256(key))
}

// addPassword appends the stages that need a password: the one configured or, where somebody can be asked, one from the
// prompt.
func (a *auth) addPassword(h *hop, ask func(question string, echo bool) (string, error)) {
	if h.password == nil && h.prompt == nil {
		return
	}
	password := func() (string, error) {
		if h.password != nil {
			return h.password()
		}
		return ask(fmt.Sprintf("Password of %s@%s: ", h.user, h.host), false)
	}
	a.stages = append(a.stages,
		stage{"password", func() gossh.AuthMethod {
			a.tried = append(a.tried, "password")
			return gossh.PasswordCallback(password)
		}},
		stage{"keyboard-interactive", func() gossh.AuthMethod {
			if h.password == nil && slices.Contains(a.tried, "password") {
				return nil // it would only ask for the same once more
			}
			a.tried = append(a.tried, "keyboard-interactive")
			answered := false
			return gossh.KeyboardInteractive(func(name, instruction string, questions []string, echos []bool) ([]string, error) {
				answers := make([]string, len(questions))
				for i, q := range questions {
					var err error
					if h.password != nil && !echos[i] && !answered {
						answered = true
						answers[i], err = h.password()
					} else {
						answers[i], err = ask(h.host+": "+strings.TrimSpace(instruction+" "+q)+" ", echos[i])
					}
					if err != nil {
						return nil, err
					}
				}
				return answers, nil
			})
		}})
}
