package executor

import (
	"fmt"
	"slices"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/registry"
)

// find is the registry. Tests put types of their own in its place.
var find = registry.Find

// item is a resource with its declaration decoded.
type item struct {
	wire.Resource
	typ  *modules.Type
	want any
	bad  error // it could not be decoded
}

// mayBeNotified says whether a notification to it means anything: what isn't there can't be restarted.
func (it *item) mayBeNotified() bool {
	return it.bad == nil && it.typ.CanNotify() && it.typ.StateOf(it.want) == modules.Present
}

func decode(resources []wire.Resource) []*item {
	items := make([]*item, len(resources))
	for i, r := range resources {
		it := &item{Resource: r, typ: find(r.Type)}
		if it.typ == nil {
			it.bad = fmt.Errorf("unknown resource type %q", r.Type)
		} else {
			it.want, it.bad = it.typ.Decode(r.Want)
		}
		items[i] = it
	}
	return items
}

// batches cuts items, which are in order, into what is applied together: neighbours of a batch type, or one at a time. A
// batch ends where one of its members comes after another.
func batches(items []*item) [][]*item {
	var out [][]*item
	for _, it := range items {
		if n := len(out); n > 0 && it.bad == nil && it.typ.Batch() && out[n-1][0].bad == nil && out[n-1][0].typ == it.typ && !dependsOnAny(it, out[n-1]) {
			out[n-1] = append(out[n-1], it)
			continue
		}
		out = append(out, []*item{it})
	}
	return out
}

func dependsOnAny(it *item, others []*item) bool {
	return slices.ContainsFunc(others, func(o *item) bool { return slices.Contains(it.After, o.Address) })
}
