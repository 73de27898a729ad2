package host

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// TempPrefix begins the names of files that Write has not finished. One that a crash left is removed by the next Write
// to the same file.
const TempPrefix = ".fitout-"

// tempName belongs to one file, so that what a crash left of it is found again. Names that begin with a dot are passed
// over by cron, sudo, run-parts and their like.
func tempName(p string) string {
	sum := sha256.Sum256([]byte(filepath.Base(p)))
	return filepath.Join(filepath.Dir(p), TempPrefix+hex.EncodeToString(sum[:8]))
}

// Write replaces a file's content in one step: readers see the old file or the new one, and after a power cut it is one
// of the two. Mode, owner, ACLs and labels of a file that is replaced are kept where attr does not say otherwise; a new
// file has mode 0644 and the owner of this process. A link at the end is replaced, not followed: see Follow. Hard links
// to the old file keep the old content. A file that is a mount point of its own (/etc/hosts in many containers) can't be
// replaced and is overwritten instead. One that a program on Windows holds is replaced at
// the next start, and the error is an *AtRestart.
func (h *Host) Write(name string, content io.Reader, attr Attr) error {
	p, err := h.path(name)
	if err != nil {
		return err
	}
	return clean(h.steps.write(p, content, attr), "write", name)
}

// WriteFile is Write for a content in memory.
func (h *Host) WriteFile(name, content string, attr Attr) error {
	return h.Write(name, strings.NewReader(content), attr)
}

func (s steps) write(p string, content io.Reader, attr Attr) (err error) {
	old, statErr := os.Lstat(p)
	replaces := statErr == nil && old.Mode().IsRegular()
	switch {
	case statErr != nil || replaces || old.Mode()&fs.ModeSymlink != 0:
	case old.IsDir():
		return errors.New("is a directory")
	default: // to replace /dev/null by a file breaks a machine
		return errSpecial
	}
	s.before("write", p)
	tmp, err := createTemp(p)
	if err != nil {
		return err
	}
	s.before("fill", p)
	defer func() {
		tmp.Close()
		if _, planned := errors.AsType[*AtRestart](err); err != nil && !planned {
			os.Remove(tempName(p))
		}
	}()
	if tmp, err = fill(tmp, content); err != nil {
		return err
	}
	mode, uid, gid := uint32(0o644), -1, -1
	if replaces {
		mode = unixMode(old.Mode())
		uid, gid = owner(old)
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
	// In this order: chown takes away setuid and capabilities, an ACL changes the mode.
	if mine, group := ids(tmp); uid != -1 && uid != mine || gid != -1 && gid != group {
		if err = tmp.Chown(uid, gid); err != nil {
			return err
		}
	}
	if replaces {
		if err = copyLabels(p, tmp.Name()); err != nil {
			return fmt.Errorf("keep its labels: %w", err)
		}
	}
	if err = setSecurity(tmp.Name(), attr.Security); err != nil {
		return err
	}
	if err = chmod(tmp, mode); err != nil {
		return err
	}
	if err = tmp.Sync(); err != nil {
		return err
	}
	if err = s.replace(tmp, p, attr.Attributes); err != nil {
		if replaces && isBusy(err) {
			return overwrite(p, tmp, uid, gid, mode)
		}
		return err
	}
	return syncDir(filepath.Dir(p))
}

// fill gives tmp its content. One that can be moved replaces tmp, unless that would lack what a new file there gets: labels,
// an ACL.
func fill(tmp *os.File, content io.Reader) (*os.File, error) {
	m, movable := content.(Movable)
	if !movable || isLabelled(tmp.Name()) {
		_, err := io.Copy(tmp, content)
		return tmp, err
	}
	uid, gid := ids(tmp)
	if !m.MoveTo(tmp.Name()) {
		_, err := io.Copy(tmp, content)
		return tmp, err
	}
	tmp.Close()
	moved, err := os.OpenFile(tmp.Name(), openMoved, 0)
	if err != nil {
		return tmp, err
	}
	if u, g := ids(moved); u != uid || g != gid { // of a folder with setgid
		err = moved.Chown(uid, gid)
	}
	return moved, err
}

// createTemp makes the file that will replace p; nobody else can read it yet.
func createTemp(p string) (f *os.File, err error) {
	for range 3 { // somebody else's in /tmp might come back
		if err = os.Remove(tempName(p)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		f, err = os.OpenFile(tempName(p), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	return f, err
}

// overwrite writes a mount point, which no rename can replace. An interruption leaves a mixture, until the next run.
func overwrite(p string, tmp *os.File, uid, gid int, mode uint32) error {
	defer os.Remove(tmp.Name())
	if _, err := tmp.Seek(0, io.SeekStart); err != nil {
		return err
	}
	f, err := os.OpenFile(p, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := io.Copy(f, tmp)
	if err != nil {
		return err
	}
	if err := f.Truncate(n); err != nil {
		return err
	}
	if mine, group := ids(f); uid != -1 && uid != mine || gid != -1 && gid != group {
		if err := f.Chown(uid, gid); err != nil {
			return err
		}
	}
	if err := f.Chmod(fileMode(mode)); err != nil {
		return err
	}
	return f.Sync()
}

// Backup keeps what is at name under a second name beside it, NAME.YYYYMMDD-HHMMSS~ in the device's time, with owner,
// mode, ACLs and date, and returns that name. What is at name stays as it is, for Write to replace.
func (h *Host) Backup(name string) (string, error) {
	p, err := h.path(name)
	if err != nil {
		return "", err
	}
	stamp := "." + time.Now().Format("20060102-150405")
	for n := 1; n < 100; n++ {
		suffix := stamp + "~"
		if n > 1 {
			suffix = stamp + "-" + strconv.Itoa(n) + "~"
		}
		err = h.steps.backup(p, p+suffix)
		if err == nil {
			return name + suffix, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	return "", clean(err, "back up", name)
}

func (s steps) backup(from, to string) error {
	if _, err := os.Lstat(to); err == nil {
		return fs.ErrExist
	}
	s.before("back up", from)
	err := os.Link(from, to)
	if err == nil || errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// A file system without hard links, or a mount point.
	fi, err := os.Lstat(from)
	if err != nil {
		return err
	}
	if fi.Mode()&fs.ModeSymlink != 0 {
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	}
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	attr, mode := Attr{}, unixMode(fi.Mode())
	attr.Mode = &mode
	if uid, gid := owner(fi); uid != -1 {
		attr.UID, attr.GID = &uid, &gid
	}
	if err := s.write(to, f, attr); err != nil {
		return err
	}
	return copyLabels(from, to)
}
