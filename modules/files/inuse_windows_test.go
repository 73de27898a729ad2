package files_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/files"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/fitout-dev/fitout/modules/registry"
)

// A file that a program has open is changed at the next start, which counts as done until then.
func TestInUse(t *testing.T) {
	folder := t.TempDir()
	if _, err := os.Stat(`C:\Used`); err == nil { // where a lab's machine starts again afterwards
		folder = `C:\Used`
	}
	c := contents{}
	h := host.New("/", host.WithBlobs(c))
	typ := registry.Find("files")
	step := func(want files.File, op modules.Op, reboot bool) {
		t.Helper()
		o := typ.Observe(t.Context(), h, []any{want})[0]
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		got, changes := typ.Diff(want, o.Have, true)
		if got != op {
			t.Fatalf("%+v: %s %v, want %s", want, got, changes, op)
		}
		if got == modules.Same {
			return
		}
		r := typ.Apply(t.Context(), h, []any{want}, []any{o.Have})[0]
		if r.Err != nil || (r.Outcome.Reboot != "") != reboot {
			t.Fatalf("%+v: %+v", want, r)
		}
		h.Forget()
		if got, changes := typ.Diff(want, typ.Observe(t.Context(), h, []any{want})[0].Have, true); got != modules.Same {
			t.Fatalf("%+v: then %s %v", want, got, changes)
		}
	}
	hold := func(name, text string) (path string, release func()) {
		t.Helper()
		path = filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		return path, func() { f.Close() }
	}

	path, release := hold("changed.txt", "old")
	step(files.File{Path: path, Content: c.add("new")}, modules.Update, true)
	if b, err := os.ReadFile(path); err != nil || string(b) != "old" {
		t.Errorf("the file that is in use holds %q already (%v)", b, err)
	}
	step(files.File{Path: path, Content: c.add("newer")}, modules.Update, true)
	release()
	gone, release := hold("gone.txt", "old")
	step(files.File{Path: gone, State: modules.Absent}, modules.Delete, true)
	release()

	// Nobody has it any more: it is changed at once, and what was planned is forgotten.
	for _, state := range []string{"", modules.Absent} {
		free, release := hold("free"+state+".txt", "old")
		want := files.File{Path: free, Content: c.add("new")}
		if state != "" {
			want = files.File{Path: free, State: state}
		}
		op := modules.Update
		if state != "" {
			op = modules.Delete
		}
		step(want, op, true)
		release()
		step(files.File{Path: free, Content: c.add("last")}, map[string]modules.Op{"": modules.Update, modules.Absent: modules.Create}[state], false)
		if from, planned := h.Pending(free); planned {
			t.Errorf("%s is to be replaced by %q yet", free, from)
		}
	}
	if folder != `C:\Used` { // leave nothing to the next start
		for _, p := range []string{path, gone} {
			if err := h.WriteFile(p, "x", host.Attr{}); err != nil {
				t.Error(err)
			}
			if _, planned := h.Pending(p); planned {
				t.Errorf("%s is still to be changed at the next start", p)
			}
		}
	}
}
