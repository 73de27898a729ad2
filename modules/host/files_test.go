package host

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// rooted is a host on a folder with entries: "dir/" is one, "a -> b" a link, "a=b" a file.
func rooted(t *testing.T, entries ...string) *Host {
	t.Helper()
	root := t.TempDir()
	for _, e := range entries {
		link, target, isLink := strings.Cut(e, " -> ")
		file, text, isFile := strings.Cut(e, "=")
		p := filepath.Join(root, e)
		switch {
		case isLink:
			p = filepath.Join(root, link)
		case isFile:
			p = filepath.Join(root, file)
		}
		check(t, os.MkdirAll(filepath.Dir(p), 0o755))
		switch {
		case isLink:
			check(t, os.Symlink(target, p))
		case isFile:
			check(t, os.WriteFile(p, []byte(text), 0o644))
		default:
			check(t, os.MkdirAll(p, 0o755))
		}
	}
	return New(root)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// No path, whatever links are on it, leads out of the root.
func TestLinksStayInRoot(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	check(t, os.MkdirAll(outside, 0o755))
	up := strings.Repeat("../", 20)
	h := rooted(t, "etc/", "abs -> "+outside, "rel -> "+up+outside, "etc/file -> "+filepath.Join(outside, "f"), "chain -> rel/../abs", "tmp/")
	for _, name := range []string{"/abs/x", "/rel/x", "/chain/x", "/etc/../abs/x", "/../../../x"} {
		err := h.WriteFile(name, "x", Attr{})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := h.Real(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, act := range []func(string) error{h.Remove, h.RemoveAll,
			func(n string) error { return h.Mkdir(n, Attr{}) },
			func(n string) error { return h.Symlink("x", n) }} {
			if err := act(name); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	real, err := h.Follow("/etc/file")
	check(t, err)
	if want := filepath.Join(outside, "f"); real != want { // the same name, but below the root
		t.Errorf("Follow: got %s, want %s", real, want)
	}
	if names, _ := os.ReadDir(outside); len(names) > 0 {
		t.Errorf("%s was written outside of the root", names[0])
	}
	for _, name := range []string{"", "etc", "../x", "/a\x00b"} {
		if _, err := h.Lstat(name); err == nil {
			t.Errorf("%q was accepted", name)
		}
	}
}

func TestRealOfDanglingLink(t *testing.T) {
	for _, living := range []bool{false, true} {
		h, prefix := rooted(t, "a/b -> ../c/d", "c/"), ""
		if living {
			prefix, h = h.Root(), New("/")
		}
		real, err := h.Real(prefix + "/a/b")
		check(t, err)
		if real != prefix+"/c/d" {
			t.Errorf("living %v: got %s", living, real)
		}
	}
}

func TestLoopOfLinks(t *testing.T) {
	for _, living := range []bool{false, true} {
		h, prefix := rooted(t, "a -> b", "b -> a"), ""
		if living {
			prefix, h = h.Root(), New("/")
		}
		for what, err := range map[string]error{
			"Stat":   second(h.Stat(prefix + "/a")),
			"Real":   second(h.Real(prefix + "/a")),
			"Follow": second(h.Follow(prefix + "/a")),
			"Open":   second(h.Open(prefix + "/a")),
		} {
			if err == nil || !strings.Contains(err.Error(), prefix+"/a: too many") || !living && strings.Contains(err.Error(), h.Root()) {
				t.Errorf("living %v: %s: %v", living, what, err)
			}
		}
	}
}

func second[A any](_ A, err error) error { return err }

// A write that fails half way leaves the old file and nothing beside it.
func TestFailedWriteLeavesOldFile(t *testing.T) {
	h := rooted(t, "etc/f=old")
	broken := io.MultiReader(strings.NewReader(strings.Repeat("new", 100000)), failing{})
	if err := h.Write("/etc/f", broken, Attr{}); err == nil || err.Error() != "write /etc/f: broken" {
		t.Errorf("got %v", err)
	}
	names, _ := h.ReadDir("/etc")
	b, _ := h.ReadFile("/etc/f")
	if d := cmp.Diff([]string{"f"}, names); d != "" || string(b) != "old" {
		t.Errorf("%s%q", d, b)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("broken") }

// What a crash left of a write goes with the next one, long names included.
func TestCrashLeftovers(t *testing.T) {
	long := strings.Repeat("n", 255)
	h := rooted(t, "etc/"+long+"=old")
	left := tempName(filepath.Join(h.Root(), "etc", long))
	check(t, os.WriteFile(left, []byte("half"), 0o600))
	check(t, h.WriteFile("/etc/"+long, "new", Attr{}))
	check(t, os.Symlink("/nowhere", left))
	check(t, h.Symlink("target", "/etc/other"))
	check(t, h.WriteFile("/etc/"+long, "newer", Attr{}))
	names, _ := h.ReadDir("/etc")
	if d := cmp.Diff([]string{long, "other"}, names); d != "" {
		t.Error(d)
	}
	if b, _ := h.ReadFile("/etc/" + long); string(b) != "newer" {
		t.Errorf("the file holds %q", b)
	}
}

func TestWriteRefusesWhatIsNoFile(t *testing.T) {
	h := rooted(t, "etc/")
	if err := h.WriteFile("/etc", "x", Attr{}); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("a directory: %v", err)
	}
	for _, err := range []error{New("/").WriteFile(os.DevNull, "x", Attr{}), second(New("/").Open(os.DevNull)), second(New("/").HashFile(os.DevNull))} {
		if !errors.Is(err, errSpecial) {
			t.Errorf("a device: %v", err)
		}
	}
}

func TestRemoveAllRefusesRoot(t *testing.T) {
	h := rooted(t, "a=x", "self -> .")
	for _, name := range []string{"/", "/..", "/.", "/self/.."} {
		if err := h.RemoveAll(name); err == nil {
			t.Errorf("%s was removed", name)
		}
	}
	if !h.Exists("/a") {
		t.Error("the content is gone")
	}
}

func TestTreeStaysInside(t *testing.T) {
	h := rooted(t, "d/sub/f=x", "d/link -> ../keep", "d/sub/up -> ../../keep/g", "keep/g=y")
	tree, err := h.Tree("/d")
	check(t, err)
	defer tree.Close()
	var seen []string
	check(t, tree.Walk(func(name string, i Info) error {
		seen = append(seen, name+" "+i.Kind)
		return nil
	}))
	if d := cmp.Diff([]string{"link link", "sub directory", "sub/f file", "sub/up link"}, seen); d != "" {
		t.Error(d)
	}
	for _, name := range []string{"link/g", "sub/up", "../keep/g"} { // as if a folder had been replaced by a link meanwhile
		if err := tree.Chmod(name, 0o777); err == nil {
			t.Errorf("%s was changed", name)
		}
	}
}
