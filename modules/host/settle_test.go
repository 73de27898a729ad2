package host

import (
	"context"
	"strings"
	"testing"
)

// TestSettle: only what nobody has synced yet makes it work.
func TestSettle(t *testing.T) {
	for name, c := range map[string]struct {
		change func(h *Host) error
		loose  bool
	}{
		"a file":    {func(h *Host) error { return h.WriteFile("/f", "x", Attr{}) }, false},
		"a mode":    {func(h *Host) error { return h.Chmod("/d", 0o700) }, true},
		"an owner":  {func(h *Host) error { return h.Chown("/d", nil, nil) }, true},
		"a folder":  {func(h *Host) error { return h.Mkdir("/new", Attr{}) }, true},
		"a removal": {func(h *Host) error { return h.Remove("/d") }, true},
		"a tree's":  {func(h *Host) error { return h.RemoveAll("/d") }, true},
		"a program": {func(h *Host) error { _, err := h.Run(t.Context(), Cmd{Args: []string{"true"}}); return err }, true},
	} {
		t.Run(name, func(t *testing.T) {
			var done []string
			h := New(t.TempDir(), WithRunner(says{}), WithSteps(func(change string) { done = append(done, strings.Fields(change)[0]) }))
			if err := h.Mkdir("/d", Attr{}); err != nil {
				t.Fatal(err)
			}
			if err := h.Settle(t.Context()); err != nil {
				t.Fatal(err)
			}
			done = nil
			if err := c.change(h); err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second time there is nothing left to do
				if err := h.Settle(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			n := 0
			for _, d := range done {
				if d == "settle" {
					n++
				}
			}
			if want := map[bool]int{true: 1}[c.loose]; n != want || c.loose && done[len(done)-1] != "settle" {
				t.Errorf("settled %d times: %q", n, done)
			}
		})
	}
}

// says is a runner whose programs do nothing.
type says struct{}

func (says) Run(context.Context, Cmd) (Result, error) { return Result{}, nil }
