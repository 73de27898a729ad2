package host

import (
	"errors"
	"io/fs"
)

// Remove removes a file, a link or an empty folder. What is missing already is no error.
func (f *Folder) Remove(name string) error {
	f.steps.before("remove", f.Name(name))
	if err := f.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return clean(err, "remove", f.Name(name))
	}
	return nil
}
