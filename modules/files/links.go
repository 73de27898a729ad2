package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

// Link is a symbolic link. A link that points elsewhere is replaced in one step; a file or directory in the way is an
// error. On Windows the link to a folder that is there is a junction, which holds the folder's whole path, and the step between
// two of them shows neither.
type Link struct {
	// Where the link is: an absolute path without "..", without a slash at its end.
	Path string `json:"path" fit:"key,path" title:"Path" example:"/usr/local/bin/editor"`
	// What the link points to, as it stands in the link: absolute, or relative to the link's folder. It need not exist.
	Target *string `json:"target,omitzero" fit:"managed" title:"Target" example:"/usr/bin/nano"`
	// The user who owns the link itself, by name or number; what it points to is left alone.
	Owner *string `json:"owner,omitzero" fit:"managed" on:"linux,darwin" ref:"users" title:"Owner" example:"alice"`
	// The group of the link itself, by name or number.
	Group *string `json:"group,omitzero" fit:"managed" on:"linux,darwin" ref:"groups" title:"Group" example:"sales"`
	// Let the link replace a file or an empty directory that is in its way. A directory with something in it is never
	// removed.
	Force bool `json:"force,omitzero" fit:"behaviour" title:"Replace what is in the way" default:"false"`
	// Whether the link should exist. absent removes the link, never what it points to.
	State string `json:"state,omitzero" fit:"state" enum:"present,absent" title:"State"`

	// What is at the path: link, or what is in its way.
	Kind *string `json:"kind,omitzero" fit:"observed" title:"Kind"`
	// Whether what the link points to is missing.
	Dangling bool `json:"dangling,omitzero" fit:"observed" title:"Points to nothing"`
	// The permissions of the file or directory that the link replaces.
	Mode *string `json:"mode,omitzero" fit:"observed,undo" title:"Mode of what is replaced"`
	// What is in the file that the link replaces.
	Content *host.Blob `json:"content,omitzero" fit:"observed,undo" title:"Content of what is replaced"`
}

// Links is the resource type.
type Links struct{}

var (
	_ modules.Resource[Link]        = Links{}
	_ modules.PlatformChecker[Link] = Links{}
	_ modules.Comparer[Link]        = Links{}
	_ modules.Experimenter          = Links{}
	_ modules.Checker[Link]         = Links{}
	_ modules.Inverter[Link]        = Links{}
	_ modules.Keeper[Link]          = Links{}
)

func (l Link) attributes() attributes {
	return attributes{owner: l.Owner, group: l.Group, mode: l.Mode}
}

// Check implements modules.Checker.
func (Links) Check(want Link) error {
	if err := checkPath(want.Path); err != nil {
		return err
	}
	switch {
	case want.Path == "/":
		return errors.New("path: / is not a link")
	case want.State == modules.Absent:
	case want.Target == nil:
		return errors.New("target: is missing")
	case *want.Target == "":
		return errors.New("target: is empty")
	case strings.ContainsRune(*want.Target, 0):
		return fmt.Errorf("target: %q holds a NUL character", *want.Target)
	case *want.Target == want.Path:
		return fmt.Errorf("target: %s points to itself", want.Path)
	}
	return want.attributes().check(false)
}

// Experimental implements modules.Experimenter: no Windows was there that makes junctions.
func (Links) Experimental() []string { return []string{"windows"} }

// CheckOn implements modules.PlatformChecker.
func (Links) CheckOn(os string, want Link) error { return checkPathOn(os, want.Path) }

// Observe implements modules.Resource.
func (Links) Observe(ctx context.Context, h *host.Host, want Link) (Link, error) {
	have := Link{Path: want.Path, State: modules.Absent}
	i, err := lstat(h, want.Path, want.State == modules.Absent)
	if errors.Is(err, fs.ErrNotExist) {
		return have, nil
	}
	if err != nil {
		return have, err
	}
	have.State, have.Kind = "", &i.Kind
	a := want.attributes().spell(h, i)
	have.Owner, have.Group = a.owner, a.group
	if i.Kind != host.KindLink {
		if !want.givesBack() {
			err = want.inTheWay(h, i.Kind)
		}
		if err == nil {
			have.Mode = a.mode
			have.Content, err = content(h, want.Path, i, want.Content)
		}
		return have, err
	}
	have.Target = &i.Target
	_, err = h.Stat(want.Path)
	have.Dangling = err != nil
	return have, nil
}

// Compare knows that a junction holds the whole path of what a profile names from the link's folder, and Windows' spellings.
func (Links) Compare(property string, want, have Link) (met, ok bool) {
	if property != "target" || want.Target == nil || have.Target == nil || !isWindows(want.Path) {
		return false, false
	}
	target := plainWindows(*want.Target)
	if !isWindows(*want.Target) {
		folder, _ := path.Split(plainWindows(want.Path))
		target = path.Join(folder, target)
	}
	return target == plainWindows(*have.Target), true
}

// plainWindows makes spellings of one path the same.
func plainWindows(p string) string {
	return path.Clean(strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(p, `\\?\`), `\`, "/")))
}

// inTheWay is nil where a thing of another kind may be replaced.
func (l Link) inTheWay(h *host.Host, kind string) error {
	err := fmt.Errorf("%s: is a %s, not a link", l.Path, kind)
	switch {
	case l.State == modules.Absent:
		return hint.New(err, "to remove it, declare it with state: absent under files or directories")
	case kind == host.KindFile && !l.Force:
		return hint.New(err, "move it away, or set force: true to replace it")
	case kind == host.KindDirectory:
		names, listErr := h.ReadDir(l.Path)
		if listErr != nil {
			return listErr
		}
		if len(names) > 0 {
			return hint.New(fmt.Errorf("%s: is a directory, not a link; %s", l.Path, listing(names)), "move it away by hand; force: true replaces an empty one only")
		}
		if !l.Force {
			return hint.New(err, "remove it, or set force: true to replace it")
		}
	case kind == host.KindOther:
		return hint.New(fmt.Errorf("%s: is a device, socket or pipe, not a link", l.Path), "remove it by hand if that is what you want")
	}
	return nil
}

// Apply implements modules.Resource.
func (Links) Apply(ctx context.Context, h *host.Host, want, have Link) (modules.Outcome, error) {
	var none modules.Outcome
	attr, err := want.attributes().resolve(h)
	if err != nil && want.State != modules.Absent {
		return none, err
	}
	i, err := lstat(h, want.Path, want.State == modules.Absent)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return none, err
	}
	if want.givesBack() {
		return none, want.giveBack(ctx, h, attr, err == nil && i.Kind == host.KindLink)
	}
	if err == nil && i.Kind != host.KindLink {
		if err := want.inTheWay(h, i.Kind); err != nil {
			return none, err
		}
		if err := h.Remove(want.Path); err != nil {
			return none, denied(err)
		}
	}
	if want.State == modules.Absent {
		return later(denied(h.Remove(want.Path)))
	}
	met, _ := Links{}.Compare("target", want, Link{Target: &i.Target})
	if err != nil || i.Kind != host.KindLink || i.Target != *want.Target && !met {
		if err := h.Symlink(*want.Target, want.Path); err != nil {
			return none, missingParent(h, want.Path, err)
		}
	}
	return none, set(h, want.Path, attr)
}

// givesBack says whether undo wants back what a link replaced.
func (l Link) givesBack() bool { return l.Mode != nil || l.Content != nil }

// giveBack puts what a link replaced in its place again.
func (l Link) giveBack(ctx context.Context, h *host.Host, attr host.Attr, linked bool) error {
	if l.Content != nil {
		content, err := h.OpenBlob(*l.Content)
		if err != nil {
			return fmt.Errorf("content of %s: %w", l.Path, err)
		}
		defer content.Close()
		return missingParent(h, l.Path, h.Write(l.Path, cancellable{ctx, content}, attr))
	}
	if linked {
		if err := h.Remove(l.Path); err != nil {
			return denied(err)
		}
	}
	if err := h.Mkdir(l.Path, attr); !errors.Is(err, fs.ErrExist) {
		return missingParent(h, l.Path, err)
	}
	return set(h, l.Path, attr)
}

// Inverse implements modules.Inverter.
func (Links) Inverse(want, have Link) (Link, error) {
	back := Link{Path: have.Path, State: have.State, Owner: have.Owner, Group: have.Group, Target: have.Target}
	switch {
	case have.State == modules.Absent, have.Target != nil:
		back.Force = want.givesBack()
	case have.Content != nil && have.Content.Hash == "":
		return back, fmt.Errorf("the content of %s, %d bytes, is too large to be kept", have.Path, have.Content.Size)
	default:
		back.Mode, back.Content = have.Mode, have.Content
	}
	return back, nil
}

// Contents implements modules.Keeper.
func (Links) Contents(want, have Link) []modules.Content {
	if old := have.Content; old != nil && old.Hash != "" && (want.Content == nil || *want.Content != *old) {
		return []modules.Content{{Property: "content", Path: have.Path, Blob: *old}}
	}
	return nil
}
