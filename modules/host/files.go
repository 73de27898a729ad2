package host

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
)

// Kinds of directory entries, as Info.Kind has them.
const (
	KindFile      = "file"
	KindDirectory = "directory"
	KindLink      = "link"
	KindOther     = "other" // a device, socket or pipe
)

// Info is what a directory entry is. Mode has the permission bits with setuid, setgid and sticky, as chmod takes them.
type Info struct {
	Kind     string
	Mode     uint32
	UID, GID int
	Size     int64
	Target   string // of a link
}

// Attr is what Write and Mkdir set. Nil keeps what an existing file has; a new one gets the default.
type Attr struct {
	Mode     *uint32
	UID, GID *int
}

// path turns a device path into one of this process. Folders on the way are resolved inside the root; a link at the
// very end isn't followed.
func (h *Host) path(name string) (string, error) {
	if h.Living() {
		return name, nil
	}
	if !strings.HasPrefix(filepath.ToSlash(name), "/") {
		return "", fmt.Errorf("%s: not an absolute path", name)
	}
	name = filepath.Clean(name)
	dir, base := filepath.Split(name)
	parent, err := securejoin.SecureJoin(h.root, dir)
	if err != nil {
		return "", err
	}
	return filepath.Join(parent, base), nil
}

// follow is path with a link at the end resolved too.
func (h *Host) follow(name string) (string, error) {
	if h.Living() {
		return name, nil
	}
	return securejoin.SecureJoin(h.root, name)
}

// clean takes this process's idea of the path out of an error: people know the device's.
func clean(err error, op, name string) error {
	if err == nil {
		return nil
	}
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	} else if le, ok := errors.AsType[*os.LinkError](err); ok {
		err = le.Err
	}
	return fmt.Errorf("%s %s: %w", op, name, err)
}

// Lstat looks at an entry without following a link at its end. A missing one is fs.ErrNotExist.
func (h *Host) Lstat(name string) (Info, error) {
	p, err := h.path(name)
	if err != nil {
		return Info{}, err
	}
	fi, err := os.Lstat(p)
	if err != nil {
		return Info{}, clean(err, "stat", name)
	}
	return h.info(p, fi)
}

// Stat is Lstat, but follows a link at the end.
func (h *Host) Stat(name string) (Info, error) {
	p, err := h.follow(name)
	if err != nil {
		return Info{}, err
	}
	fi, err := os.Stat(p)
	if err != nil {
		return Info{}, clean(err, "stat", name)
	}
	return h.info(p, fi)
}

func (h *Host) info(p string, fi fs.FileInfo) (Info, error) {
	i := Info{Kind: KindOther, Mode: unixMode(fi.Mode()), Size: fi.Size()}
	i.UID, i.GID = owner(fi)
	switch {
	case fi.Mode().IsRegular():
		i.Kind = KindFile
	case fi.IsDir():
		i.Kind = KindDirectory
	case fi.Mode()&fs.ModeSymlink != 0:
		i.Kind = KindLink
		t, err := os.Readlink(p)
		if err != nil {
			return i, err
		}
		i.Target = t
	}
	return i, nil
}

// Exists says whether there is an entry, a dangling link included.
func (h *Host) Exists(name string) bool {
	_, err := h.Lstat(name)
	return err == nil
}

// Open opens a file to read, following links.
func (h *Host) Open(name string) (*os.File, error) {
	p, err := h.follow(name)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(p)
	return f, clean(err, "open", name)
}

// ReadFile reads a whole file of at most 64 MiB.
func (h *Host) ReadFile(name string) ([]byte, error) {
	const most = 64 << 20
	f, err := h.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && len(b) > most {
		err = errors.New("larger than 64 MiB")
	}
	return b, clean(err, "read", name)
}

// ReadDir lists the names in a folder, sorted.
func (h *Host) ReadDir(name string) ([]string, error) {
	p, err := h.follow(name)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(p)
	if err != nil {
		return nil, clean(err, "list", name)
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	sort.Strings(names)
	return names, nil
}

// Write replaces a file's content in one step: readers see the old file or the new one, and after a power cut it is one
// of the two. Mode, owner, ACLs and labels of a file that is replaced are kept where attr does not say otherwise; a new
// file has mode 0644 and the owner of this process. A link at the end is replaced, not followed: see Real.
func (h *Host) Write(name string, content io.Reader, attr Attr) error {
	p, err := h.path(name)
	if err != nil {
		return err
	}
	return clean(write(p, content, attr), "write", name)
}

func write(p string, content io.Reader, attr Attr) (err error) {
	old, statErr := os.Lstat(p)
	replaces := statErr == nil && old.Mode().IsRegular()
	if statErr == nil && old.IsDir() {
		return errors.New("is a directory")
	}
	tmp, err := os.CreateTemp(filepath.Dir(p), TempPrefix+"*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			tmp.Close()
			os.Remove(tmp.Name())
		}
	}()
	if _, err = io.Copy(tmp, content); err != nil {
		return err
	}
	mode, uid, gid := uint32(0o644), -1, -1
	if replaces {
		mode = unixMode(old.Mode())
		uid, gid = owner(old)
		if err = copyLabels(p, tmp.Name()); err != nil {
			return err
		}
	}
	if attr.UID != nil {
		uid = *attr.UID
	}
	if attr.GID != nil {
		gid = *attr.GID
	}
	if attr.Mode != nil {
		mode = *attr.Mode
	}
	if mine, group := ids(tmp); uid != -1 && uid != mine || gid != -1 && gid != group {
		if err = tmp.Chown(uid, gid); err != nil { // before chmod: chown clears setuid
			return err
		}
	}
	if err = tmp.Chmod(fileMode(mode)); err != nil {
		return err
	}
	if err = tmp.Sync(); err != nil {
		return err
	}
	if err = tmp.Close(); err != nil {
		return err
	}
	if err = os.Rename(tmp.Name(), p); err != nil {
		return err
	}
	return syncDir(filepath.Dir(p))
}

// TempPrefix begins the names of files that Write has not finished; one that lies about is left from a crash.
const TempPrefix = ".fitout-"

// WriteFile is Write for a content in memory.
func (h *Host) WriteFile(name, content string, attr Attr) error {
	return h.Write(name, strings.NewReader(content), attr)
}

// Real returns the device path that a chain of links at name ends at, or name where it is no link.
func (h *Host) Real(name string) (string, error) {
	p, err := h.follow(name)
	if err != nil {
		return "", err
	}
	if h.Living() {
		real, err := filepath.EvalSymlinks(p)
		if errors.Is(err, fs.ErrNotExist) {
			return name, nil
		}
		return real, clean(err, "resolve", name)
	}
	return "/" + strings.TrimPrefix(strings.TrimPrefix(p, h.root), "/"), nil
}

// Mkdir makes one folder; its parent must be there.
func (h *Host) Mkdir(name string, attr Attr) error {
	p, err := h.path(name)
	if err != nil {
		return err
	}
	if err := os.Mkdir(p, 0o755); err != nil {
		return clean(err, "create", name)
	}
	mode := uint32(0o755)
	if attr.Mode != nil {
		mode = *attr.Mode
	}
	if attr.UID != nil || attr.GID != nil {
		if err := h.Chown(name, attr.UID, attr.GID); err != nil {
			return err
		}
	}
	return h.Chmod(name, mode)
}

// Chmod sets the permission bits of a file or folder; a link at the end is an error.
func (h *Host) Chmod(name string, mode uint32) error {
	p, err := h.path(name)
	if err != nil {
		return err
	}
	if fi, err := os.Lstat(p); err == nil && fi.Mode()&fs.ModeSymlink != 0 {
		return fmt.Errorf("chmod %s: is a link", name)
	}
	return clean(os.Chmod(p, fileMode(mode)), "chmod", name)
}

// Chown sets owner and group; nil keeps. Links are changed themselves, not followed. The mode survives it.
func (h *Host) Chown(name string, uid, gid *int) error {
	u, g := -1, -1
	if uid != nil {
		u = *uid
	}
	if gid != nil {
		g = *gid
	}
	p, err := h.path(name)
	if err != nil {
		return err
	}
	before, err := os.Lstat(p)
	if err != nil {
		return clean(err, "chown", name)
	}
	if err := os.Lchown(p, u, g); err != nil {
		return clean(err, "chown", name)
	}
	if before.Mode()&fs.ModeSymlink == 0 && unixMode(before.Mode())&0o6000 != 0 {
		return clean(os.Chmod(p, before.Mode()), "chmod", name)
	}
	return nil
}

// Symlink makes a link, replacing a link that is there. Anything else that is there is an error.
func (h *Host) Symlink(target, name string) error {
	p, err := h.path(name)
	if err != nil {
		return err
	}
	if fi, err := os.Lstat(p); err == nil && fi.Mode()&fs.ModeSymlink == 0 {
		return fmt.Errorf("link %s: %w", name, fs.ErrExist)
	}
	tmp := filepath.Join(filepath.Dir(p), TempPrefix+"link-"+filepath.Base(p))
	os.Remove(tmp)
	if err := os.Symlink(target, tmp); err != nil {
		return clean(err, "link", name)
	}
	if err := os.Rename(tmp, p); err != nil {
		os.Remove(tmp)
		return clean(err, "link", name)
	}
	return clean(syncDir(filepath.Dir(p)), "link", name)
}

// Remove removes a file, a link or an empty folder. What is missing already is no error.
func (h *Host) Remove(name string) error {
	p, err := h.path(name)
	if err != nil {
		return err
	}
	if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return clean(err, "remove", name)
	}
	return nil
}

// RemoveAll removes a folder with all that is in it. It does not follow links, and refuses the root itself.
func (h *Host) RemoveAll(name string) error {
	p, err := h.path(name)
	if err != nil {
		return err
	}
	if p == h.root || filepath.Clean(name) == "/" {
		return fmt.Errorf("remove %s: refusing to remove the root", name)
	}
	return clean(os.RemoveAll(p), "remove", name)
}

// Rename moves an entry within the device.
func (h *Host) Rename(from, to string) error {
	f, err := h.path(from)
	if err != nil {
		return err
	}
	t, err := h.path(to)
	if err != nil {
		return err
	}
	return clean(os.Rename(f, t), "rename", from)
}

// Mode bits: Go keeps setuid, setgid and sticky elsewhere than chmod does.
func unixMode(m fs.FileMode) uint32 {
	u := uint32(m.Perm())
	if m&fs.ModeSetuid != 0 {
		u |= 0o4000
	}
	if m&fs.ModeSetgid != 0 {
		u |= 0o2000
	}
	if m&fs.ModeSticky != 0 {
		u |= 0o1000
	}
	return u
}

func fileMode(u uint32) fs.FileMode {
	m := fs.FileMode(u & 0o777)
	if u&0o4000 != 0 {
		m |= fs.ModeSetuid
	}
	if u&0o2000 != 0 {
		m |= fs.ModeSetgid
	}
	if u&0o1000 != 0 {
		m |= fs.ModeSticky
	}
	return m
}
