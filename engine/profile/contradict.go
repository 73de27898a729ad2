package profile

import (
	"path"
	"slices"

	"github.com/hashicorp/go-multierror"

	"github.com/fitout-dev/fitout/engine/profile/expression"
)

// contradictions finds resources that can't all be in their states: a file and a directory at one path, something below
// a file or in a directory that goes away, an owner who goes away. What a when still leaves open, or what is
// wrong by itself, isn't judged.
func (c *compilation) contradictions() error {
	var faults *multierror.Error
	fault := func(b *built, field, format string, args ...any) {
		at := b.entry.at
		if v := b.entry.fields[field]; v != nil {
			at = v
		}
		faults = multierror.Append(faults, at.Problem("remove one of them, or give each a when of which one holds at most", format, args...))
	}
	settled := func(b *built) bool { return !b.skipped() && !b.uncertain && b.sound }
	files, folders, links := map[string]*built{}, map[string]*built{}, map[string]*built{}
	kinds := map[string]map[string]*built{"files": files, "directories": folders, "links": links}
	for _, b := range c.all {
		if at, ok := b.res.Want["path"].(string); ok && kinds[b.typ.Name] != nil && settled(b) {
			kinds[b.typ.Name][cleanPath(at)] = b
		}
	}
	for _, b := range c.all {
		if !settled(b) || b.absent() {
			continue
		}
		for _, text := range b.paths {
			at := cleanPath(text)
			file, link := files[at], links[at]
			switch b.typ.Name {
			case "directories":
				if file != nil && !file.absent() {
					fault(b, "path", "%s is declared as a file too, at %s", at, file.res.Position)
				}
			case "files":
				if link != nil && !link.absent() && b.res.Want["content"] != nil && b.res.Want["follow"] != true {
					fault(b, "path", "%s is declared as a link too, at %s, and follow isn't set", at, link.res.Position)
				}
			case "lines":
				if file != nil && file.absent() {
					fault(b, "path", "%s is declared absent, at %s", at, file.res.Position)
				}
			}
			for up := path.Dir(at); up != at; at, up = up, path.Dir(up) {
				if f := files[up]; f != nil && !f.absent() && links[up] == nil {
					fault(b, "path", "it lies below %s, which is declared as a file, at %s", up, f.res.Position)
				}
				if d := folders[up]; d != nil && d.absent() {
					fault(b, "path", "it lies in %s, which is declared absent, at %s", up, d.res.Position)
				}
			}
		}
		c.gone(b, fault)
	}
	return faults.ErrorOrNil()
}

// gone finds users and groups that a resource names by a property, and that are declared absent.
func (c *compilation) gone(b *built, fault func(b *built, field, format string, args ...any)) {
	for _, f := range b.typ.Fields {
		kind := f.Tag.Get("ref")
		if kind == "" {
			continue
		}
		var named []string
		expression.Walk(b.res.Want[f.Name], func(leaf any) {
			if text, ok := leaf.(string); ok && !slices.Contains(named, text) {
				named = append(named, text)
			}
		})
		for _, name := range named {
			if j, ok := c.index[kind+"/"+name]; ok && c.all[j].absent() && !c.all[j].uncertain {
				fault(b, f.Name, "%s is declared absent, at %s", c.all[j].res.Address, c.all[j].res.Position)
			}
		}
	}
}
