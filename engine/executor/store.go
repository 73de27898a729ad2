package executor

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/disk"
	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

// keep is how long a blob or an executor that nothing used stays on the device.
const keep = 30 * 24 * time.Hour

// contents is the device's content store: a file for each blob, named by its hash. Secret blobs live in memory only.
type contents struct {
	fs  disk.FS
	dir string

	mu     sync.Mutex
	memory map[string][]byte
	lost   map[string]error     // what came and couldn't be kept
	fresh  map[string]time.Time // hashed when they came, to this process or the session before it: and the file's time then
	moved  map[string]*placed   // given away
	new    bool                 // names have come that may not last yet
}

// large is what no disk should hold twice. Smaller ones stay, so that they need not travel again to repair a file.
const large = 4 << 20

func newContents(dir string) *contents {
	return &contents{fs: disk.OS, dir: dir, memory: map[string][]byte{}, lost: map[string]error{}, fresh: map[string]time.Time{}, moved: map[string]*placed{}}
}

// validHash keeps anything else from becoming a path.
func validHash(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == sha256.Size && strings.ToLower(s) == s
}

// OpenBlob opens a content; whoever reads it to the end gets an error if it isn't what its name says.
func (c *contents) OpenBlob(hash string) (io.ReadCloser, error) {
	c.mu.Lock()
	b, ok := c.memory[hash]
	lost, moved := c.lost[hash], c.moved[hash]
	c.mu.Unlock()
	if ok {
		return io.NopCloser(bytes.NewReader(b)), nil
	}
	if moved != nil {
		return &verified{r: io.NewSectionReader(moved, 0, 1<<62), want: hash, sum: sha256.New()}, nil
	}
	if !validHash(hash) {
		return nil, fmt.Errorf("%q is no hash", hash)
	}
	f, err := c.fs.OpenFile(filepath.Join(c.dir, hash), os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) && lost != nil {
		return nil, fmt.Errorf("content %.12s could not be kept on the device: %w", hash, lost)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, hint.New(fmt.Errorf("content %.12s is not on the device", hash),
			"it was not needed when the run began, and something in the run changed that: apply again")
	}
	if err != nil {
		return nil, err
	}
	return &verified{r: f, f: f, store: c, want: hash, sum: sha256.New()}, nil
}

// verified is a content that is hashed while it is read.
type verified struct {
	r       io.Reader
	f       disk.File // in the store, or nil
	store   *contents
	want    string
	sum     hash.Hash
	damaged bool
}

var _ host.Movable = (*verified)(nil)

func (v *verified) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.sum.Write(p[:n])
	if err == io.EOF && hex.EncodeToString(v.sum.Sum(nil)) != v.want {
		v.damaged = true
		err = hint.New(fmt.Errorf("content %.12s in the device's store is damaged", v.want), "it is removed: apply again to send it again; the device's disk may be failing")
	}
	return n, err
}

func (v *verified) Close() error {
	if v.f == nil {
		return nil
	}
	err := v.f.Close()
	if v.damaged {
		v.store.fs.Remove(v.f.Name()) // Windows removes no open file
	}
	return err
}

// MoveTo gives a large content away. Who else wants it in this run reads it from where it went.
func (v *verified) MoveTo(path string) bool {
	if v.f == nil {
		return false
	}
	fi, err := v.f.Stat()
	if err != nil || fi.Size() < large {
		return false
	}
	p := &placed{File: v.f, size: fi.Size()}
	if lease(v.f) { // before it is hashed: what holds then holds until the lease ends
		p.lease = time.AfterFunc(longestLease, func() {
			v.store.mu.Lock()
			defer v.store.mu.Unlock()
			p.giveBack()
		})
	}
	whole := v.whole()
	v.store.mu.Lock()
	defer v.store.mu.Unlock()
	if !whole || v.store.fs.Rename(v.f.Name(), path) != nil { // damaged, or another file system
		p.giveBack()
		return false
	}
	v.store.moved[v.want], v.f = p, nil
	return true
}

// whole says whether the content is what its name says. One that isn't has nothing more to read but the error.
func (v *verified) whole() bool {
	v.store.mu.Lock()
	fresh, ok := v.store.fresh[v.want]
	v.store.mu.Unlock()
	if fi, err := v.f.Stat(); ok && err == nil && fi.ModTime().Equal(fresh) {
		return true
	}
	if _, err := io.Copy(io.Discard, v); err != nil {
		return false
	}
	v.sum.Reset()
	_, err := v.f.Seek(0, io.SeekStart)
	return err == nil
}

// has says whether a content is here. Only its size is looked at: it is hashed when it is used.
func (c *contents) has(b host.Blob) bool {
	c.mu.Lock()
	_, ok := c.memory[b.Hash]
	ok = ok || c.moved[b.Hash] != nil
	c.mu.Unlock()
	if ok {
		return true
	}
	if !validHash(b.Hash) {
		return false
	}
	p := filepath.Join(c.dir, b.Hash)
	fi, err := c.fs.Stat(p)
	if err != nil || !fi.Mode().IsRegular() || fi.Size() != b.Size {
		return false
	}
	if now := time.Now(); now.Sub(fi.ModTime()) > keep/30 {
		os.Chtimes(p, now, now)
	}
	return true
}

// receive takes a blob from the stream. One that can't be kept fails those resources alone that need it; the error is
// about a stream that can't be used any more.
func (c *contents) receive(conn *wire.Conn, b wire.Blob) error {
	lost, err := c.keep(conn, b)
	c.note(b.Hash, lost)
	return err
}

// note remembers why a content that came couldn't be kept, or that it could.
func (c *contents) note(hash string, lost error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if delete(c.lost, hash); lost != nil {
		c.lost[hash] = lost
	}
}

var errDamaged = errors.New("it arrived damaged")

func (c *contents) keep(conn *wire.Conn, b wire.Blob) (lost, err error) {
	sum := sha256.New()
	take := func(w io.Writer) (lost, err error) {
		err = conn.ReceiveBlob(b, &hashing{w, sum})
		if sink, ok := errors.AsType[*wire.SinkError](err); ok {
			return sink.Unwrap(), nil
		}
		if err == nil && hex.EncodeToString(sum.Sum(nil)) != b.Hash {
			lost = errDamaged
		}
		return lost, err
	}
	if b.Secret {
		var buf bytes.Buffer
		if lost, err = take(&buf); lost == nil && err == nil {
			c.mu.Lock()
			c.memory[b.Hash] = buf.Bytes()
			c.mu.Unlock()
		}
		return lost, err
	}
	var tmp disk.File
	if lost = c.fs.MkdirAll(c.dir, 0o700); lost == nil {
		tmp, lost = c.fs.OpenFile(filepath.Join(c.dir, incoming+rand.Text()), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	}
	if lost != nil {
		_, err = take(io.Discard)
		return lost, err
	}
	defer claim(tmp.Name())()
	defer c.fs.Remove(tmp.Name())
	on := &settling{file: tmp}
	lost, err = take(on)
	if settled := on.settle(lost == nil && err == nil); lost == nil {
		lost = settled
	}
	var as os.FileInfo
	if lost == nil {
		as, lost = tmp.Stat()
	}
	lost = errors.Join(lost, tmp.Close())
	if lost != nil || err != nil {
		return lost, err
	}
	// Its hash is what was computed: it can be no path.
	lost = c.fs.Rename(tmp.Name(), filepath.Join(c.dir, b.Hash))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.new = true; lost == nil {
		c.fresh[b.Hash] = as.ModTime()
	}
	return lost, nil
}

// came are the contents that were hashed when they came, for the process that carries out the run.
func (c *contents) came() map[string]time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.fresh)
}

// trust takes over what another process has hashed just now.
func (c *contents) trust(fresh map[string]time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.Copy(c.fresh, fresh)
}

// sync returns when all that was received lasts. It is called once, before the run that needs it is recorded: a name at a
// time would cost as much as the contents.
func (c *contents) sync() error {
	c.mu.Lock()
	fresh := c.new
	c.new = false
	c.mu.Unlock()
	if !fresh {
		return nil
	}
	err := c.fs.SyncDir(c.dir)
	if err == nil {
		err = disk.MakeDir(c.fs, c.dir, 0o700)
	}
	if err != nil {
		c.mu.Lock()
		c.new = true
		c.mu.Unlock()
		return fmt.Errorf("sync the device's content store: %w", err)
	}
	return nil
}

// incoming begins the name of a content that is about to be received.
const incoming = ".new-"

// sweep removes contents that sessions have left half received which are no more.
func sweep(store string) {
	names, _ := filepath.Glob(filepath.Join(store, incoming+"*"))
	for _, name := range names {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			continue
		}
		err = tryLock(f)
		f.Close() // Windows removes no open file, whoever has it open
		if err == nil {
			disk.OS.Remove(name)
		}
	}
}

// hashing hashes what is written meanwhile.
type hashing struct {
	to  io.Writer
	sum hash.Hash
}

func (h *hashing) Write(p []byte) (int, error) {
	var hashed sync.WaitGroup
	hashed.Go(func() { h.sum.Write(p) })
	defer hashed.Wait()
	return h.to.Write(p)
}

// settling writes to a file and has it synced now and then while more comes, so that little is left to wait for at the end.
type settling struct {
	file  disk.File
	dirty int            // bytes since the last sync began
	early sync.WaitGroup // the sync under way
	busy  atomic.Bool
	err   error // of an early sync: the system tells it once only
}

// settleAt is a size that takes a disk a fraction of a second.
const settleAt = 32 << 20

func (s *settling) Write(p []byte) (int, error) {
	n, err := s.file.Write(p)
	if s.dirty += n; s.dirty >= settleAt && !s.busy.Load() {
		s.dirty = 0
		s.busy.Store(true)
		s.early.Go(func() {
			defer s.busy.Store(false)
			if err := s.file.Sync(); err != nil {
				s.err = err
			}
		})
	}
	return n, err
}

// settle waits for what is under way and, if the file is wanted, syncs the rest.
func (s *settling) settle(wanted bool) error {
	s.early.Wait()
	if s.err != nil || !wanted {
		return s.err
	}
	return s.file.Sync()
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
			disk.OS.RemoveAll(filepath.Join(dir, e.Name()))
		}
	}
}
