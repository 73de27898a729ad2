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

// Link is a symbolic link. A link that points elsewhere is replaced in one step; a file or directory in the way is an
// error.
type Link struct {
	// Where the link is: an absolute path without "..", without a slash at its end.
	Path string `json:"path" fit:"key,path" title:"Path" example:"/usr/local/bin/editor"`
	// What the link points to, as it stands in the link: absolute, or relative to the link's folder. It need not exist.
	Target *string `json:"target,omitzero" fit:"managed" title:"Target" example:"/usr/bin/nano"`
	// The user who owns the link itself, by name or number; what it points to is left alone. Linux and macOS.
	Owner *string `json:"owner,omitzero" fit:"managed" ref:"users" title:"Owner" example:"alice"`
	// The group of the link itself, by name or number. Linux and macOS.
	Group *string `json:"group,omitzero" fit:"managed" ref:"groups" title:"Group" example:"sales"`
	// Let the link replace a file or an empty directory that is in its way. A directory with something in it is never
	// removed.
	Force bool `json:"force,omitzero" fit:"behaviour" title:"Replace what is in the way" default:"false"`
	// Whether the link should exist. absent removes the link, never what it points to.
	State string `json:"state,omitzero" fit:"state" enum:"present,absent" title:"State"`

	// What is at the path: link, or what is in its way.
	Kind *string `json:"kind,omitzero" fit:"observed" title:"Kind"`
	// Whether what the link points to is missing.
	Dangling bool `json:"dangling,omitzero" fit:"observed" title:"Points to nothing"`
}

// Links is the resource type.
type Links struct{}

var (
	_ modules.Resource[Link] = Links{}
	_ modules.Checker[Link]  = Links{}
	_ modules.Inverter[Link] = Links{}
)

func (l Link) attributes() attributes { return attributes{owner: l.Owner, group: l.Group} }

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
	return want.attributes().check()
}

// Observe implements modules.Resource.
func (Links) Observe(ctx context.Context, h *host.Host, want Link) (Link, error) {
	have := Link{Path: want.Path, State: modules.Absent}
	if err := want.attributes().supported(h); err != nil {
		return have, err
	}
	i, err := lstat(h, want.Path, want.State == modules.Absent)
	if errors.Is(err, fs.ErrNotExist) {
		return have, nil
	}
	if err != nil {
		return have, err
	}
	have.State, have.Kind = "", &i.Kind
	if i.Kind != host.KindLink {
		return have, want.inTheWay(h, i.Kind)
	}
	have.Target = &i.Target
	a := want.attributes().spell(h, i)
	have.Owner, have.Group = a.owner, a.group
	_, err = h.Stat(want.Path)
	have.Dangling = err != nil
	return have, nil
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
	if err == nil && i.Kind != host.KindLink {
		if err := want.inTheWay(h, i.Kind); err != nil {
			return none, err
		}
		if err := h.Remove(want.Path); err != nil {
			return none, denied(err)
		}
	}
	if want.State == modules.Absent {
		return none, denied(h.Remove(want.Path))
	}
	if err != nil || i.Kind != host.KindLink || i.Target != *want.Target {
		if err := h.Symlink(*want.Target, want.Path); err != nil {
			return none, missingParent(h, want.Path, err)
		}
	}
	return none, set(h, want.Path, attr)
}

// Inverse implements modules.Inverter.
func (Links) Inverse(want, have Link) (Link, error) {
	if have.Kind != nil && *have.Kind != host.KindLink {
		return have, fmt.Errorf("%s was a %s, which was not kept", have.Path, *have.Kind)
	}
	return have, nil
}
