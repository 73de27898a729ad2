package files_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/files"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/fitout-dev/fitout/modules/registry"
	"github.com/google/go-cmp/cmp"
)

type contents map[string]string

func (c contents) OpenBlob(hash string) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(c[hash])), nil
}

func (c contents) add(s string) *host.Blob {
	b, _ := host.BlobOf(strings.NewReader(s))
	c[b.Hash] = s
	return &b
}

// device is a root with files, by path and text.
func device(t *testing.T, c contents, tree map[string]string) *host.Host {
	t.Helper()
	root := t.TempDir()
	for name, text := range tree {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return host.New(root, host.WithBlobs(c))
}

// converge does what the executor does, and returns what it had observed first.
func converge[T any](t *testing.T, h *host.Host, name string, want T) T {
	t.Helper()
	typ, ctx := registry.Find(name), context.Background()
	if err := typ.Check(want); err != nil {
		t.Fatal(err)
	}
	first := typ.Observe(ctx, h, []any{want})[0]
	if first.Err != nil {
		t.Fatal(first.Err)
	}
	if op, _ := typ.Diff(want, first.Have, h.Living()); op != modules.Same {
		if err := typ.Apply(ctx, h, []any{want}, []any{first.Have})[0].Err; err != nil {
			t.Fatal(err)
		}
		h.Forget()
	}
	again := typ.Observe(ctx, h, []any{want})[0]
	if op, changes := typ.Diff(want, again.Have, h.Living()); op != modules.Same || again.Err != nil {
		t.Fatalf("not converged: %s %v %v", op, changes, again.Err)
	}
	return first.Have.(T)
}

// undo applies the inverse of what brought a device from have to want.
func undo[T any](t *testing.T, h *host.Host, name string, want, have T) {
	t.Helper()
	typ := registry.Find(name)
	inverse, err := typ.Inverse(want, have)
	if err != nil {
		t.Fatal(err)
	}
	if typ.KeyOf(inverse) != typ.KeyOf(want) {
		t.Errorf("the inverse is another resource: %q, was %q", typ.KeyOf(inverse), typ.KeyOf(want))
	}
	converge(t, h, name, inverse.(T))
}

func read(t *testing.T, h *host.Host, name string) string {
	t.Helper()
	b, err := h.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestBackup(t *testing.T) {
	c := contents{}
	h := device(t, c, map[string]string{"/etc/f": "one"})
	if err := h.Chmod("/etc/f", 0o640); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"two", "three", "three"} {
		converge(t, h, "files", files.File{Path: "/etc/f", Content: c.add(text), Mode: new("0600"), Backup: true})
	}
	converge(t, h, "files", files.File{Path: "/etc/f", State: modules.Absent, Backup: true})
	names, err := h.ReadDir("/etc")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, n := range names {
		i, _ := h.Lstat("/etc/" + n)
		if !strings.HasPrefix(n, "f.") || !strings.HasSuffix(n, "~") {
			t.Errorf("unexpected name %s", n)
		}
		got[read(t, h, "/etc/"+n)] = fmt.Sprintf("%04o", i.Mode)
	}
	if d := cmp.Diff(map[string]string{"one": "0640", "two": "0600", "three": "0600"}, got); d != "" {
		t.Error(d)
	}
}

// A content of the same size and date is other content all the same.
func TestDamageWithSameSizeAndDate(t *testing.T) {
	c := contents{}
	h := device(t, c, map[string]string{"/etc/f": "good"})
	p := filepath.Join(h.Root(), "/etc/f")
	before, _ := os.Stat(p)
	if err := os.WriteFile(p, []byte("evil"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(p, time.Time{}, before.ModTime()); err != nil {
		t.Fatal(err)
	}
	have := converge(t, h, "files", files.File{Path: "/etc/f", Content: c.add("good")})
	if want := c.add("evil"); *have.Content != *want {
		t.Errorf("observed %v, want %v", have.Content, want)
	}
}

func TestUndo(t *testing.T) {
	c := contents{}
	c.add("old")
	t.Run("files", func(t *testing.T) {
		for name, want := range map[string]files.File{
			"updated": {Path: "/etc/f", Content: c.add("new"), Mode: new("0600")},
			"removed": {Path: "/etc/f", State: modules.Absent},
			"created": {Path: "/etc/g", Content: c.add("new")},
		} {
			t.Run(name, func(t *testing.T) {
				h := device(t, c, map[string]string{"/etc/f": "old"})
				have := converge(t, h, "files", want)
				undo(t, h, "files", want, have)
				if got := read(t, h, "/etc/f"); got != "old" {
					t.Errorf("f holds %q", got)
				}
				if i, _ := h.Lstat("/etc/f"); i.Mode != 0o644 {
					t.Errorf("f has mode %o", i.Mode)
				}
				if h.Exists("/etc/g") {
					t.Error("g is still there")
				}
			})
		}
	})
	t.Run("lines", func(t *testing.T) {
		for name, want := range map[string]files.Line{
			"inserted": {Path: "/etc/f", Line: new("x")},
			"replaced": {Path: "/etc/f", Line: new("B.+"), Match: "^b$", ID: "b"},
			"removed":  {Path: "/etc/f", Line: new("b"), State: modules.Absent},
			"first":    {Path: "/etc/f", Line: new("a"), State: modules.Absent},
			"matched":  {Path: "/etc/f", Match: "^c", State: modules.Absent},
		} {
			t.Run(name, func(t *testing.T) {
				const old = "a\nb\nc\n"
				h := device(t, c, map[string]string{"/etc/f": old})
				have := converge(t, h, "lines", want)
				if read(t, h, "/etc/f") == old {
					t.Fatal("nothing changed")
				}
				undo(t, h, "lines", want, have)
				if got := read(t, h, "/etc/f"); got != old {
					t.Errorf("undone: %q", got)
				}
			})
		}
	})
	t.Run("links", func(t *testing.T) {
		h := device(t, c, map[string]string{"/etc/f": "x"})
		first := files.Link{Path: "/etc/l", Target: new("f")}
		gone := converge(t, h, "links", first)
		second := files.Link{Path: "/etc/l", Target: new("g")}
		undo(t, h, "links", second, converge(t, h, "links", second))
		if i, _ := h.Lstat("/etc/l"); i.Target != "f" {
			t.Errorf("the link points to %q", i.Target)
		}
		undo(t, h, "links", first, gone)
		if h.Exists("/etc/l") {
			t.Error("the link is still there")
		}
	})
	t.Run("directories", func(t *testing.T) {
		h := device(t, c, map[string]string{"/srv/f": "x"})
		made := files.Directory{Path: "/srv/d", Mode: new("0700")}
		undo(t, h, "directories", made, converge(t, h, "directories", made))
		if h.Exists("/srv/d") {
			t.Error("the directory is still there")
		}
	})
}

// What can't be undone says why.
func TestNoWayBack(t *testing.T) {
	c := contents{}
	many := map[string]string{"/srv/large": ""}
	for i := range 501 {
		many[fmt.Sprintf("/srv/d/%d", i)] = "x"
	}
	h := device(t, c, many)
	if err := os.Truncate(filepath.Join(h.Root(), "srv/large"), 64<<20+1); err != nil { // takes no room
		t.Fatal(err)
	}
	check := func(name string, want any, text string) {
		t.Helper()
		typ := registry.Find(name)
		o := typ.Observe(t.Context(), h, []any{want})[0]
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		if _, err := typ.Inverse(want, o.Have); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: got %v, want %q", name, err, text)
		}
		if kept := typ.Contents(want, o.Have); kept != nil {
			t.Errorf("%s: would keep %v", name, kept)
		}
	}
	check("directories", files.Directory{Path: "/srv/d", Mode: new("0700"), Recursive: true}, "the owners and modes below /srv/d would be lost")
	check("directories", files.Directory{Path: "/srv/d", Recursive: true, State: modules.Absent}, "what is in /srv/d would be lost")
	check("files", files.File{Path: "/srv/large", Content: c.add("new")}, "the content of /srv/large, 67108865 bytes, is too large to be kept")
	check("files", files.File{Path: "/srv/large", State: modules.Absent}, "is too large to be kept")
	check("links", files.Link{Path: "/srv/large", Target: new("x"), Force: true}, "is too large to be kept")
}

func TestCheck(t *testing.T) {
	cases := []struct {
		typ  string
		want any
		err  string // "" where it is right
	}{
		{"files", files.File{Path: "/etc/motd"}, ""},
		{"files", files.File{Path: `/srv/a\..\b`}, ""}, // a backslash is a letter on Linux
		{"files", files.File{Path: `C:\Windows\x`}, ""},
		{"files", files.File{Path: `C:/Windows/x`}, ""},
		{"files", files.File{Path: `C:\Windows\..\x`}, `holds ".."`},
		{"files", files.File{Path: `\\server\share\x`}, "is on another machine"},
		{"files", files.File{Path: `\\?\C:\x`}, "goes round"},
		{"files", files.File{Path: `\\.\C:\x`}, "goes round"},
		{"files", files.File{Path: `C:`}, "depends on the current folder"},
		{"files", files.File{Path: `C:x`}, "depends on the current folder"},
		{"files", files.File{Path: `C:\`}, "is not a file"},
		{"files", files.File{Path: `C:\x\`}, "slash too many"},
		{"files", files.File{Path: `C:\Sales\NUL`}, "a device's name"},
		{"files", files.File{Path: `C:\aux.txt\x`}, "a device's name"},
		{"files", files.File{Path: `C:\com1 .txt`}, "a device's name"},
		{"files", files.File{Path: `C:\com10`}, ""},
		{"files", files.File{Path: `C:\auxiliary`}, ""},
		{"files", files.File{Path: `C:\x.`}, "ends with a dot or blank"},
		{"files", files.File{Path: `C:\x \y`}, "ends with a dot or blank"},
		{"files", files.File{Path: `C:\x:y`}, "names a stream"},
		{"files", files.File{Path: `C:\x?`}, "can't be in a name"},
		{"files", files.File{Path: `C:\f`, Attributes: map[string]bool{"readonly": true}}, `"readonly" is none`},
		{"files", files.File{Path: `C:\f`, Attributes: map[string]bool{"readOnly": true}}, ""},
		{"directories", files.Directory{Path: `c:/WINDOWS/System32`, State: modules.Absent}, "belongs to the system"},
		{"directories", files.Directory{Path: `D:\`, State: modules.Absent, Recursive: true}, "belongs to the system"},
		{"directories", files.Directory{Path: `C:\Windows\Temp\x`, State: modules.Absent, Recursive: true}, ""},
		{"files", files.File{Path: "etc/motd"}, "not absolute"},
		{"files", files.File{Path: "~/x"}, "not absolute"},
		{"files", files.File{Path: ""}, "is empty"},
		{"files", files.File{Path: "/"}, "not a file"},
		{"files", files.File{Path: "/etc/"}, "slash too many"},
		{"files", files.File{Path: "/etc//motd"}, "slash too many"},
		{"files", files.File{Path: "/etc/../motd"}, `holds ".."`},
		{"files", files.File{Path: "/etc/./motd"}, `holds "."`},
		{"files", files.File{Path: "/etc/a..b/...c"}, ""},
		{"files", files.File{Path: "/a\x00b"}, "NUL"},
		{"files", files.File{Path: "/f", Mode: new("u+x")}, "not an octal mode"},
		{"files", files.File{Path: "/f", Mode: new("488")}, "not an octal mode"},
		{"files", files.File{Path: "/f", Mode: new("77777")}, "not an octal mode"},
		{"files", files.File{Path: "/f", Mode: new("4755")}, ""},
		{"files", files.File{Path: "/f", Owner: new("")}, "owner: is empty"},
		{"directories", files.Directory{Path: "/"}, ""},
		{"directories", files.Directory{Path: "/usr", State: modules.Absent, Recursive: true}, "belongs to the system"},
		{"directories", files.Directory{Path: "/etc", Owner: new("alice"), Recursive: true}, "belongs to the system"},
		{"directories", files.Directory{Path: "/srv/", State: modules.Absent, Recursive: true}, "slash too many"},
		{"links", files.Link{Path: "/l"}, "target: is missing"},
		{"links", files.Link{Path: "/l", Target: new("")}, "target: is empty"},
		{"links", files.Link{Path: "/l", Target: new("/l")}, "points to itself"},
		{"links", files.Link{Path: "/l", State: modules.Absent}, ""},
		{"lines", files.Line{Path: "/f"}, "line: is missing"},
		{"lines", files.Line{Path: "/f", Match: "x"}, "line: is missing"},
		{"lines", files.Line{Path: "/f", Match: "x", State: modules.Absent}, ""},
		{"lines", files.Line{Path: "/f", State: modules.Absent}, "line: is missing"},
		{"lines", files.Line{Path: "/f", Line: new("a\n")}, "more than one line"},
		{"lines", files.Line{Path: "/f", Line: new("a"), Match: "("}, "match: error parsing regexp"},
		{"lines", files.Line{Path: "/f", Line: new("a"), InsertAfter: "(?!x)"}, "insertAfter: error parsing regexp"},
		{"lines", files.Line{Path: "/f", Line: new("a"), InsertAfter: "b", InsertBefore: "c"}, "can't be combined"},
	}
	for _, c := range cases {
		err := registry.Find(c.typ).Check(c.want)
		if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s %+v: got %v, want %q", c.typ, c.want, err, c.err)
		}
	}
}

func TestLineAddresses(t *testing.T) {
	typ := registry.Find("lines")
	for want, l := range map[string]files.Line{
		"/etc/hosts/nas":          {Path: "/etc/hosts", Line: new("10.0.0.5 nas"), ID: "nas"},
		"/etc/hosts/10.0.0.5 nas": {Path: "/etc/hosts", Line: new("10.0.0.5 nas"), Match: "nas"},
		"/etc/hosts/nas$":         {Path: "/etc/hosts", Match: "nas$", State: modules.Absent},
	} {
		if got := typ.KeyOf(l); got != want {
			t.Errorf("KeyOf: got %q, want %q", got, want)
		}
	}
}

// Lines of one file are observed with one reading.
func TestLinesReadOnce(t *testing.T) {
	h := device(t, nil, map[string]string{"/etc/f": "a\nb\n"})
	observe := func(line string) string {
		have, err := files.Lines{}.Observe(context.Background(), h, files.Line{Path: "/etc/f", Line: &line})
		if err != nil {
			t.Fatal(err)
		}
		return registry.Find("lines").StateOf(have)
	}
	observe("a")
	if err := os.Remove(filepath.Join(h.Root(), "/etc/f")); err != nil {
		t.Fatal(err)
	}
	if observe("b") != modules.Present {
		t.Error("the file was read again")
	}
	h.Forget()
	if observe("b") != modules.Absent {
		t.Error("what was read outlived Forget")
	}
}

// What is shown to people tells what to do.
func TestHints(t *testing.T) {
	c := contents{}
	h := device(t, c, map[string]string{"/etc/d/f": "x"})
	ctx := context.Background()
	_, inTheWay := files.Files{}.Observe(ctx, h, files.File{Path: "/etc/d", Content: c.add("x")})
	_, noParent := files.Files{}.Apply(ctx, h, files.File{Path: "/srv/a/b"}, files.File{})
	_, full := files.Directories{}.Apply(ctx, h, files.Directory{Path: "/etc/d", State: modules.Absent}, files.Directory{})
	_, owner := files.Directories{}.Apply(ctx, h, files.Directory{Path: "/etc/e", Owner: new("ghost")}, files.Directory{})
	for want, err := range map[string]error{
		"under directories with state: absent": inTheWay,
		"declare /srv/a under directories":     noParent,
		"recursive: true":                      full,
		"declare it under users":               owner,
	} {
		if got := hint.Of(err); !strings.Contains(got, want) {
			t.Errorf("%v: hint %q, want %q", err, got, want)
		}
	}
}

// A copy that is cancelled ends, and leaves the old file.
func TestCancelledCopy(t *testing.T) {
	c := contents{}
	h := device(t, c, map[string]string{"/etc/f": "old"})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := files.Files{}.Apply(ctx, h, files.File{Path: "/etc/f", Content: c.add("new")}, files.File{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	names, _ := h.ReadDir("/etc")
	if read(t, h, "/etc/f") != "old" || len(names) != 1 {
		t.Errorf("f holds %q beside %v", read(t, h, "/etc/f"), names)
	}
}

// Owners and groups may be numbers; a root without a user database has nothing else.
func TestNumericOwner(t *testing.T) {
	h := device(t, nil, map[string]string{"/etc/f": "x"})
	i, err := h.Lstat("/etc/f")
	if err != nil || i.UID < 0 {
		t.Skip("no numbers here")
	}
	me := fmt.Sprint(i.UID)
	if have := converge(t, h, "files", files.File{Path: "/etc/f", Owner: &me}); *have.Owner != me {
		t.Errorf("observed %q", *have.Owner)
	}
	if err := h.WriteFile("/etc/passwd", "me:x:"+me+":0::/:/bin/sh\ntoo:x:"+me+":0::/:/bin/sh\n", host.Attr{}); err != nil {
		t.Fatal(err)
	}
	h.Forget()
	for _, spelling := range []string{me, "me", "too"} { // all the same user: nothing to do
		have, err := files.Files{}.Observe(context.Background(), h, files.File{Path: "/etc/f", Owner: &spelling})
		if err != nil || *have.Owner != spelling {
			t.Errorf("%s: observed %v, %v", spelling, *have.Owner, err)
		}
	}
}

// A large content is streamed, not held.
func TestLargeContent(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 200 MB")
	}
	const size = 200 << 20
	b, err := host.BlobOf(zeros(size))
	if err != nil {
		t.Fatal(err)
	}
	h := host.New(t.TempDir(), host.WithBlobs(large{}))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	converge(t, h, "files", files.File{Path: "/big", Content: &b})
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
		t.Errorf("%d bytes were allocated for a file of %d", n, size)
	}
}

type large struct{}

func (large) OpenBlob(string) (io.ReadCloser, error) { return io.NopCloser(zeros(200 << 20)), nil }

func zeros(n int64) io.Reader { return io.LimitReader(zero{}, n) }

type zero struct{}

func (zero) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
