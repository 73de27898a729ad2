// Package moduletest runs the fixtures of a resource type: a file each, so that a new case is data, not code.
//
//	func TestMotd(t *testing.T) { moduletest.Run(t, registry.Find("motd"), "testdata/motd/*.txtar") }
//
// A fixture is a txtar archive. Its comment says what it shows. Sections:
//
//	want.json          the declaration; an array declares several resources of the type
//	setup              before that, lines: "mkdir MODE PATH", "chmod MODE PATH", "link TARGET PATH", "write TEXT PATH";
//	                   each word may be quoted as in Go: "a\r\nb"
//	root/PATH          a file of the device before
//	blob/NAME          a content; in want.json "{{blob NAME}}" is its {"hash","size"}
//	plan               golden: the operation and changed properties of each resource
//	error              golden: the errors, where observing or applying fails
//	undo               golden: why changes can't be undone
//	after              golden: every entry that is new or other afterwards: mode and kind, with the text of a file
//
// Each fixture observes, diffs, applies, observes again and must end with nothing to do; then it applies a second time,
// which must change nothing. Then each single change is interrupted in turn, as by a crash, and a further run must end in
// the same state. At last the changes are undone, and that is undone again, from what went through JSON: the device must be
// as it was before, and then as it was after them. Run with -update to write the golden sections.
package moduletest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "write the golden parts of fixtures")

type memory map[string][]byte

func (m memory) OpenBlob(hash string) (io.ReadCloser, error) {
	b, ok := m[hash]
	if !ok {
		return nil, fmt.Errorf("no blob %s", hash)
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

// Run runs all fixtures that match pattern against typ in temporary roots. Options reach the host.
func Run(t *testing.T, typ *modules.Type, pattern string, options ...host.Option) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no fixtures match %s (%v)", pattern, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			runFile(t, typ, file, options)
		})
	}
}

// fixture is one file: what a device is like before, and what is declared for it.
type fixture struct {
	archive *txtar.Archive
	inputs  []txtar.File
	golden  map[string]string
	blobs   memory
	wants   []any
}

func read(t *testing.T, typ *modules.Type, file string) *fixture {
	a, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	x := &fixture{archive: a, golden: map[string]string{}, blobs: memory{}}
	raw, names := []byte(nil), map[string]string{}
	for _, f := range a.Files {
		switch kind, name, _ := strings.Cut(f.Name, "/"); {
		case kind == "root", f.Name == "setup":
		case kind == "blob":
			b, _ := host.BlobOf(bytes.NewReader(f.Data))
			j, _ := json.Marshal(b)
			x.blobs[b.Hash], names[name] = f.Data, string(j)
		case f.Name == "want.json":
			raw = f.Data
		case f.Name == "plan", f.Name == "error", f.Name == "undo", f.Name == "after":
			x.golden[f.Name] = string(f.Data)
			continue
		default:
			t.Fatalf("%s: unknown section %q", file, f.Name)
		}
		x.inputs = append(x.inputs, f)
	}
	for name, j := range names {
		raw = bytes.ReplaceAll(raw, []byte(`"{{blob `+name+`}}"`), []byte(j))
	}
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || raw[0] != '[' {
		raw = append(append([]byte("["), raw...), ']')
	}
	var each []json.RawMessage
	if err := json.Unmarshal(raw, &each); err != nil {
		t.Fatalf("%s: want.json: %v", file, err)
	}
	for _, e := range each {
		w, err := typ.Decode(e)
		must(t, err)
		x.wants = append(x.wants, w)
	}
	return x
}

// device makes the device as it is before.
func (x *fixture) device(t *testing.T) (root string) {
	root = t.TempDir()
	for _, f := range x.inputs {
		if name, ok := strings.CutPrefix(f.Name, "root/"); ok {
			p := filepath.Join(root, name)
			must(t, os.MkdirAll(filepath.Dir(p), 0o755))
			must(t, os.WriteFile(p, f.Data, 0o644))
		}
	}
	for _, f := range x.inputs {
		if f.Name == "setup" {
			setup(t, root, string(f.Data))
		}
	}
	return root
}

func (x *fixture) host(root string, options []host.Option, more ...host.Option) *host.Host {
	return host.New(root, slices.Concat([]host.Option{host.WithBlobs(x.blobs)}, options, more)...)
}

func runFile(t *testing.T, typ *modules.Type, file string, options []host.Option) {
	x := read(t, typ, file)
	root := x.device(t)
	h := x.host(root, options)
	before := tree(t, root)
	plan, failed := once(h, typ, x.wants)
	got := map[string]string{"plan": plan, "error": failed}
	after := tree(t, root)
	got["undo"] = x.reasons(t, typ, options)
	got["after"] = strings.ReplaceAll(differences(before, after), root, "")
	if failed == "" {
		again, failed := once(h, typ, x.wants)
		if strings.Trim(again, "same\n") != "" || failed != "" {
			t.Errorf("not converged; a second apply would do:\n%s%s", again, failed)
		}
		if d := differences(after, tree(t, root)); d != "" {
			t.Errorf("a second apply changed:\n%s", d)
		}
	}
	if *update {
		x.archive.Files = x.inputs
		for _, name := range []string{"plan", "error", "undo", "after"} {
			if got[name] != "" {
				x.archive.Files = append(x.archive.Files, txtar.File{Name: name, Data: []byte(got[name])})
			}
		}
		must(t, os.WriteFile(file, txtar.Format(x.archive), 0o644))
		return
	}
	for _, name := range []string{"plan", "error", "undo", "after"} {
		if d := cmp.Diff(x.golden[name], got[name]); d != "" {
			t.Errorf("%s: %s differs (-want +got):\n%s", file, name, d)
		}
	}
	if failed == "" && !t.Failed() {
		x.interrupt(t, typ, options, state(t, root))
		if got["undo"] == "" {
			x.undo(t, typ, options)
		}
	}
}

// interrupt crashes the apply before each single change in turn. A run after that must end in the same state as an
// undisturbed one, with nothing left over.
func (x *fixture) interrupt(t *testing.T, typ *modules.Type, options []host.Option, after map[string]string) {
	for n := 1; ; n++ {
		root, left := x.device(t), n
		h := x.host(root, options, host.WithSteps(func(change string) {
			if left--; left == 0 {
				panic(crash(strings.ReplaceAll(change, root, "")))
			}
		}))
		at := crashed(func() { once(h, typ, x.wants) })
		if at == "" {
			return
		}
		h = x.host(root, options)
		_, failed := once(h, typ, x.wants)
		again, failedAgain := once(h, typ, x.wants)
		if strings.Trim(again, "same\n") != "" || failed+failedAgain != "" {
			t.Errorf("interrupted before %q, a further run does not converge:\n%s%s%s", at, failed, again, failedAgain)
		}
		ends := state(t, root)
		for name := range ends { // an empty folder that the undisturbed one tidied away is forgiven
			if entries, err := h.ReadDir(name); err == nil && len(entries) == 0 && after[name] == "" && !strings.HasPrefix(filepath.Base(name), host.TempPrefix) {
				delete(ends, name)
			}
		}
		if d := cmp.Diff(after, ends); d != "" {
			t.Errorf("interrupted before %q, a further run ends otherwise (-undisturbed +interrupted):\n%s", at, d)
		}
	}
}

// state is tree with owners.
func state(t *testing.T, root string) map[string]string {
	all := tree(t, root)
	h := host.New(root)
	for name, text := range all {
		i, err := h.Lstat(name)
		must(t, err)
		all[name] = strings.ReplaceAll(fmt.Sprintf("%d:%d %s", i.UID, i.GID, text), root, "")
	}
	return all
}

// crash is what a simulated one panics with: the change that it prevented.
type crash string

func crashed(f func()) (at crash) {
	defer func() {
		if r := recover(); r != nil {
			c, ok := r.(crash)
			if !ok {
				panic(r)
			}
			at = c
		}
	}()
	f()
	return ""
}

// once observes and applies as the executor does, and tells what it did and what failed.
// Changes are told of before they are made.
func once(h *host.Host, typ *modules.Type, wants []any, changing ...func(want, have any)) (plan, failed string) {
	ctx := context.Background()
	var p, e strings.Builder
	var todo, haves []any
	for i, o := range typ.Observe(ctx, h, wants) {
		if o.Err != nil {
			fmt.Fprintf(&e, "observe: %s\n", strings.ReplaceAll(o.Err.Error(), h.Root(), ""))
			continue
		}
		op, changes := typ.Diff(wants[i], o.Have, h.Living())
		fmt.Fprintln(&p, op)
		for _, c := range typ.RedactChanges(changes, nil) {
			b, _ := json.Marshal(c.Before)
			a, _ := json.Marshal(c.After)
			fmt.Fprintf(&p, "  %s: %s -> %s\n", c.Property, b, a)
		}
		if op != modules.Same {
			todo, haves = append(todo, wants[i]), append(haves, o.Have)
		}
	}
	if len(todo) == 0 {
		return p.String(), e.String()
	}
	groups := [][]any{todo}
	if !typ.Batch() { // each is observed again at its turn
		groups = nil
		for _, w := range todo {
			groups = append(groups, []any{w})
		}
	}
	for _, g := range groups {
		if !typ.Batch() {
			o := typ.Observe(ctx, h, g)[0]
			if o.Err != nil {
				fmt.Fprintf(&e, "observe: %s\n", strings.ReplaceAll(o.Err.Error(), h.Root(), ""))
				continue
			}
			haves = []any{o.Have}
		}
		for i := range g {
			for _, f := range changing {
				f(g[i], haves[i])
			}
		}
		for _, r := range typ.Apply(ctx, h, g, haves) {
			if r.Err != nil {
				fmt.Fprintf(&e, "apply: %s\n", strings.ReplaceAll(r.Err.Error(), h.Root(), ""))
			}
		}
		h.Forget()
	}
	return p.String(), e.String()
}

func setup(t *testing.T, root, script string) {
	for line := range strings.Lines(script) {
		f := words(t, line)
		if len(f) == 0 {
			continue
		}
		if len(f) != 3 {
			t.Fatalf("setup: %q", line)
		}
		p := filepath.Join(root, f[2])
		mode, err := strconv.ParseUint(f[1], 8, 32)
		if f[0] != "link" && f[0] != "write" {
			must(t, err)
		}
		switch f[0] {
		case "mkdir":
			must(t, os.MkdirAll(p, 0o755))
			fallthrough
		case "chmod":
			m := fs.FileMode(mode & 0o777)
			if mode&0o4000 != 0 {
				m |= fs.ModeSetuid
			}
			if mode&0o2000 != 0 {
				m |= fs.ModeSetgid
			}
			if mode&0o1000 != 0 {
				m |= fs.ModeSticky
			}
			must(t, os.Chmod(p, m))
		case "write":
			must(t, os.MkdirAll(filepath.Dir(p), 0o755))
			must(t, os.WriteFile(p, []byte(f[1]), 0o644))
		case "link":
			must(t, os.MkdirAll(filepath.Dir(p), 0o755))
			must(t, os.Symlink(f[1], p))
		default:
			t.Fatalf("setup: %q", line)
		}
	}
}

// words splits a line at spaces; a word may be quoted.
func words(t *testing.T, line string) (words []string) {
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimSpace(line) {
		if quoted, err := strconv.QuotedPrefix(line); err == nil {
			word, err := strconv.Unquote(quoted)
			must(t, err)
			words, line = append(words, word), line[len(quoted):]
			continue
		}
		word, rest, _ := strings.Cut(line, " ")
		words, line = append(words, word), rest
	}
	return words
}

// tree maps each path below root to what it is.
func tree(t *testing.T, root string) map[string]string {
	out := map[string]string{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		text := fi.Mode().String()
		switch {
		case fi.Mode()&fs.ModeSymlink != 0:
			target, _ := os.Readlink(p)
			text = "link -> " + target
		case fi.Mode().IsRegular():
			b, err := os.ReadFile(p)
			if errors.Is(err, fs.ErrPermission) {
				b = []byte("(unreadable)\n")
			} else if err != nil {
				return err
			}
			text += "\n" + indent(string(b))
		}
		out[strings.TrimPrefix(p, root)] = text
		return nil
	})
	must(t, err)
	return out
}

func indent(s string) string {
	if s == "" {
		return ""
	}
	end := ""
	if !strings.HasSuffix(s, "\n") {
		end = "\n  (no newline at the end)"
	}
	return "  | " + strings.ReplaceAll(strings.ReplaceAll(strings.TrimSuffix(s, "\n"), "\r", "\\r"), "\n", "\n  | ") + end
}

func differences(before, after map[string]string) string {
	var lines []string
	for p, a := range after {
		if before[p] != a {
			lines = append(lines, p+" "+a)
		}
	}
	for p := range before {
		if _, ok := after[p]; !ok {
			lines = append(lines, p+" gone")
		}
	}
	sort.Strings(lines)
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
