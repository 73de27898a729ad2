package profile

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/hashicorp/go-multierror"

	"github.com/fitout-dev/fitout/engine/profile/expression"
	"github.com/fitout-dev/fitout/engine/secret"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/registry"
	"github.com/fitout-dev/fitout/schema"
)

// Compile makes the resources of a device. The error holds all that is wrong, sorted by position. It may be called
// concurrently. What it returns shares values with what it returns for other devices: read it, don't change it.
func (p *Profile) Compile(d Device) (*Compiled, error) { return p.compile(&d) }

// compile without a device finds what is wrong for any device.
func (p *Profile) compile(d *Device) (*Compiled, error) {
	s, err := p.scope(d)
	if err != nil {
		return nil, schema.Sort(err)
	}
	c := compilation{profile: p}
	var faults *multierror.Error
	settings, err := p.settings(s)
	if err != nil {
		faults = multierror.Append(faults, err)
	}
	for _, e := range p.entries {
		bs := []*built{e.fixed}
		if e.fixed == nil {
			var err error
			if bs, err = p.build(e, s); err != nil {
				faults = multierror.Append(faults, err)
			}
		}
		for _, b := range bs {
			if b == nil {
				c.unnamed(e.typ.Name)
				continue
			}
			if d != nil && b.named != nil {
				var err error
				if b, err = b.named(); err != nil {
					faults = multierror.Append(faults, err)
				}
			}
			if e.fixed != nil {
				var err error
				if b, err = b.on(s); err != nil {
					faults = multierror.Append(faults, err)
				}
			}
			c.all = append(c.all, b)
		}
	}
	if err := c.link(); err != nil {
		faults = multierror.Append(faults, err)
	}
	if err := c.contradictions(); err != nil {
		faults = multierror.Append(faults, err)
	}
	order, err := c.order()
	if err != nil {
		faults = multierror.Append(faults, err)
	}
	if err := schema.Sort(faults.ErrorOrNil()); err != nil {
		return nil, err
	}
	out := c.result(order, d)
	out.Settings = settings
	return out, nil
}

// on is a resource that is the same for every device, on one of them: the platform may lack it, or not take it so.
func (b *built) on(s *expression.Scope) (*built, error) {
	skip := platformSkip(b.typ, s)
	switch os := osOf(s); {
	case skip == "" && (os == "" || b.skipped()):
		return b, nil
	case skip == "":
		return b, b.entry.checkType(os, b.decoded, b.res.Want, false)
	}
	out := *b
	out.res.Skip = skip
	out.res.Secret = nil
	out.blobs = nil
	return &out, nil
}

// compilation is the set of resources of one device, while their edges are found.
type compilation struct {
	profile    *Profile
	all        []*built
	incomplete map[string]bool // types with resources whose addresses aren't known yet

	index  map[string]int // of those that aren't skipped, by folded address
	skip   map[string]int // of those that are
	after  []map[int]bool // edges
	notify [][]int
}

func (c *compilation) unnamed(typ string) {
	if c.incomplete == nil {
		c.incomplete = map[string]bool{}
	}
	c.incomplete[typ] = true
}

// link finds all edges.
func (c *compilation) link() error {
	var faults *multierror.Error
	if err := c.number(); err != nil {
		faults = multierror.Append(faults, err)
	}
	c.after = make([]map[int]bool, len(c.all))
	c.notify = make([][]int, len(c.all))
	for i := range c.all {
		c.after[i] = map[int]bool{}
	}
	for i, b := range c.all {
		if b.skipped() {
			continue
		}
		for _, t := range b.after {
			to, err := c.resolve(i, t, map[int]bool{})
			if err != nil {
				faults = multierror.Append(faults, err)
			}
			for _, j := range to {
				c.after[i][j] = true
			}
		}
		for _, t := range b.notify {
			to, err := c.resolveNotify(i, t)
			if err != nil {
				faults = multierror.Append(faults, err)
			}
			for _, j := range to {
				c.notify[i] = append(c.notify[i], j)
				c.after[j][i] = true
			}
		}
	}
	c.implied()
	return faults.ErrorOrNil()
}

// number finds addresses that come twice, and takes out what is skipped where the same address isn't.
func (c *compilation) number() error {
	var faults *multierror.Error
	first := map[string]*built{}
	kept := c.all[:0]
	for _, b := range c.all {
		if b.skipped() {
			continue
		}
		was := first[folded(b.res.Address)]
		if was == nil {
			first[folded(b.res.Address)] = b
		} else if !was.uncertain && !b.uncertain {
			hint := "merge them, or give each a when of which one holds at most"
			faults = multierror.Append(faults, b.entry.at.Problem(hint, "%s is declared twice, first at %s",
				b.res.Address, was.res.Position))
		}
	}
	seen := map[string]bool{}
	for _, b := range c.all {
		if b.skipped() && (first[folded(b.res.Address)] != nil || seen[folded(b.res.Address)]) {
			continue
		}
		seen[folded(b.res.Address)] = true
		kept = append(kept, b)
	}
	c.all = kept
	c.index, c.skip = map[string]int{}, map[string]int{}
	for i, b := range c.all {
		if b.skipped() {
			c.skip[folded(b.res.Address)] = i
		} else if _, twice := c.index[folded(b.res.Address)]; !twice {
			c.index[folded(b.res.Address)] = i
		}
	}
	return faults.ErrorOrNil()
}

// resolve finds what an address stands for: itself, all of a type, or for a skipped resource what that comes after.
func (c *compilation) resolve(from int, t target, passed map[int]bool) ([]int, error) {
	if j, ok := c.index[folded(t.address)]; ok {
		if j == from {
			return nil, t.at.Problem("", "%s comes after itself", t.address)
		}
		return []int{j}, nil
	}
	if j, ok := c.skip[folded(t.address)]; ok {
		if passed[j] {
			return nil, nil
		}
		passed[j] = true
		var out []int
		for _, t := range c.all[j].after {
			to, err := c.resolve(from, t, passed)
			if err != nil {
				continue // reported where it is written, if it is wrong
			}
			out = append(out, to...)
		}
		return out, nil
	}
	var out []int
	found := false
	for j, b := range c.all {
		if b.typ.Name == t.address {
			found = true
			if j != from && !b.skipped() {
				out = append(out, j)
			}
		}
	}
	typ, _, _ := strings.Cut(t.address, "/")
	if found || c.incomplete[typ] || slices.Contains(c.profile.dropped, t.address) {
		return out, nil
	}
	return nil, c.nowhere(t)
}

func (c *compilation) nowhere(t target) error {
	var among []string
	for _, b := range c.all {
		among = append(among, b.res.Address, b.typ.Name)
	}
	typ, _, hasKey := strings.Cut(t.address, "/")
	if registry.Find(t.address) != nil {
		return t.at.Problem("declare one, or remove the reference", "no %s are declared", t.address)
	}
	otherwise := "an address is type/key, as in users/alice or files//etc/motd"
	for _, a := range among {
		if _, key, ok := strings.Cut(a, "/"); ok && (key == t.address || key == "/"+t.address) {
			return t.at.Problem(fmt.Sprintf("did you mean %q?", a), "%q is not declared", t.address)
		}
	}
	if hasKey && registry.Find(typ) != nil {
		otherwise = "declare it, or remove the reference"
	}
	return t.at.Problem(didYouMean(t.address, slices.Compact(among), otherwise), "%q is not declared", t.address)
}

func (c *compilation) resolveNotify(from int, t target) ([]int, error) {
	typ, _, _ := strings.Cut(t.address, "/")
	if r := registry.Find(typ); r != nil && !r.CanNotify() {
		var can []string
		for _, r := range registry.Types {
			if r.CanNotify() {
				can = append(can, r.Name)
			}
		}
		return nil, t.at.Problem(fmt.Sprintf("these can: %s; use after where the order is meant", strings.Join(can, ", ")),
			"%s can't be notified", typ)
	}
	if _, skipped := c.skip[folded(t.address)]; skipped {
		return nil, nil
	}
	to, err := c.resolve(from, t, map[int]bool{})
	if p, ok := errors.AsType[*schema.Problem](err); ok && strings.HasSuffix(p.Msg, "comes after itself") {
		p.Msg = t.address + " notifies itself"
	}
	return to, err
}

// implied adds the edges that anyone would assume: to what a resource refers to, and to the declared folder that a path is
// in. Of two that are absent the one that the other needs goes last, and nothing waits for what goes away. Where the
// profile itself says the opposite, the profile is right.
func (c *compilation) implied() {
	byPath, inFolder := map[string][]int{}, map[string][]int{}
	for i, b := range c.all {
		if b.skipped() {
			continue
		}
		folder := b.res.Address[:strings.LastIndexByte(b.res.Address, '/')+1]
		inFolder[folder] = append(inFolder[folder], i)
		for _, f := range b.typ.Fields {
			if text, ok := b.res.Want[f.Name].(string); ok && f.Role == modules.Key && f.Path {
				byPath[cleanPath(text)] = append(byPath[cleanPath(text)], i)
			}
		}
	}
	var edges [][2]int
	imply := func(i, j int) {
		switch {
		case i == j:
		case c.all[i].absent() && c.all[j].absent():
			edges = append(edges, [2]int{j, i})
		case !c.all[j].absent():
			edges = append(edges, [2]int{i, j})
		}
	}
	for i, b := range c.all {
		if b.skipped() {
			continue
		}
		for _, ref := range b.refs {
			if j, ok := c.index[folded(ref)]; ok {
				imply(i, j)
			}
			if strings.HasSuffix(ref, "/") {
				for _, j := range inFolder[ref] {
					imply(i, j)
				}
			}
		}
		for _, text := range b.paths {
			at := cleanPath(text)
			for up := path.Dir(at); up != at; at, up = up, path.Dir(up) {
				for _, j := range byPath[up] {
					imply(i, j)
				}
				if len(byPath[up]) > 0 {
					break
				}
			}
		}
	}
	edges = slices.DeleteFunc(edges, func(e [2]int) bool { return c.comesAfter(e[1], e[0], map[int]bool{}) })
	for _, e := range edges {
		c.after[e[0]][e[1]] = true
	}
}

// comesAfter says whether the edges so far put i after j.
func (c *compilation) comesAfter(i, j int, passed map[int]bool) bool {
	for k := range c.after[i] {
		if k == j {
			return true
		}
		if !passed[k] {
			passed[k] = true
			if c.comesAfter(k, j, passed) {
				return true
			}
		}
	}
	return false
}

// folded is an address without what makes no difference in it: a path of Windows may be written with either slash, and in
// upper or lower case.
func folded(address string) string {
	name, key, ok := strings.Cut(address, "/")
	if t := registry.Find(name); ok && t != nil && isWindowsPath(key) && keyIsPath(t) {
		return name + "/" + cleanPath(key)
	}
	return address
}

// keyIsPath says whether a path alone names the resources of a type.
func keyIsPath(t *modules.Type) bool {
	keys, paths := 0, 0
	for _, f := range t.Fields {
		if f.Role == modules.Key {
			if keys++; f.Path {
				paths++
			}
		}
	}
	return keys == 1 && paths == 1
}

func isWindowsPath(p string) bool {
	return len(p) > 1 && p[1] == ':' || strings.HasPrefix(p, `\\`)
}

// cleanPath makes paths comparable, those of Windows too.
func cleanPath(p string) string {
	if isWindowsPath(p) {
		p = strings.ToLower(strings.ReplaceAll(p, `\`, "/"))
	}
	return path.Clean(p)
}

func (c *compilation) result(order []int, d *Device) *Compiled {
	out := &Compiled{Profile: c.profile.Name, Files: c.profile.Files, Blobs: map[string]Content{}}
	out.Resources = make([]Resource, 0, len(order))
	texts := map[string]bool{}
	for _, x := range c.profile.taken.SecretTexts {
		texts[x.(string)] = true
	}
	keep := func(leaf any) {
		if v, ok := leaf.(secret.Value); ok {
			texts[expression.Reveal(v).(string)] = true
		}
	}
	if d != nil {
		for _, x := range d.Variables {
			expression.Walk(x, keep)
		}
	}
	for _, i := range order {
		b := c.all[i]
		r := b.res
		r.After, r.Notify = nil, nil
		for j := range c.after[i] {
			r.After = append(r.After, c.all[j].res.Address)
		}
		for _, j := range c.notify[i] {
			r.Notify = append(r.Notify, c.all[j].res.Address)
		}
		slices.Sort(r.After)
		slices.Sort(r.Notify)
		r.Notify = slices.Compact(r.Notify)
		for hash, content := range b.blobs {
			content.Secret = content.Secret || out.Blobs[hash].Secret
			out.Blobs[hash] = content
		}
		if len(r.Secret) > 0 {
			expression.Walk(r.Want, keep)
		}
		for _, x := range r.Connect {
			keep(x)
		}
		out.Resources = append(out.Resources, r)
	}
	delete(texts, "")
	out.Secrets = slices.Sorted(maps.Keys(texts))
	return out
}
