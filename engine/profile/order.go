package profile

// The order in which resources are applied:
//
//   - Edges come first: nothing is applied before what it comes after.
//   - Without edges, the registry's order of types and the profile's order within a type.
//   - What is to go away is handled after everything else, the other way round; not so in a type that is applied in one
//     batch, which takes both.
//   - The resources of such a type stay together where edges allow it.

import (
	"cmp"
	"container/heap"
	"fmt"
	"slices"
	"strings"

	"github.com/fitout-dev/fitout/modules/registry"
)

// order sorts the resources. It gives indexes.
func (c *compilation) order() ([]int, error) {
	n := len(c.all)
	ranks := c.ranks()
	g := newGraph(n)
	for i := range c.after {
		for j := range c.after[i] {
			g.edge(j, i)
		}
	}
	flat := g.sort(singles(n), ranks)
	if len(flat) < n {
		return nil, c.loop(flat)
	}
	// Take the batches together one type after the other, as long as that makes no loop.
	group := singles(n)
	result := flat
	for _, t := range registry.Types {
		if !t.Batch() {
			continue
		}
		together, first := slices.Clone(group), -1
		for i, b := range c.all {
			if b.typ == t && !b.skipped() {
				if first < 0 {
					first = i
				}
				together[i] = first
			}
		}
		if first < 0 {
			continue
		}
		if sorted := g.sort(together, ranks); len(sorted) == n {
			group, result = together, sorted
		}
	}
	return result, nil
}

func singles(n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = i
	}
	return s
}

// ranks says where each resource belongs if no edge says otherwise.
func (c *compilation) ranks() []int {
	by := singles(len(c.all))
	slices.SortStableFunc(by, func(i, j int) int {
		a, b := c.all[i], c.all[j]
		ta, tb := registry.Position(a.typ.Name), registry.Position(b.typ.Name)
		goesA := !a.skipped() && a.absent() && !a.typ.Batch()
		goesB := !b.skipped() && b.absent() && !b.typ.Batch()
		switch {
		case goesA != goesB && goesA:
			return 1
		case goesA != goesB:
			return -1
		case goesA:
			return cmp.Or(cmp.Compare(tb, ta), cmp.Compare(j, i))
		}
		return cmp.Or(cmp.Compare(ta, tb), cmp.Compare(i, j))
	})
	ranks := make([]int, len(by))
	for rank, i := range by {
		ranks[i] = rank
	}
	return ranks
}

type graph struct {
	next [][]int
}

func newGraph(n int) *graph { return &graph{make([][]int, n)} }

func (g *graph) edge(from, to int) { g.next[from] = append(g.next[from], to) }

// sort orders the nodes by their edges and, where those leave a choice, by rank. The nodes of a group come together. It
// gives fewer nodes than there are if there is a loop, between groups or inside of one.
func (g *graph) sort(group, ranks []int) []int {
	n := len(g.next)
	members := make([][]int, n)
	waits := make([]int, n) // edges into a group
	inner := make([]int, n) // edges into a node from its own group
	for i := range n {
		members[group[i]] = append(members[group[i]], i)
		for _, j := range g.next[i] {
			if group[i] == group[j] {
				inner[j]++
			} else {
				waits[group[j]]++
			}
		}
	}
	groupRank := make([]int, n)
	ready := &queue{rank: groupRank}
	for k := range n {
		groupRank[k] = n
		for _, i := range members[k] {
			groupRank[k] = min(groupRank[k], ranks[i])
		}
		if len(members[k]) > 0 && waits[k] == 0 {
			ready.nodes = append(ready.nodes, k)
		}
	}
	heap.Init(ready)
	out := make([]int, 0, n)
	for ready.Len() > 0 {
		k := heap.Pop(ready).(int)
		inside := &queue{rank: ranks}
		for _, i := range members[k] {
			if inner[i] == 0 {
				inside.nodes = append(inside.nodes, i)
			}
		}
		heap.Init(inside)
		for inside.Len() > 0 {
			i := heap.Pop(inside).(int)
			out = append(out, i)
			for _, j := range g.next[i] {
				if group[j] == k {
					if inner[j]--; inner[j] == 0 {
						heap.Push(inside, j)
					}
				} else if waits[group[j]]--; waits[group[j]] == 0 {
					heap.Push(ready, group[j])
				}
			}
		}
	}
	return out
}

// queue gives nodes by rank.
type queue struct {
	nodes, rank []int
}

func (q *queue) Len() int           { return len(q.nodes) }
func (q *queue) Less(i, j int) bool { return q.rank[q.nodes[i]] < q.rank[q.nodes[j]] }
func (q *queue) Swap(i, j int)      { q.nodes[i], q.nodes[j] = q.nodes[j], q.nodes[i] }
func (q *queue) Push(x any)         { q.nodes = append(q.nodes, x.(int)) }
func (q *queue) Pop() any {
	x := q.nodes[len(q.nodes)-1]
	q.nodes = q.nodes[:len(q.nodes)-1]
	return x
}

// loop names a loop among the resources that couldn't be sorted.
func (c *compilation) loop(sorted []int) error {
	left := make([]bool, len(c.all))
	for i := range left {
		left[i] = true
	}
	for _, i := range sorted {
		left[i] = false
	}
	at := slices.Index(left, true)
	var way []int
	for !slices.Contains(way, at) {
		way = append(way, at)
		before := -1
		for j := range c.after[at] { // each one that is left comes after another one that is left
			if left[j] && (before < 0 || j < before) {
				before = j
			}
		}
		at = before
	}
	way = way[slices.Index(way, at):]
	var names []string
	for _, i := range way {
		names = append(names, fmt.Sprintf("%s (%s)", c.all[i].res.Address, c.all[i].res.Position))
	}
	names = append(names, c.all[at].res.Address)
	return c.all[at].entry.at.Problem("remove one of the references",
		"a loop, each comes after the next: %s", strings.Join(names, " → "))
}
