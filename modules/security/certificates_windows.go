package security

import (
	"context"
	"encoding/pem"
	"fmt"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/fitout-dev/fitout/modules/host/crypt"
	"github.com/fitout-dev/fitout/modules/host/sddl"
)

func (c Certificate) where() crypt.Location {
	if c.Location == "user" {
		return crypt.User
	}
	return crypt.Machine
}

// wanted is the thumbprint of the declared certificate, and its bytes where they are known.
func (c Certificate) wanted() (print string, bytes []byte, err error) {
	switch {
	case c.Thumbprint != "":
		print, err = thumbprint(c.Thumbprint)
		return print, nil, err
	case c.PFX != nil:
		pfx, err := pfxBytes(*c.PFX)
		if err == nil {
			bytes, err = crypt.ReadPFX(pfx, c.Password)
		}
		if err != nil {
			return "", nil, err
		}
	default:
		if bytes, err = der(*c.Certificate); err != nil {
			return "", nil, err
		}
	}
	return crypt.Thumbprint(bytes), bytes, nil
}

// Observe implements modules.Resource.
func (r Certificates) Observe(_ context.Context, h *host.Host, want Certificate) (Certificate, error) {
	have := Certificate{Name: want.Name, Store: want.Store, Location: want.Location, State: modules.Absent}
	if !h.Living() {
		return have, host.ErrNeedsSystem
	}
	if err := r.Check(want); err != nil {
		return have, err
	}
	print, _, err := want.wanted()
	if err != nil {
		return have, err
	}
	s, err := crypt.Open(want.where(), want.Store, false)
	if s == nil {
		return have, err
	}
	defer s.Close()
	c, err := s.Find(print)
	if c == nil {
		return have, err
	}
	have.State, have.Found, have.HasKey = modules.Present, print, c.HasKey
	have.Certificate, have.FriendlyName = modules.Ptr(asPEM(c.DER)), &c.FriendlyName
	if want.PFX != nil {
		have.PFX = modules.Ptr("")
		if c.HasKey {
			have.PFX = want.PFX
		}
	}
	return have, want.observeKey(h, s, &have)
}

// observeKey reads who may use the private key. To bring it back after a removal is tried only: the key may be a user's.
func (c Certificate) observeKey(h *host.Host, s *crypt.Store, have *Certificate) error {
	removal := c.State == modules.Absent && c.PFX != nil && have.HasKey
	switch {
	case !c.asksKey() && !removal:
		return nil
	case !have.HasKey && c.PFX != nil:
		return nil // it comes with the PFX
	case !have.HasKey:
		return noKey(have.Found)
	}
	text, err := s.KeySecurity(have.Found)
	if err != nil {
		if removal {
			err = nil
		}
		return err
	}
	d, err := parseKey(text)
	if err != nil {
		return err
	}
	have.KeySecurity = modules.Ptr(d.String())
	if c.KeyAccess != nil {
		have.KeyAccess, err = c.spellKey(h, d)
	}
	return err
}

func noKey(print string) error {
	return hint.New(fmt.Errorf("keyAccess: this device has no private key of certificate %s", print), "declare the certificate with its key as pfx, or leave out keyAccess")
}

// setKey gives access to the private key.
func (c Certificate) setKey(h *host.Host, s *crypt.Store, print string) error {
	text, err := s.KeySecurity(print)
	if err != nil {
		return err
	}
	old, err := parseKey(text)
	if err != nil {
		return err
	}
	next, err := c.nextKey(h, old)
	if err != nil || keySecurityMet(&next, &text) {
		return err
	}
	return s.SetKeySecurity(h, print, next)
}

// Apply implements modules.Resource.
func (r Certificates) Apply(_ context.Context, h *host.Host, want, have Certificate) (modules.Outcome, error) {
	if err := r.Check(want); err != nil {
		return modules.Outcome{}, err
	}
	print, bytes, err := want.wanted()
	if err != nil {
		return modules.Outcome{}, err
	}
	if want.asksKey() && want.PFX == nil && !have.HasKey {
		return modules.Outcome{}, noKey(print)
	}
	if _, err := want.nextKey(h, sddl.Descriptor{}); want.asksKey() && err != nil { // before anything changes: who isn't there?
		return modules.Outcome{}, err
	}
	s, err := crypt.Open(want.where(), want.Store, true)
	if err != nil {
		return modules.Outcome{}, err
	}
	defer s.Close()
	if want.State == modules.Absent {
		return modules.Outcome{}, s.Remove(h, print)
	}
	switch {
	case want.PFX != nil && !have.HasKey:
		pfx, err := pfxBytes(*want.PFX)
		if err == nil {
			err = s.AddPFX(h, want.where(), pfx, want.Password)
		}
		if err != nil {
			return modules.Outcome{}, err
		}
	case have.State == modules.Absent:
		if err := s.Add(h, bytes); err != nil {
			return modules.Outcome{}, err
		}
	}
	if want.FriendlyName != nil && (have.FriendlyName == nil || *have.FriendlyName != *want.FriendlyName) {
		if err := s.Rename(h, print, *want.FriendlyName); err != nil {
			return modules.Outcome{}, err
		}
	}
	if want.asksKey() {
		return modules.Outcome{}, want.setKey(h, s, print)
	}
	return modules.Outcome{}, nil
}

func asPEM(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
