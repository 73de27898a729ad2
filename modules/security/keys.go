package security

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host/acl"
	"github.com/fitout-dev/fitout/modules/host/sddl"
)

// Who may use a certificate's private key. A key has rights like a file: where Windows keeps it, it is one.

// KeyAccess is what somebody may do with a private key.
type KeyAccess struct {
	// A user or group: NAME, DOMAIN\NAME or a SID. Accounts that each Windows has may go by their English names in every
	// language: NETWORK SERVICE, IIS_IUSRS, Users.
	Who string `json:"who" title:"Who" example:"NETWORK SERVICE"`
	// read to use it, full to remove it and change its access too.
	Rights string `json:"rights" title:"Rights" enum:"read,full" example:"read"`
}

// keyRights are what Windows' own dialog gives for a key.
var keyRights = map[string]uint32{"read": 0x120089, "full": sddl.Full}

// keepers are SYSTEM and Administrators: without them nobody could set the rights to a key again.
var keepers = []string{"S-1-5-18", "S-1-5-32-544"}

// asksKey says whether the rights to the key matter to a declaration.
func (c Certificate) asksKey() bool { return c.KeyAccess != nil || c.KeySecurity != nil }

func (c Certificate) keyWants() []acl.Want {
	var out []acl.Want
	for _, e := range c.KeyAccess {
		out = append(out, acl.Want{Who: e.Who, Mask: keyRights[e.Rights]})
	}
	return out
}

// checkKey finds what is wrong without a device.
func (c Certificate) checkKey() error {
	switch {
	case c.KeyAccess == nil && c.KeyAccessExact:
		return hint.New(errors.New("keyAccessExact: there is no keyAccess that could be exact"), "list under keyAccess who may use the key, or nobody with []")
	case c.KeyAccess == nil:
		return nil
	case c.State == modules.Absent:
		return hint.New(errors.New("keyAccess: with state: absent there is nothing to give access to"), "leave one of them out")
	case c.Location == "user":
		return hint.New(errors.New("keyAccess: nobody else can use a user's key"), "a key that others use is the machine's: leave out location")
	}
	for _, e := range c.KeyAccess {
		if keyRights[e.Rights] == 0 {
			return hint.New(fmt.Errorf("keyAccess: %q are no rights", e.Rights), "write read or full")
		}
		sid := sddl.Known(e.Who)
		if sid == "" {
			sid = strings.ToUpper(e.Who)
		}
		if err := e.keeps(sid); err != nil {
			return err
		}
	}
	if err := acl.Check(c.keyWants()); err != nil {
		return fmt.Errorf("keyAccess: %w", err)
	}
	return nil
}

// keeps refuses to take rights from those who are to keep them.
func (a KeyAccess) keeps(sid string) error {
	if slices.Contains(keepers, sid) && a.Rights != "full" {
		return hint.New(fmt.Errorf("keyAccess: %s would lose control of the key", a.Who), "SYSTEM and Administrators keep full rights, also where they aren't named")
	}
	return nil
}

// keyWanted finds out who is meant. Where the list is exact, the keepers are after those who are declared.
func (c Certificate) keyWanted(names acl.Names) (acl.Wanted, error) {
	wants := c.keyWants()
	w, err := acl.Resolve(names, wants)
	for i := range w.SIDs {
		if err == nil {
			err = c.KeyAccess[i].keeps(w.SIDs[i])
		}
	}
	if err == nil && c.KeyAccessExact {
		for _, sid := range keepers {
			if !slices.Contains(w.SIDs, sid) {
				wants = append(wants, acl.Want{Who: sid, Mask: sddl.Full})
			}
		}
		w, err = acl.Resolve(names, wants)
	}
	if err != nil {
		return w, fmt.Errorf("keyAccess: %w", err)
	}
	return w, nil
}

// parseKey reads a key's list. Nothing hands down to a key anew, so what it once got from above is its own.
func parseKey(text string) (sddl.Descriptor, error) {
	d, err := sddl.Parse(text)
	if err != nil {
		return d, fmt.Errorf("access of the private key: %w", err)
	}
	for i := range d.Entries {
		d.Entries[i].Flags = strings.ReplaceAll(d.Entries[i].Flags, "ID", "")
	}
	d.Owner, d.Listed = "", true
	return d.Own(), nil
}

// spellKey is who may do what with a key, in the words of the declaration where these mean the same.
func (c Certificate) spellKey(names acl.Names, d sddl.Descriptor) ([]KeyAccess, error) {
	w, err := c.keyWanted(names)
	if err != nil {
		return nil, err
	}
	out := []KeyAccess{}
	met, rest := acl.Read(names, d, false).Tell(w, c.KeyAccessExact)
	for i, is := range met {
		switch {
		case i < len(c.KeyAccess) && is:
			out = append(out, c.KeyAccess[i])
		case i >= len(c.KeyAccess) && !is && !slices.ContainsFunc(rest, func(o acl.Other) bool { return o.SID == w.SIDs[i] }):
			who, _ := names.Account(w.SIDs[i])
			out = append(out, KeyAccess{who, "none"})
		}
	}
	for _, other := range rest {
		var rights []string
		for _, e := range other.Entries {
			rights = append(rights, shownRights(e))
		}
		out = append(out, KeyAccess{other.Who, strings.Join(rights, ", ")})
	}
	return out, nil
}

// shownRights are an entry's rights for people: those that a profile can't express have more in them than a profile can write.
func shownRights(e sddl.Entry) string {
	a, ok := acl.As(e, "", false)
	if !ok || a.Deny {
		return e.String()
	}
	for word, mask := range keyRights {
		if mask == a.Mask {
			return word
		}
	}
	return fmt.Sprintf("0x%x", a.Mask)
}

// nextKey is the list that a key is to get.
func (c Certificate) nextKey(names acl.Names, old sddl.Descriptor) (string, error) {
	if c.KeySecurity != nil {
		return *c.KeySecurity, nil
	}
	w, err := c.keyWanted(names)
	if err != nil {
		return "", err
	}
	if w.Unknown != nil {
		return "", fmt.Errorf("keyAccess: %w", w.Unknown)
	}
	return acl.Read(names, old, false).Merge(w, c.KeyAccessExact).String(), nil
}

// keyAccessMet says whether the declared access is there.
func keyAccessMet(want []KeyAccess, exact bool, have []KeyAccess) bool {
	for _, w := range want {
		if !slices.Contains(have, w) {
			return false
		}
	}
	return !exact || have != nil && len(have) == len(want)
}

// keySecurityMet says whether a list that undo wants back is there.
func keySecurityMet(want, have *string) bool {
	if want == nil || have == nil {
		return want == have
	}
	w, errWant := parseKey(*want)
	h, errHave := parseKey(*have)
	return errWant == nil && errHave == nil && w.String() == h.String()
}

// Refs are those who are named under keyAccess.
func (Certificates) Refs(want Certificate) []string {
	var out []string
	for _, e := range want.KeyAccess {
		out = append(out, "users/"+e.Who, "groups/"+e.Who)
	}
	return out
}
