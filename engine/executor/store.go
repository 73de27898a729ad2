package executor

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/wire"
)

// keep is how long a blob or an executor that nothing used stays on the device.
const keep = 30 * 24 * time.Hour

// contents is the device's content store: a file for each blob, named by its hash. Secret blobs live in memory only.
type contents struct {
	dir string

	mu     sync.Mutex
	memory map[string][]byte
}

func newContents(dir string) *contents { return &contents{dir: dir, memory: map[string][]byte{}} }

// validHash keeps anything else from becoming a path.
func validHash(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == sha256.Size && strings.ToLower(s) == s
}

// OpenBlob opens a content; whoever reads it to the end gets an error if it isn't what its name says.
func (c *contents) OpenBlob(hash string) (io.ReadCloser, error) {
	c.mu.Lock()
	b, ok := c.memory[hash]
	c.mu.Unlock()
	if ok {
		return io.NopCloser(bytes.NewReader(b)), nil
	}
	if !validHash(hash) {
		return nil, fmt.Errorf("%q is no hash", hash)
	}
	f, err := os.Open(filepath.Join(c.dir, hash))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("content %.12s is not on the device", hash)
	}
	if err != nil {
		return nil, err
	}
	return &verified{File: f, want: hash, sum: sha256.New()}, nil
}

type verified struct {
	*os.File
	want string
	sum  interface {
		io.Writer
		Sum([]byte) []byte
	}
}

// WriteTo would go past the hash.
func (v *verified) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{v})
}

func (v *verified) Read(p []byte) (int, error) {
	n, err := v.File.Read(p)
	v.sum.Write(p[:n])
	if err == io.EOF && hex.EncodeToString(v.sum.Sum(nil)) != v.want {
		os.Remove(v.Name())
		err = fmt.Errorf("content %.12s in the store is damaged; it is removed and will be sent again", v.want)
	}
	return n, err
}

func (c *contents) has(hash string) bool {
	c.mu.Lock()
	_, ok := c.memory[hash]
	c.mu.Unlock()
	if ok {
		return true
	}
	if !validHash(hash) {
		return false
	}
	p := filepath.Join(c.dir, hash)
	if fi, err := os.Stat(p); err != nil || !fi.Mode().IsRegular() {
		return false
	}
	now := time.Now()
	os.Chtimes(p, now, now)
	return true
}

// receive takes a blob from the stream.
func (c *contents) receive(conn *wire.Conn, b wire.Blob) error {
	sum := sha256.New()
	check := func() error {
		if hex.EncodeToString(sum.Sum(nil)) != b.Hash {
			return fmt.Errorf("content %.12s arrived damaged", b.Hash)
		}
		return nil
	}
	if b.Secret {
		var buf bytes.Buffer
		if err := conn.ReceiveBlob(b, io.MultiWriter(&buf, sum)); err != nil {
			return err
		}
		if err := check(); err != nil {
			return err
		}
		c.mu.Lock()
		c.memory[b.Hash] = buf.Bytes()
		c.mu.Unlock()
		return nil
	}
	if !validHash(b.Hash) {
		return fmt.Errorf("%q is no hash", b.Hash)
	}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return errors.Join(err, conn.ReceiveBlob(b, io.Discard))
	}
	tmp, err := os.CreateTemp(c.dir, ".new-*")
	if err != nil {
		return errors.Join(err, conn.ReceiveBlob(b, io.Discard))
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	if err := conn.ReceiveBlob(b, io.MultiWriter(tmp, sum)); err != nil {
		return err
	}
	if err := check(); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), filepath.Join(c.dir, b.Hash))
}

// prune removes the entries of dir that were last touched before the given age; keepName stays.
func prune(dir string, age time.Duration, keepName string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		fi, err := e.Info()
		if err == nil && e.Name() != keepName && time.Since(fi.ModTime()) > age {
			os.RemoveAll(filepath.Join(dir, e.Name()))
		}
	}
}
