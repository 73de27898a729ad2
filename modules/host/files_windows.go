package host

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/windows"
)

// Windows has owners by SID and no numbers: -1 means "leave alone" everywhere.
func owner(fs.FileInfo) (uid, gid int) { return -1, -1 }

func ids(*os.File) (uid, gid int) { return -1, -1 }

func syncDir(string) error { return nil }

func isBusy(error) bool { return false }

// openMoved is how a file that was moved into place is opened to be given its mode, and synced.
const openMoved = os.O_RDWR

// attributesOf are the attributes that can be set, as AttributeMask has them.
func attributesOf(fi fs.FileInfo) uint32 {
	if d, ok := fi.Sys().(*syscall.Win32FileAttributeData); ok {
		return d.FileAttributes & AttributeMask
	}
	return 0
}

// setAttributes sets those of AttributeMask, and leaves the others.
func setAttributes(p string, attributes uint32) error {
	name, err := windows.UTF16PtrFromString(long(p))
	if err != nil {
		return err
	}
	old, err := windows.GetFileAttributes(name)
	if err != nil {
		return err
	}
	next := old&^AttributeMask | attributes&AttributeMask
	if next == old {
		return nil
	}
	if next == 0 {
		next = windows.FILE_ATTRIBUTE_NORMAL
	}
	return windows.SetFileAttributes(name, next)
}

// chmod: a mode is nothing that Windows has; see Attr.Attributes.
func chmod(*os.File, uint32) error { return nil }

// patience is how long a file may be held by others, such as a virus scanner, before it counts as in use.
var patience = 2 * time.Second

// patiently does something again as long as a file is held by somebody.
func patiently(do func() error) error {
	pause := 10 * time.Millisecond
	for end := time.Now().Add(patience); ; pause *= 2 {
		err := do()
		if !isHeld(err) || time.Now().Add(pause).After(end) {
			return err
		}
		time.Sleep(pause)
	}
}

// isHeld says whether an error may be that another program has the file. A running program and a mapped file are refused
// with "access denied".
func isHeld(err error) bool {
	return errors.Is(err, windows.ERROR_SHARING_VIOLATION) || errors.Is(err, windows.ERROR_LOCK_VIOLATION) ||
		errors.Is(err, windows.ERROR_USER_MAPPED_FILE) || errors.Is(err, windows.ERROR_ACCESS_DENIED)
}

// inUse says whether another program has a file: nobody else may have it who opens it alone.
func inUse(p string) bool {
	name, err := windows.UTF16PtrFromString(long(p))
	if err != nil {
		return false
	}
	h, err := windows.CreateFile(name, windows.GENERIC_READ|windows.DELETE, 0, nil, windows.OPEN_EXISTING, windows.FILE_FLAG_OPEN_REPARSE_POINT, 0)
	if err == nil {
		windows.CloseHandle(h)
	}
	return errors.Is(err, windows.ERROR_SHARING_VIOLATION) || errors.Is(err, windows.ERROR_USER_MAPPED_FILE)
}

// replace gives the written file its name, at once or where what has it is in use at the next start.
func (s steps) replace(tmp *os.File, p string, attributes *uint32) error {
	// An open file can't be moved.
	name := tmp.Name()
	if err := tmp.Close(); err != nil {
		return err
	}
	old, err := os.Lstat(p)
	there := err == nil
	if there {
		if attributes == nil {
			a := attributesOf(old) | AttributeArchive // what isn't in the last backup
			attributes = &a
		}
		if attributesOf(old)&windows.FILE_ATTRIBUTE_READONLY != 0 { // would be refused
			s.before("make writable", p)
			if err := setAttributes(p, attributesOf(old)&^windows.FILE_ATTRIBUTE_READONLY); err != nil {
				return err
			}
		}
	}
	if attributes != nil {
		if err := setAttributes(name, *attributes); err != nil {
			return err
		}
	}
	s.before("put the file in its place:", p)
	err = patiently(func() error { return os.Rename(name, p) })
	switch {
	case err == nil:
		return s.forgetRenamings(p)
	case !there || !isHeld(err) || !inUse(p):
		return err
	}
	if err := s.atRestart(name, p); err != nil {
		return err
	}
	return &AtRestart{p}
}

// remove removes a file, link or empty folder, at once or where it is in use at the next start.
func (s steps) remove(p string) error {
	fi, err := os.Lstat(p)
	if err != nil {
		return err
	}
	err = patiently(func() error { return os.Remove(p) })
	switch {
	case err == nil:
		return s.forgetRenamings(p)
	case fi.IsDir() || !isHeld(err) || !inUse(p):
		return err
	}
	if err := s.atRestart("", p); err != nil {
		return err
	}
	return &AtRestart{p}
}
