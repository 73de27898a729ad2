// Package bundle supplies the executor's binary for a platform, on the controller.
//
//	e, err := bundle.For(ctx, "linux", "amd64")
//	r, err := e.Open()                          // gzip
//
// A release carries all six inside it (build tag "release", made by `go generate ./engine/executor/bundle`). Run from
// source, the one that is needed is built with the local Go toolchain and kept in the user's cache for as long as this
// very fitout is in use: the cache's key is the running program's build ID. Builds are reproducible.
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
		return nil, err
	}
	id, err := buildID()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(cache, "fitout", "executors")
	base := filepath.Join(dir, goos+"-"+arch+"-"+id)
	e := &Executor{open: func() (io.ReadCloser, error) { return os.Open(base + ".gz") }}
	if load(base, e) {
		return e, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	bin, err := build(ctx, goos, arch)
	if err != nil {
		return nil, err
	}
	z, ix, err := Compress(bin)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(replace(base+".gz", z), replace(base+".json", ix)); err != nil {
		return nil, err
	}
	forgetOld(dir, goos+"-"+arch)
	if !load(base, e) {
		return nil, fmt.Errorf("the executor's cache %s can't be read back", dir)
	}
	return e, nil
}

func load(base string, e *Executor) bool {
	b, err := os.ReadFile(base + ".json")
	var ix index
	if err != nil || json.Unmarshal(b, &ix) != nil || len(ix.Hash) != 64 {
		return false
	}
	if _, err := os.Stat(base + ".gz"); err != nil {
		return false
	}
	e.Hash, e.Size = ix.Hash, ix.Size
	return true
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
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+goos, "GOARCH="+arch, "GOFLAGS=-mod=readonly", "GOAMD64=v1")
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

// buildID names this program by the content that the Go toolchain gave it. It stands near the beginning of the file.
var buildID = sync.OnceValues(func() (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", err
	}
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
	id := ""
	if _, rest, ok := bytes.Cut(head[:n], []byte("\xff Go build ID: \"")); ok {
		quoted, _, _ := bytes.Cut(rest, []byte("\""))
		id = string(quoted)
	} else if _, rest, ok := bytes.Cut(head[:n], []byte("\x04\x00\x00\x00Go\x00\x00")); ok { // the name of the ELF note
		note, _, _ := bytes.Cut(rest, []byte{0})
		id = string(note)
	}
	if id == "" { // no marker: name it by what the file system knows
		fi, err := f.Stat()
		if err != nil {
			return "", err
		}
		id = fmt.Sprint(exe, fi.Size(), fi.ModTime())
	}
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:8]), nil
})

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
