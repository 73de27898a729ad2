// Package disk is the few file operations that the executor's own folder needs, so that its tests can stand between
// them and the disk: OS is the real one, WithSteps calls a test before each change, and package lossy loses what a
// power cut may lose.
//
//	err := disk.MakeDir(disk.OS, dir, 0o700)
//	err = disk.Replace(disk.OS, filepath.Join(dir, "owed.json"), data, 0o600)
//
// What MakeDir and Replace have returned from without an error is there after a power cut.
package disk

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// FS does what the functions of package os with the same names do, with their errors, from any goroutine. Nothing lasts
// through a power cut before File.Sync (a file's content) and SyncDir (names in one folder) have returned.
type FS interface {
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	Stat(name string) (fs.FileInfo, error)
	ReadDir(name string) ([]fs.DirEntry, error)
	Rename(from, to string) error
	Remove(name string) error
	RemoveAll(name string) error
	MkdirAll(name string, perm fs.FileMode) error
	SyncDir(name string) error
}

// File is an open file; an *os.File is one.
type File interface {
	io.ReadWriteSeeker
	io.ReaderAt
	io.Closer
	Name() string
	Stat() (fs.FileInfo, error)
	Truncate(size int64) error
	Sync() error
}

// OS is the device's own file system.
var OS FS = system{}

type system struct{}

func (system) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err // no File that holds a nil pointer
	}
	return f, nil
}

func (system) Stat(name string) (fs.FileInfo, error)        { return os.Stat(name) }
func (system) ReadDir(name string) ([]fs.DirEntry, error)   { return os.ReadDir(name) }
func (system) Rename(from, to string) error                 { return rename(from, to) }
func (system) Remove(name string) error                     { return os.Remove(name) }
func (system) RemoveAll(name string) error                  { return os.RemoveAll(name) }
func (system) MkdirAll(name string, perm fs.FileMode) error { return os.MkdirAll(name, perm) }
func (system) SyncDir(name string) error                    { return syncDir(name) }

// ReadFile returns a file's whole content.
func ReadFile(fsys FS, name string) ([]byte, error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// HalfWritten is where Replace has a file's new content until it is all there. A process that is killed leaves it behind; it is
// in nobody's way, and for who has the file to sweep. name may be a pattern.
func HalfWritten(name string) string { return name + ".new" }

// Replace gives a file its content in one step: who reads it, even after a power cut, sees all of the old or all of the
// new, and the new once Replace has returned. It has one writer at a time.
func Replace(fsys FS, name string, data []byte, perm fs.FileMode) error {
	tmp := HalfWritten(name)
	f, err := fsys.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, perm)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = fsys.Rename(tmp, name)
	}
	if err != nil {
		fsys.Remove(tmp)
		return err
	}
	return fsys.SyncDir(filepath.Dir(name))
}

// MakeDir makes a folder and its missing parents, to stay.
func MakeDir(fsys FS, dir string, perm fs.FileMode) error {
	parents := []string{}
	for d := filepath.Clean(dir); ; {
		_, err := fsys.Stat(d)
		up := filepath.Dir(d)
		if up == d || err != nil && !errors.Is(err, fs.ErrNotExist) {
			break
		}
		// Also above one that is there: who made it may have died before this.
		parents = append(parents, up)
		if err == nil {
			break
		}
		d = up
	}
	if err := fsys.MkdirAll(dir, perm); err != nil {
		return err
	}
	for _, p := range parents {
		if err := fsys.SyncDir(p); err != nil {
			return err
		}
	}
	return nil
}
