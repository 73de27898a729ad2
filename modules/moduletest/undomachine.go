package moduletest

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

// prepareUndo does on the machine, before a change, what the executor does: it asks what undoes the change, and keeps the
// contents that this needs.
func (r *Report) prepareUndo(h *host.Host, typ *modules.Type, want, have any) {
	back, err := typ.Inverse(want, have)
	if err == nil {
		r.Back, err = json.Marshal(back)
	}
	for _, c := range typ.Contents(want, have) {
		if err == nil {
			err = keep(h, c)
		}
	}
	if err != nil {
		r.NoUndo, r.Back = hint.Text(err), nil
	}
}

func keep(h *host.Host, c modules.Content) error {
	f, err := h.Open(c.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(here.contents, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(here.contents, c.Blob.Hash), b, 0o600)
}

// TakesBack converges, undoes that, and undoes the undo: what the script says of the machine, with its own tools, must be
// as it was before, and then as it was after the change. The script is sh's, or on Windows a line for cmd.exe.
func (d *Device) TakesBack(typ, want, script string) {
	d.t.Helper()
	before := d.says(script)
	back := d.changes(typ, want)
	after := d.says(script)
	if before == after {
		d.t.Errorf("%s changes nothing of what can be seen:\n%s", want, after)
	}
	again := d.changes(typ, back)
	if diff := cmp.Diff(before, d.says(script)); diff != "" {
		d.t.Errorf("undo of %s by %s (-before +after undo):\n%s", want, back, diff)
	}
	d.changes(typ, again)
	if diff := cmp.Diff(after, d.says(script)); diff != "" {
		d.t.Errorf("undo of the undo of %s by %s (-after the change +after both):\n%s", want, again, diff)
	}
}

// changes converges without errors, and returns what undoes it, the last first.
func (d *Device) changes(typ, want string) string {
	d.t.Helper()
	var back []json.RawMessage
	for _, r := range d.Converge(typ, want) {
		if r.Error != "" || r.NoUndo != "" || r.Again != modules.Same || r.Op == modules.Same {
			d.t.Errorf("%s: %s %v, then %s %v: %s; undo: %s", want, r.Op, r.Changes, r.Again, r.After, r.Error, r.NoUndo)
		}
		if r.Back != nil {
			back = append(back, r.Back)
		}
	}
	slices.Reverse(back)
	b, err := json.Marshal(back)
	must(d.t, err)
	return string(b)
}

// T is the test that d belongs to.
func (d *Device) T() testing.TB { return d.t }
