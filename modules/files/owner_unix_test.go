//go:build unix

package files_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/files"
	"github.com/fitout-dev/fitout/modules/host"
)

func root(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to change owners")
	}
}

const passwd = "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n"

func TestRecursiveOwner(t *testing.T) {
	root(t)
	h := device(t, nil, map[string]string{"/etc/passwd": passwd, "/etc/group": "root:x:0:\nsales:x:1001:\n",
		"/srv/sales/sub/f": "x", "/srv/sales/tool": "x", "/keep/f": "x"})
	for _, err := range []error{h.Symlink("/keep", "/srv/sales/link"), h.Chmod("/srv/sales/tool", 0o4755)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	want := files.Directory{Path: "/srv/sales", Owner: new("alice"), Group: new("1001"), Recursive: true}
	converge(t, h, "directories", want)
	owners := func() string {
		var got []string
		for _, name := range []string{"/srv", "/srv/sales", "/srv/sales/sub", "/srv/sales/sub/f", "/srv/sales/tool", "/srv/sales/link", "/keep", "/keep/f"} {
			i, _ := h.Lstat(name)
			got = append(got, fmt.Sprintf("%s %d:%d", name, i.UID, i.GID))
		}
		return strings.Join(got, "\n")
	}
	const after = `/srv 0:0
/srv/sales 1000:1001
/srv/sales/sub 1000:1001
/srv/sales/sub/f 1000:1001
/srv/sales/tool 1000:1001
/srv/sales/link 1000:1001
/keep 0:0
/keep/f 0:0`
	if got := owners(); got != after {
		t.Errorf("got\n%s\nwant\n%s", got, after)
	}
	if i, _ := h.Lstat("/srv/sales/tool"); i.Mode != 0o4755 {
		t.Errorf("tool lost its setuid: %o", i.Mode)
	}
	// One entry below is enough to differ, and shows as what it is.
	if err := h.Chown("/srv/sales/sub/f", new(0), nil); err != nil {
		t.Fatal(err)
	}
	have := converge(t, h, "directories", want)
	if *have.Owner != "root" || *have.Group != "1001" || !strings.HasPrefix(*have.Below, "1 differ, the first is /srv/sales/sub/f (root:1001") {
		t.Errorf("observed %s:%s, %s", *have.Owner, *have.Group, *have.Below)
	}
	if got := owners(); got != after {
		t.Errorf("got\n%s\nwant\n%s", got, after)
	}
}

// Undo of a recursive change gives back what was the same everywhere.
func TestUndoRecursiveOwner(t *testing.T) {
	root(t)
	h := device(t, nil, map[string]string{"/etc/passwd": passwd, "/srv/sales/sub/f": "x"})
	want := files.Directory{Path: "/srv/sales", Owner: new("alice"), Recursive: true}
	undo(t, h, "directories", want, converge(t, h, "directories", want))
	if i, _ := h.Lstat("/srv/sales/sub/f"); i.UID != 0 {
		t.Errorf("f belongs to %d", i.UID)
	}
}

// A link that a user put in his folder leads nothing astray.
func TestUsersLinkIsRefused(t *testing.T) {
	root(t)
	c := contents{}
	h := device(t, c, map[string]string{"/etc/shadow": "x\n", "/home/alice/f": "x"})
	for name, target := range map[string]string{"/home/alice/rc": "/etc/shadow", "/home/alice/d": "/etc"} {
		if err := h.Symlink(target, name); err != nil {
			t.Fatal(err)
		}
		if err := h.Chown(name, new(1000), nil); err != nil {
			t.Fatal(err)
		}
	}
	ctx := context.Background()
	_, line := files.Lines{}.Apply(ctx, h, files.Line{Path: "/home/alice/rc", Line: new("alias x=y")}, files.Line{})
	_, mode := files.Files{}.Apply(ctx, h, files.File{Path: "/home/alice/rc", Mode: new("0666")}, files.File{})
	_, dir := files.Directories{}.Apply(ctx, h, files.Directory{Path: "/home/alice/d", Owner: new("1000")}, files.Directory{})
	for what, err := range map[string]error{"lines": line, "files": mode, "directories": dir} {
		if err == nil || !strings.Contains(err.Error(), "refusing to follow") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if i, _ := h.Lstat("/etc/shadow"); read(t, h, "/etc/shadow") != "x\n" || i.Mode != 0o644 {
		t.Error("shadow was changed")
	}
	converge(t, h, "files", files.File{Path: "/home/alice/rc", Content: c.add("mine")}) // the link itself is replaced
	if read(t, h, "/etc/shadow") != "x\n" {
		t.Error("shadow was changed")
	}
}

// Owner and mode are set in one step with the content, and a link may have an owner of its own.
func TestOwners(t *testing.T) {
	root(t)
	c := contents{}
	h := device(t, c, map[string]string{"/etc/passwd": passwd})
	converge(t, h, "files", files.File{Path: "/etc/f", Content: c.add("x"), Owner: new("alice"), Group: new("1000"), Mode: new("4750")})
	converge(t, h, "links", files.Link{Path: "/etc/l", Target: new("f"), Owner: new("1000")})
	converge(t, h, "files", files.File{Path: "/etc/f", Content: c.add("y")})
	if i, _ := h.Lstat("/etc/f"); i.UID != 1000 || i.GID != 1000 || i.Mode != 0o4750 {
		t.Errorf("f: %+v", i)
	}
	if i, _ := h.Lstat("/etc/l"); i.UID != 1000 || i.Kind != host.KindLink {
		t.Errorf("l: %+v", i)
	}
}

// In the running system the same modules work, here below a folder.
func TestLivingRoot(t *testing.T) {
	c, dir := contents{}, t.TempDir()
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	h := host.New("/", host.WithBlobs(c))
	converge(t, h, "directories", files.Directory{Path: dir + "/a/b", Mode: new("0750")})
	converge(t, h, "files", files.File{Path: dir + "/a/b/f", Content: c.add("x\n"), Mode: new("0640")})
	converge(t, h, "links", files.Link{Path: dir + "/l", Target: new("a/b/f")})
	converge(t, h, "links", files.Link{Path: dir + "/dangling", Target: new("a/b/new")})
	converge(t, h, "lines", files.Line{Path: dir + "/l", Line: new("y")})
	converge(t, h, "lines", files.Line{Path: dir + "/dangling", Line: new("z")})
	if got := read(t, h, dir+"/a/b/f") + read(t, h, dir+"/a/b/new"); got != "x\ny\nz\n" {
		t.Errorf("got %q", got)
	}
	converge(t, h, "directories", files.Directory{Path: dir + "/a", State: modules.Absent, Recursive: true})
	if i, err := h.Lstat(dir + "/l"); err != nil || i.Kind != host.KindLink {
		t.Errorf("the link: %+v %v", i, err)
	}
}
