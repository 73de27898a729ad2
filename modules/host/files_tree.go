package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Tree is a folder and all below it, entered once: a link that somebody puts into it meanwhile can't lead a change out
// of it. Names are relative to the folder, which is "." itself.
type Tree struct {
	name   string
	root   *os.Root
	steps  steps
	mounts []string // below it, as relative names
}

// Tree opens a folder. A link at the end is followed.
func (h *Host) Tree(name string) (*Tree, error) {
	p, err := h.follow(name)
	if err != nil {
		return nil, err
	}
	mounts, err := mountsBelow(p)
	if err != nil {
		return nil, clean(err, "open", name)
	}
	root, err := os.OpenRoot(p)
	if err != nil {
		return nil, clean(err, "open", name)
	}
	h.loose.Store(true)
	return &Tree{name, root, h.steps, mounts}, nil
}

// Close releases the folder.
func (t *Tree) Close() { t.root.Close() }

// Walk calls fn for each entry below the folder, the folder of an entry before the entry. It follows no links and stays
// out of other file systems that are mounted below, their mount points included.
func (t *Tree) Walk(fn func(name string, i Info) error) error { return t.walk(".", fn) }

func (t *Tree) walk(dir string, fn func(string, Info) error) error {
	f, err := t.root.Open(dir)
	if err != nil {
		return clean(err, "list", filepath.Join(t.name, dir))
	}
	names, err := f.Readdirnames(-1)
	f.Close()
	if err != nil {
		return clean(err, "list", filepath.Join(t.name, dir))
	}
	slices.Sort(names)
	for _, n := range names {
		name := filepath.Join(dir, n)
		if slices.Contains(t.mounts, name) {
			continue
		}
		fi, err := t.root.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone meanwhile
		}
		if err != nil {
			return clean(err, "stat", filepath.Join(t.name, name))
		}
		i := infoOf(fi)
		if err := fn(name, i); err != nil {
			return err
		}
		if i.Kind == KindDirectory {
			if err := t.walk(name, fn); err != nil {
				return err
			}
		}
	}
	return nil
}

// Chown sets the owner and group of an entry; nil keeps, and a link is changed itself.
func (t *Tree) Chown(name string, uid, gid *int) error {
	u, g := -1, -1
	if uid != nil {
		u = *uid
	}
	if gid != nil {
		g = *gid
	}
	t.steps.before("chown", filepath.Join(t.name, name))
	return clean(t.root.Lchown(name, u, g), "chown", filepath.Join(t.name, name))
}

// Chmod sets the permission bits of an entry that is no link.
func (t *Tree) Chmod(name string, mode uint32) error {
	t.steps.before("chmod", filepath.Join(t.name, name))
	return clean(t.root.Chmod(name, fileMode(mode)), "chmod", filepath.Join(t.name, name))
}

// RemoveAll removes a folder with all that is in it. It does not follow links, refuses the root itself, and removes
// nothing where a file system is mounted at or below the folder.
func (h *Host) RemoveAll(name string) error {
	p, err := h.path(name)
	if err != nil {
		return err
	}
	if p == h.root || filepath.Clean(name) == "/" {
		return fmt.Errorf("remove %s: refusing to remove the root", name)
	}
	if fi, err := os.Lstat(p); err == nil && fi.IsDir() {
		mounts, err := mountsBelow(p)
		if err != nil {
			return clean(err, "remove", name)
		}
		if len(mounts) > 0 {
			return fmt.Errorf("remove %s: %s is a mount point", name, filepath.Join(name, mounts[0]))
		}
	}
	h.changing("remove all of", name)
	return clean(os.RemoveAll(p), "remove", name)
}

// mountsBelow lists the mount points at or below p, relative to it.
func mountsBelow(p string) ([]string, error) {
	real, err := filepath.EvalSymlinks(p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	points, err := mountPoints()
	if err != nil {
		return nil, err
	}
	var below []string
	for _, m := range points {
		if m == real {
			below = append(below, ".")
		} else if rel, ok := strings.CutPrefix(m, strings.TrimSuffix(real, "/")+"/"); ok {
			below = append(below, rel)
		}
	}
	return below, nil
}
