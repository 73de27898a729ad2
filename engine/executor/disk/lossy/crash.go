package lossy

import (
	"fmt"
	"hash/maphash"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
)

// Crashes are the different states in which a power cut at this instant may leave the disk, each a file system of its own. If
// there are about limit or fewer, they are all there, with writes cut at every byte. Otherwise there are those in which each change is
// lost or kept as a whole, if they are about limit or fewer, and a random choice of limit among all (the same for the same seed).
// The loop's body may use f, but not change it.
func (f *FS) Crashes(limit int, seed uint64) iter.Seq[*FS] {
	return func(yield func(*FS) bool) {
		f := f.Copy() // as it is at this instant
		seen, s := map[uint64]bool{}, maphash.MakeSeed()
		once := func(c *chooser) bool {
			state := f.crash(c)
			sum := state.sum(s)
			if seen[sum] {
				return true
			}
			seen[sum] = true
			return yield(state)
		}
		all := func(c *chooser) bool {
			for {
				c.next = 0
				if !once(c) {
					return false
				}
				if !c.advance() {
					return true
				}
			}
		}
		if f.count(limit, edit.count) <= limit {
			all(&chooser{})
			return
		}
		if f.count(limit, func(edit) int { return 2 }) <= limit && !all(&chooser{whole: true}) {
			return
		}
		r := rand.New(rand.NewPCG(seed, 0))
		for i := range limit + 2 {
			c := &chooser{random: r}
			if i < 2 {
				c = &chooser{always: []string{"first", "last"}[i]}
			}
			if !once(c) {
				return
			}
		}
	}
}

// chooser makes each choice in turn: of all combinations one after the other, or at random, or always the first or last.
type chooser struct {
	next    int
	choices []struct{ chosen, of int } // of the combination at hand

	whole  bool // writes are lost or kept, no less
	random *rand.Rand
	always string
}

func (c *chooser) choose(of int) int {
	switch {
	case c.random != nil:
		return c.random.IntN(of)
	case c.always == "first":
		return 0
	case c.always == "last":
		return of - 1
	}
	if c.next == len(c.choices) {
		c.choices = append(c.choices, struct{ chosen, of int }{0, of})
	}
	c.next++
	return c.choices[c.next-1].chosen
}

// advance goes to the next combination. Choices that follow from others are made anew.
func (c *chooser) advance() bool {
	c.choices = c.choices[:c.next]
	for len(c.choices) > 0 {
		last := &c.choices[len(c.choices)-1]
		if last.chosen++; last.chosen < last.of {
			return true
		}
		c.choices = c.choices[:len(c.choices)-1]
	}
	return false
}

// count is how many combinations there are, or more than limit.
func (f *FS) count(limit int, outcomes func(edit) int) int {
	n := 1
	for _, m := range f.moves {
		if n *= m.outcomes(); n > limit {
			return n
		}
	}
	done := map[*node]bool{}
	var walk func(*node)
	walk = func(d *node) {
		if d == nil || done[d] || n > limit {
			return
		}
		done[d] = true
		for _, e := range d.edits {
			if n > limit {
				return
			}
			n *= outcomes(e)
		}
		for _, c := range d.safeNames {
			walk(c)
		}
	}
	walk(f.root)
	for _, m := range f.moves {
		if m.add != nil {
			walk(m.add.of)
		}
	}
	return n
}

func (m *move) outcomes() int {
	if m.add != nil && m.remove != nil {
		return 3
	}
	return 2
}

// outcome is what is left of an edit: nothing, or its bytes from and to (and those from resume on, if there is a hole), and the length it gave the file.
type outcome struct{ from, to, resume, length int }

// count is how many outcomes there are.
func (e edit) count() int {
	switch n := len(e.data); n {
	case 0:
		return 2
	case 1:
		return 3
	default:
		return 3 + 3*(n-1) + n - 2
	}
}

// outcomes are all of them, the first with nothing and the last with everything.
func (e edit) outcomes() []outcome {
	n := len(e.data)
	if e.data == nil {
		return make([]outcome, 2)
	}
	all := []outcome{{0, 0, n, 0}, {0, 0, n, n}}
	for cut := 1; cut < n; cut++ {
		all = append(all, outcome{0, cut, n, cut}, outcome{0, cut, n, n}, outcome{0, 0, cut, n})
	}
	for cut := 2; cut < n; cut++ {
		all = append(all, outcome{0, cut / 2, cut, n})
	}
	return append(all, outcome{0, n, n, n})
}

// pick chooses an outcome of e: for a random one without listing them, and so that each sort of outcome is as likely.
func (e edit) pick(c *chooser) (o outcome, kept bool) {
	n := len(e.data)
	if c.whole {
		return outcome{0, n, n, n}, c.choose(2) == 1
	}
	if c.random == nil || n < 3 {
		i := c.choose(e.count())
		if i == 0 || i == e.count()-1 {
			return outcome{0, n, n, n}, i > 0
		}
		return e.outcomes()[i], true
	}
	cut := 1 + c.random.IntN(n-1)
	if c.random.IntN(2) == 0 { // at a block's border, if it has one
		if b := (int(e.at)+cut)/512*512 - int(e.at); b > 0 {
			cut = b
		}
	}
	switch c.random.IntN(7) {
	case 0:
		return o, false
	case 1:
		return outcome{0, 0, n, n}, true
	case 2:
		return outcome{0, cut, n, cut}, true
	case 3:
		return outcome{0, cut, n, n}, true
	case 4:
		return outcome{0, 0, cut, n}, true
	case 5:
		return outcome{0, c.random.IntN(cut), cut, n}, true
	}
	return outcome{0, n, n, n}, true
}

func (e edit) apply(b []byte, o outcome) []byte {
	if e.data == nil {
		return resize(b, e.at)
	}
	if end := e.at + int64(o.length); end > int64(len(b)) {
		b = resize(b, end)
	}
	copy(b[e.at:], e.data[o.from:o.to])
	if o.resume < len(e.data) {
		copy(b[e.at+int64(o.resume):], e.data[o.resume:])
	}
	return b
}

// crash makes the state that the chooser chooses.
func (f *FS) crash(c *chooser) *FS {
	names := map[*node]map[string]*node{}
	of := func(n *node) map[string]*node {
		if names[n] == nil {
			names[n] = maps.Clone(n.safeNames)
		}
		return names[n]
	}
	for _, m := range f.moves {
		switch c.choose(m.outcomes()) + 3 - m.outcomes() {
		case 1: // of three: both names; of two: nothing
			if m.add != nil && m.remove != nil {
				(&move{add: m.add}).apply(of)
			}
		case 2:
			m.apply(of)
		}
	}
	made := map[*node]*node{}
	var build func(*node) *node
	build = func(n *node) *node {
		if made[n] != nil {
			return made[n]
		}
		if !n.folder {
			data := slices.Clone(n.safe)
			for _, e := range n.edits {
				if o, kept := e.pick(c); kept {
					data = e.apply(data, o)
				}
			}
			made[n] = &node{perm: n.perm, data: data, safe: slices.Clone(data)}
			return made[n]
		}
		d := newFolder(n.perm)
		made[n] = d
		for _, name := range slices.Sorted(maps.Keys(of(n))) {
			child := build(of(n)[name])
			d.names[name], d.safeNames[name] = child, child
		}
		return d
	}
	return &FS{root: build(f.root)}
}

// Copy is the same file system, apart.
func (f *FS) Copy() *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	made := map[*node]*node{}
	var clone func(*node) *node
	clone = func(n *node) *node {
		if n == nil || made[n] != nil {
			return made[n]
		}
		c := &node{folder: n.folder, perm: n.perm, data: slices.Clone(n.data), safe: n.safe, edits: slices.Clone(n.edits)}
		made[n] = c
		if n.folder {
			c.names, c.safeNames = map[string]*node{}, map[string]*node{}
		}
		for name, child := range n.names {
			c.names[name] = clone(child)
		}
		for name, child := range n.safeNames {
			c.safeNames[name] = clone(child)
		}
		return c
	}
	part := func(n *name) *name {
		if n == nil {
			return nil
		}
		return &name{clone(n.folder), n.name, clone(n.of)}
	}
	c := &FS{root: clone(f.root)}
	for _, m := range f.moves {
		c.moves = append(c.moves, &move{part(m.add), part(m.remove)})
	}
	return c
}

func (f *FS) sum(seed maphash.Seed) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	f.walk(func(path string, n *node) {
		h.WriteString(path)
		maphash.WriteComparable(&h, len(n.data))
		h.Write(n.data)
	})
	return h.Sum64()
}

func (f *FS) walk(visit func(path string, n *node)) {
	var walk func(string, *node)
	walk = func(path string, n *node) {
		if n.folder {
			path += "/"
		}
		visit(path, n)
		for _, name := range slices.Sorted(maps.Keys(n.names)) {
			walk(path+name, n.names[name])
		}
	}
	walk("", f.root)
}

// String lists all files and folders as a process sees them.
func (f *FS) String() string {
	var b strings.Builder
	f.walk(func(path string, n *node) {
		if b.WriteString(path); !n.folder {
			fmt.Fprintf(&b, " %q", n.data)
		}
		b.WriteByte('\n')
	})
	return b.String()
}
