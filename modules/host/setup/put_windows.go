package setup

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/fitout-dev/fitout/modules/host"
	"golang.org/x/sys/windows"
)

// Folder is where installers lie while they run. Only administrators write to it, so that nobody puts a library beside them
// that they would load.
func Folder() (string, error) {
	dir, err := windows.GetSystemWindowsDirectory()
	return dir + `\fitout-installers`, err
}

// Put writes a file of our own in Folder, and names what it wrote. Half of one, after a crash, is written anew.
func Put(h *host.Host, path string, content io.Reader) (b host.Blob, err error) {
	h.Step("write", path)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return b, fmt.Errorf("write %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if b, err = host.BlobOf(io.TeeReader(content, f)); err != nil {
		return b, fmt.Errorf("write %s: %w", path, err)
	}
	return b, nil
}

// Drop removes such a file, and the folder with the last of them.
func Drop(h *host.Host, path string) error {
	h.Step("remove", path)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	folder, err := Folder()
	if err == nil {
		_ = os.Remove(folder) // refused as long as there is something in it
	}
	return err
}
