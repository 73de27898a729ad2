package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/host"
)

// What undo of a directory needs: all that is below it, and what was missing above it.

// mostEntries and mostBytes bound what is read below a directory to be put back.
const (
	mostEntries = 500
	mostBytes   = hashAtMost
)

// Entry is a file, directory or link below a directory.
type Entry struct {
	// What it is: file, directory or link.
	Kind string `json:"kind" title:"Kind"`
	// The permission bits, of all but links.
	Mode uint32 `json:"mode,omitzero" title:"Mode"`
	// The owner's number.
	UID int `json:"uid" title:"Owner"`
	// The group's number.
	GID int `json:"gid" title:"Group"`
	// Where a link points to.
	Target string `json:"target,omitzero" title:"Target"`
	// What is in a file.
	Content *host.Blob `json:"content,omitzero" title:"Content"`
}

func entryOf(i host.Info) Entry {
	e := Entry{Kind: i.Kind, UID: i.UID, GID: i.GID, Target: i.Target}
	if i.Kind != host.KindLink {
		e.Mode = i.Mode
	}
	return e
}

// readTree is what is below a directory, itself included as ".": all of it with contents, or what wanted has. It is nil where
// that is too much, or can't be put back.
func readTree(ctx context.Context, h *host.Host, path string, wanted map[string]Entry) (map[string]Entry, error) {
	tree, err := h.Tree(path)
	if err != nil {
		return nil, denied(err)
	}
	defer tree.Close()
	out, size, tooMuch := map[string]Entry{}, int64(0), errors.New("too much")
	add := func(name string, i host.Info) error {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		e, known := wanted[name]
		if wanted != nil && !known {
			return nil
		}
		at := filepath.Join(path, name)
		got := entryOf(i)
		switch {
		case i.Kind == host.KindOther, !utf8.ValidString(name), len(out) > mostEntries:
			return tooMuch
		case i.Kind == host.KindLink && (wanted == nil || e.Target != ""):
			link, err := h.Lstat(at)
			if err != nil {
				return err
			}
			if got.Target = link.Target; !utf8.ValidString(got.Target) {
				return tooMuch
			}
		case i.Kind == host.KindFile && (wanted == nil || e.Content != nil):
			if size += i.Size; size > mostBytes && wanted == nil {
				return tooMuch
			}
			if got.Content, err = content(h, at, i, e.Content); err != nil {
				return err
			}
		}
		out[name] = got
		return nil
	}
	top, err := h.Stat(path)
	if err == nil {
		err = add(".", top)
	}
	if err == nil {
		err = tree.Walk(add)
	}
	if errors.Is(err, tooMuch) {
		return nil, nil
	}
	return out, denied(err)
}

// fill brings what is below a directory to d.Tree: first what is missing, in the order of its names, then owners and
// modes, the deepest first: until then a new directory is nobody else's to enter.
func (d Directory) fill(ctx context.Context, h *host.Host, path string, attr host.Attr) error {
	names := slices.Sorted(maps.Keys(d.Tree))
	for _, name := range names {
		if name == "." {
			continue
		}
		if err := d.Tree[name].put(ctx, h, filepath.Join(path, name)); err != nil {
			return denied(err)
		}
	}
	tree, err := h.Tree(path)
	if err != nil {
		return denied(err)
	}
	defer tree.Close()
	found := map[string]host.Info{}
	if err := tree.Walk(func(name string, i host.Info) error {
		found[filepath.ToSlash(name)] = i
		return nil
	}); err != nil {
		return denied(err)
	}
	for _, name := range slices.Backward(names) {
		e := d.Tree[name]
		i, ok := found[name]
		if !ok || i.Kind != e.Kind {
			continue
		}
		chown := i.UID >= 0 && (i.UID != e.UID || i.GID != e.GID)
		if chown {
			if err := tree.Chown(name, &e.UID, &e.GID); err != nil {
				return denied(err)
			}
		}
		if e.Kind != host.KindLink && (i.Mode != e.Mode || chown && e.Mode&0o6000 != 0) {
			if err := tree.Chmod(name, e.Mode); err != nil {
				return denied(err)
			}
		}
	}
	if top, ok := d.Tree["."]; ok {
		attr = host.Attr{Mode: &top.Mode, Security: attr.Security}
		if top.UID >= 0 {
			attr.UID, attr.GID = &top.UID, &top.GID
		}
	}
	return set(h, path, attr)
}

// put makes an entry where it is missing or holds something else.
func (e Entry) put(ctx context.Context, h *host.Host, path string) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	i, err := h.Lstat(path)
	missing := errors.Is(err, fs.ErrNotExist)
	switch {
	case err != nil && !missing:
		return err
	case !missing && i.Kind != e.Kind:
		return fmt.Errorf("%s: is a %s now", path, i.Kind)
	case e.Kind == host.KindDirectory && missing:
		return h.Mkdir(path, host.Attr{Mode: modules.Ptr(uint32(0o700))})
	case e.Kind == host.KindLink && e.Target != "" && i.Target != e.Target:
		return h.Symlink(e.Target, path)
	case e.Kind == host.KindFile && e.Content != nil:
		if now, err := content(h, path, i, e.Content); !missing && (err != nil || *now == *e.Content) {
			return err
		}
		f, err := h.OpenBlob(*e.Content)
		if err != nil {
			return fmt.Errorf("content of %s: %w", path, err)
		}
		defer f.Close()
		return h.Write(path, cancellable{ctx, f}, host.Attr{Mode: modules.Ptr(uint32(0o600))})
	}
	return nil
}

// missingAbove counts the folders above a path that aren't there.
func missingAbove(h *host.Host, path string) (n int) {
	for dir := filepath.Dir(path); !h.Exists(dir) && dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		n++
	}
	return n
}

// emptyAbove says whether the first folder above that is there holds nothing.
func emptyAbove(h *host.Host, path string) bool {
	dir := filepath.Dir(path)
	for range missingAbove(h, path) {
		dir = filepath.Dir(dir)
	}
	names, err := h.ReadDir(dir)
	return err == nil && len(names) == 0
}

// removeAbove removes up to n folders above as far as they hold nothing.
func removeAbove(h *host.Host, path string, n int) error {
	for dir := filepath.Dir(path); n > 0 && dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if !h.Exists(dir) {
			continue
		}
		if names, err := h.ReadDir(dir); err != nil || len(names) > 0 {
			return denied(err)
		}
		if err := h.Remove(dir); err != nil {
			return denied(err)
		}
		n--
	}
	return nil
}

// Inverse implements modules.Inverter.
func (Directories) Inverse(want, have Directory) (Directory, error) {
	back, gone := Directory{Path: have.Path, State: have.State}, want.State == modules.Absent
	switch {
	case have.State == modules.Absent:
		back.Above, back.Recursive = have.Above, want.Tree != nil
		return back, nil
	case gone && want.Recursive && have.Tree == nil && have.Entries != nil && *have.Entries > 0:
		return back, fmt.Errorf("what is in %s would be lost: more than %d entries or %d MiB, a device or socket, or names that are no UTF-8", have.Path, mostEntries, mostBytes>>20)
	case want.Recursive && !gone && have.Tree == nil && have.Mode != nil: // Windows has no mode, and nothing below it changes
		return back, fmt.Errorf("the owners and modes below %s would be lost: more than %d entries, or names that are no UTF-8", have.Path, mostEntries)
	case have.Tree != nil:
		back.Tree = have.Tree
		if have.Security != nil {
			back.Security = want.attributes().back(have.Security, gone)
		}
		return back, nil
	}
	if want.Owner != nil || gone {
		back.Owner = have.Owner
	}
	if want.Group != nil || gone {
		back.Group = have.Group
	}
	if want.Mode != nil || gone {
		back.Mode = have.Mode
	}
	if want.Attributes != nil || gone {
		back.Attributes = have.Attributes
	}
	if have.Security != nil {
		back.Owner, back.Security = nil, want.attributes().back(have.Security, gone)
	}
	return back, nil
}

// Contents implements modules.Keeper.
func (Directories) Contents(want, have Directory) []modules.Content {
	var out []modules.Content
	for _, name := range slices.Sorted(maps.Keys(have.Tree)) {
		old, next := have.Tree[name].Content, want.Tree[name].Content
		if old == nil || old.Hash == "" || next != nil && *next == *old {
			continue
		}
		out = append(out, modules.Content{Property: "tree", Path: strings.TrimSuffix(have.Path, "/") + "/" + name, Blob: *old})
	}
	return out
}
