package settings

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

// HostEntry is a name in the machine's hosts file, /etc/hosts or on Windows System32\drivers\etc\hosts, which is asked before
// DNS: see hosts(5). What the file says about other names stays, comments too; no other line has the name with another
// address of the same kind afterwards, since the first one would win.
type HostEntry struct {
	// The host's name. Upper and lower case are the same.
	Name string `json:"name" fit:"key" title:"Name" pattern:"^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*$" example:"nas.example.lan"`
	// Its address, of IPv4 or IPv6. Addresses of the other kind that the name has are left alone.
	Address *string `json:"address,omitzero" fit:"managed" title:"Address" example:"10.0.0.5"`
	// Further names of it, on the same line: at least these.
	Aliases []string `json:"aliases,omitzero" fit:"managed" title:"Further names" example:"[nas]"`
	// Whether there is such an entry. absent takes the name from every line, of either kind of address.
	State string `json:"state,omitzero" fit:"state" enum:"present,absent" title:"State"`
	// The lines that have one of the names.
	Lines *Part `json:"lines,omitzero" fit:"observed,undo" title:"Lines in the hosts file"`
	// What was left of lines that had other names too, which undo takes out again.
	Remains []string `json:"remains,omitzero" fit:"observed" title:"Remaining lines"`
}

// Hosts implements HostEntry.
type Hosts struct{}

var (
	_ modules.Resource[HostEntry] = Hosts{}
	_ modules.Checker[HostEntry]  = Hosts{}
	_ modules.Comparer[HostEntry] = Hosts{}
	_ modules.Inverter[HostEntry] = Hosts{}
	_ modules.Keyer[HostEntry]    = Hosts{}
)

// Platforms are where the type exists.
func (Hosts) Platforms() []string { return []string{"linux", "windows"} }

// Key is the name in lower case: two spellings would be two resources.
func (Hosts) Key(want HostEntry) string { return strings.ToLower(want.Name) }

// hostsPath is where the file is.
func hostsPath(h *host.Host) (string, error) {
	if h.OS() != "windows" {
		return hostsFile, nil
	}
	if !h.Living() { // where Windows is on that disk isn't known
		return "", host.ErrNeedsSystem
	}
	return h.SystemFolder() + `\drivers\etc\hosts`, nil
}

// Check refuses what no hosts file can say.
func (Hosts) Check(want HostEntry) error {
	if want.Lines != nil {
		return nil // of undo
	}
	for _, name := range append([]string{want.Name}, want.Aliases...) {
		if _, err := netip.ParseAddr(name); name == "" || strings.ContainsAny(name, " \t\r\n#\x00") || err == nil {
			return fmt.Errorf("name: %q can't be a host's name", name)
		}
	}
	if want.State == modules.Absent {
		return nil
	}
	if want.Address == nil {
		return errors.New("address: is missing")
	}
	a, err := netip.ParseAddr(*want.Address)
	switch {
	case err != nil && strings.Contains(*want.Address, "/"):
		return hint.New(fmt.Errorf("address: %q is a network", *want.Address), "write one address, without what is behind the slash")
	case err != nil:
		return fmt.Errorf("address: %q is no address of IPv4 or IPv6", *want.Address)
	case a.Is4In6():
		return hint.New(fmt.Errorf("address: %q is one of IPv4 in disguise", *want.Address), "write %s", a.Unmap())
	}
	return nil
}

// hostsLine is a line of the file, taken apart.
type hostsLine struct {
	address netip.Addr // invalid where the line has none
	names   []string
	comment string // with its #
	end     string
}

func parseHostsLine(line string) hostsLine {
	var l hostsLine
	text := strings.TrimRight(line, "\r\n")
	l.end = line[len(text):]
	if i := strings.IndexByte(text, '#'); i >= 0 {
		text, l.comment = text[:i], text[i:]
	}
	if f := strings.Fields(strings.TrimPrefix(text, "\ufeff")); len(f) > 1 {
		if a, err := netip.ParseAddr(f[0]); err == nil {
			l.address, l.names = a, f[1:]
		}
	}
	return l
}

// String is the line anew; only one that has changed is written so.
func (l hostsLine) String() string {
	s := l.address.String() + "\t" + strings.Join(l.names, " ")
	if l.comment != "" {
		s += " " + l.comment
	}
	return s + l.end
}

func (l hostsLine) has(names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return contains(l.names, n) })
}

// names are all that the entry is about.
func (e HostEntry) names() []string { return append([]string{e.Name}, e.Aliases...) }

func (e HostEntry) isOurs(line string) bool {
	return parseHostsLine(line).has(e.names()...) || slices.Contains(e.Remains, strings.TrimRight(line, "\r\n"))
}

// address is the wanted one; it is invalid where the entry is to go.
func (e HostEntry) address() netip.Addr {
	if e.State == modules.Absent || e.Address == nil {
		return netip.Addr{}
	}
	a, _ := netip.ParseAddr(*e.Address)
	return a
}

// conflicts says whether a line gives one of the names to another address of the same kind.
func (e HostEntry) conflicts(l hostsLine) bool {
	a := e.address()
	return l.has(e.names()...) && (!a.IsValid() || l.address != a && l.address.Is4() == a.Is4())
}

// Observe reads what the file says of the name.
func (Hosts) Observe(_ context.Context, h *host.Host, want HostEntry) (HostEntry, error) {
	have := HostEntry{Name: want.Name, State: modules.Absent}
	path, err := hostsPath(h)
	if err != nil {
		return have, err
	}
	text, err := host.Memo(h, path, func() (string, error) { return readOptional(h, path) })
	if err != nil {
		return have, err
	}
	if have.Lines, err = readPart(h, path, want.isOurs); err != nil {
		return have, err
	}
	if want.Lines != nil { // undo goes by the lines alone
		if want.State != modules.Absent || !want.Lines.met(have.Lines) {
			have.State = modules.Present
		}
		return have, nil
	}
	for line := range strings.Lines(text) {
		l := parseHostsLine(line)
		switch {
		case want.conflicts(l):
			have.State, have.Address, have.Aliases = modules.Present, modules.Ptr(l.address.String()), nil
			return have, nil
		case have.Address == nil && l.address == want.address() && l.has(want.Name):
			have.State, have.Address = modules.Present, modules.Ptr(l.address.String())
			have.Aliases = slices.DeleteFunc(slices.Clone(want.Aliases), func(a string) bool { return !contains(l.names, a) })
		}
	}
	return have, nil
}

// Compare knows spellings of one address, and that lines may have moved.
func (Hosts) Compare(property string, want, have HostEntry) (met, ok bool) {
	switch property {
	case "address":
		return have.Address != nil && want.address().IsValid() && want.address() == have.address(), true
	case "aliases":
		return want.Lines != nil || !slices.ContainsFunc(want.Aliases, func(a string) bool { return !contains(have.Aliases, a) }), true
	case "lines":
		return want.Lines.met(have.Lines), true
	}
	return false, false
}

// Apply writes the file anew, if something in it changes.
func (t Hosts) Apply(_ context.Context, h *host.Host, want, _ HostEntry) (modules.Outcome, error) {
	var none modules.Outcome
	path, err := hostsPath(h)
	if err != nil {
		return none, err
	}
	if want.Lines != nil {
		return none, want.Lines.write(h, path, want.isOurs)
	}
	if err := t.Check(want); err != nil {
		return none, err
	}
	old, err := readOptional(h, path)
	if err != nil {
		return none, err
	}
	newline := "\n"
	if h.OS() == "windows" {
		newline = "\r\n"
	}
	if next := want.in(old, newline); next != old {
		return none, writeThrough(h, path, next)
	}
	return none, nil
}

// in is the file's text with the entry, or without it. A new line ends as the others do, or where there are none as newline.
func (e HostEntry) in(text, newline string) string {
	var out strings.Builder
	done := e.State == modules.Absent
	open := false
	for line := range strings.Lines(text) {
		l := parseHostsLine(line)
		if open = l.end == ""; !open {
			newline = l.end
		}
		switch {
		case e.conflicts(l):
			if rest := e.without(l); rest != "" {
				out.WriteString(rest + l.end)
			}
		case !done && l.address == e.address() && l.has(e.Name):
			done = true
			missing := slices.DeleteFunc(slices.Clone(e.Aliases), func(n string) bool { return contains(l.names, n) })
			if len(missing) == 0 {
				out.WriteString(line)
				continue
			}
			l.names = append(slices.Clone(l.names), missing...)
			out.WriteString(l.String())
		default:
			out.WriteString(line)
		}
	}
	if !done {
		if open {
			out.WriteString(newline)
		}
		out.WriteString(hostsLine{address: e.address(), names: e.names(), end: newline}.String())
	}
	return out.String()
}

// without is what stays of a line when the entry's names are taken from it.
func (e HostEntry) without(l hostsLine) string {
	l.names, l.end = slices.DeleteFunc(slices.Clone(l.names), func(n string) bool { return contains(e.names(), n) }), ""
	if len(l.names) == 0 {
		return l.comment
	}
	return l.String()
}

// Inverse puts back the lines as they were.
func (Hosts) Inverse(want, have HostEntry) (HostEntry, error) {
	back := HostEntry{Name: have.Name, Aliases: want.Aliases, State: have.State, Lines: have.Lines, Remains: want.Remains}
	if want.Lines == nil {
		for _, line := range have.Lines.Lines {
			if l := parseHostsLine(line.Text); want.conflicts(l) && want.without(l) != "" {
				back.Remains = append(back.Remains, want.without(l))
			}
		}
	}
	return back, have.Lines.kept("the hosts file")
}
