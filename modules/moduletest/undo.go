package moduletest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/google/go-cmp/cmp"
)

// reasons is why changes of a fixture can't be undone, asked before anything is changed, a line each. It checks that
// nothing that undo needs is lost on the way through JSON.
func (x *fixture) reasons(t *testing.T, typ *modules.Type, options []host.Option) string {
	h := x.host(x.device(t), options)
	var out strings.Builder
	for i, o := range typ.Observe(t.Context(), h, x.wants) {
		if o.Err != nil {
			continue
		}
		if op, _ := typ.Diff(x.wants[i], o.Have, h.Living()); op == modules.Same {
			continue
		}
		back, err := typ.Inverse(x.wants[i], o.Have)
		again, errAgain := typ.Inverse(travelled(t, typ, x.wants[i]), travelled(t, typ, o.Have))
		if fmt.Sprint(err) != fmt.Sprint(errAgain) {
			t.Errorf("undo: %v; of the same in JSON: %v", err, errAgain)
		}
		if err != nil {
			fmt.Fprintln(&out, strings.ReplaceAll(hint.Text(err), h.Root(), ""))
		} else if d := cmp.Diff(back, again); d != "" {
			t.Errorf("undo is other for what went through JSON (-before +after):\n%s", d)
		}
	}
	return out.String()
}

// travelled is v as it comes out of a journal.
func travelled(t *testing.T, typ *modules.Type, v any) any {
	b, err := json.Marshal(v)
	must(t, err)
	v, err = typ.Decode(b)
	must(t, err)
	return v
}

// step is a change that was made.
type step struct{ want, have any }

// recorded applies wants one by one as once does, keeps what undo needs, and returns the changes.
func (x *fixture) recorded(t *testing.T, h *host.Host, typ *modules.Type, wants []any) (steps []step) {
	for _, w := range wants {
		_, failed := once(h, typ, []any{w}, func(want, have any) {
			for _, c := range typ.Contents(want, have) {
				f, err := h.Open(c.Path)
				must(t, err)
				defer f.Close()
				b, err := io.ReadAll(f)
				must(t, err)
				if blob, _ := host.BlobOf(bytes.NewReader(b)); blob != c.Blob {
					t.Errorf("%s of %s to be kept is %v, not %v", c.Property, c.Path, blob, c.Blob)
				}
				x.blobs[c.Blob.Hash] = b
			}
			steps = append(steps, step{travelled(t, typ, want), travelled(t, typ, have)})
		})
		if failed != "" {
			t.Errorf("undo: %s", failed)
		}
	}
	return steps
}

// back is what undoes steps, the last first.
func back(t *testing.T, typ *modules.Type, steps []step) (wants []any) {
	for _, s := range slices.Backward(steps) {
		w, err := typ.Inverse(s.want, s.have)
		if err != nil {
			t.Errorf("what could be undone before can't any more: %v", err)
			continue
		}
		wants = append(wants, travelled(t, typ, w))
	}
	return wants
}

// undo takes the changes back, and that too: the device must be as it was before, and then as it was after them.
func (x *fixture) undo(t *testing.T, typ *modules.Type, options []host.Option) {
	root := x.device(t)
	h := x.host(root, options)
	before := state(t, root)
	maps.DeleteFunc(before, func(name, _ string) bool { return strings.Contains(name, "/"+host.TempPrefix) }) // of a crash; what mends it mends more
	steps := x.recorded(t, h, typ, x.wants)
	after := state(t, root)
	wants := back(t, typ, steps)
	undone := x.recorded(t, h, typ, wants)
	if d := cmp.Diff(lasting(before), lasting(state(t, root))); d != "" {
		t.Errorf("undo of the change leaves (-before +after undo):\n%s%s", d, declared(wants))
	}
	x.same(t, h, typ, wants, "undo")
	wants = back(t, typ, undone)
	x.recorded(t, h, typ, wants)
	if d := cmp.Diff(lasting(after), lasting(state(t, root))); d != "" {
		t.Errorf("undo of the undo leaves (-after the change +after both):\n%s%s", d, declared(wants))
	}
	x.same(t, h, typ, wants, "undo of the undo")
	if !t.Failed() {
		x.interruptUndo(t, typ, options, before)
	}
}

func (x *fixture) same(t *testing.T, h *host.Host, typ *modules.Type, wants []any, what string) {
	for _, w := range wants {
		if again, failed := once(h, typ, []any{w}); strings.Trim(again, "same\n") != "" || failed != "" {
			t.Errorf("after the %s a plan would still do:\n%s%s%s", what, again, failed, declared([]any{w}))
		}
	}
}

// interruptUndo crashes the undo before each single change in turn that shows, and does it again.
func (x *fixture) interruptUndo(t *testing.T, typ *modules.Type, options []host.Option, before map[string]string) {
	for n := 1; ; n++ {
		root := x.device(t)
		wants := back(t, typ, x.recorded(t, x.host(root, options), typ, x.wants))
		left := n
		h := x.host(root, options, host.WithSteps(func(change string) {
			if strings.HasPrefix(change, "write ") || strings.HasPrefix(change, "fill ") {
				return // of a file that isn't in its place yet
			}
			if left--; left == 0 {
				panic(crash(strings.ReplaceAll(change, root, "")))
			}
		}))
		at := crashed(func() { x.recorded(t, h, typ, wants) })
		if at == "" {
			return
		}
		x.recorded(t, x.host(root, options), typ, wants)
		ends := state(t, root)
		for _, name := range slices.Backward(slices.Sorted(maps.Keys(ends))) { // folders that were left empty are forgiven
			if before[name] == "" && strings.Contains(ends[name], " d") && !strings.HasPrefix(filepath.Base(name), host.TempPrefix) &&
				os.Remove(filepath.Join(root, name)) == nil {
				delete(ends, name)
			}
		}
		if d := cmp.Diff(lasting(before), lasting(ends)); d != "" {
			t.Errorf("undo interrupted before %q, and done again, leaves (-before +after undo):\n%s%s", at, d, declared(wants))
		}
	}
}

func declared(wants []any) string {
	b, _ := json.MarshalIndent(wants, "", "  ")
	return string(b)
}

// lasting leaves out the copies that are kept of what is changed, on purpose and for good, and what is locked.
func lasting(tree map[string]string) map[string]string {
	out := map[string]string{}
	for name, what := range tree {
		switch {
		case strings.HasSuffix(name, "~"):
		case slices.Contains([]string{"/etc/passwd-", "/etc/shadow-", "/etc/group-", "/etc/gshadow-", "/etc/subuid-", "/etc/subgid-", "/etc/.pwd.lock"}, name):
		default:
			out[name] = what
		}
	}
	return out
}
