package modules_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/host"
)

type note struct {
	Path  string     `json:"path" fit:"key,path" title:"Path"`
	Text  *host.Blob `json:"text,omitzero" fit:"managed" blob:"content" title:"Text"`
	State string     `json:"state,omitzero" fit:"state" title:"State"`
	Link  *string    `json:"link,omitzero" fit:"observed,undo" title:"Link"`
}

type notes struct{}

func (notes) Observe(_ context.Context, _ *host.Host, want note) (note, error) { return want, nil }
func (notes) Apply(context.Context, *host.Host, note, note) (modules.Outcome, error) {
	return modules.Outcome{}, nil
}

func TestContents(t *testing.T) {
	typ := modules.Define("notes", notes{})
	a, b, large := &host.Blob{Hash: "a", Size: 1}, &host.Blob{Hash: "b", Size: 1}, &host.Blob{Size: 1 << 40}
	kept := []modules.Content{{Property: "text", Path: "/n", Blob: *a}}
	for _, c := range []struct {
		name       string
		want, have note
		out        []modules.Content
	}{
		{"replaced", note{Path: "/n", Text: b}, note{Path: "/n", Text: a}, kept},
		{"the same", note{Path: "/n", Text: a}, note{Path: "/n", Text: a}, nil},
		{"not managed", note{Path: "/n"}, note{Path: "/n", Text: a}, nil},
		{"removed", note{Path: "/n", State: "absent"}, note{Path: "/n", Text: a}, kept},
		{"new", note{Path: "/n", Text: b}, note{Path: "/n", State: "absent"}, nil},
		{"not hashed", note{Path: "/n", Text: b}, note{Path: "/n", Text: large}, nil},
	} {
		if d := cmp.Diff(c.out, typ.Contents(c.want, c.have)); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
	}
}

// What undo wants back is compared like a managed property, though no profile can declare it.
func TestDiffOfUndo(t *testing.T) {
	typ := modules.Define("notes", notes{})
	op, changes := typ.Diff(note{Link: modules.Ptr("x")}, note{}, true)
	if d := cmp.Diff([]modules.Change{{Property: "link", After: "x"}}, changes); op != modules.Update || d != "" {
		t.Errorf("%s %s", op, d)
	}
	if op, _ := typ.Diff(note{}, note{Link: modules.Ptr("x")}, true); op != modules.Same {
		t.Error(op)
	}
}
