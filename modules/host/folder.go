package host

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
)

// Folder is a folder whose content belongs to somebody that root must not trust, such as a user's home. Names in it are
// relative; a link at the end of one is never followed, and none on the way leads out of the folder, also when they are
// swapped at the worst moment.
type Folder struct {
	root  *os.Root
	name  string
	steps steps
}

// OpenFolder opens a folder; links in name itself are followed.
func (h *Host) OpenFolder(name string) (*Folder, error) {
	p, err := h.follow(name)
	if err != nil {
		return nil, err
	}
	r, err := os.OpenRoot(p)
	if err != nil {
		return nil, clean(err, "open", name)
	}
	h.loose.Store(true)
	return &Folder{r, name, h.steps}, nil
}

// Close releases the folder.
func (f *Folder) Close() error { return f.root.Close() }

// Name is a device path for messages.
func (f *Folder) Name(name string) string { return path.Join(f.name, name) }

// Folder opens a folder in this one; a link is an error.
func (f *Folder) Folder(name string) (*Folder, error) {
	before, err := f.root.Lstat(name)
	if err != nil {
		return nil, clean(err, "open", f.Name(name))
	}
	if before.Mode()&fs.ModeSymlink != 0 {
		return nil, fmt.Errorf("open %s: is a link, which is not followed there", f.Name(name))
	}
	r, err := f.root.OpenRoot(name)
	if err != nil {
		return nil, clean(err, "open", f.Name(name))
	}
	after, err := r.Stat(".")
	if err == nil && !os.SameFile(before, after) {
		err = errors.New("was replaced while it was opened")
	}
	if err != nil {
		r.Close()
		return nil, clean(err, "open", f.Name(name))
	}
	return &Folder{r, f.Name(name), f.steps}, nil
}

// Lstat looks at an entry; "." is the folder itself.
func (f *Folder) Lstat(name string) (Info, error) {
	fi, err := f.root.Lstat(name)
	if err != nil {
		return Info{}, clean(err, "stat", f.Name(name))
	}
	i := Info{Kind: KindOther, Mode: unixMode(fi.Mode()), Size: fi.Size()}
	i.UID, i.GID = owner(fi)
	switch {
	case fi.Mode().IsRegular():
		i.Kind = KindFile
	case fi.IsDir():
		i.Kind = KindDirectory
	case fi.Mode()&fs.ModeSymlink != 0:
		i.Kind = KindLink
		i.Target, err = f.root.Readlink(name)
	}
	return i, clean(err, "stat", f.Name(name))
}

// ReadFile reads a regular file of at most 1 MiB; anything else is an error, at once.
func (f *Folder) ReadFile(name string) ([]byte, error) {
	const most = 1 << 20
	before, err := f.root.Lstat(name)
	if err != nil {
		return nil, clean(err, "read", f.Name(name))
	}
	bad := func(why string) ([]byte, error) { return nil, fmt.Errorf("read %s: %s", f.Name(name), why) }
	if before.Mode()&fs.ModeSymlink != 0 {
		return bad("is a link, which is not followed there")
	}
	file, err := f.root.OpenFile(name, os.O_RDONLY|openNonblock, 0) // a pipe would wait for its writer
	if err != nil {
		return nil, clean(err, "read", f.Name(name))
	}
	defer file.Close()
	after, err := file.Stat()
	switch {
	case err != nil:
		return nil, clean(err, "read", f.Name(name))
	case !after.Mode().IsRegular():
		return bad("is no regular file")
	case !os.SameFile(before, after):
		return bad("was replaced while it was opened")
	}
	b, err := io.ReadAll(io.LimitReader(file, most+1))
	if err == nil && len(b) > most {
		return bad("larger than 1 MiB")
	}
	return b, clean(err, "read", f.Name(name))
}

// Write replaces a file in one step, whatever was there but a folder. A new file has mode 0600 where attr says nothing.
func (f *Folder) Write(name, content string, attr Attr) (err error) {
	tmp := tempName(name)
	f.steps.before("write", f.Name(name))
	if err := f.root.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) { // what a crash left
		return clean(err, "write", f.Name(name))
	}
	file, err := f.root.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return clean(err, "write", f.Name(name))
	}
	defer func() {
		if err != nil {
			file.Close()
			f.root.Remove(tmp)
			err = clean(err, "write", f.Name(name))
		}
	}()
	if _, err = io.WriteString(file, content); err != nil {
		return err
	}
	if err = setAttr(file, attr, 0o600); err != nil {
		return err
	}
	if err = file.Sync(); err != nil {
		return err
	}
	if err = file.Close(); err != nil {
		return err
	}
	f.steps.before("put the file in its place:", f.Name(name))
	return f.root.Rename(tmp, name)
}

// Mkdir makes a folder, with mode 0700 where attr says nothing. It gets its name last.
func (f *Folder) Mkdir(name string, attr Attr) (err error) {
	defer func() { err = clean(err, "create", f.Name(name)) }()
	if _, err := f.root.Lstat(name); err == nil {
		return fs.ErrExist
	}
	tmp := tempName(name)
	f.steps.before("mkdir", f.Name(name))
	if err := f.root.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) { // what an interruption left
		return err
	}
	if err := f.root.Mkdir(tmp, 0o700); err != nil {
		return err
	}
	d, err := f.root.Open(tmp) // what is open is changed, not what the name may mean by now
	if err != nil {
		return err
	}
	defer d.Close()
	if fi, err := d.Stat(); err != nil || !fi.IsDir() {
		return errors.New("was replaced by something else")
	}
	f.steps.before("own", f.Name(name))
	if err := setAttr(d, attr, 0o700); err != nil {
		return err
	}
	f.steps.before("put the folder in its place:", f.Name(name))
	return f.root.Rename(tmp, name)
}

func setAttr(file *os.File, attr Attr, mode uint32) error {
	uid, gid := ids(file)
	wantUID, wantGID := uid, gid
	if attr.UID != nil {
		wantUID = *attr.UID
	}
	if attr.GID != nil {
		wantGID = *attr.GID
	}
	if wantUID != uid || wantGID != gid {
		if err := file.Chown(wantUID, wantGID); err != nil {
			return err
		}
	}
	if attr.Mode != nil {
		mode = *attr.Mode
	}
	return file.Chmod(fileMode(mode))
}

// Chown gives what belongs to one user or group in the folder, itself included, to another one: change says for an
// entry what it becomes. Links are changed themselves.
func (f *Folder) Chown(change func(Info) (uid, gid int)) error {
	return fs.WalkDir(f.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return clean(err, "list", f.Name(name))
		}
		fi, err := d.Info()
		if err != nil {
			return clean(err, "stat", f.Name(name))
		}
		var i Info
		i.UID, i.GID = owner(fi)
		if uid, gid := change(i); uid != i.UID || gid != i.GID {
			f.steps.before("chown", f.Name(name))
			return clean(f.root.Lchown(name, uid, gid), "chown", f.Name(name))
		}
		return nil
	})
}
