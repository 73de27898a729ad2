// Package knownfile changes fitout's own files of known hosts and certificates.
//
//	err := knownfile.Update(path, func(old []byte) ([]byte, error) { return append(old, line...), nil })
//
// It promises: several processes may do so at once, and none's change is lost; whoever reads the file meanwhile sees the old
// text or the new, never a part.
package knownfile

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
)

// Update makes a file's new text of its old, which is empty if there is no such file yet. It is written only if it differs.
func Update(path string, change func(old []byte) ([]byte, error)) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	unlock, err := lockFile(path + ".lock")
	if err != nil {
		return err
	}
	defer unlock()
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	text, err := change(old)
	if err != nil || bytes.Equal(text, old) {
		return err
	}
	return replace(path, text)
}

func replace(path string, text []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(text)
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
