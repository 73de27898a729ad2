// Package profile turns a profile, the file that a person writes, into the resources of one device.
//
//	l := &profile.Loader{Secrets: secrets}
//	p, err := l.Load("sales-laptop.yaml")    // every mistake in it, each with its position
//	c, err := p.Compile(profile.Device{Name: "lt-042", Facts: facts})
//
// It promises: what Load accepts was checked as far as that is possible without a device; the same profile, device and
// facts give the same resources in the same order; and nothing that holds a secret leaves it as plain text but in
// Compiled.Secrets, which is there for scrubbing.
package profile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/go-multierror"

	"github.com/fitout-dev/fitout/engine/profile/expression"
	"github.com/fitout-dev/fitout/engine/secret"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/profiles"
	"github.com/fitout-dev/fitout/schema"
)

// Loader reads profiles. Each file is read and checked once, however many devices use it. Its methods may be called
// concurrently; its fields are set before.
type Loader struct {
	Secrets secret.Source               // nil: FITOUT_SECRET_NAME alone
	Env     func(string) (string, bool) // nil: os.LookupEnv
	// Variables are names that the inventory defines for some device. A profile may use them without defining them.
	Variables []string
	// Names is a folder to remember the names of large source files in. "": each Loader hashes them anew.
	Names string

	mu       sync.Mutex
	files    map[string]*file
	profiles map[string]*loaded

	blobsMu   sync.Mutex
	blobs     map[string]*naming   // of source files, by path
	templates map[string]*template // by path
}

type loaded struct {
	profile *Profile
	err     error
}

// Profile is a profile with all that it extends. It doesn't change.
type Profile struct {
	Name, Description string
	Files             []string // all that it was made from, its own last

	loader    *Loader
	variables []variable                   // each after those that it reads
	entries   []*entry                     // in their order where no edge says otherwise
	run       map[string]*expression.Value // what is right of it, as far as that is known
	dropped   []string                     // addresses that are no longer managed, as they are written
	taken     expression.Names             // the secrets and variables of the environment that are mentioned
}

type variable struct {
	name  string
	value *expression.Value
}

// Load reads a profile: a path, the name of one in the current folder or of a shipped one, or what profiles.Find gave.
// The error holds all that is wrong, sorted by position.
func (l *Loader) Load(name string) (*Profile, error) {
	ref, err := profiles.Find(".", name)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.files == nil {
		l.files, l.profiles = map[string]*file{}, map[string]*loaded{}
		l.blobs, l.templates = map[string]*naming{}, map[string]*template{}
	}
	if have := l.profiles[ref]; have != nil {
		return have.profile, have.err
	}
	p, err := l.load(ref)
	l.profiles[ref] = &loaded{p, err}
	return p, err
}

func (l *Loader) load(ref string) (*Profile, error) {
	var lineage []*file
	var faults []error
	if err := l.ancestors(ref, nil, &lineage, &faults); err != nil {
		return nil, err
	}
	own := lineage[len(lineage)-1]
	p := &Profile{Name: own.name, Description: own.description, loader: l}
	for _, f := range lineage {
		p.Files = append(p.Files, f.src.File)
	}
	if err := schema.Sort(p.check(merge(lineage), faults)); err != nil {
		return nil, err
	}
	return p, nil
}

// ancestors appends the files that ref is made from, parents before children, each once. What is wrong inside of them
// goes to faults, so that all of it is reported; the error is about ref itself.
func (l *Loader) ancestors(ref string, chain []string, lineage *[]*file, faults *[]error) error {
	if slices.ContainsFunc(*lineage, func(f *file) bool { return f.ref == ref }) {
		return nil
	}
	f, err := l.file(ref)
	if err != nil {
		return err
	}
	chain = append(chain, ref)
	*faults = append(*faults, f.faults...)
	for _, parent := range f.extends {
		if !parent.Constant() {
			*faults = append(*faults, parent.Problem("write the profile's name out; entries may decide with when",
				"what a profile extends can't be an expression"))
			continue
		}
		name, _ := parent.Literal()
		text, ok := name.(string)
		if !ok {
			continue // the schema has said so
		}
		if text == "" {
			*faults = append(*faults, parent.Problem("remove it", "names no profile"))
			continue
		}
		up, err := f.find(text)
		if i := slices.Index(chain, up); err == nil && i >= 0 {
			*faults = append(*faults, parent.Problem("", "the profile extends itself: %s", loop(append(slices.Clone(chain[i:]), up))))
			continue
		}
		if err == nil {
			err = l.ancestors(up, chain, lineage, faults)
		}
		if many, ok := errors.AsType[*multierror.Error](err); ok {
			*faults = append(*faults, many.Errors...)
		} else if err != nil {
			*faults = append(*faults, parent.Problem(hint.Of(err), "%s", err))
		}
	}
	*lineage = append(*lineage, f)
	return nil
}

func loop(refs []string) string {
	for i, r := range refs {
		refs[i] = filepath.Base(r)
	}
	return strings.Join(refs, " → ")
}

// file is one profile's file, read but not yet merged.
type file struct {
	ref               string
	src               *expression.Source
	fsys              fs.FS // of a shipped one; nil: the machine's own files
	name, description string
	extends           []*expression.Value
	root              *expression.Value
	declared          map[*modules.Type][]*declaration // shared by all profiles that extend this one
	faults            []error
}

// maxFile is more than any profile needs; schema.Read refuses smaller ones too.
const maxFile = 64 << 20

func (l *Loader) file(ref string) (*file, error) {
	if f := l.files[ref]; f != nil {
		return f, nil
	}
	f := &file{ref: ref}
	var data []byte
	var err error
	shown := ref
	if name, ok := strings.CutPrefix(ref, profiles.Shipped); ok {
		f.fsys = profiles.FS()
		data, err = profiles.Open(name)
		shown = "shipped/" + name + ".yaml"
	} else {
		data, err = readFile(ref)
	}
	if err != nil {
		return nil, err
	}
	d, err := schema.Read(shown, data)
	if err != nil {
		if d != nil && !isInventory(d) {
			err = errors.Join(err, schema.ValidateProfile(d))
		}
		return nil, schema.Sort(err)
	}
	if f.fault(schema.ValidateProfile(d)); isInventory(d) {
		return nil, schema.Sort(errors.Join(f.faults...))
	}
	f.src = &expression.Source{File: shown, Dir: filepath.Dir(ref), FS: f.fsys, Data: bytes.TrimPrefix(data, []byte("\uFEFF"))}
	if f.fsys != nil {
		f.src.Dir = "."
	}
	f.root, err = expression.New(f.src, d.Root, isExpression)
	f.fault(err)
	f.name, f.description = f.text("profile"), f.text("description")
	if f.name == "" {
		f.name = strings.TrimSuffix(path.Base(filepath.ToSlash(shown)), filepath.Ext(shown))
	}
	if e := f.root.Field("extends"); e != nil && !e.IsNull() {
		f.extends = []*expression.Value{e}
		if e.IsList() {
			f.extends = e.Items()
		}
	}
	l.files[ref] = f
	return f, nil
}

// isInventory says whether the file rather is an inventory: only those have devices.
func isInventory(d *schema.Document) bool {
	k, _ := schema.Find(d.Root, "devices")
	return k != nil
}

// fault keeps what is wrong in the file.
func (f *file) fault(err error) {
	if many, ok := errors.AsType[*multierror.Error](schema.Sort(err)); ok {
		f.faults = append(f.faults, many.Errors...)
	}
}

// Exists says why there can't be a profile in a file, if so.
func Exists(name string) error {
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return hint.New(fmt.Errorf("no file %s", name), "%s", near(name))
	case err != nil:
		return errors.New(plainError(name, err))
	case info.IsDir():
		return fmt.Errorf("%s is a folder, not a profile", name)
	case !info.Mode().IsRegular(): // a device may have no end, and a pipe no beginning
		return fmt.Errorf("%s is not a regular file", name)
	case info.Size() > maxFile:
		return fmt.Errorf("%s has %d MB, too much for a profile", name, info.Size()>>20)
	}
	return nil
}

// readFile reads no more than schema.Read needs to refuse what is too large.
func readFile(name string) ([]byte, error) {
	if err := Exists(name); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, errors.New(plainError(name, err))
	}
	return data, nil
}

// near names a file in the same folder that may be meant.
func near(name string) string {
	entries, err := os.ReadDir(filepath.Dir(name))
	if err != nil {
		return fmt.Sprintf("there is no folder %s either", filepath.Dir(name))
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if s := hint.Near(filepath.Base(name), names); s != "" {
		return fmt.Sprintf("did you mean %q?", filepath.Join(filepath.Dir(name), s))
	}
	return "check the path; it is taken from the file that names it"
}

func (f *file) text(name string) string {
	if v := f.root.Field(name); v != nil {
		if s, ok := v.Literal(); ok {
			s, _ := s.(string)
			return s
		}
	}
	return ""
}

// find resolves what the file extends.
func (f *file) find(name string) (string, error) {
	if f.fsys != nil { // shipped profiles extend shipped ones
		return profiles.Shipped + name, nil
	}
	return profiles.Find(f.src.Dir, name)
}

// isExpression says which values are expressions without ${}: "when" and "forEach" of an entry.
func isExpression(v *expression.Value) bool {
	name := v.Name()
	if name != "when" && name != "forEach" {
		return false
	}
	at := v.Path()
	return strings.Count(at, ".") == 1 && !strings.HasPrefix(at, "variables.")
}

// names of a map, sorted.
func names[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
