package host

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
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
	// Attributes are those of Windows, of AttributeMask.
	Attributes uint32
}

// Attributes of Windows, as Info and Attr have them: https://learn.microsoft.com/windows/win32/fileio/file-attribute-constants
const (
	AttributeReadOnly   = 0x1
	AttributeHidden     = 0x2
	AttributeSystem     = 0x4
	AttributeArchive    = 0x20
	AttributeNotIndexed = 0x2000
	AttributeMask       = AttributeReadOnly | AttributeHidden | AttributeSystem | AttributeArchive | AttributeNotIndexed
)

// Attr is what Write and Mkdir set. Nil keeps what an existing file has; a new one gets the default.
type Attr struct {
	Mode     *uint32
	UID, GID *int
	// Attributes are those of Windows, of AttributeMask.
	Attributes *uint32
	// Security is an owner, an access control list or both of Windows, as package sddl reads them; what it doesn't name stays.
	Security string
}

// path turns a device path into one of this process. Folders on the way are resolved inside the root; a link at the
// very end isn't followed.
func (h *Host) path(name string) (string, error) {
	if err := absolute(name); err != nil {
		return "", err
	}
	if h.Living() {
		return name, nil
	}
	name = filepath.Clean(name)
	dir, base := filepath.Split(name)
	parent, err := securejoin.SecureJoin(h.root, dir)
	if err != nil {
		return "", clean(err, "resolve", name)
	}
	return filepath.Join(parent, base), nil
}

// follow is path with a link at the end resolved too.
func (h *Host) follow(name string) (string, error) {
	if err := absolute(name); err != nil {
		return "", err
	}
	if h.Living() {
		return name, nil
	}
	p, err := securejoin.SecureJoin(h.root, name)
	return p, clean(err, "resolve", name)
}

func absolute(name string) error {
	if !filepath.IsAbs(name) && !strings.HasPrefix(filepath.ToSlash(name), "/") {
		return fmt.Errorf("%q: not an absolute path", name)
	}
	if strings.Contains(name, "\x00") {
		return fmt.Errorf("%q: holds a NUL character", name)
	}
	return nil
}

// clean takes this process's idea of the path out of an error: people know the device's.
func clean(err error, op, name string) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*AtRestart](err); ok {
		return &AtRestart{name}
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

func (h *Host) info(p string, fi fs.FileInfo) (i Info, err error) {
	i = infoOf(fi)
	if isJunction(p, fi) {
		i.Kind = KindLink
	}
	if i.Kind == KindLink {
		i.Target, err = os.Readlink(p)
	}
	return i, err
}

func infoOf(fi fs.FileInfo) Info {
	i := Info{Kind: KindOther, Mode: unixMode(fi.Mode()), Size: fi.Size(), Attributes: attributesOf(fi)}
	i.UID, i.GID = owner(fi)
	switch {
	case fi.Mode().IsRegular():
		i.Kind = KindFile
	case fi.IsDir():
		i.Kind = KindDirectory
	case fi.Mode()&fs.ModeSymlink != 0:
		i.Kind = KindLink
	}
	return i
}

// Exists says whether there is an entry, a dangling link included.
func (h *Host) Exists(name string) bool {
	_, err := h.Lstat(name)
	return err == nil
}

// Open opens a file or folder to read, following links. Devices, sockets and pipes are refused: opening one may wait
// for ever, or act.
func (h *Host) Open(name string) (*os.File, error) {
	p, err := h.follow(name)
	if err != nil {
		return nil, err
	}
	fi, err := os.Stat(p)
	if err != nil {
		return nil, clean(err, "open", name)
	}
	if !fi.Mode().IsRegular() && !fi.IsDir() {
		return nil, fmt.Errorf("open %s: %w", name, errSpecial)
	}
	f, err := os.Open(p)
	return f, clean(err, "open", name)
}

var errSpecial = errors.New("is a device, socket or pipe")

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

// Real returns the device path that a chain of links at name ends at, whether or not something is there.
func (h *Host) Real(name string) (string, error) {
	if runtime.GOOS == "windows" && h.Living() {
		return realPath(name)
	}
	if err := absolute(name); err != nil {
		return "", err
	}
	p, err := securejoin.SecureJoin(h.root, name)
	if err != nil {
		return "", clean(err, "resolve", name)
	}
	return h.devicePath(p), nil
}

// devicePath is the reverse of path.
func (h *Host) devicePath(p string) string {
	if h.Living() {
		return p
	}
	return "/" + strings.TrimPrefix(filepath.ToSlash(strings.TrimPrefix(p, h.root)), "/")
}

// Follow is Real for what will be changed: a link on the chain that neither root, nor this process, nor the owner of
// what it ends at has made is refused; on Windows administrators and the system are what root is elsewhere. Else a user's link could turn a change of his file into one of /etc/shadow.
func (h *Host) Follow(name string) (string, error) {
	real, err := h.Real(name)
	if err != nil {
		return "", err
	}
	end := -2 // nobody
	if i, err := h.Lstat(real); err == nil {
		end = i.UID
	}
	for at := name; ; {
		i, err := h.Lstat(at)
		if err != nil || i.Kind != KindLink {
			return real, nil
		}
		if err := h.mayFollow(at, real, i, end); err != nil {
			return "", err
		}
		if at, err = h.next(at, i.Target); err != nil {
			return "", err
		}
	}
}

// next is where a link points to. Real has seen to it that chains end.
func (h *Host) next(link, target string) (string, error) {
	if filepath.IsAbs(target) {
		return target, nil
	}
	dir, err := h.Real(filepath.Dir(link))
	return filepath.Join(dir, target), err
}

// Mkdir makes one folder; its parent must be there. Without a mode it is 0755, with the setgid bit that its parent
// hands down. It gets its name last, so that nobody meets it half made, after an interruption neither.
func (h *Host) Mkdir(name string, attr Attr) (err error) {
	p, err := h.path(name)
	if err != nil {
		return err
	}
	defer func() { err = clean(err, "create", name) }()
	if _, err := os.Lstat(p); err == nil {
		return fs.ErrExist
	}
	tmp := tempName(p)
	h.changing("mkdir", name)
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) { // what an interruption left
		return err
	}
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return err
	}
	h.steps.before("own", name)
	if err := adorn(tmp, attr); err != nil {
		os.Remove(tmp)
		return err
	}
	h.steps.before("put the folder in its place:", name)
	if err := os.Rename(tmp, p); err != nil {
		os.Remove(tmp)
		return err
	}
	return nil
}

// adorn gives a new folder its owner and mode.
func adorn(p string, attr Attr) error {
	fi, err := os.Lstat(p)
	if err != nil {
		return err
	}
	if attr.UID != nil || attr.GID != nil {
		u, g := -1, -1
		if attr.UID != nil {
			u = *attr.UID
		}
		if attr.GID != nil {
			g = *attr.GID
		}
		if err := os.Lchown(p, u, g); err != nil {
			return err
		}
	}
	mode := 0o755 | unixMode(fi.Mode())&0o2000
	if attr.Mode != nil {
		mode = *attr.Mode
	}
	if err := setSecurity(p, attr.Security); err != nil {
		return err
	}
	if attr.Attributes != nil {
		return setAttributes(p, *attr.Attributes)
	}
	return os.Chmod(p, fileMode(mode))
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
	h.changing("chmod", name)
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
	h.changing("chown", name)
	if err := os.Lchown(p, u, g); err != nil {
		return clean(err, "chown", name)
	}
	if before.Mode()&fs.ModeSymlink == 0 && unixMode(before.Mode())&0o6000 != 0 {
		h.steps.before("chmod", name)
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
	if fi, err := os.Lstat(p); err == nil && fi.Mode()&fs.ModeSymlink == 0 && !isJunction(p, fi) {
		return fmt.Errorf("link %s: %w", name, fs.ErrExist)
	}
	tmp := tempName(p)
	h.steps.before("link", name)
	os.Remove(tmp)
	if err := makeLink(target, tmp); err != nil {
		return clean(err, "link", name)
	}
	h.steps.before("put the link in its place:", name)
	if err := putLink(tmp, p); err != nil {
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
	h.changing("remove", name)
	if err := h.steps.remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return clean(err, "remove", name)
	}
	return nil
}

// SetAttributes sets those of AttributeMask, on Windows.
func (h *Host) SetAttributes(name string, attributes uint32) error {
	p, err := h.path(name)
	if err != nil {
		return err
	}
	h.steps.before("set attributes", name)
	return clean(setAttributes(p, attributes), "set attributes", name)
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
	h.changing("rename", from)
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
