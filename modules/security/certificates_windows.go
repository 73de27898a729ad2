package security

import (
	"context"
	"encoding/pem"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/fitout-dev/fitout/modules/host/crypt"
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
	return have, nil
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
	if want.FriendlyName == nil || have.FriendlyName != nil && *have.FriendlyName == *want.FriendlyName {
		return modules.Outcome{}, nil
	}
	return modules.Outcome{}, s.Rename(h, print, *want.FriendlyName)
}

func asPEM(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
