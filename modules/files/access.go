package files

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/fitout-dev/fitout/modules/host/acl"
	"github.com/fitout-dev/fitout/modules/host/sddl"
)

// Who may do what on Windows: an entry's owner and its access control list.

// Access is what somebody may do with a file or folder, or may not.
type Access struct {
	// A user or group: NAME, DOMAIN\NAME or a SID. Accounts that each Windows has may go by their English names in every
	// language: Administrators, Users, Everyone, SYSTEM.
	Who string `json:"who" title:"Who" example:"Administrators"`
	// read (run and list too), modify (write and remove too), full (change access and owner too), or a number as icacls and
	// Windows' documentation of access masks have it.
	Rights string `json:"rights" title:"Rights" pattern:"^(read|modify|full|0x[0-9a-fA-F]{1,8})$" example:"modify"`
	// Forbid it. What is forbidden comes before what is allowed, also by membership of another group.
	Deny bool `json:"deny,omitzero" title:"Deny"`
	// Only for the directory itself, and not for what is in it.
	DirectoryOnly bool `json:"directoryOnly,omitzero" title:"Directory only"`
}

// words are rights that have a name.
var words = map[string]uint32{"read": sddl.Read, "modify": sddl.Modify, "full": sddl.Full}

func (a Access) mask() (uint32, error) {
	if m, ok := words[a.Rights]; ok {
		return m, nil
	}
	if digits, ok := strings.CutPrefix(strings.ToLower(a.Rights), "0x"); ok {
		if n, err := strconv.ParseUint(digits, 16, 32); err == nil && n > 0 {
			return uint32(n), nil
		}
	}
	return 0, hint.New(fmt.Errorf("access: %q are no rights", a.Rights), "write read, modify, full, or a number in hexadecimal digits, such as 0x1200a9")
}

// checkAccess finds what is wrong without a device.
func (a attributes) checkAccess(directory bool) error {
	if a.owner != nil {
		if _, err := sddl.IsSID(*a.owner); err != nil {
			return fmt.Errorf("owner: %w", err)
		}
	}
	allowed := false
	for _, e := range a.access {
		if _, err := e.mask(); err != nil {
			return err
		}
		if e.DirectoryOnly && !directory {
			return errors.New("access: directoryOnly: a file is no directory")
		}
		allowed = allowed || !e.Deny
	}
	if err := acl.Check(a.wants(directory)); err != nil {
		return fmt.Errorf("access: %w", err)
	}
	switch {
	case a.accessExact && a.access == nil:
		return hint.New(errors.New("accessExact: there is no access that could be exact"), "list under access who may do what")
	case a.accessExact && !allowed:
		return hint.New(errors.New("access: nobody would be allowed anything"), "with accessExact, list at least Administrators and SYSTEM with full rights")
	}
	return nil
}

// wants are the declared entries as Windows has them.
func (a attributes) wants(directory bool) []acl.Want {
	var out []acl.Want
	for _, e := range a.access {
		mask, _ := e.mask() // Check has seen them
		out = append(out, acl.Want{Who: e.Who, Mask: mask, Deny: e.Deny, Below: directory && !e.DirectoryOnly})
	}
	return out
}

// wanted finds out who is meant.
func (a attributes) wanted(h *host.Host, directory bool) (acl.Wanted, error) {
	w, err := acl.Resolve(h, a.wants(directory))
	if err != nil {
		return w, fmt.Errorf("access: %w", err)
	}
	return w, nil
}

// secured is what a profile, and undo, know of an entry's owner and access.
type secured struct {
	owner     *string
	access    []Access
	inherited int // entries that come from above
	security  *string
}

// asksSecurity says whether owner or access matter to a declaration.
func (a attributes) asksSecurity(h *host.Host) bool {
	return h.OS() == "windows" && (a.owner != nil || a.access != nil || a.security != nil)
}

// spellSecurity reads who owns an entry and who may do what, in the words of the declaration where these mean the same; nil
// where it doesn't matter: to a declaration that says nothing of it, and lets the old entry live.
func (a attributes) spellSecurity(h *host.Host, path string, directory, gone bool) (*secured, error) {
	if !a.asksSecurity(h) && !(gone && h.OS() == "windows" && h.Living()) {
		return nil, nil
	}
	text, err := h.Security(path)
	if err != nil {
		return nil, denied(err)
	}
	d, err := sddl.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("access of %s: %w", path, err)
	}
	kept := d.String()
	s := &secured{security: &kept}
	name, sid := h.Account(d.Owner)
	if s.owner = &name; a.owner != nil {
		if want, err := h.SID(*a.owner); err == nil && want == sid {
			s.owner = a.owner
		}
	}
	if a.access == nil {
		return s, nil
	}
	wants, err := a.wanted(h, directory)
	if err != nil {
		return nil, err
	}
	l := acl.Read(h, d, directory)
	s.inherited = l.Inherited
	s.access = []Access{}
	met, rest := l.Tell(wants, a.accessExact)
	for i, w := range a.access {
		if met[i] {
			s.access = append(s.access, w)
		}
	}
	for _, other := range rest {
		now := shown(other.Entries[0], other.Who, directory)
		for _, e := range other.Entries[1:] {
			now.Rights += ", " + shown(e, other.Who, directory).Rights
		}
		s.access = append(s.access, now)
	}
	return s, nil
}

// shown is an entry for people: what a profile can't express has more in its rights than a profile can write there.
func shown(e sddl.Entry, who string, directory bool) Access {
	a, ok := acl.As(e, "", directory)
	out := Access{Who: who, Rights: fmt.Sprintf("0x%x", a.Mask), Deny: a.Deny, DirectoryOnly: directory && !a.Below}
	for word, mask := range words {
		if mask == a.Mask {
			out.Rights = word
		}
	}
	if !ok {
		out.Rights = e.String()
	}
	return out
}

// compare takes lists of who may do what by what they mean.
func (a attributes) compare(property string, have attributes, inherited int) (met, ok bool) {
	switch {
	case property == "access":
		return accessMet(a.access, a.accessExact, have.access, inherited), true
	case property == "security" && a.security != nil && have.security != nil:
		return securityMet(*a.security, *have.security), true
	}
	return false, false
}

// accessMet says whether the declared access is there.
func accessMet(want []Access, exact bool, have []Access, inherited int) bool {
	for _, w := range want {
		if !slices.Contains(have, w) {
			return false
		}
	}
	return !exact || inherited == 0 && len(have) == len(want)
}

// securityMet says whether an owner and list that undo wants back are there, whatever comes from above.
func securityMet(want, have string) bool {
	w, err := sddl.Parse(want)
	if err != nil {
		return false
	}
	h, err := sddl.Parse(have)
	if err != nil {
		return false
	}
	if w.Owner == "" {
		h.Owner = ""
	}
	if !w.Listed {
		h.Listed = false
	}
	return w.Own().String() == h.Own().String()
}

// secure is the owner and access that an entry is to get, in Windows' words; path is "" for one that isn't there yet.
func (a attributes) secure(h *host.Host, path string, directory bool) (string, error) {
	if a.security != nil {
		return *a.security, nil
	}
	var next, old sddl.Descriptor
	if a.owner != nil {
		sid, err := h.SID(*a.owner)
		if err != nil {
			return "", fmt.Errorf("owner: %w", err)
		}
		next.Owner = sid
	}
	if a.access == nil {
		return next.String(), nil
	}
	wants, err := a.wanted(h, directory)
	if err != nil {
		return "", err
	}
	if wants.Unknown != nil {
		return "", fmt.Errorf("access: %w", wants.Unknown)
	}
	if path != "" && !a.accessExact {
		text, err := h.Security(path)
		if err != nil {
			return "", denied(err)
		}
		if old, err = sddl.Parse(text); err != nil {
			return "", fmt.Errorf("access of %s: %w", path, err)
		}
	}
	list := acl.Read(h, old, directory).Merge(wants, a.accessExact)
	list.Owner = next.Owner
	return list.String(), nil
}

// back is what undo wants back of an owner and list: what is declared, or was there where all of it goes.
func (a attributes) back(have *string, all bool) *string {
	d, err := sddl.Parse(*have)
	if err != nil {
		return nil
	}
	owner, access := all || a.owner != nil, all || a.access != nil
	if a.security != nil {
		w, err := sddl.Parse(*a.security)
		owner, access = owner || err == nil && w.Owner != "", access || err == nil && w.Listed
	}
	if !owner {
		d.Owner = ""
	}
	if !access {
		d.Listed = false
	}
	text := d.Own().String() // the rest comes from above by itself
	if text == "" {
		return nil
	}
	return &text
}

// refs are the accounts that come first where they are declared.
func (a attributes) refs() []string {
	var out []string
	for _, e := range a.access {
		out = append(out, "users/"+e.Who, "groups/"+e.Who)
	}
	return out
}
