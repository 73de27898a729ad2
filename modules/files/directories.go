package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"unicode/utf8"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

// Directory is a folder with its owner and mode.
//
// Missing parents are created with mode 0755 and the owner of the user who applies the profile, as a rule root. A
// symbolic link to a directory counts as that directory, unless another user made it. A file at the path is an error.
type Directory struct {
	// Where the directory is: an absolute path without "..", without a slash at its end.
	Path string `json:"path" fit:"key,path" title:"Path" example:"/srv/sales"`
	// The user who owns the directory, by name or number; on Windows a user or group by name or SID. Left out, an existing
	// directory keeps its owner.
	Owner *string `json:"owner,omitzero" fit:"managed" experimental:"windows" ref:"users" title:"Owner" example:"root"`
	// The group of the directory, by name or number. Left out, an existing directory keeps its group.
	Group *string `json:"group,omitzero" fit:"managed" on:"linux,darwin" ref:"groups" title:"Group" example:"sales"`
	// The permissions in octal as chmod(1) takes them, with setgid (2) and sticky (1) in front. Quote it: YAML reads a
	// bare 0755 as a number. Left out, an existing directory keeps its mode; a new one gets 0755 and what setgid its
	// parent hands down.
	Mode *string `json:"mode,omitzero" fit:"managed" on:"linux,darwin" title:"Mode" pattern:"^[0-7]{3,4}$" example:"0750"`
	// What Windows has instead of a mode: readOnly, hidden, system, archive (changed since the last backup) and notIndexed (not
	// searched by content), each true or false. What isn't named stays as it is. See attrib.
	Attributes map[string]bool `json:"attributes,omitzero" fit:"managed" on:"windows" title:"Attributes" example:"{readOnly: true, hidden: true}"`
	// Who may do what on Windows. The entries of those who are named become as listed; what others have, and what comes from the
	// folder above, stays unless accessExact is true. See icacls.
	Access []Access `json:"access,omitzero" fit:"managed" on:"windows" experimental:"windows" title:"Access" example:"[{who: Users, rights: read}]"`
	// Nobody but those listed under access may do anything: other entries go, and none come from the folder above any more.
	AccessExact bool `json:"accessExact,omitzero" fit:"behaviour" on:"windows" title:"Access exactly" default:"false"`
	// Apply owner, group and mode to everything below too, and let state: absent remove a directory with its content.
	// Files below get the mode without setuid, setgid and sticky, and execute bits only where they had one already (like
	// chmod's capital X); links keep theirs. Neither links nor other file systems mounted below are entered; where one
	// is mounted, nothing is removed. On Windows nothing is applied below: what access says comes to it by inheritance, and
	// owner is the directory's alone.
	Recursive bool `json:"recursive,omitzero" fit:"behaviour" title:"Everything below too" default:"false"`
	// Whether the directory should exist. absent removes an empty one; recursive: true one with its content.
	State string `json:"state,omitzero" fit:"state" enum:"present,absent" title:"State"`

	// The owner and the access control list, as text: https://learn.microsoft.com/windows/win32/secauthz/security-descriptor-string-format
	Security *string `json:"security,omitzero" fit:"observed,undo" on:"windows" title:"Owner and access"`
	// How many entries come from the folder above.
	Inherited int `json:"inherited,omitzero" fit:"observed" title:"Entries from above"`
	// What differs below the directory, where it is looked at.
	Below *string `json:"below,omitzero" fit:"observed" title:"What differs below"`
	// Everything below that is to be changed or removed, by its path from the directory; nothing where that is more than 500
	// entries.
	Tree map[string]Entry `json:"tree,omitzero" fit:"observed,undo" title:"What is below"`
	// How many of the folders above are missing.
	Above int `json:"above,omitzero" fit:"observed" title:"Missing folders above"`
	// How many entries the directory holds, where it is to be removed.
	Entries *int `json:"entries,omitzero" fit:"observed" title:"Entries"`
}

// Directories is the resource type.
type Directories struct{}

var (
	_ modules.Resource[Directory]        = Directories{}
	_ modules.PlatformChecker[Directory] = Directories{}
	_ modules.Checker[Directory]         = Directories{}
	_ modules.Comparer[Directory]        = Directories{}
	_ modules.Referrer[Directory]        = Directories{}
	_ modules.Inverter[Directory]        = Directories{}
	_ modules.Keeper[Directory]          = Directories{}
)

func (d Directory) attributes() attributes {
	return attributes{d.Owner, d.Group, d.Mode, d.Attributes, d.Access, d.AccessExact, d.Security}
}

// kept are directories without which a machine doesn't start, or its users have lost everything.
var kept = []string{"/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib32", "/lib64", "/opt", "/proc", "/root", "/run", "/sbin",
	"/srv", "/sys", "/tmp", "/usr", "/usr/bin", "/usr/lib", "/usr/sbin", "/usr/share", "/var", "/var/lib", "/Applications", "/Library", "/System", "/Users"}

// Check implements modules.Checker.
func (Directories) Check(want Directory) error {
	if err := checkPath(want.Path); err != nil {
		return err
	}
	if isKept(want.Path) {
		if want.State == modules.Absent {
			return fmt.Errorf("state: %s belongs to the system; refusing to remove it", want.Path)
		}
		if want.Recursive {
			return hint.New(fmt.Errorf("recursive: %s belongs to the system; refusing to change everything below it", want.Path), "name the directories below it that you mean")
		}
	}
	return want.attributes().check(true)
}

// CheckOn implements modules.PlatformChecker.
func (Directories) CheckOn(os string, want Directory) error { return checkPathOn(os, want.Path) }

// Compare takes lists of who may do what by what they mean.
func (Directories) Compare(property string, want, have Directory) (met, ok bool) {
	return want.attributes().compare(property, have.attributes(), have.Inherited)
}

// Refs are those who are named under access.
func (Directories) Refs(want Directory) []string { return want.attributes().refs() }

// Observe implements modules.Resource.
func (Directories) Observe(ctx context.Context, h *host.Host, want Directory) (Directory, error) {
	have := Directory{Path: want.Path, State: modules.Absent}
	path, i, err := want.find(h)
	if errors.Is(err, fs.ErrNotExist) {
		have.Above = missingAbove(h, path)
		if want.State == modules.Absent && have.Above < want.Above && emptyAbove(h, path) {
			have.State = "" // what was made for it is still there
		}
		return have, nil
	}
	if err != nil {
		return have, err
	}
	have.State = ""
	a := want.attributes().spell(h, i)
	have.Owner, have.Group, have.Mode, have.Attributes = a.owner, a.group, a.mode, a.windows
	if s, err := want.attributes().spellSecurity(h, path, true, want.State == modules.Absent); err != nil {
		return have, err
	} else if s != nil {
		have.Owner, have.Access, have.Inherited, have.Security = s.owner, s.access, s.inherited, s.security
	}
	if want.State == modules.Absent {
		if names, err := h.ReadDir(path); err == nil {
			n := len(names)
			have.Entries = &n
			if want.Recursive && n > 0 {
				have.Tree, err = readTree(ctx, h, path, nil)
				return have, err
			}
		}
		return have, nil
	}
	if want.Tree != nil {
		have.Tree, err = readTree(ctx, h, path, want.Tree)
		return have, err
	}
	if want.Recursive {
		return have, want.look(ctx, h, path, i, &have)
	}
	return have, nil
}

// find is the directory that will be changed, and what is there.
func (d Directory) find(h *host.Host) (string, host.Info, error) {
	i, err := lstat(h, d.Path, d.State == modules.Absent)
	if err != nil {
		return d.Path, i, err
	}
	path := d.Path
	if i.Kind == host.KindLink {
		if d.State == modules.Absent {
			return path, i, hint.New(fmt.Errorf("%s: is a link to %s, not a directory", path, i.Target), "to remove the link, declare it with state: absent under links")
		}
		if path, err = h.Follow(path); err != nil {
			return path, i, err
		}
		target := i.Target
		if i, err = h.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			return path, i, hint.New(fmt.Errorf("%s: is a link to %s, which doesn't exist", d.Path, target), "declare %s too, or remove the link under links with state: absent", path)
		} else if err != nil {
			return path, i, denied(err)
		}
	}
	if i.Kind != host.KindDirectory {
		what := "is a file, not a directory"
		if i.Kind == host.KindOther {
			what = "is a device, socket or pipe, not a directory"
		}
		return path, i, hint.New(fmt.Errorf("%s: %s", path, what), "move it away, or declare it with state: absent under files")
	}
	return path, i, nil
}

// look compares everything below with what is wanted. The first difference stands in have for what the directory itself
// meets already, so that it shows as a change.
func (d Directory) look(ctx context.Context, h *host.Host, path string, top host.Info, have *Directory) error {
	unknown, plain := false, true
	attr, err := d.attributes().resolve(h)
	if err != nil {
		attr, unknown = host.Attr{}, true // owner or group come with this run: the directory itself differs already
	}
	tree, err := h.Tree(path)
	if err != nil {
		return denied(err)
	}
	defer tree.Close()
	count, all, first := 0, map[string]Entry{".": entryOf(top)}, ""
	err = tree.Walk(func(name string, i host.Info) error {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if plain = plain && utf8.ValidString(name); len(all) <= mostEntries {
			all[filepath.ToSlash(name)] = entryOf(i)
		}
		owner, group, mode := differs(attr, i)
		if !owner && !group && !mode {
			return nil
		}
		spelled := d.attributes().spell(h, i)
		if count++; count == 1 {
			first = fmt.Sprintf("%s (%s:%s %s)", filepath.ToSlash(filepath.Join(d.Path, name)), *spelled.owner, *spelled.group, *spelled.mode)
		}
		if owner && d.Owner != nil && *have.Owner == *d.Owner {
			have.Owner = spelled.owner
		}
		if group && d.Group != nil && *have.Group == *d.Group {
			have.Group = spelled.group
		}
		if mode && d.Mode != nil && *have.Mode == *d.Mode {
			have.Mode = spelled.mode
		}
		return nil
	})
	if count > 0 {
		below := fmt.Sprintf("%d differ, the first is %s", count, first)
		have.Below = &below
	}
	owner, group, mode := differs(attr, top)
	if changes := count > 0 || owner || group || mode || unknown; changes && plain && len(all) <= mostEntries {
		have.Tree = all
	}
	return denied(err)
}

func differs(attr host.Attr, i host.Info) (owner, group, mode bool) {
	owner = attr.UID != nil && *attr.UID != i.UID
	group = attr.GID != nil && *attr.GID != i.GID
	mode = attr.Mode != nil && i.Kind != host.KindLink && i.Mode != modeBelow(*attr.Mode, i)
	return owner, group, mode
}

// modeBelow is what a directory's mode means for an entry below it.
func modeBelow(mode uint32, i host.Info) uint32 {
	if i.Kind == host.KindDirectory {
		return mode
	}
	mode &= 0o777
	if i.Mode&0o111 == 0 {
		mode &^= 0o111
	}
	return mode
}

// Apply implements modules.Resource.
func (Directories) Apply(ctx context.Context, h *host.Host, want, have Directory) (modules.Outcome, error) {
	return later(want.apply(ctx, h))
}

func (d Directory) apply(ctx context.Context, h *host.Host) error {
	path, i, err := d.find(h)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return err
	}
	if d.State == modules.Absent {
		if !missing {
			if err := d.remove(h); err != nil {
				return err
			}
		}
		return removeAbove(h, path, d.Above-missingAbove(h, path))
	}
	attr, err := d.attributes().resolve(h)
	if err != nil {
		return err
	}
	old := path
	if missing {
		old = ""
	}
	if attr, err = d.attributes().over(h, attr, old, i, true); err != nil {
		return err
	}
	if missing {
		if err := parents(h, filepath.Dir(path)); err != nil {
			return denied(err)
		}
		if d.Tree != nil { // nobody else may enter until all is there
			if err := h.Mkdir(path, host.Attr{Mode: modules.Ptr(uint32(0o700))}); err != nil {
				return denied(err)
			}
			return d.fill(ctx, h, path, attr)
		}
		return denied(h.Mkdir(path, attr))
	}
	if d.Tree != nil {
		return d.fill(ctx, h, path, attr)
	}
	if err := set(h, path, attr); err != nil || !d.Recursive {
		return err
	}
	tree, err := h.Tree(path)
	if err != nil {
		return denied(err)
	}
	defer tree.Close()
	return denied(tree.Walk(func(name string, i host.Info) error {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		owner, group, mode := differs(attr, i)
		if owner || group {
			if err := tree.Chown(name, attr.UID, attr.GID); err != nil {
				return err
			}
			// A new owner takes setuid and setgid away from a file.
			mode = mode || i.Kind != host.KindLink && i.Mode&0o6000 != 0
		}
		switch {
		case !mode:
			return nil
		case attr.Mode == nil:
			return tree.Chmod(name, i.Mode)
		}
		return tree.Chmod(name, modeBelow(*attr.Mode, i))
	}))
}

func (d Directory) remove(h *host.Host) error {
	if d.Recursive {
		return denied(h.RemoveAll(d.Path))
	}
	err := h.Remove(d.Path)
	if names, listErr := h.ReadDir(d.Path); err != nil && listErr == nil && len(names) > 0 {
		return hint.New(fmt.Errorf("%s: is not empty: %s", d.Path, listing(names)), "move away what is to stay; in a profile, recursive: true removes it with everything in it")
	}
	return denied(err)
}

// parents makes the missing folders above a directory.
func parents(h *host.Host, dir string) error {
	if i, err := h.Stat(dir); err == nil {
		if i.Kind != host.KindDirectory {
			return fmt.Errorf("%s: is not a directory", dir)
		}
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := parents(h, filepath.Dir(dir)); err != nil {
		return err
	}
	mode := uint32(0o755)
	return h.Mkdir(dir, host.Attr{Mode: &mode})
}
