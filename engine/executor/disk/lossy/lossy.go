// Package lossy is a file system in memory, for tests, that knows what a power cut may leave of it.
//
//	fs := lossy.New()
//	stepping := disk.WithSteps(fs, func(string) {
//		for state := range fs.Crashes(1000, 1) {
//			// state is a file system of its own: recover from it, and see
//		}
//	})
//
// # What a power cut may leave
//
// POSIX promises no more than this: a file's content lasts once File.Sync has returned, and the names in a folder once
// SyncDir has. Everything since is lost or kept in any combination, whatever the order in which it was done:
//
//   - A write is lost, kept, kept from its beginning up to some byte, kept from some byte on, kept but for a hole, or has only made the
//     file longer. What a file was lengthened by and that isn't kept reads as zeros; inside the old length the old bytes stay.
//   - A truncation is lost or kept.
//   - A new name, a removed one and a renamed one are lost or kept, apart from each other and from the content: a file that was renamed but never
//     synced may be there under its new name, and empty. Syncing a file doesn't keep its name.
//   - A rename replaces its target in one step, and never leaves the file without a name; but both names may be there.
//     Between two folders, it lasts when either is synced.
//
// A folder's own name is one in its parent. Modes and times are not modelled.
package lossy

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/disk"
)

// FS is the file system. Its methods may be called from any goroutine.
type FS struct {
	mu    sync.Mutex
	root  *node
	moves []*move // of names, not yet safe
}

// node is a file or a folder, named or not.
type node struct {
	folder bool
	perm   fs.FileMode

	names, safeNames map[string]*node // of a folder: as seen, and as it lasts

	data, safe []byte // of a file: as seen, and as it lasts
	edits      []edit // since
}

// edit is a write or, with nil data, a truncation.
type edit struct {
	at   int64
	data []byte
}

// move is a new name, a removed one or, with both, a rename.
type move struct{ add, remove *name }

type name struct {
	folder *node
	name   string
	of     *node
}

func newFolder(perm fs.FileMode) *node {
	return &node{folder: true, perm: perm, names: map[string]*node{}, safeNames: map[string]*node{}}
}

// New returns an empty file system.
func New() *FS { return &FS{root: newFolder(0o700)} }

var _ disk.FS = (*FS)(nil)

func failed(op, path string, err error) error { return &fs.PathError{Op: op, Path: path, Err: err} }

// find returns the node that path names, its folder and its name there; folder is nil if that isn't one.
func (f *FS) find(path string) (folder *node, base string, n *node) {
	n = f.root
	for part := range strings.SplitSeq(strings.Trim(filepath.ToSlash(filepath.Clean(path)), "/"), "/") {
		if part == "" || part == "." {
			continue
		}
		if n == nil || !n.folder {
			return nil, "", nil
		}
		folder, base, n = n, part, n.names[part]
	}
	return folder, base, n
}

func (f *FS) move(m *move) {
	if m.remove != nil {
		delete(m.remove.folder.names, m.remove.name)
	}
	if m.add != nil {
		m.add.folder.names[m.add.name] = m.add.of
	}
	f.moves = append(f.moves, m)
}

func (f *FS) OpenFile(path string, flag int, perm fs.FileMode) (disk.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	folder, base, n := f.find(path)
	switch {
	case n != nil && flag&os.O_CREATE != 0 && flag&os.O_EXCL != 0:
		return nil, failed("open", path, fs.ErrExist)
	case n != nil && n.folder:
		return nil, failed("open", path, syscall.EISDIR)
	case n == nil && (folder == nil || flag&os.O_CREATE == 0):
		return nil, failed("open", path, fs.ErrNotExist)
	case n == nil:
		n = &node{perm: perm}
		f.move(&move{add: &name{folder, base, n}})
	case flag&os.O_TRUNC != 0:
		n.truncate(0)
	}
	return &file{fs: f, node: n, name: path, flag: flag}, nil
}

func (f *FS) Stat(path string) (fs.FileInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, base, n := f.find(path)
	if n == nil {
		return nil, failed("stat", path, fs.ErrNotExist)
	}
	return n.info(base), nil
}

func (f *FS) ReadDir(path string) ([]fs.DirEntry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, _, n := f.find(path)
	if n == nil || !n.folder {
		return nil, failed("open", path, fs.ErrNotExist)
	}
	var entries []fs.DirEntry
	for _, name := range slices.Sorted(maps.Keys(n.names)) {
		entries = append(entries, fs.FileInfoToDirEntry(n.names[name].info(name)))
	}
	return entries, nil
}

func (f *FS) Rename(from, to string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	oldFolder, oldName, n := f.find(from)
	newFolder, newName, there := f.find(to)
	switch {
	case n == nil || oldFolder == nil || newFolder == nil:
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: fs.ErrNotExist}
	case there == n:
		return nil
	case there != nil && (there.folder || n.folder):
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: fs.ErrExist}
	}
	f.move(&move{add: &name{newFolder, newName, n}, remove: &name{oldFolder, oldName, n}})
	return nil
}

func (f *FS) Remove(path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	folder, base, n := f.find(path)
	if n == nil || folder == nil {
		return failed("remove", path, fs.ErrNotExist)
	}
	if len(n.names) > 0 {
		return failed("remove", path, syscall.ENOTEMPTY)
	}
	f.move(&move{remove: &name{folder, base, n}})
	return nil
}

func (f *FS) RemoveAll(path string) error {
	entries, err := f.ReadDir(path)
	if err == nil {
		for _, e := range entries {
			if err = f.RemoveAll(filepath.Join(path, e.Name())); err != nil {
				return err
			}
		}
	}
	if err = f.Remove(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (f *FS) MkdirAll(path string, perm fs.FileMode) error {
	f.mu.Lock()
	_, _, n := f.find(path)
	f.mu.Unlock()
	if n != nil && n.folder {
		return nil
	}
	if n != nil {
		return failed("mkdir", path, syscall.ENOTDIR)
	}
	if err := f.MkdirAll(filepath.Dir(filepath.Clean(path)), perm); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	folder, base, _ := f.find(path)
	f.move(&move{add: &name{folder, base, newFolder(perm)}})
	return nil
}

func (f *FS) SyncDir(path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, _, n := f.find(path)
	if n == nil || !n.folder {
		return failed("sync", path, fs.ErrNotExist)
	}
	f.syncFolder(n)
	return nil
}

func (f *FS) syncFolder(n *node) {
	moves := f.moves
	f.moves = nil
	for _, m := range moves {
		if m.touches(n) && m.add != nil && m.remove != nil && m.add.folder != m.remove.folder {
			// Both, up to and with this one.
			other := m.add.folder
			if other == n {
				other = m.remove.folder
			}
			f.keepIn(other)
		}
		if m.touches(n) {
			m.apply(func(n *node) map[string]*node { return n.safeNames })
		} else {
			f.moves = append(f.moves, m)
		}
	}
}

// keepIn makes what came in a folder so far safe.
func (f *FS) keepIn(n *node) {
	f.moves = slices.DeleteFunc(f.moves, func(m *move) bool {
		if m.touches(n) {
			m.apply(func(n *node) map[string]*node { return n.safeNames })
			return true
		}
		return false
	})
}

func (m *move) touches(n *node) bool {
	return m.add != nil && m.add.folder == n || m.remove != nil && m.remove.folder == n
}

func (m *move) apply(names func(*node) map[string]*node) {
	if m.remove != nil && names(m.remove.folder)[m.remove.name] == m.remove.of {
		delete(names(m.remove.folder), m.remove.name)
	}
	if m.add != nil {
		names(m.add.folder)[m.add.name] = m.add.of
	}
}

func (n *node) truncate(size int64) {
	n.edits = append(n.edits, edit{at: size})
	n.data = resize(n.data, size)
}

func (n *node) write(at int64, p []byte) {
	p = slices.Clone(p)
	n.edits = append(n.edits, edit{at, p})
	n.data = put(n.data, at, p)
}

func resize(b []byte, size int64) []byte {
	if size <= int64(len(b)) {
		return b[:size:size]
	}
	return append(b, make([]byte, size-int64(len(b)))...)
}

func put(b []byte, at int64, p []byte) []byte {
	if end := at + int64(len(p)); end > int64(len(b)) {
		b = resize(b, end)
	}
	copy(b[at:], p)
	return b
}

func (n *node) info(name string) fs.FileInfo { return info{name, int64(len(n.data)), n.mode()} }

func (n *node) mode() fs.FileMode {
	if n.folder {
		return n.perm | fs.ModeDir
	}
	return n.perm
}

type info struct {
	name string
	size int64
	mode fs.FileMode
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return i.mode }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.mode.IsDir() }
func (i info) Sys() any           { return nil }

// file is an open one; it lives on when its name is gone.
type file struct {
	fs   *FS
	node *node
	name string
	flag int
	at   int64
	shut bool
}

func (f *file) lock(op string) (func(), error) {
	f.fs.mu.Lock()
	if f.shut {
		f.fs.mu.Unlock()
		return nil, failed(op, f.name, fs.ErrClosed)
	}
	return f.fs.mu.Unlock, nil
}

func (f *file) Name() string { return f.name }

func (f *file) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p, f.at)
	f.at += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

func (f *file) ReadAt(p []byte, at int64) (int, error) {
	unlock, err := f.lock("read")
	if err != nil {
		return 0, err
	}
	defer unlock()
	if at >= int64(len(f.node.data)) {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	n := copy(p, f.node.data[at:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) change(op string) (func(), error) {
	if f.flag&(os.O_WRONLY|os.O_RDWR) == 0 {
		return nil, failed(op, f.name, fs.ErrPermission)
	}
	return f.lock(op)
}

func (f *file) Write(p []byte) (int, error) {
	unlock, err := f.change("write")
	if err != nil || len(p) == 0 {
		if err == nil {
			unlock()
		}
		return 0, err
	}
	defer unlock()
	if f.flag&os.O_APPEND != 0 {
		f.at = int64(len(f.node.data))
	}
	f.node.write(f.at, p)
	f.at += int64(len(p))
	return len(p), nil
}

func (f *file) Seek(offset int64, whence int) (int64, error) {
	unlock, err := f.lock("seek")
	if err != nil {
		return 0, err
	}
	defer unlock()
	switch whence {
	case io.SeekCurrent:
		offset += f.at
	case io.SeekEnd:
		offset += int64(len(f.node.data))
	}
	if offset < 0 {
		return 0, failed("seek", f.name, fs.ErrInvalid)
	}
	f.at = offset
	return offset, nil
}

func (f *file) Truncate(size int64) error {
	unlock, err := f.change("truncate")
	if err != nil {
		return err
	}
	defer unlock()
	f.node.truncate(size)
	return nil
}

func (f *file) Sync() error {
	unlock, err := f.lock("sync")
	if err != nil {
		return err
	}
	defer unlock()
	f.node.safe, f.node.edits = slices.Clone(f.node.data), nil
	return nil
}

func (f *file) Stat() (fs.FileInfo, error) {
	unlock, err := f.lock("stat")
	if err != nil {
		return nil, err
	}
	defer unlock()
	return f.node.info(filepath.Base(f.name)), nil
}

func (f *file) Close() error {
	unlock, err := f.lock("close")
	if err != nil {
		return err
	}
	defer unlock()
	f.shut = true
	return nil
}
