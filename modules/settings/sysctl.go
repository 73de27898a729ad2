package settings

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sort"
	"strings"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

// Sysctl is a setting of the kernel: its value now (/proc/sys) and at every start (/etc/sysctl.d/60-fitout.conf). See
// sysctl(8) and sysctl.d(5).
type Sysctl struct {
	// The setting's name as sysctl(8) takes it. A dot that belongs to a part is written as a slash, as in
	// net.ipv4.conf.eth0/1.forwarding for the interface eth0.1.
	Name string `json:"name" fit:"key" title:"Name" pattern:"^[A-Za-z0-9_:@/.-]+$" example:"net.ipv4.ip_forward"`
	// The value, as text. Runs of blanks and tabs count as one blank.
	Value *string `json:"value,omitzero" fit:"managed" title:"Value" example:"1"`
	// Whether fitout keeps a line for it. absent removes that line; the running kernel's value is left alone unless `value` says which to set.
	State string `json:"state,omitzero" fit:"state" enum:"present,absent" title:"State"`
	// The running kernel's value.
	Live *string `json:"live,omitzero" fit:"observed,undo" title:"Value now"`
	// The value that the files of sysctl.d give it at every start.
	Persistent *string `json:"persistent,omitzero" fit:"observed" title:"Value at start"`
	// The file that has the last word at the start.
	File string `json:"file,omitzero" fit:"observed" title:"Set by"`
	// The lines that /etc/sysctl.d/60-fitout.conf has for it.
	Part *Part `json:"part,omitzero" fit:"observed,undo" title:"Lines of fitout's"`
}

// Sysctls implements Sysctl.
type Sysctls struct{}

var (
	_ modules.Resource[Sysctl] = Sysctls{}
	_ modules.Checker[Sysctl]  = Sysctls{}
	_ modules.Comparer[Sysctl] = Sysctls{}
	_ modules.Inverter[Sysctl] = Sysctls{}
)

const (
	sysctlRoot = "/proc/sys/"
	sysctlFile = "/etc/sysctl.d/60-fitout.conf"
)

// Platforms are where the type exists.
func (Sysctls) Platforms() []string { return []string{"linux"} }

// Refs puts forwarding before all else of IPv4: a change of it resets those settings to what suits a host or a router
// (Documentation/networking/ip-sysctl.rst).
func (Sysctls) Refs(want Sysctl) []string {
	if name := sysctlKey(want.Name); !strings.HasPrefix(name, "net/ipv4/") || name == "net/ipv4/ip_forward" {
		return nil
	}
	return []string{"sysctl/net.ipv4.ip_forward"}
}

// Check refuses names that lead elsewhere.
func (Sysctls) Check(want Sysctl) error {
	for part := range strings.SplitSeq(sysctlKey(want.Name), "/") {
		if part == "" || part == "." || part == ".." || want.Name[0] == '-' { // in a file a minus is no part of the name
			return fmt.Errorf("name: %q is not a kernel setting's name", want.Name)
		}
	}
	if want.Value == nil && want.Part == nil && want.State != modules.Absent {
		return errors.New("value: missing")
	}
	return nil
}

// Observe reads the kernel's value and all files that set it at the start. Value is the wanted one only where both are.
func (s Sysctls) Observe(_ context.Context, h *host.Host, want Sysctl) (Sysctl, error) {
	if !h.Living() {
		return Sysctl{}, host.ErrNeedsSystem
	}
	have := Sysctl{Name: want.Name}
	if err := s.Check(want); err != nil {
		return have, err
	}
	key := sysctlKey(want.Name)
	files, err := host.Memo(h, "sysctl.d", func() (sysctlSources, error) { return readSysctlSources(h) })
	if err != nil {
		return have, err
	}
	ours := false
	for _, f := range files {
		if v, ok := f.values[key]; ok {
			have.Persistent, have.File = modules.Ptr(v), f.path
			ours = ours || f.path == sysctlFile
		}
	}
	if have.Part, err = readPart(h, sysctlFile, want.sets); err != nil {
		return have, err
	}
	live, err := h.ReadFile(sysctlRoot + key)
	if err == nil {
		have.Live = modules.Ptr(blanks(string(live)))
	}
	if want.Part != nil {
		return have, nil
	}
	if want.State == modules.Absent {
		have.Value, have.State = have.Live, modules.Absent
		if ours {
			have.State = modules.Present
		}
		return have, nil
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return have, unknownSysctl(h, want.Name, key)
	case errors.Is(err, fs.ErrPermission):
		return have, hint.New(fmt.Errorf("%s can't be read: %w", want.Name, err), "a setting that can only be written is an action: use a command")
	case err != nil:
		return have, err
	}
	wanted := blanks(*want.Value)
	if have.Persistent != nil && *have.Persistent != wanted && sysctlAfter(have.File, sysctlFile) {
		return have, hint.New(fmt.Errorf("%s sets %s to %q at every start, and has the last word over %s", have.File, want.Name, *have.Persistent, sysctlFile),
			"remove the line there, or declare that file without it and name it under `after`")
	}
	switch {
	case *have.Live != wanted:
		have.Value = have.Live
	case have.Persistent == nil:
	case *have.Persistent != wanted:
		have.Value = have.Persistent
	default:
		have.Value = want.Value
	}
	return have, nil
}

// Apply sets the running kernel first, so that a value it refuses is never kept for the next start.
func (Sysctls) Apply(_ context.Context, h *host.Host, want, have Sysctl) (modules.Outcome, error) {
	var none modules.Outcome
	if !h.Living() {
		return none, host.ErrNeedsSystem
	}
	key := sysctlKey(want.Name)
	if want.Part != nil {
		return none, want.restore(h, have)
	}
	if want.Value != nil && (have.Live == nil || *have.Live != blanks(*want.Value)) {
		if err := writeSysctl(h, want.Name, key, *want.Value); err != nil {
			return none, err
		}
	}
	text, err := readOptional(h, sysctlFile)
	if err != nil {
		return none, err
	}
	line := ""
	if want.State != modules.Absent && (have.Persistent == nil || *have.Persistent != blanks(*want.Value)) {
		line = want.Name + " = " + blanks(*want.Value) + "\n"
	}
	if line == "" && want.State != modules.Absent {
		return none, nil
	}
	next := setSysctlLine(text, key, line)
	switch {
	case next == text:
		return none, nil
	case strings.TrimSpace(strings.ReplaceAll(next, sysctlHeader, "")) == "":
		return none, h.Remove(sysctlFile)
	case text == "":
		next = sysctlHeader + next
		if err := h.Mkdir(path.Dir(sysctlFile), host.Attr{}); err != nil && !errors.Is(err, fs.ErrExist) {
			return none, err
		}
	}
	return none, h.WriteFile(sysctlFile, next, host.Attr{})
}

// restore brings kernel and file to what they were.
func (s Sysctl) restore(h *host.Host, have Sysctl) error {
	if s.Live != nil && (have.Live == nil || *have.Live != *s.Live) {
		if err := writeSysctl(h, s.Name, sysctlKey(s.Name), *s.Live); err != nil {
			return err
		}
	}
	if lines := s.Part.Lines; len(lines) > 0 && lines[0].Number > 1 && !h.Exists(sysctlFile) {
		return h.WriteFile(sysctlFile, s.Part.restore(sysctlHeader, s.sets), host.Attr{})
	}
	return s.Part.write(h, sysctlFile, s.sets)
}

// sets says whether a line sets it.
func (s Sysctl) sets(line string) bool {
	key, _, ok := sysctlLine(line)
	return ok && key == sysctlKey(s.Name)
}

// Compare knows that lines may have moved.
func (Sysctls) Compare(property string, want, have Sysctl) (met, ok bool) {
	if property == "part" {
		return want.Part.met(have.Part), true
	}
	return false, false
}

// Inverse sets the kernel back, and the file as it was.
func (Sysctls) Inverse(_, have Sysctl) (Sysctl, error) {
	return Sysctl{Name: have.Name, Live: have.Live, Part: have.Part}, have.Part.kept(sysctlFile)
}

const sysctlHeader = "# Kernel settings that fitout keeps, a line each.\n"

// setSysctlLine replaces the lines that set key by line, or removes them where line is empty.
func setSysctlLine(text, key, line string) string {
	var out strings.Builder
	for l := range strings.Lines(text) {
		if k, _, ok := sysctlLine(l); ok && k == key {
			out.WriteString(line)
			line = ""
			continue
		}
		out.WriteString(l)
		if !strings.HasSuffix(l, "\n") {
			out.WriteString("\n")
		}
	}
	return out.String() + line
}

func writeSysctl(h *host.Host, name, key, value string) error {
	err := h.WriteKernel(sysctlRoot+key, value+"\n")
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return unknownSysctl(h, name, key)
	case errors.Is(err, fs.ErrPermission):
		return hint.New(fmt.Errorf("%s can't be changed here: %w", name, err), "in a container most settings belong to the machine that it runs on; otherwise root's rights are needed")
	}
	return hint.New(fmt.Errorf("set %s to %q: %w", name, value, err), "the kernel refuses this value")
}

func unknownSysctl(h *host.Host, name, key string) error {
	err := fmt.Errorf("this kernel has no setting %s", name)
	dir := path.Dir(key)
	names, _ := h.ReadDir(sysctlRoot + dir)
	if near := hint.Near(path.Base(key), names); near != "" {
		return hint.New(err, "did you mean %s?", sysctlName(path.Join(dir, near)))
	}
	return hint.New(err, "correct the name, or load the kernel module that brings the setting")
}

// sysctlKey turns a name into its path below /proc/sys. Whichever of dot and slash comes first divides the parts, and the
// other stands for a dot within one.
func sysctlKey(name string) string {
	if i := strings.IndexAny(name, "./"); i < 0 || name[i] == '/' {
		return name
	}
	return swapDots(name)
}

// sysctlName is sysctlKey's inverse.
func sysctlName(key string) string { return swapDots(key) }

func swapDots(s string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case '.':
			return '/'
		case '/':
			return '.'
		}
		return r
	}, s)
}

func blanks(s string) string { return strings.Join(strings.Fields(s), " ") }

// sysctlSource is one file that sets values at the start. Patterns are left out: a name of its own wins over them.
type sysctlSource struct {
	path   string
	values map[string]string
}

type sysctlSources []sysctlSource

// readSysctlSources reads the files of sysctl.d(5) in the order in which they count: by name, whichever folder they are in;
// of two with one name, that in the first folder.
func readSysctlSources(h *host.Host) (sysctlSources, error) {
	chosen := map[string]string{}
	var order []string
	for _, dir := range []string{"/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d"} {
		names, err := h.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, n := range names {
			if strings.HasSuffix(n, ".conf") && chosen[n] == "" {
				chosen[n] = dir + "/" + n
				order = append(order, n)
			}
		}
	}
	sort.Strings(order)
	var paths []string
	for _, n := range order {
		paths = append(paths, chosen[n])
	}
	if !h.Exists("/run/systemd/system") {
		paths = append(paths, "/etc/sysctl.conf") // where procps reads them, this one comes last
	}
	var out sysctlSources
	for _, p := range paths {
		if i, err := h.Stat(p); err != nil || i.Kind != host.KindFile {
			continue // a link to /dev/null, or nowhere, hides a file of that name
		}
		text, err := readOptional(h, p)
		if err != nil {
			return nil, err
		}
		out = append(out, sysctlSource{p, parseSysctl(text)})
	}
	return out, nil
}

// sysctlAfter says whether the file a counts after b.
func sysctlAfter(a, b string) bool {
	return a == "/etc/sysctl.conf" || path.Base(a) > path.Base(b)
}

func parseSysctl(text string) map[string]string {
	values := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, ok := sysctlLine(line); ok {
			values[key] = value
		}
	}
	return values
}

func sysctlLine(line string) (key, value string, ok bool) {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' || line[0] == ';' {
		return "", "", false
	}
	name, value, ok := strings.Cut(line, "=")
	name = strings.TrimSpace(strings.TrimPrefix(name, "-")) // a minus: failing is no error
	if !ok || name == "" || strings.ContainsAny(name, "*?[") {
		return "", "", false
	}
	return sysctlKey(name), blanks(value), true
}
