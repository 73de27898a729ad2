package services

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

// Units in a root that no system runs in: what `systemctl --root` reads and writes, from systemd.unit(5).

const (
	etcUnits = "/etc/systemd/system"
	runUnits = "/run/systemd/system"
)

// unitDirs are the folders of units in the order in which they count.
var unitDirs = []string{"/etc/systemd/system.control", "/run/systemd/system.control", "/run/systemd/transient", "/run/systemd/generator.early", etcUnits, runUnits,
	"/run/systemd/generator", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system", "/run/systemd/generator.late"}

// linkDirs are those whose links enable units: the first for good, the others until the next start.
var linkDirs = []string{etcUnits, runUnits, "/run/systemd/generator", "/run/systemd/generator.early", "/run/systemd/generator.late"}

// folders are the names in all folders of units, read once for all services, and the links in those that enable units.
type folders struct {
	names map[string]map[string]bool // by folder
	links map[string][]string        // by folder of units: paths of links within its folders .wants, .requires and .upholds
}

func readFolders(h *host.Host) (folders, error) {
	return host.Memo(h, "folders of units", func() (folders, error) {
		f := folders{map[string]map[string]bool{}, map[string][]string{}}
		for _, dir := range unitDirs {
			names, err := h.ReadDir(dir)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return f, err
			}
			f.names[dir] = map[string]bool{}
			for _, n := range names {
				f.names[dir][n] = true
				if ext := path.Ext(n); slices.Contains(linkDirs, dir) && (ext == ".wants" || ext == ".requires" || ext == ".upholds") {
					links, _ := h.ReadDir(dir + "/" + n)
					for _, l := range links {
						f.links[dir] = append(f.links[dir], dir+"/"+n+"/"+l)
					}
				}
			}
		}
		return f, nil
	})
}

// unitFile is a unit's file with what its [Install] section asks for.
type unitFile struct {
	name   string // the unit's own, behind all aliases
	path   string
	masked string // masked, masked-runtime, or ""
	linked bool   // from outside the folders of units
	install
}

type install struct {
	wantedBy, requiredBy, upheldBy, alias, also []string
	defaultInstance                             string
}

// findUnit finds a unit's file. ok is false where there is none.
func findUnit(h *host.Host, name string, depth int) (u unitFile, ok bool, err error) {
	if depth > 8 {
		return u, false, fmt.Errorf("%s: too many aliases", name)
	}
	all, err := readFolders(h)
	if err != nil {
		return u, false, err
	}
	for _, dir := range unitDirs {
		if !all.names[dir][name] {
			continue
		}
		p := dir + "/" + name
		i, err := h.Lstat(p)
		if err != nil {
			return u, false, err
		}
		u = unitFile{name: name, path: p}
		switch {
		case i.Kind == host.KindLink && i.Target == "/dev/null", i.Kind == host.KindFile && i.Size == 0:
			if u.masked = "masked"; dir == runUnits {
				u.masked = "masked-runtime"
			}
			return u, true, nil
		case i.Kind == host.KindLink && path.Base(i.Target) != name && path.Base(i.Target) != template(name):
			return findUnit(h, path.Base(i.Target), depth+1)
		case i.Kind == host.KindLink:
			if u.path, err = h.Real(p); err != nil {
				return u, false, err
			}
			u.linked = !slices.Contains(unitDirs, path.Dir(u.path)) && path.Base(u.path) == name
		}
		u.install, err = readInstall(h, u.path, name)
		return u, !errors.Is(err, fs.ErrNotExist), err
	}
	if t := template(name); t != "" {
		u, ok, err = findUnit(h, t, depth+1)
		if ok && err == nil && u.masked == "" {
			u.name = name
			u.install, err = readInstall(h, u.path, name)
		}
	}
	return u, ok, err
}

// template is the template that a name is an instance of, or "".
func template(name string) string {
	prefix, rest, ok := strings.Cut(name, "@")
	ext := path.Ext(name)
	if !ok || rest == ext {
		return ""
	}
	return prefix + "@" + ext
}

// readInstall reads the [Install] sections of a unit's file and its drop-ins.
func readInstall(h *host.Host, file, name string) (install, error) {
	var in install
	b, err := h.ReadFile(file)
	if err != nil {
		return in, err
	}
	in.parse(string(b))
	all, err := readFolders(h)
	if err != nil {
		return in, err
	}
	dropIns := map[string]string{}
	var order []string
	for _, dir := range unitDirs {
		for _, n := range []string{name, template(name)} {
			if n == "" || !all.names[dir][n+".d"] {
				continue
			}
			files, _ := h.ReadDir(dir + "/" + n + ".d")
			for _, f := range files {
				if strings.HasSuffix(f, ".conf") && dropIns[f] == "" {
					dropIns[f] = dir + "/" + n + ".d/" + f
					order = append(order, f)
				}
			}
		}
	}
	slices.Sort(order)
	for _, f := range order {
		if b, err := h.ReadFile(dropIns[f]); err == nil {
			in.parse(string(b))
		}
	}
	name = in.instance(name)
	for _, list := range []*[]string{&in.wantedBy, &in.requiredBy, &in.upheldBy, &in.alias, &in.also} {
		for i, s := range *list {
			(*list)[i] = specifiers(s, name)
		}
		*list = slices.DeleteFunc(*list, func(s string) bool { return !isUnit(s) && (list != &in.alias || !isLink(s)) })
	}
	return in, nil
}

// isUnit says whether a name is a whole one, its kind included. Others would lead a link out of the folders of units;
// systemd ignores them.
func isUnit(name string) bool {
	return name != "" && isUnitName(name) && unitName(name) == name
}

// isLink says whether an alias is a link in a unit's folder: getty.target.wants/getty@tty1.service.
func isLink(alias string) bool {
	dir, name, _ := strings.Cut(alias, "/")
	kind := path.Ext(dir)
	return isUnit(name) && isUnit(strings.TrimSuffix(dir, kind)) && (kind == ".wants" || kind == ".requires" || kind == ".upholds")
}

func (in *install) parse(text string) {
	section := ""
	for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", " ")) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		if line[0] == '[' {
			section = line
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || section != "[Install]" {
			continue
		}
		value = strings.TrimSpace(value)
		var list *[]string
		switch strings.TrimSpace(key) {
		case "WantedBy":
			list = &in.wantedBy
		case "RequiredBy":
			list = &in.requiredBy
		case "UpheldBy":
			list = &in.upheldBy
		case "Alias":
			list = &in.alias
		case "Also":
			list = &in.also
		case "DefaultInstance":
			if isUnitName("x@" + value) {
				in.defaultInstance = value
			}
			continue
		default:
			continue
		}
		if value == "" {
			*list = nil // an empty assignment takes back what came before
			continue
		}
		*list = append(*list, strings.Fields(value)...)
	}
}

// instance is the unit that stands for a template when this is enabled; any other unit stands for itself.
func (in install) instance(name string) string {
	if in.defaultInstance == "" {
		return name
	}
	return strings.Replace(name, "@.", "@"+in.defaultInstance+".", 1)
}

// specifiers expands those that make sense in an [Install] section.
func specifiers(s, name string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	base := strings.TrimSuffix(name, path.Ext(name))
	prefix, instance, _ := strings.Cut(base, "@")
	return strings.NewReplacer("%%", "%", "%n", name, "%N", base, "%p", prefix, "%i", instance, "%I", instance, "%j", prefix[strings.LastIndex(prefix, "-")+1:]).Replace(s)
}

// links are those that enabling the unit makes below /etc/systemd/system.
func (u unitFile) links() []string {
	name := u.instance(u.name)
	var out []string
	for suffix, units := range map[string][]string{".wants/": u.wantedBy, ".requires/": u.requiredBy, ".upholds/": u.upheldBy} {
		for _, by := range units {
			out = append(out, by+suffix+name)
		}
	}
	slices.Sort(out)
	return append(out, u.alias...)
}

// enablement is what `systemctl is-enabled` says.
func (u unitFile) enablement(h *host.Host) string {
	if u.masked != "" {
		return u.masked
	}
	switch dir := path.Dir(u.path); {
	case strings.HasPrefix(dir, "/run/systemd/generator"):
		return "generated"
	case dir == "/run/systemd/transient":
		return "transient"
	}
	other := false
	for _, dir := range linkDirs {
		found, aliased := u.linksIn(h, dir)
		switch {
		case len(found) > 0 && dir == etcUnits:
			return "enabled"
		case len(found) > 0:
			return "enabled-runtime"
		}
		other = other || aliased
	}
	switch {
	case u.linked:
		return "linked"
	case other:
		return "indirect"
	case len(u.wantedBy)+len(u.requiredBy)+len(u.upheldBy)+len(u.alias) > 0:
		return "disabled"
	case len(u.also) > 0:
		return "indirect"
	}
	return "static"
}

// allLinks says whether all links are there that enabling the unit makes. Without a system that makes them all, an
// interruption may have left some.
func (u unitFile) allLinks(h *host.Host) bool {
	return !slices.ContainsFunc(u.links(), func(l string) bool { return !h.Exists(etcUnits + "/" + l) })
}

// linksIn finds the links in dir that enable the unit, and says whether it has other names there.
func (u unitFile) linksIn(h *host.Host, dir string) (found []string, aliased bool) {
	names := []string{u.name}
	if n := u.instance(u.name); n != u.name {
		names = append(names, n)
	}
	all, err := readFolders(h)
	if err != nil {
		return nil, false // findUnit has told
	}
	for _, l := range all.links[dir] {
		if slices.Contains(names, path.Base(l)) || slices.Contains(u.alias, strings.TrimPrefix(l, dir+"/")) {
			found = append(found, l)
		}
	}
	for n := range all.names[dir] {
		if n == u.name || path.Ext(n) != path.Ext(u.name) {
			continue
		}
		i, err := h.Lstat(dir + "/" + n)
		if err != nil || i.Kind != host.KindLink {
			continue
		}
		ours := slices.Contains(u.alias, n)
		if to := path.Base(i.Target); to == u.name || ours && to == template(u.name) {
			if aliased = true; ours {
				found = append(found, dir+"/"+n)
			}
		}
	}
	slices.Sort(found)
	return found, aliased
}

// unitOf is what a root's files say of a unit.
func unitOf(h *host.Host, name string) unit {
	u := unit{name: name, id: name}
	f, ok, err := findUnit(h, name, 0)
	switch {
	case err != nil:
		u.err = err
	case ok:
		u.id, u.files = f.name, f.enablement(h)
		u.halfEnabled = u.files == "enabled" && !h.Living() && !f.allLinks(h)
		if b, err := h.ReadFile(f.path); u.files == "generated" && err == nil && strings.Contains(string(b), "\nSourcePath=/etc/init.d/") {
			u.files, u.initScript = initScriptState(h, u.id), true
		}
	case h.Exists("/etc/init.d/" + strings.TrimSuffix(name, ".service")):
		u.files, u.initScript = initScriptState(h, name), true
	}
	return u
}

// initScriptState says whether the links of the usual run levels start a script of /etc/init.d.
func initScriptState(h *host.Host, id string) string {
	name := strings.TrimSuffix(id, ".service")
	for _, dir := range []string{"/etc/rc5.d", "/etc/rcS.d"} {
		entries, _ := h.ReadDir(dir)
		for _, e := range entries {
			if len(e) > 3 && e[0] == 'S' && e[3:] == name {
				return "enabled"
			}
		}
	}
	return "disabled"
}

func applyFiles(h *host.Host, want Service) error {
	defer h.Forget()
	if want.Links != nil {
		return restoreLinks(h, want)
	}
	name := unitName(want.Name)
	mask := etcUnits + "/" + name
	if is(want.Masked, false) {
		if i, err := h.Lstat(mask); err == nil && i.Target == "/dev/null" {
			if err := h.Remove(mask); err != nil {
				return err
			}
			h.Forget()
		}
	}
	if want.Enabled != nil {
		u, ok, err := findUnit(h, name, 0)
		if err != nil {
			return err
		}
		switch {
		case !ok && h.Exists("/etc/init.d/"+strings.TrimSuffix(name, ".service")):
			return fmt.Errorf("a script of /etc/init.d: %w", host.ErrNeedsSystem)
		case !ok && *want.Enabled:
			return unknownUnit(h, name)
		case ok && *want.Enabled:
			err = enableFiles(h, u, map[string]bool{})
		case ok:
			err = disableFiles(h, u, map[string]bool{})
		}
		if err != nil {
			return err
		}
	}
	if is(want.Masked, true) {
		if err := mkdirs(h, etcUnits); err != nil {
			return err
		}
		err := h.Symlink("/dev/null", mask)
		if errors.Is(err, fs.ErrExist) {
			return hint.New(fmt.Errorf("mask %s: %w", name, err), "a unit whose own file is in /etc/systemd/system can't be masked: remove the file instead")
		}
		return err
	}
	return nil
}

func enableFiles(h *host.Host, u unitFile, done map[string]bool) error {
	if done[u.name] {
		return nil
	}
	done[u.name] = true
	links := u.links()
	if len(links)+len(u.also) == 0 {
		return hint.New(fmt.Errorf("%s can't be enabled: its unit has no [Install] section", u.name), "leave `enabled` out")
	}
	// The unit's own links last: until then an interruption shows.
	if err := u.eachAlso(h, done, enableFiles); err != nil {
		return err
	}
	for _, l := range links {
		p := etcUnits + "/" + l
		if err := mkdirs(h, path.Dir(p)); err != nil {
			return err
		}
		if err := h.Symlink(u.path, p); err != nil {
			return fmt.Errorf("enable %s: %w", u.name, err)
		}
	}
	return nil
}

func disableFiles(h *host.Host, u unitFile, done map[string]bool) error {
	if done[u.name] {
		return nil
	}
	done[u.name] = true
	if err := u.eachAlso(h, done, disableFiles); err != nil {
		return err
	}
	for _, dir := range linkDirs {
		links, _ := u.linksIn(h, dir)
		for _, l := range links {
			if err := h.Remove(l); err != nil {
				return err
			}
			if d := path.Dir(l); d != dir {
				_ = h.Remove(d) // as far as it is empty
			}
		}
	}
	return nil
}

func (u unitFile) eachAlso(h *host.Host, done map[string]bool, do func(*host.Host, unitFile, map[string]bool) error) error {
	for _, name := range u.also {
		also, ok, err := findUnit(h, name, 0)
		if err != nil {
			return err
		}
		if !ok || also.masked != "" || len(also.links())+len(also.also) == 0 {
			continue
		}
		if err := do(h, also, done); err != nil {
			return err
		}
	}
	return nil
}

func mkdirs(h *host.Host, dir string) error {
	if h.Exists(dir) {
		return nil
	}
	if err := mkdirs(h, path.Dir(dir)); err != nil {
		return err
	}
	return h.Mkdir(dir, host.Attr{})
}
