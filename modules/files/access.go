package files

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
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
		if strings.TrimSpace(e.Who) == "" {
			return hint.New(errors.New("access: who: is empty"), "name a user or group, or give its SID")
		}
		if _, err := sddl.IsSID(e.Who); err != nil {
			return fmt.Errorf("access: who: %w", err)
		}
		if _, err := e.mask(); err != nil {
			return err
		}
		if e.DirectoryOnly && !directory {
			return errors.New("access: directoryOnly: a file is no directory")
		}
		allowed = allowed || !e.Deny
	}
	switch {
	case a.accessExact && a.access == nil:
		return hint.New(errors.New("accessExact: there is no access that could be exact"), "list under access who may do what")
	case a.accessExact && !allowed:
		return hint.New(errors.New("access: nobody would be allowed anything"), "with accessExact, list at least Administrators and SYSTEM with full rights")
	}
	return nil
}

// ace is an entry of a profile as Windows has it.
type ace struct {
	sid   string
	mask  uint32
	deny  bool
	below bool
}

// resolve finds out who is meant.
func (a Access) resolve(h *host.Host, directory bool) (ace, error) {
	sid, err := h.SID(a.Who)
	if err != nil {
		return ace{}, fmt.Errorf("access: %w", err)
	}
	mask, err := a.mask()
	return ace{sid, mask, a.Deny, directory && !a.DirectoryOnly}, err
}

func (e ace) entry() sddl.Entry {
	if e.deny {
		return sddl.Deny(e.sid, e.mask, e.below)
	}
	return sddl.Allow(e.sid, e.mask, e.below)
}

// deleteChild is a right that means something in folders alone.
const deleteChild = 0x40

// as is what an entry of Windows is to a profile; ok is false for one that a profile can't express.
func as(e sddl.Entry, sid string, directory bool) (a ace, ok bool) {
	deny, below, plain := e.Plain()
	mask, known := e.Mask()
	return ace{sid, mask, deny, below && directory}, plain && known
}

// same says whether two entries mean the same for a file, or a folder.
func same(a, b ace, directory bool) bool {
	if !directory {
		a.mask, b.mask = a.mask&^deleteChild, b.mask&^deleteChild
	}
	return a == b
}

// grants says whether what is inherited already holds what is wanted.
func grants(inherited []ace, want ace) bool {
	var mask uint32
	for _, e := range inherited {
		if e.sid == want.sid && e.deny == want.deny && (e.below || !want.below) {
			mask |= e.mask
		}
	}
	return mask&want.mask == want.mask
}

// list is an access control list in the words of a profile.
type list struct {
	directory bool
	own       map[string][]ace // by SID
	special   map[string]bool  // who has entries that a profile can't express
	inherited []ace
}

func readList(h *host.Host, d sddl.Descriptor, directory bool) list {
	l := list{directory, map[string][]ace{}, map[string]bool{}, nil}
	for _, e := range d.Entries {
		_, sid := h.Account(e.SID)
		a, ok := as(e, sid, directory)
		switch {
		case e.Inherited():
			l.inherited = append(l.inherited, a)
		case ok:
			l.own[sid] = append(l.own[sid], a)
		default:
			l.special[sid] = true
		}
	}
	return l
}

// met says whether the list has all that is wanted for an account.
func (l list) met(sid string, wants []ace) bool {
	own := l.own[sid]
	if len(own) == 0 && !l.special[sid] {
		return !slices.ContainsFunc(wants, func(w ace) bool { return !grants(l.inherited, w) })
	}
	return !l.special[sid] && within(own, wants, l.directory) && within(wants, own, l.directory)
}

// within says whether all of some are among others.
func within(some, others []ace, directory bool) bool {
	for _, a := range some {
		if !slices.ContainsFunc(others, func(b ace) bool { return same(a, b, directory) }) {
			return false
		}
	}
	return true
}

// wanted are a profile's entries by who is meant. Who isn't there yet is left out, which all tells.
func (a attributes) wanted(h *host.Host, directory bool) (by map[string][]ace, order []string, all bool) {
	by, all = map[string][]ace{}, true
	for _, w := range a.access {
		e, err := w.resolve(h, directory)
		if err != nil {
			all = false
			continue
		}
		if by[e.sid] == nil {
			order = append(order, e.sid)
		}
		by[e.sid] = append(by[e.sid], e)
	}
	return by, order, all
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
	l := readList(h, d, directory)
	s.inherited = len(l.inherited)
	wants, _, _ := a.wanted(h, directory)
	s.access = []Access{}
	for _, w := range a.access {
		if e, err := w.resolve(h, directory); err == nil && l.met(e.sid, wants[e.sid]) {
			s.access = append(s.access, w)
		}
	}
	at := map[string]int{} // who is wanted, and has something else
	for _, e := range d.Entries {
		who, sid := h.Account(e.SID)
		if e.Inherited() && !a.accessExact || wants[sid] != nil && l.met(sid, wants[sid]) {
			continue
		}
		now := shown(e, who, directory)
		if i, twice := at[sid]; twice {
			s.access[i].Rights += ", " + now.Rights
			continue
		}
		if s.access = append(s.access, now); wants[sid] != nil {
			at[sid] = len(s.access) - 1
		}
	}
	return s, nil
}

// shown is an entry for people: what a profile can't express has more in its rights than a profile can write there.
func shown(e sddl.Entry, who string, directory bool) Access {
	a, ok := as(e, "", directory)
	out := Access{Who: who, Rights: fmt.Sprintf("0x%x", a.mask), Deny: a.deny, DirectoryOnly: directory && !a.below}
	for word, mask := range words {
		if mask == a.mask {
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
	for _, w := range a.access {
		if _, err := w.resolve(h, directory); err != nil {
			return "", err
		}
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
	wants, order, _ := a.wanted(h, directory)
	l := readList(h, old, directory)
	old = old.Own()
	next.Listed = true
	if next.Flags = old.Flags; a.accessExact {
		next.Flags = "P"
	}
	// Windows' own order: what is forbidden first. https://learn.microsoft.com/windows/win32/secauthz/order-of-aces-in-a-dacl
	var deny, allow []sddl.Entry
	add := func(e sddl.Entry) {
		if strings.HasSuffix(e.Type, "D") {
			deny = append(deny, e)
		} else {
			allow = append(allow, e)
		}
	}
	for _, e := range old.Entries {
		if _, sid := h.Account(e.SID); wants[sid] == nil || l.met(sid, wants[sid]) {
			add(e)
		}
	}
	for _, sid := range order {
		if !a.accessExact && l.met(sid, wants[sid]) {
			continue
		}
		for _, w := range wants[sid] {
			add(w.entry())
		}
	}
	next.Entries = slices.Concat(deny, allow)
	return next.String(), nil
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
