// Package settings has the resource types for what a machine as a whole is set to: hostname, timezone, sysctl and
// environment.
package settings

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

// Hostname is the machine's name: the one it starts with (/etc/hostname) and the one the running kernel has. An entry for
// 127.0.1.1 in /etc/hosts follows it, so that the machine can resolve its own name. See hostname(5) and hosts(5). On Windows it is the computer's name, and a new one comes with
// the next restart.
type Hostname struct {
	// The name, as in RFC 1123: letters, digits and hyphens in labels divided by dots, at most 64 characters. Windows takes one label
	// of at most 15 characters, not of digits alone: longer ones are cut off where NetBIOS is in use, and two machines would have one
	// name.
	Name *string `json:"name,omitzero" fit:"managed,short" title:"Name" pattern:"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$" example:"lt-042"`
	// What /etc/hostname says.
	Static string `json:"static,omitzero" fit:"observed" title:"Name at the next start"`
	// What the running kernel says.
	Live *string `json:"live,omitzero" fit:"observed,undo" title:"Name now"`
	// The first name that /etc/hosts has for 127.0.1.1, if there is such an entry.
	Hosts string `json:"hosts,omitzero" fit:"observed" title:"Name of 127.0.1.1"`
	// What is in /etc/hostname.
	File *Part `json:"file,omitzero" fit:"observed,undo" on:"linux" title:"/etc/hostname"`
	// What /etc/hosts has for 127.0.1.1.
	Entry *Part `json:"entry,omitzero" fit:"observed,undo" on:"linux" title:"127.0.1.1 in /etc/hosts"`
}

// Hostnames implements Hostname.
type Hostnames struct{}

var (
	_ modules.Resource[Hostname]        = Hostnames{}
	_ modules.Checker[Hostname]         = Hostnames{}
	_ modules.PlatformChecker[Hostname] = Hostnames{}
	_ modules.Comparer[Hostname]        = Hostnames{}
	_ modules.Inverter[Hostname]        = Hostnames{}
)

const (
	hostnameFile = "/etc/hostname"
	hostsFile    = "/etc/hosts"
	selfAddress  = "127.0.1.1" // Debian's address for a machine's own name
)

// Platforms are where the type exists.
func (Hostnames) Platforms() []string { return []string{"linux", "windows"} }

// CheckOn refuses what Windows would, or cut off.
func (Hostnames) CheckOn(os string, want Hostname) error {
	switch {
	case os != "windows" || want.Name == nil:
	case strings.Contains(*want.Name, "."):
		return hint.New(fmt.Errorf("name: %q holds a dot, which a computer's name can't on Windows", *want.Name), "leave the domain out")
	case len(*want.Name) > 15:
		return hint.New(fmt.Errorf("name: %q has %d characters; NetBIOS knows the first 15 alone", *want.Name, len(*want.Name)), "choose a shorter one")
	case strings.Trim(*want.Name, "0123456789") == "":
		return fmt.Errorf("name: %q is of digits alone, which Windows refuses", *want.Name)
	}
	return nil
}

// Check refuses what the kernel would.
func (Hostnames) Check(want Hostname) error {
	if want.Name != nil && len(*want.Name) > 64 {
		return fmt.Errorf("name: %q has %d characters; Linux allows 64", *want.Name, len(*want.Name))
	}
	return nil
}

// Observe reads the three places. Name is the wanted one only where all of them agree, else the first that doesn't.
func (Hostnames) Observe(_ context.Context, h *host.Host, want Hostname) (Hostname, error) {
	if h.OS() == "windows" {
		return observeComputerName(h)
	}
	var have Hostname
	b, err := readOptional(h, hostnameFile)
	if err != nil {
		return have, err
	}
	for line := range strings.Lines(b) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			have.Static = line
			break
		}
	}
	names := []string{have.Static}
	if h.Living() {
		b, err := h.ReadFile("/proc/sys/kernel/hostname")
		if err != nil {
			return have, err
		}
		have.Live = modules.Ptr(strings.TrimSpace(string(b)))
		names = append(names, *have.Live)
	}
	hosts, err := readOptional(h, hostsFile)
	if err != nil {
		return have, err
	}
	if self := selfNames(hosts); len(self) > 0 {
		have.Hosts = self[0]
		if want.Name != nil && !contains(self, *want.Name) {
			names = append(names, self[0])
		}
	}
	if have.File, err = readPart(h, hostnameFile, all); err != nil {
		return have, err
	}
	if have.Entry, err = readPart(h, hostsFile, isSelf); err != nil {
		return have, err
	}
	for _, n := range names {
		if n != "" && (have.Name == nil || want.Name != nil && *have.Name == *want.Name) {
			have.Name = modules.Ptr(n)
		}
	}
	if have.Static == "" && (want.Name == nil || have.Name != nil && *have.Name == *want.Name) {
		have.Name = nil // would be lost at the next start
	}
	return have, nil
}

// Apply sets the three places.
func (Hostnames) Apply(_ context.Context, h *host.Host, want, have Hostname) (modules.Outcome, error) {
	var none modules.Outcome
	if want.Entry != nil && want.File != nil {
		return none, want.restore(h)
	}
	if want.Name == nil {
		return none, nil
	}
	if h.OS() == "windows" {
		return setComputerName(h, want, have)
	}
	name, live := *want.Name, ""
	if have.Live != nil {
		live = *have.Live
	}
	hosts, err := readOptional(h, hostsFile)
	if err != nil {
		return none, err
	}
	// Before the name itself: sudo would not find it in between.
	if renamed := renameSelf(hosts, name, have.Static, live, have.Hosts); renamed != hosts {
		if err := writeThrough(h, hostsFile, renamed); err != nil {
			return none, err
		}
	}
	if have.Static != name {
		if err := writeThrough(h, hostnameFile, name+"\n"); err != nil {
			return none, err
		}
	}
	if h.Living() && live != name {
		return none, h.SetHostname(name)
	}
	return none, nil
}

// restore brings the three places to what they were.
func (n Hostname) restore(h *host.Host) error {
	if err := n.Entry.write(h, hostsFile, isSelf); err != nil {
		return err
	}
	if err := n.File.write(h, hostnameFile, all); err != nil {
		return err
	}
	if h.Living() && n.Live != nil {
		return h.SetHostname(*n.Live)
	}
	return nil
}

// Compare knows that lines may have moved.
func (Hostnames) Compare(property string, want, have Hostname) (met, ok bool) {
	switch property {
	case "name": // case is none of DNS's or NetBIOS' business, and Windows shows another one in places
		return want.File == nil && have.File == nil && want.Name != nil && have.Name != nil && strings.EqualFold(*want.Name, *have.Name), have.File == nil
	case "file":
		return want.File.met(have.File), true
	case "entry":
		return want.Entry.met(have.Entry), true
	}
	return false, false
}

// Inverse names the old name where there was one, and each place as it was.
func (Hostnames) Inverse(_, have Hostname) (Hostname, error) {
	if have.File == nil { // Windows
		return Hostname{Name: have.Name}, nil
	}
	back := Hostname{Live: have.Live, File: have.File, Entry: have.Entry}
	if err := errors.Join(have.File.kept(hostnameFile), have.Entry.kept(hostsFile)); err != nil {
		return back, err
	}
	self := selfNames(have.Entry.text())
	if n := have.Static; n != "" && (have.Live == nil || *have.Live == n) && (len(self) == 0 || contains(self, n)) {
		back.Name = &n
	}
	return back, nil
}

// isSelf says whether a line of a hosts file is about the machine's own address.
func isSelf(line string) bool { return len(selfNames(line)) > 0 }

// selfNames are the names that a hosts file gives the machine's own address.
func selfNames(hosts string) []string {
	var names []string
	for line := range strings.Lines(hosts) {
		line, _, _ = strings.Cut(line, "#")
		if f := strings.Fields(line); len(f) > 1 && f[0] == selfAddress {
			names = append(names, f[1:]...)
		}
	}
	return names
}

// renameSelf makes the entry of the machine's own address name it. What an old name had, a domain or aliases, is kept;
// all other lines are too. Without an entry one is added, unless another address has the name already.
func renameSelf(hosts, name string, old ...string) string {
	var out strings.Builder
	done, named, domain := false, false, ""
	newline := "\n"
	for line := range strings.Lines(hosts) {
		if strings.HasSuffix(line, "\r\n") {
			newline = "\r\n"
		}
		text, comment, commented := strings.Cut(strings.TrimRight(line, "\r\n"), "#")
		f := strings.Fields(text)
		if len(f) > 1 && f[0] != selfAddress && contains(f[1:], name) {
			named = true
		}
		if done || len(f) < 2 || f[0] != selfAddress {
			out.WriteString(line)
			continue
		}
		done = true
		if contains(selfNames(hosts), name) {
			out.WriteString(line)
			continue
		}
		var aliases []string
		for _, n := range f[1:] {
			short, rest, dotted := strings.Cut(n, ".")
			switch {
			case dotted && (contains(old, n) || contains(old, short)):
				domain = rest
			case !contains(old, n) && !contains(shorts(old), n):
				aliases = append(aliases, n)
			}
		}
		out.WriteString(selfLine(name, domain, aliases))
		if commented {
			out.WriteString(" #" + comment)
		}
		out.WriteString(newline)
	}
	if done || named {
		return out.String()
	}
	// After 127.0.0.1, where Debian's installer has it.
	var lines []string
	for line := range strings.Lines(out.String()) {
		lines = append(lines, line)
	}
	at := len(lines)
	for i, line := range lines {
		if strings.HasPrefix(line, "127.0.0.1") {
			at = i + 1
			break
		}
	}
	if at > 0 && !strings.HasSuffix(lines[at-1], "\n") {
		lines[at-1] += newline
	}
	return strings.Join(lines[:at], "") + selfLine(name, "", nil) + newline + strings.Join(lines[at:], "")
}

func selfLine(name, domain string, aliases []string) string {
	names := []string{name}
	if short, _, dotted := strings.Cut(name, "."); dotted {
		names = append(names, short)
	} else if domain != "" {
		names = []string{name + "." + domain, name}
	}
	return selfAddress + "\t" + strings.Join(append(names, aliases...), " ")
}

func shorts(names []string) []string {
	var out []string
	for _, n := range names {
		short, _, _ := strings.Cut(n, ".")
		out = append(out, short)
	}
	return out
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if s != "" && strings.EqualFold(x, s) {
			return true
		}
	}
	return false
}

// readOptional reads a file; a missing one is empty.
func readOptional(h *host.Host, path string) (string, error) {
	b, err := h.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(b), err
}

// writeThrough replaces a file's content where a link leads to, and keeps the link.
func writeThrough(h *host.Host, path, content string) error {
	real, err := h.Real(path)
	if err != nil {
		return err
	}
	return h.WriteFile(real, content, host.Attr{})
}
