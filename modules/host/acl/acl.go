// Package acl brings access control lists of Windows to what profiles ask for: the entries of those who are named become as
// listed, what others have stays, or goes where the list is to be exact.
//
//	err := acl.Check(wants)                       // without a device
//	w, err := acl.Resolve(h, wants)               // who is meant; w.Unknown is who isn't there
//	l := acl.Read(h, d, directory)                // d is from package sddl
//	met, rest := l.Tell(w, exact)                 // what is there, in the words of a profile
//	d = l.Merge(w, exact)                         // what is to be there
package acl

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host/sddl"
)

// Names knows a device's accounts. A *host.Host does.
type Names interface {
	SID(account string) (string, error)
	Account(sid string) (name, canonical string)
}

// Want is what somebody may do, or may not.
type Want struct {
	Who   string
	Mask  uint32
	Deny  bool
	Below bool // also with all that is in a folder
}

// sense is what one account has one entry of: it may be allowed some and denied some, and in a folder something else than below.
type sense struct {
	who         string
	deny, below bool
}

// Check finds who is no account, or is named twice, as far as the text tells.
func Check(wants []Want) error {
	seen := map[sense]string{}
	for _, w := range wants {
		if strings.TrimSpace(w.Who) == "" {
			return hint.New(errors.New("who: is empty"), "name a user or group, or give its SID")
		}
		is, err := sddl.IsSID(w.Who)
		if err != nil {
			return fmt.Errorf("who: %w", err)
		}
		who := strings.ToLower(w.Who)
		if sid := sddl.Known(w.Who); sid != "" {
			who = sid
		} else if is {
			who = strings.ToUpper(w.Who)
		}
		if err := w.once(who, seen); err != nil {
			return err
		}
	}
	return nil
}

// once refuses a second entry for an account: which of them should count?
func (w Want) once(who string, seen map[sense]string) error {
	s := sense{who, w.Deny, w.Below}
	first, twice := seen[s]
	if seen[s] = w.Who; !twice {
		return nil
	}
	err := fmt.Errorf("who: %q is named twice", w.Who)
	if first != w.Who {
		err = fmt.Errorf("who: %q and %q are the same account", first, w.Who)
	}
	return hint.New(err, "leave one of them, with all its rights")
}

// Ace is an entry that a profile can express.
type Ace struct {
	SID   string
	Mask  uint32
	Deny  bool
	Below bool
}

func (a Ace) entry() sddl.Entry {
	if a.Deny {
		return sddl.Deny(a.SID, a.Mask, a.Below)
	}
	return sddl.Allow(a.SID, a.Mask, a.Below)
}

// As is what an entry of Windows is to a profile; ok is false for one that a profile can't express.
func As(e sddl.Entry, sid string, directory bool) (a Ace, ok bool) {
	deny, below, plain := e.Plain()
	mask, known := e.Mask()
	return Ace{sid, mask, deny, below && directory}, plain && known
}

// Wanted are a profile's entries by who is meant.
type Wanted struct {
	SIDs    []string // of each entry; "" where nobody is
	Unknown error    // says who isn't there, or not yet
	by      map[string][]Ace
	order   []string
}

// Resolve finds out who is meant. It fails where only the device shows that two are the same.
func Resolve(names Names, wants []Want) (Wanted, error) {
	w, seen := Wanted{by: map[string][]Ace{}}, map[sense]string{}
	for _, want := range wants {
		sid, err := names.SID(want.Who)
		if w.SIDs = append(w.SIDs, sid); err != nil {
			w.Unknown = cmp.Or(w.Unknown, err)
			continue
		}
		if err := want.once(sid, seen); err != nil {
			return w, err
		}
		if w.by[sid] == nil {
			w.order = append(w.order, sid)
		}
		w.by[sid] = append(w.by[sid], Ace{sid, want.Mask, want.Deny, want.Below})
	}
	return w, nil
}

// List is an access control list.
type List struct {
	Inherited int // entries that come from above
	names     Names
	d         sddl.Descriptor
	directory bool
	own       map[string][]Ace // by SID
	special   map[string]bool  // who has entries that a profile can't express
	above     []Ace
}

// Read reads the list of a file, a folder, or what has rights like a file.
func Read(names Names, d sddl.Descriptor, directory bool) List {
	l := List{names: names, d: d, directory: directory, own: map[string][]Ace{}, special: map[string]bool{}}
	for _, e := range d.Entries {
		_, sid := names.Account(e.SID)
		a, ok := As(e, sid, directory)
		switch {
		case e.Inherited():
			l.above = append(l.above, a)
		case ok:
			l.own[sid] = append(l.own[sid], a)
		default:
			l.special[sid] = true
		}
	}
	l.Inherited = len(l.above)
	return l
}

// deleteChild is a right that means something in folders alone.
const deleteChild = 0x40

// same says whether two entries mean the same.
func (l List) same(a, b Ace) bool {
	if !l.directory {
		a.Mask, b.Mask = a.Mask&^deleteChild, b.Mask&^deleteChild
	}
	return a == b
}

// inherits says whether what comes from above already holds what is wanted.
func (l List) inherits(want Ace) bool {
	var mask uint32
	for _, e := range l.above {
		if e.SID == want.SID && e.Deny == want.Deny && (e.Below || !want.Below) {
			mask |= e.Mask
		}
	}
	return mask&want.Mask == want.Mask
}

// met says whether the list has all that is wanted for an account.
func (l List) met(sid string, wants []Ace) bool {
	own := l.own[sid]
	if len(own) == 0 && !l.special[sid] {
		return !slices.ContainsFunc(wants, func(w Ace) bool { return !l.inherits(w) })
	}
	return !l.special[sid] && l.within(own, wants) && l.within(wants, own)
}

// within says whether all of some are among others.
func (l List) within(some, others []Ace) bool {
	for _, a := range some {
		if !slices.ContainsFunc(others, func(b Ace) bool { return l.same(a, b) }) {
			return false
		}
	}
	return true
}

// Other is what somebody has that isn't wanted, or is another's.
type Other struct {
	Who     string
	SID     string
	Entries []sddl.Entry // all of one who is wanted; or else one
}

// Tell says which entries of a profile are met, and what there is beside them; what comes from above counts where exact.
func (l List) Tell(w Wanted, exact bool) (met []bool, rest []Other) {
	for _, sid := range w.SIDs {
		met = append(met, sid != "" && l.met(sid, w.by[sid]))
	}
	at := map[string]int{} // who is wanted, and has something else
	for _, e := range l.d.Entries {
		who, sid := l.names.Account(e.SID)
		if e.Inherited() && !exact || w.by[sid] != nil && l.met(sid, w.by[sid]) {
			continue
		}
		if i, twice := at[sid]; twice {
			rest[i].Entries = append(rest[i].Entries, e)
			continue
		}
		if rest = append(rest, Other{who, sid, []sddl.Entry{e}}); w.by[sid] != nil {
			at[sid] = len(rest) - 1
		}
	}
	return met, rest
}

// Merge is the list that has what is wanted, and what others have, or where exact nothing else.
func (l List) Merge(w Wanted, exact bool) sddl.Descriptor {
	old, next := l.d.Own(), sddl.Descriptor{Listed: true, Flags: "P"}
	if !exact {
		next.Flags = old.Flags
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
	if !exact {
		for _, e := range old.Entries {
			if _, sid := l.names.Account(e.SID); w.by[sid] == nil || l.met(sid, w.by[sid]) {
				add(e)
			}
		}
	}
	for _, sid := range w.order {
		if !exact && l.met(sid, w.by[sid]) {
			continue
		}
		for _, a := range w.by[sid] {
			add(a.entry())
		}
	}
	next.Entries = slices.Concat(deny, allow)
	return next
}
