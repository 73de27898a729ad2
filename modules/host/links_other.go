//go:build !windows

package host

import (
	"fmt"
	"io/fs"
	"os"
)

// isJunction: only Windows has other links than symbolic ones.
func isJunction(string, fs.FileInfo) bool { return false }

func makeLink(target, p string) error { return os.Symlink(target, p) }

// putLink gives a link its name, in one step.
func putLink(tmp, p string) error { return os.Rename(tmp, p) }

// mayFollow refuses a link that neither root, nor this process, nor the owner of what it ends at has made.
func (h *Host) mayFollow(link, _ string, i Info, end int) error {
	if i.UID != 0 && i.UID != os.Geteuid() && i.UID != end {
		return fmt.Errorf("%s: refusing to follow a link that %s made to something of another owner", link, h.UserName(i.UID))
	}
	return nil
}

// realPath is for Windows: elsewhere links are resolved within a root.
func realPath(name string) (string, error) { return name, nil }
