package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

// File is a regular file: its content, owner and mode.
//
// The content is replaced in one step, so that readers see the old or the new one, and never a part. ACLs, SELinux labels
// and other extended attributes are kept. A directory, device, socket or pipe at the path is an error.
type File struct {
	// Where the file is: an absolute path without "..", without a slash at its end. Its folder must exist or be declared
	// under directories.
	Path string `json:"path" fit:"key,path" title:"Path" example:"/etc/motd"`
	// What is in the file: the text itself (content), a file beside the profile taken byte by byte (source), or one that
	// is filled in first (template). Left out, the content isn't managed: an existing file keeps its own, a missing one
	// is created empty. A symbolic link at the path is replaced by the file unless follow is true.
	Content *host.Blob `json:"content,omitzero" fit:"managed" blob:"content,source,template" title:"Content"`
	// The user who owns the file, by name or number; on Windows a user or group by name or SID. Left out, an existing file keeps
	// its owner; a new one belongs to the user who applies the profile, as a rule root.
	Owner *string `json:"owner,omitzero" fit:"managed" experimental:"windows" ref:"users" title:"Owner" example:"root"`
	// The group of the file, by name or number. Left out, an existing file keeps its group.
	Group *string `json:"group,omitzero" fit:"managed" on:"linux,darwin" ref:"groups" title:"Group" example:"adm"`
	// The permissions in octal as chmod(1) takes them, with setuid (4), setgid (2) and sticky (1) in front. Quote it: YAML
	// reads a bare 0644 as a number. Left out, an existing file keeps its mode; a new one gets 0644.
	Mode *string `json:"mode,omitzero" fit:"managed" on:"linux,darwin" title:"Mode" pattern:"^[0-7]{3,4}$" example:"0644"`
	// What Windows has instead of a mode: readOnly, hidden, system, archive (changed since the last backup) and notIndexed (not
	// searched by content), each true or false. What isn't named stays as it is. See attrib.
	Attributes map[string]bool `json:"attributes,omitzero" fit:"managed" on:"windows" title:"Attributes" example:"{readOnly: true, hidden: true}"`
	// Who may do what on Windows. The entries of those who are named become as listed; what others have, and what comes from the
	// folder above, stays unless accessExact is true. See icacls.
	Access []Access `json:"access,omitzero" fit:"managed" on:"windows" experimental:"windows" title:"Access" example:"[{who: Users, rights: read}]"`
	// Nobody but those listed under access may do anything: other entries go, and none come from the folder above any more.
	AccessExact bool `json:"accessExact,omitzero" fit:"behaviour" on:"windows" title:"Access exactly" default:"false"`
	// Change the file that a symbolic link at the path points to, instead of replacing the link. Without content this
	// is so anyway. A link that another user made to somebody else's file is never followed.
	Follow bool `json:"follow,omitzero" fit:"behaviour" title:"Follow a link" default:"false"`
	// Keep what is replaced or removed beside it, as PATH.YYYYMMDD-HHMMSS~ in the device's time, with its owner, mode and
	// date. All of these are kept until somebody removes them.
	Backup bool `json:"backup,omitzero" fit:"behaviour" title:"Backup" default:"false"`
	// Whether the file should exist. absent removes a file, or a link at the path (not what it points to).
	State string `json:"state,omitzero" fit:"state" enum:"present,absent" title:"State"`

	// What is at the path: file or link.
	Kind *string `json:"kind,omitzero" fit:"observed" title:"Kind"`
	// Where a link at the path points to.
	Target *string `json:"target,omitzero" fit:"observed,undo" title:"Link target"`
	// What a link at the path leads to, where it is followed.
	At string `json:"at,omitzero" fit:"observed" title:"Followed to"`
	// The owner and the access control list, as text: https://learn.microsoft.com/windows/win32/secauthz/security-descriptor-string-format
	Security *string `json:"security,omitzero" fit:"observed,undo" on:"windows" title:"Owner and access"`
	// How many entries come from the folder above.
	Inherited int `json:"inherited,omitzero" fit:"observed" title:"Entries from above"`
	// What takes the file's place at the next start of Windows, since the file is in use.
	Next string `json:"next,omitzero" fit:"observed" title:"In use, replaced by"`
}

// Files is the resource type.
type Files struct{}

var (
	_ modules.Resource[File]        = Files{}
	_ modules.PlatformChecker[File] = Files{}
	_ modules.Checker[File]         = Files{}
	_ modules.Comparer[File]        = Files{}
	_ modules.Referrer[File]        = Files{}
	_ modules.Inverter[File]        = Files{}
	_ modules.Keeper[File]          = Files{}
)

func (f File) attributes() attributes {
	return attributes{f.Owner, f.Group, f.Mode, f.Attributes, f.Access, f.AccessExact, f.Security}
}

// followed says whether a link at the path is looked through.
func (f File) followed() bool {
	switch {
	case f.State == modules.Absent: // for undo alone, of a file that was made behind a link
		return f.At != ""
	case f.Target != nil:
		return false
	}
	return f.Follow || f.Content == nil
}

// Check implements modules.Checker.
func (Files) Check(want File) error {
	if err := checkPath(want.Path); err != nil {
		return err
	}
	if strings.HasSuffix(want.Path, "/") || strings.HasSuffix(want.Path, `:\`) {
		return fmt.Errorf("path: %s is not a file", want.Path)
	}
	return want.attributes().check(false)
}

// hashAtMost bounds what is hashed only to know it: 64 MiB take a third of a second.
const hashAtMost = 64 << 20

// CheckOn implements modules.PlatformChecker.
func (Files) CheckOn(os string, want File) error { return checkPathOn(os, want.Path) }

// Compare takes lists of who may do what by what they mean.
func (Files) Compare(property string, want, have File) (met, ok bool) {
	return want.attributes().compare(property, have.attributes(), have.Inherited)
}

// Refs are those who are named under access.
func (Files) Refs(want File) []string { return want.attributes().refs() }

// Observe implements modules.Resource. A content is always read, never trusted by size and date.
func (Files) Observe(ctx context.Context, h *host.Host, want File) (File, error) {
	have := File{Path: want.Path, State: modules.Absent}
	path, i, err := want.find(h)
	if path != want.Path {
		have.At = path
	}
	if from, planned := h.Pending(path); planned && err == nil {
		if have.Next = from; from == "" {
			return have, nil
		}
		path = from
		i, err = lstat(h, path, false)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return have, nil
	}
	if err != nil {
		return have, err
	}
	have.State, have.Kind = "", &i.Kind
	a := want.attributes().spell(h, i)
	switch i.Kind {
	case host.KindLink:
		have.Target, have.Owner, have.Group = &i.Target, a.owner, a.group
		return have, nil
	case host.KindDirectory:
		return have, hint.New(fmt.Errorf("%s: is a directory", want.Path), "remove it first: under directories with state: absent and recursive: true")
	case host.KindOther:
		return have, hint.New(fmt.Errorf("%s: is a device, socket or pipe", want.Path), "remove it by hand if that is what you want")
	}
	have.Owner, have.Group, have.Mode, have.Attributes = a.owner, a.group, a.mode, a.windows
	if s, err := want.attributes().spellSecurity(h, path, false, want.replaces()); err != nil {
		return have, err
	} else if s != nil {
		have.Owner, have.Access, have.Inherited, have.Security = s.owner, s.access, s.inherited, s.security
	}
	if want.Content == nil && !want.replaces() {
		return have, nil
	}
	have.Content, err = content(h, path, i, want.Content)
	if errors.Is(err, fs.ErrPermission) && want.State == modules.Absent {
		return have, nil // it may be ours to remove, though not to read
	}
	return have, err
}

// content names what is in a file, if it is one. One that is large, and not the wanted one, has no hash.
func content(h *host.Host, path string, i host.Info, want *host.Blob) (*host.Blob, error) {
	switch {
	case i.Kind != host.KindFile:
		return nil, nil
	case i.Size > hashAtMost && (want == nil || i.Size != want.Size):
		return &host.Blob{Size: i.Size}, nil
	}
	b, err := h.HashFile(path)
	if err != nil {
		return nil, denied(err)
	}
	return &b, nil
}

// replaces says whether nothing of an old file stays.
func (f File) replaces() bool { return f.State == modules.Absent || f.Target != nil }

// find is the path that will be changed, and what is there.
func (f File) find(h *host.Host) (string, host.Info, error) {
	path := f.Path
	if f.followed() {
		var err error
		if path, err = h.Follow(path); err != nil {
			return path, host.Info{}, err
		}
	}
	i, err := lstat(h, path, f.State == modules.Absent)
	return path, i, err
}

// Apply implements modules.Resource.
func (Files) Apply(ctx context.Context, h *host.Host, want, have File) (modules.Outcome, error) {
	return later(apply(ctx, h, want, have))
}

func apply(ctx context.Context, h *host.Host, want, have File) error {
	path, i, err := want.find(h)
	there := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if there && i.Kind != host.KindFile && i.Kind != host.KindLink {
		return fmt.Errorf("%s: is a %s", path, i.Kind)
	}
	if want.State == modules.Absent {
		if there && want.Backup {
			if err := backup(h, path); err != nil {
				return err
			}
		}
		return denied(h.Remove(path))
	}
	attr, err := want.attributes().resolve(h)
	if err != nil {
		return err
	}
	old := path
	switch {
	case !there || i.Kind == host.KindLink:
		old = ""
	case have.Next != "":
		old = have.Next
	}
	if attr, err = want.attributes().over(h, attr, old, i, false); err != nil {
		return err
	}
	switch {
	case have.Next != "" && (want.Content == nil || have.Content != nil && *have.Content == *want.Content):
		if i, err = h.Lstat(have.Next); err != nil {
			return err
		}
		if attr, err = want.attributes().over(h, attr, old, i, false); err != nil {
			return err
		}
		return set(h, have.Next, attr)
	case want.Target != nil:
		if there && i.Kind != host.KindLink {
			if err := h.Remove(path); err != nil {
				return denied(err)
			}
		}
		if err := h.Symlink(*want.Target, path); err != nil {
			return missingParent(h, path, err)
		}
		return set(h, path, attr)
	case want.Content == nil && there:
		return set(h, path, attr)
	case want.Content == nil:
		return missingParent(h, path, h.WriteFile(path, "", attr))
	case there && have.Content != nil && *have.Content == *want.Content:
		return set(h, path, attr)
	}
	content, err := h.OpenBlob(*want.Content)
	if err != nil {
		return fmt.Errorf("content of %s: %w", want.Path, err)
	}
	defer content.Close()
	if there && want.Backup {
		if err := backup(h, path); err != nil {
			return err
		}
	}
	return missingParent(h, path, h.Write(path, cancellable{ctx, content}, attr))
}

func backup(h *host.Host, path string) error {
	kept, err := h.Backup(path)
	if err == nil {
		h.Log().Info("kept the old file", "path", path, "backup", kept)
	}
	return denied(err)
}

// Inverse implements modules.Inverter.
func (Files) Inverse(want, have File) (File, error) {
	back := File{Path: have.Path, State: have.State, Follow: want.followed()}
	switch {
	case have.State == modules.Absent:
		back.Follow, back.At = false, have.At
		return back, nil
	case have.Target != nil:
		back.Target, back.Owner, back.Group, back.Follow = have.Target, have.Owner, have.Group, false
		return back, nil
	case want.Content == nil && !want.replaces():
	case have.Content == nil:
		return back, fmt.Errorf("the content of %s can't be read, and would be lost", have.Path)
	case have.Content.Hash == "":
		return back, fmt.Errorf("the content of %s, %d bytes, is too large to be kept", have.Path, have.Content.Size)
	default:
		back.Content = have.Content
	}
	if want.Owner != nil || want.replaces() {
		back.Owner = have.Owner
	}
	if want.Group != nil || want.replaces() {
		back.Group = have.Group
	}
	if want.Mode != nil || want.replaces() {
		back.Mode = have.Mode
	}
	if want.Attributes != nil || want.replaces() {
		back.Attributes = have.Attributes
	}
	if have.Security != nil {
		back.Owner, back.Security = nil, want.attributes().back(have.Security, want.replaces())
	}
	return back, nil
}

// Contents implements modules.Keeper.
func (Files) Contents(want, have File) []modules.Content {
	old := have.Content
	if old == nil || old.Hash == "" || !want.replaces() && (want.Content == nil || *want.Content == *old) {
		return nil
	}
	path := have.Path
	if have.Next != "" {
		path = have.Next
	}
	return []modules.Content{{Property: "content", Path: path, Blob: *old}}
}
