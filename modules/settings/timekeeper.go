package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

// keeper is the service of Linux that keeps the clock, with the servers that its configuration names.
type keeper struct {
	name, unit string
	file       string         // fitout's own; "" where the service would read none
	sources    []serverSource // as the service reads them
	reads      []string       // files and folders that it reads; what is in /run comes from the network, and counts for nobody here
}

// serverSource is a file with the servers that it names.
type serverSource struct {
	path    string
	servers []string
	resets  bool // those that were named before are forgotten
}

const (
	timesyncd     = "systemd-timesyncd"
	chrony        = "chrony"
	timesyncdConf = "/etc/systemd/timesyncd.conf"
	timesyncdFile = "fitout.conf"
	chronyFile    = "fitout.sources"
	serversHeader = "# Time servers that fitout keeps.\n"
)

var (
	timesyncdDropIns = []string{"/etc/systemd/timesyncd.conf.d", "/run/systemd/timesyncd.conf.d", "/usr/local/lib/systemd/timesyncd.conf.d", "/usr/lib/systemd/timesyncd.conf.d"}
	chronyConfs      = []string{"/etc/chrony/chrony.conf", "/etc/chrony.conf"} // Debian's, and others'
)

// errNoKeeper says that nothing keeps the clock.
var errNoKeeper = hint.New(errors.New("nothing on this device keeps its clock"), "install the package systemd-timesyncd, or chrony: declare it under packages")

// findKeeper finds the service, and reads its configuration. Where chrony is, somebody wanted it: timesyncd often comes with systemd.
func findKeeper(h *host.Host) (*keeper, error) {
	exists := func(paths ...string) bool { return slices.ContainsFunc(paths, h.Exists) }
	switch {
	case exists("/usr/sbin/chronyd"):
		return readChrony(h)
	case exists("/usr/sbin/ntpd"):
		return nil, hint.New(errors.New("ntpd keeps the clock of this device, which fitout can't configure"),
			"replace its package (ntpsec, ntp or openntpd) by systemd-timesyncd or chrony under packages; or declare its configuration under files")
	case exists("/usr/lib/systemd/systemd-timesyncd", "/lib/systemd/systemd-timesyncd"):
		return readTimesyncd(h)
	}
	return nil, errNoKeeper
}

// servers are those in effect.
func (k *keeper) servers() []string {
	all := []string{}
	for _, s := range k.sources {
		if s.resets {
			all = []string{}
		}
		for _, server := range s.servers {
			if !slices.Contains(all, server) {
				all = append(all, server)
			}
		}
	}
	return all
}

// has says whether the servers in effect are these. To chrony their order is nothing.
func (k *keeper) has(servers []string) bool {
	have := k.servers()
	if k.name == chrony {
		within := func(a, b []string) bool {
			return !slices.ContainsFunc(a, func(s string) bool { return !contains(b, s) })
		}
		return within(have, servers) && within(servers, have)
	}
	return slices.EqualFunc(have, servers, strings.EqualFold)
}

// text is what fitout's own file has to hold so that the servers are these, or why no such text would do.
func (k *keeper) text(servers []string) (string, error) {
	if k.name == timesyncd {
		return k.timesyncdText(servers)
	}
	return k.chronyText(servers)
}

// changedSince says whether something that the service reads has changed since then. What is from the future says nothing: the
// clock was wrong.
func (k *keeper) changedSince(h *host.Host, then time.Time) bool {
	now := time.Now()
	return slices.ContainsFunc(k.reads, func(p string) bool {
		t, err := h.ModTime(p)
		return err == nil && t.After(then) && !t.After(now)
	})
}

// readTimesyncd reads what timesyncd.conf(5) names: the main file, then all others by their names, whichever folder they are in.
func readTimesyncd(h *host.Host) (*keeper, error) {
	k := &keeper{name: timesyncd, unit: "systemd-timesyncd.service", file: timesyncdDropIns[0] + "/" + timesyncdFile}
	main := timesyncdConf
	if alt := "/usr/lib/systemd/timesyncd.conf"; !h.Exists(main) && h.Exists(alt) {
		main = alt // systemd 254 and later
	}
	files, err := k.filesIn(h, timesyncdDropIns, ".conf")
	if err != nil {
		return nil, err
	}
	for _, p := range append([]string{main}, files...) {
		text, err := k.readFile(h, p)
		if err != nil {
			return nil, err
		}
		if servers, resets := timesyncdServers(text); len(servers) > 0 || resets {
			k.sources = append(k.sources, serverSource{p, servers, resets})
		}
	}
	return k, nil
}

// filesIn lists the files in folders by their names; of several with one name, that in the first folder.
func (k *keeper) filesIn(h *host.Host, dirs []string, suffix string) ([]string, error) {
	chosen := map[string]string{}
	var names []string
	for _, dir := range dirs {
		entries, err := h.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		k.changes(dir)
		for _, n := range entries {
			if strings.HasSuffix(n, suffix) && chosen[n] == "" {
				chosen[n] = path.Join(dir, n)
				names = append(names, n)
			}
		}
	}
	slices.Sort(names)
	var out []string
	for _, n := range names {
		out = append(out, chosen[n])
	}
	return out, nil
}

func (k *keeper) readFile(h *host.Host, p string) (string, error) {
	if i, err := h.Stat(p); err != nil || i.Kind != host.KindFile {
		return "", nil // a link to /dev/null, or nowhere
	}
	k.changes(p)
	return readOptional(h, p)
}

// changes notes what the service reads.
func (k *keeper) changes(p string) {
	if !strings.HasPrefix(p, "/run/") {
		k.reads = append(k.reads, p)
	}
}

// timesyncdText resets what comes before it. What comes after it is somebody else's word.
func (k *keeper) timesyncdText(servers []string) (string, error) {
	ours := serverSource{k.file, servers, true}
	next := []serverSource{ours}
	for _, s := range k.sources {
		if strings.HasSuffix(path.Dir(s.path), ".d") && path.Base(s.path) > timesyncdFile {
			next = append(next, s)
		}
	}
	if after := (&keeper{name: timesyncd, sources: next}); !after.has(servers) {
		last := next[len(next)-1]
		return "", hint.New(fmt.Errorf("%s names time servers, too (%s), and has the last word over %s", last.path, strings.Join(last.servers, " "), k.file),
			"remove its line NTP=, or the file, on the device or by an entry under lines or files")
	}
	return serversHeader + "[Time]\nNTP=\nNTP=" + strings.Join(servers, " ") + "\n", nil
}

// timesyncdServers are the servers in a file of timesyncd's, read as systemd.syntax(7) says. An empty NTP= forgets those before it.
func timesyncdServers(text string) (servers []string, resets bool) {
	section, line := "", ""
	const blanks = " \t\r\n"
	assign := func(line string) {
		line = strings.Trim(line, blanks)
		if strings.HasPrefix(line, "[") {
			section = line
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || section != "[Time]" || strings.Trim(key, blanks) != "NTP" {
			return
		}
		list := strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(blanks, r) })
		if len(list) == 0 {
			servers, resets = nil, true
		}
		servers = append(servers, list...)
	}
	for part := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
		part = strings.TrimRight(part, "\r\n")
		if t := strings.Trim(part, blanks); t != "" && (t[0] == '#' || t[0] == ';') {
			continue // also in the midst of a line that goes on
		}
		line += part
		if slashes := len(line) - len(strings.TrimRight(line, `\`)); slashes%2 == 1 {
			line = line[:len(line)-1] + " "
			continue
		}
		assign(line)
		line = ""
	}
	assign(line)
	return servers, resets
}

// readChrony reads what chrony.conf(5) names.
func readChrony(h *host.Host) (*keeper, error) {
	k := &keeper{name: chrony, unit: "chrony.service"}
	if !slices.ContainsFunc([]string{"/usr/lib/systemd/system/", "/lib/systemd/system/"}, func(dir string) bool { return h.Exists(dir + k.unit) }) {
		k.unit = "chronyd.service" // as all but Debian and its kin call it
	}
	main := chronyConfs[0]
	if !h.Exists(main) && h.Exists(chronyConfs[1]) {
		main = chronyConfs[1]
	}
	return k, k.readChronyFile(h, main, false, 0)
}

// chronyDepth is how deep chrony lets files include others.
const chronyDepth = 10

// readChronyFile reads a file, with those that it includes. A file of sources names nothing but those, and its last line counts
// only with its end.
func (k *keeper) readChronyFile(h *host.Host, p string, ofSources bool, depth int) error {
	if depth > chronyDepth {
		return fmt.Errorf("%s: files include others too deeply", p)
	}
	text, err := k.readFile(h, p)
	if err != nil {
		return err
	}
	source := serverSource{path: p}
	for line := range strings.Lines(text) {
		directive, args := chronyLine(line)
		switch {
		case len(args) == 0:
		case ofSources && !strings.HasSuffix(line, "\n"):
		case directive == "server" || directive == "pool" || directive == "peer":
			source.servers = append(source.servers, args[0])
		case ofSources:
		case directive == "include":
			err = k.includeChrony(h, path.Dir(args[0]), path.Base(args[0]), depth)
		case directive == "confdir":
			err = k.readChronyFolders(h, args, ".conf", depth)
		case directive == "sourcedir":
			for _, dir := range args {
				if f := path.Join(dir, chronyFile); k.file == "" && strings.HasPrefix(f, "/etc/") {
					k.file = f
				}
			}
			err = k.readChronyFolders(h, args, ".sources", depth)
		}
		if err != nil {
			return err
		}
	}
	if len(source.servers) > 0 && !strings.HasPrefix(p, "/run/") {
		k.sources = append(k.sources, source)
	}
	return nil
}

func (k *keeper) readChronyFolders(h *host.Host, dirs []string, suffix string, depth int) error {
	files, err := k.filesIn(h, dirs, suffix)
	for _, f := range files {
		if err == nil {
			err = k.readChronyFile(h, f, suffix == ".sources", depth+1)
		}
	}
	return err
}

func (k *keeper) includeChrony(h *host.Host, dir, pattern string, depth int) error {
	names, err := h.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, n := range names {
		if ok, _ := path.Match(pattern, n); ok {
			if err := k.readChronyFile(h, path.Join(dir, n), false, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// chronyLine is a line's directive in lower case, and what follows it.
func chronyLine(line string) (directive string, args []string) {
	f := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t\n\v\f\r", r) })
	if len(f) == 0 || strings.ContainsAny(f[0][:1], "!;#%") {
		return "", nil
	}
	return strings.ToLower(f[0]), f[1:]
}

// chronyText names the servers that no other file does. One that another file names, and that isn't wanted, stays: chrony would use it.
func (k *keeper) chronyText(servers []string) (string, error) {
	var named []string
	for _, s := range k.sources {
		if s.path == k.file {
			continue
		}
		for _, server := range s.servers {
			if !contains(servers, server) {
				return "", hint.New(fmt.Errorf("%s names the time server %s, which isn't one of those declared", s.path, server),
					`take it out under lines: {path: %s, match: "^(server|pool|peer) .*", state: absent, id: servers}; or declare it, too`, s.path)
			}
		}
		named = append(named, s.servers...)
	}
	if k.file == "" {
		return "", hint.New(errors.New("chrony reads no folder of sources"), "add the line `sourcedir /etc/chrony/sources.d` to its chrony.conf, by an entry under lines")
	}
	text := serversHeader
	for _, s := range servers {
		if !contains(named, s) {
			text += "server " + s + " iburst\n"
		}
	}
	return text, nil
}

// observeFiles tells what the configuration says.
func (k *keeper) observeFiles(h *host.Host, want Time) (Time, error) {
	have := Time{Service: k.name, Servers: k.servers()}
	if want.Servers != nil && k.has(want.Servers) {
		have.Servers = want.Servers
	}
	if k.file != "" {
		var err error
		if have.File, err = readPart(h, k.file, all); err != nil {
			return have, err
		}
		if dir := path.Dir(k.file); !h.Exists(dir) {
			have.NoFolder = dir
		}
	}
	if want.Servers != nil && want.File == nil && !k.has(want.Servers) {
		_, err := k.text(want.Servers)
		return have, err
	}
	return have, nil
}

// write brings fitout's own file to what is wanted.
func (k *keeper) write(h *host.Host, want Time) error {
	if want.File != nil {
		if !want.File.Missing {
			if err := makeFolder(h, path.Dir(k.file)); err != nil {
				return err
			}
		}
		return want.File.write(h, k.file, all)
	}
	if want.Servers == nil || k.has(want.Servers) {
		return nil
	}
	text, err := k.text(want.Servers)
	if err != nil {
		return err
	}
	if err := makeFolder(h, path.Dir(k.file)); err != nil {
		return err
	}
	return writeThrough(h, k.file, text)
}

func makeFolder(h *host.Host, dir string) error {
	if h.Exists(dir) {
		return nil
	}
	if err := makeFolder(h, path.Dir(dir)); err != nil {
		return err
	}
	return h.Mkdir(dir, host.Attr{})
}

// forgetFolder removes the folder that a change made, as far as it is empty.
func forgetFolder(h *host.Host, want Time) error {
	if want.NoFolder == "" {
		return nil
	}
	names, err := h.ReadDir(want.NoFolder)
	if errors.Is(err, fs.ErrNotExist) || len(names) > 0 {
		return nil
	}
	if err != nil {
		return err
	}
	return h.Remove(want.NoFolder)
}

// keeps is what enabled and running say together: neither where one of the two is missing.
func keeps(enabled, running bool) *bool {
	if enabled != running {
		return nil
	}
	return modules.Ptr(enabled)
}
