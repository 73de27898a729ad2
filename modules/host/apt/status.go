package apt

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

// Package is one entry of dpkg's database.
type Package struct {
	Name, Arch, Version string
	Want, Flag, Status  string // the three words of dpkg's Status field
	Essential           bool   // or protected: the system needs it
	provides            string
}

// Present says whether files of the package are there beyond its configuration.
func (p *Package) Present() bool {
	return p != nil && p.Status != "not-installed" && p.Status != "config-files" && p.Status != ""
}

// ConfigFiles says whether the package was removed and left its configuration.
func (p *Package) ConfigFiles() bool { return p != nil && p.Status == "config-files" }

// Broken says whether something interrupted the package's installation or removal, or failed in it.
func (p *Package) Broken() bool {
	return p.Present() && (p.Status != "installed" || p.Flag != "ok")
}

// Wrecked says whether the package's own files may be missing or mixed: unpacking or removing it was not finished. Nothing
// but unpacking it anew mends that.
func (p *Package) Wrecked() bool {
	return p.Present() && (p.Status == "half-installed" || strings.HasSuffix(p.Flag, "reinstreq"))
}

// Held says whether the package keeps its version until someone lets it go.
func (p *Package) Held() bool { return p != nil && p.Want == "hold" }

type provider struct{ pkg, version string }

// Database is what dpkg knows of installed packages.
type Database struct {
	// Interrupted says that dpkg did not finish what it last began, or is at it.
	Interrupted bool

	native   string
	packages map[string][]*Package
	provides map[string][]provider
}

const (
	statusFile = "/var/lib/dpkg/status"
	updatesDir = "/var/lib/dpkg/updates"
)

// Read reads dpkg's database, once for all who ask until something was applied.
func Read(h *host.Host) (*Database, error) {
	return host.Memo(h, "dpkg's database", func() (*Database, error) { return read(h) })
}

// read does not use what others have read.
func read(h *host.Host) (*Database, error) {
	d := &Database{packages: map[string][]*Package{}, provides: map[string][]provider{}}
	if err := d.load(h, statusFile); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, hint.New(errors.New("no package manager that is supported: dpkg's database is missing"),
				"packages can be declared for Debian, Ubuntu and what derives from them; use `when` to leave this device out")
		}
		return nil, err
	}
	// Changes that dpkg has not yet merged into its status file lie here, in their order.
	names, err := h.ReadDir(updatesDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, n := range names {
		if strings.Trim(n, "0123456789") != "" {
			continue
		}
		d.Interrupted = true
		if err := d.load(h, updatesDir+"/"+n); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	d.index()
	return d, nil
}

func (d *Database) load(h *host.Host, name string) error {
	f, err := h.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return parseStatus(f, d.put)
}

func (d *Database) put(p *Package) {
	list := d.packages[p.Name]
	for i, old := range list {
		if old.Arch == p.Arch {
			list[i] = p
			return
		}
	}
	d.packages[p.Name] = append(list, p)
}

func (d *Database) index() {
	if p := d.Find("dpkg"); p != nil {
		d.native = p.Arch
	}
	for _, list := range d.packages {
		for _, p := range list {
			if !p.Present() {
				continue
			}
			if p.Broken() {
				d.Interrupted = true
			}
			if p.provides == "" {
				continue
			}
			for one := range strings.SplitSeq(p.provides, ",") {
				name, version, _ := strings.Cut(strings.TrimSpace(one), " ")
				version = strings.TrimSpace(strings.TrimLeft(strings.Trim(version, "()"), "= "))
				d.provides[name] = append(d.provides[name], provider{p.Name, version})
			}
		}
	}
}

// Find returns the package that name, or name:architecture, stands for; nil where dpkg has never heard of it.
func (d *Database) Find(name string) *Package {
	name, arch, _ := strings.Cut(name, ":")
	var found *Package
	for _, p := range d.packages[name] {
		switch {
		case arch != "" && p.Arch != arch && !(arch == d.native && p.Arch == "all"):
		case found == nil, !found.Present() && p.Present():
			found = p
		case p.Present() && p.Arch == d.native:
			found = p
		}
	}
	return found
}

// wrecks are the packages that are wrecked, by name.
func (d *Database) wrecks() []*Package {
	var found []*Package
	for _, list := range d.packages {
		for _, p := range list {
			if p.Wrecked() {
				found = append(found, p)
			}
		}
	}
	slices.SortFunc(found, func(a, b *Package) int { return strings.Compare(a.name(d), b.name(d)) })
	return found
}

// name is how apt's tools call the package.
func (p *Package) name(d *Database) string {
	if p.Arch == "" || p.Arch == "all" || p.Arch == d.native {
		return p.Name
	}
	return p.Name + ":" + p.Arch
}

// Provider returns an installed package that provides name in a version that c accepts, or "".
func (d *Database) Provider(name string, c Constraint) string {
	best := ""
	for _, p := range d.provides[name] {
		if p.pkg != name && (c.Any() || p.version != "" && c.Match(p.version)) && (best == "" || p.pkg < best) {
			best = p.pkg
		}
	}
	return best
}

// heldIn lists the held packages that a text names.
func (d *Database) heldIn(text string) []string {
	var held []string
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \n,()|", r) }) {
		if d.Find(word).Held() && !slices.Contains(held, word) {
			held = append(held, word)
		}
	}
	return held
}

// parseStatus hands each entry of a status file to put. It keeps only the fields that are used, since the file has
// megabytes of descriptions and lists of files.
func parseStatus(r io.Reader, put func(*Package)) error {
	br := bufio.NewReaderSize(r, 64<<10)
	p := &Package{}
	done := func() error {
		if *p == (Package{}) {
			return nil
		}
		if p.Name == "" {
			return errors.New("dpkg's status file: an entry without a name")
		}
		put(p)
		p = &Package{}
		return nil
	}
	for {
		line, err := br.ReadSlice('\n')
		if len(line) > 0 {
			if err := field(p, line, done); err != nil {
				return err
			}
		}
		for err == bufio.ErrBufferFull { // no field that is used is as long
			_, err = br.ReadSlice('\n')
		}
		if err == io.EOF {
			return done()
		}
		if err != nil {
			return fmt.Errorf("read dpkg's status file: %w", err)
		}
	}
}

func field(p *Package, line []byte, done func() error) error {
	switch line[0] {
	case '\n', '\r':
		return done()
	case 'P', 'S', 'A', 'V', 'E', 'I':
	default:
		return nil
	}
	key, value, ok := bytes.Cut(line, []byte(":"))
	if !ok {
		return nil
	}
	text := func() string { return string(bytes.TrimSpace(value)) }
	switch string(key) {
	case "Package":
		p.Name = text()
	case "Status":
		f := strings.Fields(text())
		if len(f) != 3 {
			return fmt.Errorf("dpkg's status file: %s: bad status %q", p.Name, text())
		}
		p.Want, p.Flag, p.Status = f[0], f[1], f[2]
	case "Architecture":
		p.Arch = text()
	case "Version":
		p.Version = text()
	case "Provides":
		p.provides = text()
	case "Essential", "Protected":
		p.Essential = p.Essential || text() == "yes"
	}
	return nil
}
