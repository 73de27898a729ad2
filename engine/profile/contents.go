package profile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-multierror"

	"github.com/fitout-dev/fitout/engine/profile/expression"
	"github.com/fitout-dev/fitout/engine/secret"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

// contents replaces what a profile writes for a content (content, source or template) by the name of the content.
func (p *Profile) contents(b *built, want map[string]any, s *expression.Scope, whole *bool) error {
	for _, f := range b.typ.Fields {
		if !f.IsBlob() {
			continue
		}
		var from *expression.Value
		for _, name := range f.Blob {
			v := b.entry.fields[name]
			if v == nil || v.IsNull() {
				continue
			}
			if from != nil {
				return v.Problem("keep one of "+strings.Join(f.Blob, ", "), "%s is set too, and both are the content", from.Name())
			}
			from = v
		}
		if from == nil {
			continue
		}
		x, known := want[from.Name()]
		delete(want, from.Name())
		b.res.Secret = slices.DeleteFunc(b.res.Secret, func(name string) bool { return name == from.Name() })
		if !known || b.entry.broken {
			continue
		}
		if from.Name() == "source" {
			n, err := p.source(from, x)
			if err != nil {
				return err
			}
			want[f.Name] = host.Blob{Size: n.size}
			b.unnamed = append(b.unnamed, unnamed{f.Name, from, n})
			b.named = sync.OnceValues(b.name)
			continue
		}
		blob, content, err := p.content(from, x, s)
		if errors.Is(err, errNotYet) {
			*whole = false
			continue
		}
		if err != nil {
			return err
		}
		want[f.Name] = blob
		b.blobs = map[string]Content{blob.Hash: content}
		if content.Secret {
			b.res.Secret = append(b.res.Secret, f.Name)
		}
	}
	return nil
}

// errNotYet says that a template needs facts that aren't there yet.
var errNotYet = errors.New("not yet")

func (p *Profile) content(v *expression.Value, x any, s *expression.Scope) (host.Blob, Content, error) {
	if v.Name() == "template" {
		t, err := p.template(v)
		if err != nil {
			return host.Blob{}, Content{}, err
		}
		return inline(t.render(s))
	}
	if text, ok := x.(secret.Value); ok {
		return inline([]byte(expression.Reveal(text).(string)), true, nil)
	}
	text, ok := x.(string)
	if !ok {
		return host.Blob{}, Content{}, v.Problem("put it in quotes", "gives %s, and a content is text", kindOf(x))
	}
	return inline([]byte(text), false, nil)
}

// inline is a content that is held in memory.
func inline(text []byte, secret bool, err error) (host.Blob, Content, error) {
	if err != nil {
		return host.Blob{}, Content{}, err
	}
	blob, err := host.BlobOf(bytes.NewReader(text))
	return blob, Content{Size: blob.Size, Secret: secret, Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(text)), nil
	}}, err
}

// source is a file beside the profile. It is hashed once, while devices are being connected to, and checked against that
// hash when it is read.
func (p *Profile) source(v *expression.Value, x any) (*naming, error) {
	open, shown, err := opener(v, fmt.Sprint(x))
	if err != nil {
		return nil, err
	}
	n, err := p.loader.name(shown, open)
	if err != nil {
		return nil, v.Problem(missing(shown, err), "%s", plainError(shown, err))
	}
	return n, nil
}

// unnamed is a content that a resource is complete but for the name of.
type unnamed struct {
	field  string
	from   *expression.Value
	naming *naming
}

// name waits for the names of the contents, and is the resource with them.
func (b *built) name() (*built, error) {
	out := *b
	out.res.Want, out.blobs = maps.Clone(b.res.Want), map[string]Content{}
	maps.Copy(out.blobs, b.blobs)
	var faults *multierror.Error
	for _, u := range b.unnamed {
		n := u.naming
		<-n.done
		if n.err != nil {
			faults = multierror.Append(faults, u.from.Problem(missing(n.shown, n.err), "%s", plainError(n.shown, n.err)))
			continue
		}
		out.res.Want[u.field] = n.Blob
		out.blobs[n.Hash] = Content{Size: n.Size, Open: n.read}
	}
	return &out, faults.ErrorOrNil()
}

// naming is a file that is being hashed, or was.
type naming struct {
	shown    string
	names    knownNames
	open     func() (fs.File, error)
	size     int64
	modified time.Time

	done  chan struct{} // then there is a name, or a reason why not
	known bool          // from an earlier run
	host.Blob
	err error
}

func (n *naming) hash() {
	defer close(n.done)
	f, err := n.open()
	if err != nil {
		n.err = err
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		n.err = err
		return
	}
	n.modified = info.ModTime()
	n.Blob, n.known, n.err = n.names.name(f)
}

// read opens the file to send it.
func (n *naming) read() (io.ReadCloser, error) {
	f, err := n.open()
	if err != nil {
		return nil, err
	}
	return &verified{f: f, want: n}, nil
}

// verified reads a file that must still be what was hashed: of the same size and time. The device hashes it anyway.
type verified struct {
	f    fs.File
	read int64
	want *naming
}

func (v *verified) Read(p []byte) (int, error) {
	n, err := v.f.Read(p)
	v.read += int64(n)
	changed := v.read > v.want.Size
	if err == io.EOF {
		info, statErr := v.f.Stat()
		changed = changed || v.read != v.want.Size || statErr != nil || !info.ModTime().Equal(v.want.modified)
	}
	if changed {
		return 0, hint.New(fmt.Errorf("%s has changed since it was hashed", v.want.shown), "run it again once nothing writes to the file")
	}
	return n, err
}

func (v *verified) Close() error { return v.f.Close() }

// opener finds a file that a profile names, beside that profile.
func opener(v *expression.Value, name string) (open func() (fs.File, error), shown string, err error) {
	if name == "" {
		return nil, "", v.Problem("", "names no file")
	}
	if fsys := v.Source.FS; fsys != nil {
		at := path.Join(v.Source.Dir, name)
		if !fs.ValidPath(at) {
			return nil, "", v.Problem("", "%s is outside of what ships with fitout", name)
		}
		return func() (fs.File, error) { return fsys.Open(at) }, "shipped/" + at, nil
	}
	at := filepath.FromSlash(name)
	if !filepath.IsAbs(at) {
		at = filepath.Join(v.Source.Dir, at)
	}
	return func() (fs.File, error) {
		info, err := os.Stat(at)
		if err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() { // a pipe would hang
			return nil, fmt.Errorf("%s is not a regular file", at)
		}
		return os.Open(at)
	}, at, nil
}

// name begins to hash a file that can be read.
func (l *Loader) name(shown string, open func() (fs.File, error)) (*naming, error) {
	l.blobsMu.Lock()
	defer l.blobsMu.Unlock()
	if n, ok := l.blobs[shown]; ok {
		return n, nil
	}
	f, err := open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	n := &naming{shown: shown, names: knownNames(l.Names), open: open, size: info.Size(), done: make(chan struct{})}
	l.blobs[shown] = n
	go func() {
		hashing <- struct{}{}
		defer func() { <-hashing }()
		n.hash()
	}()
	return n, nil
}

// hashing bounds how many files are hashed at once.
var hashing = make(chan struct{}, runtime.GOMAXPROCS(0))

func missing(shown string, err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return near(shown)
	}
	return hint.Of(err)
}

func plainError(shown string, err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("no file %s", shown)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("may not read %s", shown)
	}
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Sprintf("can't read %s: %v", shown, pe.Err)
	}
	return err.Error()
}
