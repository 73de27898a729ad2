// Package sddl reads and writes owners and access control lists of Windows as text:
// https://learn.microsoft.com/windows/win32/secauthz/security-descriptor-definition-language
//
//	d, err := sddl.Parse("O:BAD:P(A;OICI;FA;;;BA)(A;OICI;0x1200a9;;;S-1-5-32-545)")
//	d.Entries[1].Mask()                              // 0x1200a9
//	d.Entries = append(d.Entries, sddl.Allow("S-1-5-18", sddl.Full, true))
//	d.String()
//
// What it doesn't know, such as entries with conditions, is kept as it stands.
package sddl

import (
	"fmt"
	"strconv"
	"strings"
)

// Rights to files and folders, as Explorer names them: https://learn.microsoft.com/windows/win32/fileio/file-access-rights-constants
const (
	Read   = 0x1200a9 // and run, and list what is in a folder
	Modify = 0x1301bf
	Full   = 0x1f01ff
)

// Descriptor is an owner, an access control list, or both.
type Descriptor struct {
	Owner   string // a SID, or what stands for one; "" where it isn't told
	Listed  bool   // whether there is a list; without one, Flags and Entries mean nothing
	Flags   string // P where nothing is inherited
	Entries []Entry
}

// Entry is one of a list.
type Entry struct {
	Type   string // A allows, D denies; there are others
	Flags  string // OI, CI, IO, NP: what is below a folder; ID: inherited
	Rights string
	Object string // two GUIDs with a semicolon between them
	SID    string // or what stands for one
	More   string // a condition, with the semicolon before it
}

// Allow and Deny make an entry of a file's, or where below is set of a folder and all that is in it.
func Allow(sid string, mask uint32, below bool) Entry { return entry("A", sid, mask, below) }

func Deny(sid string, mask uint32, below bool) Entry { return entry("D", sid, mask, below) }

func entry(kind, sid string, mask uint32, below bool) Entry {
	e := Entry{Type: kind, Rights: fmt.Sprintf("0x%x", mask), Object: ";", SID: sid}
	if below {
		e.Flags = "OICI"
	}
	return e
}

// noList is what a descriptor with a list that is missing says: everybody may do everything.
const noList = "NO_ACCESS_CONTROL"

// Parse reads a descriptor. Of its group and its audit entries nothing is kept.
func Parse(text string) (Descriptor, error) {
	var d Descriptor
	parts, err := split(text)
	if err != nil {
		return d, err
	}
	d.Owner = parts['O']
	list, listed := parts['D']
	if !listed {
		return d, nil
	}
	d.Listed = true
	flags, rest, _ := strings.Cut(list, "(")
	if d.Flags = flags; rest != "" {
		rest = "(" + rest
	}
	if strings.Contains(flags, noList) {
		d.Flags = strings.ReplaceAll(flags, noList, "")
		d.Entries = []Entry{Allow("WD", Full, true)}
	}
	for rest = strings.TrimSpace(rest); rest != ""; rest = strings.TrimSpace(rest) {
		end := closing(rest)
		if end < 0 {
			return d, fmt.Errorf("%q: a bracket is missing", text)
		}
		e, err := parseEntry(rest[1:end])
		if err != nil {
			return d, fmt.Errorf("%q: %w", text, err)
		}
		d.Entries = append(d.Entries, e)
		rest = rest[end+1:]
	}
	return d, nil
}

// split finds the parts, which begin with a letter and a colon outside of brackets.
func split(text string) (map[byte]string, error) {
	parts := map[byte]string{}
	for text = strings.TrimSpace(text); text != ""; {
		if len(text) < 2 || text[1] != ':' || !strings.Contains("OGDS", text[:1]) {
			return nil, fmt.Errorf("%q begins with no part of a security descriptor", text)
		}
		end := len(text)
		for i := 2; i+1 < len(text); i++ {
			if text[i] == '(' {
				n := closing(text[i:])
				if n < 0 {
					return nil, fmt.Errorf("%q: a bracket is missing", text)
				}
				i += n
				continue
			}
			if text[i+1] == ':' && strings.Contains("OGDS", text[i:i+1]) {
				end = i
				break
			}
		}
		if _, twice := parts[text[0]]; twice {
			return nil, fmt.Errorf("%c: is there twice", text[0])
		}
		parts[text[0]], text = text[2:end], text[end:]
	}
	return parts, nil
}

// closing is where the bracket that text begins with is closed again, or -1.
func closing(text string) int {
	if !strings.HasPrefix(text, "(") {
		return -1
	}
	depth, quoted := 0, false
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '(':
			depth++
		case c == ')':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

func parseEntry(text string) (Entry, error) {
	f := strings.SplitN(text, ";", 7)
	if len(f) < 6 {
		return Entry{}, fmt.Errorf("(%s) is no entry", text)
	}
	e := Entry{Type: f[0], Flags: f[1], Rights: f[2], Object: f[3] + ";" + f[4], SID: f[5]}
	if len(f) == 7 {
		e.More = ";" + f[6]
	}
	return e, nil
}

// String writes a descriptor, as Parse reads it.
func (d Descriptor) String() string {
	var b strings.Builder
	if d.Owner != "" {
		b.WriteString("O:" + d.Owner)
	}
	if d.Listed {
		b.WriteString("D:" + d.Flags)
		for _, e := range d.Entries {
			b.WriteString(e.String())
		}
	}
	return b.String()
}

// String writes an entry.
func (e Entry) String() string {
	return "(" + strings.Join([]string{e.Type, e.Flags, e.Rights, e.Object, e.SID}, ";") + e.More + ")"
}

// Inherited says whether an entry comes from the folder above.
func (e Entry) Inherited() bool { return e.has("ID") }

func (e Entry) has(flag string) bool {
	for i := 0; i+2 <= len(e.Flags); i += 2 {
		if e.Flags[i:i+2] == flag {
			return true
		}
	}
	return false
}

// Plain says whether an entry just allows or denies: below says whether that is so for all that is in a folder, too. Others, which
// hold for subfolders alone for instance, are none.
func (e Entry) Plain() (deny, below, ok bool) {
	below = e.has("OI") && e.has("CI")
	ok = (e.Type == "A" || e.Type == "D") && e.Object == ";" && e.More == "" && !e.has("IO") && !e.has("NP") && below == (e.has("OI") || e.has("CI"))
	return e.Type == "D", below, ok
}

// rights are what two letters mean for a file, generic ones included.
var rights = map[string]uint32{
	"GA": Full, "GR": 0x120089, "GW": 0x120116, "GX": 0x1200a0, "FA": Full, "FR": 0x120089, "FW": 0x120116, "FX": 0x1200a0,
	"RC": 0x20000, "SD": 0x10000, "WD": 0x40000, "WO": 0x80000,
	"CC": 0x1, "DC": 0x2, "LC": 0x4, "SW": 0x8, "RP": 0x10, "WP": 0x20, "DT": 0x40, "LO": 0x80, "CR": 0x100,
}

// Mask are an entry's rights as a number; ok is false where they can't be read.
func (e Entry) Mask() (mask uint32, ok bool) {
	if n, err := strconv.ParseUint(e.Rights, 0, 32); err == nil {
		return uint32(n), true
	}
	for i := 0; i < len(e.Rights); i += 2 {
		bits, known := rights[e.Rights[i:min(i+2, len(e.Rights))]]
		if !known {
			return 0, false
		}
		mask |= bits
	}
	return mask, true
}

// Own is a descriptor without what comes from above, nor the marks that Windows sets where it has handed something down.
func (d Descriptor) Own() Descriptor {
	own := d
	own.Entries = nil
	if own.Flags = ""; strings.Contains(d.Flags, "P") {
		own.Flags = "P"
	}
	for _, e := range d.Entries {
		if !e.Inherited() {
			own.Entries = append(own.Entries, e)
		}
	}
	return own
}
