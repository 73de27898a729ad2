// Package bundle supplies the executor's binary for a platform, on the controller.
//
//	e, err := bundle.For(ctx, "linux", "amd64")
//	r, err := e.Open()                          // gzip
//
// A release carries all six inside it (build tag "release", made by `go generate ./engine/executor/bundle`). Run from
// source, the one that is needed is built with the local Go toolchain and kept in the user's cache for as long as this
// very fitout is in use: the cache's key is the running program's build ID, and for other platforms than its own the state of
// the source, too. Builds are reproducible.
package bundle

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fitout-dev/fitout/modules/hint"
)

//go:generate go run ./make -o dist

// Platforms are those that an executor is made for.
var Platforms = []string{"linux/amd64", "linux/arm64", "windows/amd64", "windows/arm64", "darwin/amd64", "darwin/arm64"}

// Flags make a build that depends on the source and the toolchain alone.
var Flags = []string{"-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid="}

// Package is what is built.
const Package = "github.com/fitout-dev/fitout/engine/executor/main"

// Executor is the binary for one platform.
type Executor struct {
	OS, Arch string
	Hash     string // SHA-256 of the binary, in hex
	Size     int64  // of the binary
	open     func() (io.ReadCloser, error)
}

// Open returns the binary, compressed with gzip.
func (e *Executor) Open() (io.ReadCloser, error) { return e.open() }

// index describes a compressed binary that lies beside it.
type index struct {
	Hash string `json:"hash"`
	Size int64  `json:"size"`
}

var (
	mu    sync.Mutex
	known = map[string]*Executor{}
)

// For returns the executor for a platform, building it where need be.
func For(ctx context.Context, goos, arch string) (*Executor, error) {
	mu.Lock()
	defer mu.Unlock() // one build at a time: they use all cores
	name := goos + "-" + arch
	if e := known[name]; e != nil {
		return e, nil
	}
	if !slices.Contains(Platforms, goos+"/"+arch) {
		return nil, hint.New(fmt.Errorf("no executor for %s on %s", goos, arch), "fitout works on %s", strings.Join(Platforms, ", "))
	}
	e, err := embedded(name)
	if err != nil || e == nil {
		e, err = built(ctx, goos, arch)
	}
	if err != nil {
		return nil, err
	}
	e.OS, e.Arch = goos, arch
	known[name] = e
	return e, nil
}

// built finds or makes the executor in the cache.
func built(ctx context.Context, goos, arch string) (*Executor, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, hint.New(fmt.Errorf("no place to keep executors: %w", err), "set HOME or XDG_CACHE_HOME")
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	id, err := buildID(exe)
	if err != nil {
		return nil, err
	}
	if goos != runtime.GOOS {
		id += "-" + sourceState()
	}
	c := cached{filepath.Join(cache, "fitout", "executors", goos+"-"+arch+"-"+id), goos, arch}
	e, ok := c.load()
	if !ok {
		if e, err = c.make(ctx); err != nil {
			return nil, err
		}
		forgetOld(filepath.Dir(c.base), goos+"-"+arch)
	}
	e.open = func() (io.ReadCloser, error) { return c.open(e) }
	return e, nil
}

// cached is an executor in the user's cache: base.gz, and base.json that describes it.
type cached struct{ base, goos, arch string }

func (c cached) load() (*Executor, bool) {
	b, err := os.ReadFile(c.base + ".json")
	var ix index
	if err != nil || json.Unmarshal(b, &ix) != nil || len(ix.Hash) != 64 || ix.Size <= 0 {
		return nil, false
	}
	if _, err := os.Stat(c.base + ".gz"); err != nil {
		return nil, false
	}
	return &Executor{Hash: ix.Hash, Size: ix.Size}, true
}

func (c cached) make(ctx context.Context) (*Executor, error) {
	bin, err := build(ctx, c.goos, c.arch)
	if err != nil {
		return nil, err
	}
	z, ix, err := Compress(bin)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(c.base), 0o755); err != nil {
		return nil, err
	}
	if err := errors.Join(replace(c.base+".gz", z), replace(c.base+".json", ix)); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(bin)
	return &Executor{Hash: hex.EncodeToString(sum[:]), Size: int64(len(bin))}, nil
}

// open checks the whole file, since it is only read to be pushed, and makes it anew where it is damaged.
func (c cached) open(e *Executor) (io.ReadCloser, error) {
	z, err := os.ReadFile(c.base + ".gz")
	if err == nil {
		err = check(z, e)
	}
	if err != nil {
		again, makeErr := c.make(context.Background())
		switch {
		case makeErr != nil:
			return nil, fmt.Errorf("%s.gz: %w; it could not be made again: %w", c.base, err, makeErr)
		case again.Hash != e.Hash:
			mu.Lock()
			delete(known, c.goos+"-"+c.arch)
			mu.Unlock()
			return nil, hint.New(fmt.Errorf("%s.gz: %w; it was made again from source that has changed", c.base, err), "run fitout once more")
		}
		if z, err = os.ReadFile(c.base + ".gz"); err != nil {
			return nil, err
		}
	}
	return io.NopCloser(bytes.NewReader(z)), nil
}

func check(z []byte, e *Executor) error {
	r, err := gzip.NewReader(bytes.NewReader(z))
	if err != nil {
		return err
	}
	sum := sha256.New()
	if n, err := io.Copy(sum, io.LimitReader(r, e.Size+1)); err != nil || n != e.Size {
		return errors.Join(errors.New("damaged"), err)
	}
	if hex.EncodeToString(sum.Sum(nil)) != e.Hash {
		return errors.New("damaged")
	}
	return nil
}

// forgetOld keeps the newest four builds of a platform: each change of fitout's source makes one.
func forgetOld(dir, platform string) {
	files, _ := filepath.Glob(filepath.Join(dir, platform+"-*.gz"))
	slices.SortFunc(files, func(a, b string) int { return modTime(b).Compare(modTime(a)) })
	for _, f := range files[min(4, len(files)):] {
		os.Remove(strings.TrimSuffix(f, ".gz") + ".json")
		os.Remove(f)
	}
}

// build compiles the executor from the source that this program was built from.
func build(ctx context.Context, goos, arch string) ([]byte, error) {
	dir, err := sourceDir()
	if err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp("", "fitout-build-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	return Build(ctx, dir, filepath.Join(tmp, "executor"), goos, arch)
}

// Build compiles the executor from the module at dir to the file out, and returns it.
func Build(ctx context.Context, dir, out, goos, arch string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", append(append([]string{"build", "-o", out}, Flags...), Package)...)
	cmd.Dir = dir
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "FITOUT_SECRET_") })
	cmd.Env = append(env, "CGO_ENABLED=0", "GOOS="+goos, "GOARCH="+arch, "GOFLAGS=-mod=readonly", "GOAMD64=v1")
	if msg, err := cmd.CombinedOutput(); err != nil {
		return nil, hint.New(fmt.Errorf("build the executor for %s/%s: %w: %s", goos, arch, err, bytes.TrimSpace(msg)),
			"fitout run from source needs Go in PATH; a release carries all executors")
	}
	return os.ReadFile(out)
}

// Compress makes what is kept of a binary: its gzip, and its index.
func Compress(bin []byte) (z, ix []byte, err error) {
	var buf bytes.Buffer
	w, err := gzip.NewWriterLevel(&buf, gzip.BestCompression)
	if err != nil {
		return nil, nil, err
	}
	if _, err := w.Write(bin); err != nil {
		return nil, nil, err
	}
	if err := w.Close(); err != nil {
		return nil, nil, err
	}
	sum := sha256.Sum256(bin)
	ix, err = json.Marshal(index{hex.EncodeToString(sum[:]), int64(len(bin))})
	return buf.Bytes(), ix, err
}

// sourceDir is where this program's source was when it was compiled.
func sourceDir() (string, error) {
	_, file, _, _ := runtime.Caller(0)
	dir := filepath.Dir(filepath.Dir(filepath.Dir(filepath.Dir(file))))
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil || !filepath.IsAbs(dir) {
		return "", hint.New(errors.New("this fitout carries no executors, and its source is not on this machine"),
			"use a release, or build one from source with `go run ./engine/executor/bundle/make -release fitout`")
	}
	return dir, nil
}

// buildID names a program by the content that the Go toolchain gave it. It stands near the beginning of the file.
func buildID(exe string) (string, error) {
	f, err := os.Open(exe)
	if err != nil {
		return "", err
	}
	defer f.Close()
	head := make([]byte, 256<<10)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return "", err
	}
	id := marker(head[:n])
	if id == "" { // name it by what the file system knows
		fi, err := f.Stat()
		if err != nil {
			return "", err
		}
		id = fmt.Sprint(exe, fi.Size(), fi.ModTime())
	}
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:8]), nil
}

// sourceState changes with the source that this program doesn't contain: the files of other platforms.
func sourceState() string {
	dir, err := sourceDir()
	if err != nil {
		return "none"
	}
	sum := sha256.New()
	for _, under := range []string{"engine", "modules"} {
		filepath.WalkDir(filepath.Join(dir, under), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return nil
			}
			if fi, err := d.Info(); err == nil {
				fmt.Fprintln(sum, path, fi.Size(), fi.ModTime().UnixNano())
			}
			return nil
		})
	}
	return hex.EncodeToString(sum.Sum(nil)[:6])
}

// marker finds the build ID: at the beginning of the code on every platform, in a note before it where a program is ELF.
func marker(head []byte) string {
	if _, rest, ok := bytes.Cut(head, []byte("\xff Go build ID: \"")); ok {
		if id, _, ok := bytes.Cut(rest, []byte("\"")); ok {
			return string(id)
		}
	}
	if _, rest, ok := bytes.Cut(head, []byte("\x04\x00\x00\x00Go\x00\x00")); ok { // the note's type and name
		if id, _, ok := bytes.Cut(rest, []byte{0}); ok {
			return string(id)
		}
	}
	return ""
}

func replace(path string, b []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(b)
	if err = errors.Join(err, tmp.Close()); err != nil {
		os.Remove(tmp.Name())
		return err
	}
	return os.Rename(tmp.Name(), path)
}

func modTime(path string) (t time.Time) {
	if fi, err := os.Stat(path); err == nil {
		t = fi.ModTime()
	}
	return t
}
