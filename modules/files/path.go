// Package files holds the resource types for what lies in a file system: directories, files, lines in files, and links.
//
//	modules.Define("directories", files.Directories{})
//	modules.Define("files", files.Files{})
//	modules.Define("lines", files.Lines{})
//	modules.Define("links", files.Links{})
//
// What they promise: nothing but the declared entry changes (and missing parents of a directory); a file has its old or
// its new content at any instant; what is in the way and of another kind is never removed unless the declaration says
// so; mode, owner, ACLs and labels that aren't declared are kept; and neither a link that another user made nor a mount
// point leads a change to somewhere else.
package files

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

// checkPath finds what is wrong with a path's spelling. Two spellings of one path would be two resources.
func checkPath(p string) error {
	slashed := strings.ReplaceAll(p, `\`, "/")
	drive := isDrive(p)
	switch {
	case p == "":
		return errors.New("path: is empty")
	case strings.ContainsRune(p, 0):
		return fmt.Errorf("path: %q holds a NUL character", p)
	case strings.HasPrefix(p, "~"):
		return hint.New(fmt.Errorf("path: %s is not absolute", p), "write the home folder in full, such as /home/alice")
	case !strings.HasPrefix(p, "/") && !drive && !strings.HasPrefix(p, `\\`):
		return fmt.Errorf("path: %s is not absolute", p)
	case isWindows(p):
		if err := checkWindows(p); err != nil {
			return err
		}
	}
	if strings.HasPrefix(p, "/") { // a backslash is a letter like others there
		slashed = p
	}
	if drive {
		slashed = slashed[2:]
	}
	for part := range strings.SplitSeq(strings.TrimPrefix(slashed, "/"), "/") {
		switch part {
		case "..", ".":
			return fmt.Errorf("path: %s holds %q; write it without", p, part)
		case "":
			if slashed == "/" || strings.HasPrefix(p, `\\`) {
				continue
			}
			return hint.New(fmt.Errorf("path: %s has a slash too many", p), "is a variable in it empty?")
		}
	}
	return nil
}

// attributes are owner, group and mode as a profile spells them, and what Windows has instead.
type attributes struct {
	owner, group, mode *string
	windows            map[string]bool
	access             []Access
	accessExact        bool
	security           *string
}

// check finds what is wrong without a device.
func (a attributes) check(directory bool) error {
	if a.mode != nil {
		if _, err := parseMode(*a.mode); err != nil {
			return err
		}
	}
	for name, v := range map[string]*string{"owner": a.owner, "group": a.group} {
		if v != nil && *v == "" {
			return fmt.Errorf("%s: is empty", name)
		}
	}
	if err := a.checkAccess(directory); err != nil {
		return err
	}
	return checkAttributes(a.windows)
}

func parseMode(s string) (uint32, error) {
	m, err := strconv.ParseUint(s, 8, 32)
	if err != nil || m > 0o7777 || len(s) < 3 {
		return 0, hint.New(fmt.Errorf("mode: %q is not an octal mode", s), `write it in octal and in quotes, such as "0644" or "4755"; u+x and the like are not supported`)
	}
	return uint32(m), nil
}

// resolve turns names into the device's numbers.
func (a attributes) resolve(h *host.Host) (host.Attr, error) {
	var attr host.Attr
	if h.OS() == "windows" { // see over
		return attr, nil
	}
	if a.mode != nil {
		m, err := parseMode(*a.mode)
		if err != nil {
			return attr, err
		}
		attr.Mode = &m
	}
	if a.owner != nil {
		uid, err := h.UID(*a.owner)
		if err != nil {
			return attr, err
		}
		attr.UID = &uid
	}
	if a.group != nil {
		gid, err := h.GID(*a.group)
		if err != nil {
			return attr, err
		}
		attr.GID = &gid
	}
	return attr, nil
}

// spell writes what an entry has as a profile would: in the words that the declaration uses where these mean the same
// ("0", "root" and a second name of the same number; "644" and "0644").
func (a attributes) spell(h *host.Host, i host.Info) attributes {
	if h.OS() == "windows" {
		return attributes{windows: spellAttributes(i.Attributes, a.windows)}
	}
	owner, group, mode := h.UserName(i.UID), h.GroupName(i.GID), fmt.Sprintf("%04o", i.Mode)
	if a.owner != nil {
		if uid, err := h.UID(*a.owner); err == nil && uid == i.UID {
			owner = *a.owner
		}
	}
	if a.group != nil {
		if gid, err := h.GID(*a.group); err == nil && gid == i.GID {
			group = *a.group
		}
	}
	if a.mode != nil {
		if m, err := parseMode(*a.mode); err == nil && m == i.Mode {
			mode = *a.mode
		}
	}
	return attributes{owner: &owner, group: &group, mode: &mode}
}

// over is attr for an entry that has other attributes of Windows, an owner and access already, or where there is "" for a
// path nothing of that.
func (a attributes) over(h *host.Host, attr host.Attr, path string, i host.Info, directory bool) (host.Attr, error) {
	if h.OS() != "windows" {
		return attr, nil
	}
	if a.windows != nil {
		next := setIn(i.Attributes, a.windows)
		attr.Attributes = &next
	}
	if !a.asksSecurity(h) {
		return attr, nil
	}
	var err error
	attr.Security, err = a.secure(h, path, directory)
	return attr, err
}

// later turns what waits for the next start into what else must happen.
func later(err error) (modules.Outcome, error) {
	if wait, ok := errors.AsType[*host.AtRestart](err); ok {
		return modules.Outcome{Reboot: wait.Reason()}, nil
	}
	return modules.Outcome{}, err
}

// set brings an existing entry to attr.
func set(h *host.Host, path string, attr host.Attr) error {
	i, err := h.Lstat(path)
	if err != nil {
		return err
	}
	if attr.UID != nil && *attr.UID != i.UID || attr.GID != nil && *attr.GID != i.GID {
		if err := h.Chown(path, attr.UID, attr.GID); err != nil {
			return denied(err)
		}
	}
	if attr.Security != "" {
		if err := h.SetSecurity(path, attr.Security); err != nil {
			return denied(err)
		}
	}
	if attr.Attributes != nil && *attr.Attributes != i.Attributes {
		return denied(h.SetAttributes(path, *attr.Attributes))
	}
	if attr.Mode != nil && *attr.Mode != i.Mode {
		return denied(h.Chmod(path, *attr.Mode))
	}
	return nil
}

// lstat is the host's, but below a file nothing is missing only: it is in the way.
func lstat(h *host.Host, path string, absent bool) (host.Info, error) {
	i, err := h.Lstat(path)
	if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return i, denied(err)
	}
	for dir := filepath.Dir(path); dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		above, statErr := h.Stat(dir)
		if statErr != nil {
			continue
		}
		if above.Kind == host.KindDirectory {
			break
		}
		if absent {
			return i, fs.ErrNotExist
		}
		return i, hint.New(fmt.Errorf("%s: %s is a file, not a directory", path, filepath.ToSlash(dir)), "move it away, or declare it with state: absent under files")
	}
	return i, err
}

// listing names a few of a directory's entries.
func listing(names []string) string {
	if len(names) == 1 {
		return fmt.Sprintf("it holds %q", names[0])
	}
	return fmt.Sprintf("it holds %d entries, the first is %q", len(names), names[0])
}

// missingParent adds what to do about a folder that isn't there.
func missingParent(h *host.Host, path string, err error) error {
	if err == nil {
		return nil
	}
	if parent := filepath.Dir(path); errors.Is(err, fs.ErrNotExist) && !h.Exists(parent) {
		return hint.New(err, "declare %s under directories", parent)
	}
	return denied(err)
}

// denied adds what to do about a lack of rights.
func denied(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		if runtime.GOOS == "windows" {
			return hint.New(err, "connect as an administrator; for one, too: does another program hold it, or only SYSTEM or TrustedInstaller own it (icacls)?")
		}
		return hint.New(err, "connect as root or with sudo: true; for root itself: is it immutable (lsattr), or on a read-only share?")
	}
	return err
}

func compile(property, pattern string) (*regexp.Regexp, error) {
	if pattern == "" {
		return nil, nil
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, hint.New(fmt.Errorf("%s: %w", property, err), "the syntax is RE2: https://golang.org/s/re2syntax")
	}
	return re, nil
}
