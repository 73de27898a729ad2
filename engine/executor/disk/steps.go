package disk

import (
	"io/fs"
	"os"
)

// WithSteps calls before before each single change: a test that panics there leaves what a crash at that moment would.
// A change is "create", "write", "sync", "truncate", "rename", "remove" or "mkdir", and a path.
func WithSteps(fsys FS, before func(change string)) FS { return stepping{fsys, before} }

type stepping struct {
	FS
	before func(change string)
}

func (s stepping) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	switch {
	case flag&os.O_CREATE != 0:
		s.before("create " + name)
	case flag&os.O_TRUNC != 0:
		s.before("truncate " + name)
	}
	f, err := s.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return steppingFile{f, s.before}, nil
}

func (s stepping) Rename(from, to string) error {
	s.before("rename " + from)
	return s.FS.Rename(from, to)
}

func (s stepping) Remove(name string) error {
	s.before("remove " + name)
	return s.FS.Remove(name)
}

func (s stepping) RemoveAll(name string) error {
	s.before("remove " + name)
	return s.FS.RemoveAll(name)
}

func (s stepping) MkdirAll(name string, perm fs.FileMode) error {
	s.before("mkdir " + name)
	return s.FS.MkdirAll(name, perm)
}

func (s stepping) SyncDir(name string) error {
	s.before("sync " + name)
	return s.FS.SyncDir(name)
}

type steppingFile struct {
	File
	before func(change string)
}

func (f steppingFile) Write(p []byte) (int, error) {
	f.before("write " + f.Name())
	return f.File.Write(p)
}

func (f steppingFile) Truncate(size int64) error {
	f.before("truncate " + f.Name())
	return f.File.Truncate(size)
}

func (f steppingFile) Sync() error {
	f.before("sync " + f.Name())
	return f.File.Sync()
}
