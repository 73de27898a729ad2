//go:build unix

package host

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A process that is killed while it writes leaves the old content or the new one, at any instant.
func TestKilledWhileWriting(t *testing.T) {
	const size = 1 << 20
	if p := os.Getenv("HOST_TEST_WRITE"); p != "" {
		for i := 0; ; i++ {
			if err := New("/").WriteFile(p, strings.Repeat(string(rune('a'+i%26)), size), Attr{}); err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
		}
	}
	p := filepath.Join(t.TempDir(), "f")
	check(t, os.WriteFile(p, []byte(strings.Repeat("-", size)), 0o600))
	before, _ := os.Stat(p)
	left := 0
	for range 15 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledWhileWriting$")
		cmd.Env = append(os.Environ(), "HOST_TEST_WRITE="+p)
		check(t, cmd.Start())
		for deadline := time.Now().Add(20 * time.Second); ; { // until it writes
			if now, err := os.Stat(p); err == nil && !os.SameFile(before, now) {
				before = now
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("nothing was written")
			}
		}
		spin := time.Now().Add(time.Duration(rand.IntN(5000)) * time.Microsecond)
		for time.Now().Before(spin) {
		}
		check(t, cmd.Process.Kill())
		cmd.Wait()
		b, err := os.ReadFile(p)
		check(t, err)
		if len(b) != size || strings.Trim(string(b), string(b[:1])) != "" {
			t.Fatalf("%d bytes that begin with %q and end with %q", len(b), b[:1], b[len(b)-1:])
		}
		if fi, _ := os.Stat(p); fi.Mode() != 0o600 {
			t.Fatalf("mode %v", fi.Mode())
		}
		if names, _ := os.ReadDir(filepath.Dir(p)); len(names) > 1 {
			left++
		}
	}
	t.Logf("%d of 15 left something beside it", left)
	check(t, New("/").WriteFile(p, "end", Attr{}))
	if names, _ := os.ReadDir(filepath.Dir(p)); len(names) != 1 {
		t.Errorf("%v are left", names)
	}
}

func TestPipeIsNotOpened(t *testing.T) {
	p := filepath.Join(t.TempDir(), "pipe")
	check(t, syscall.Mkfifo(p, 0o600))
	h := New("/")
	for _, err := range []error{second(h.Open(p)), second(h.ReadFile(p)), h.WriteFile(p, "x", Attr{})} { // none waits
		if !errors.Is(err, errSpecial) {
			t.Errorf("got %v", err)
		}
	}
}

func TestModesAndOwners(t *testing.T) {
	h := rooted(t, "etc/f=x", "srv/")
	mode := func(name string, want uint32) {
		t.Helper()
		if i, err := h.Lstat(name); err != nil || i.Mode != want {
			t.Errorf("%s: mode %o, want %o (%v)", name, i.Mode, want, err)
		}
	}
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	check(t, h.WriteFile("/etc/new", "x", Attr{}))
	mode("/etc/new", 0o644)
	check(t, h.Mkdir("/srv/new", Attr{}))
	mode("/srv/new", 0o755)
	check(t, h.WriteFile("/etc/f", "y", Attr{Mode: new(uint32(0o4711))}))
	mode("/etc/f", 0o4711)
	check(t, h.WriteFile("/etc/f", "z", Attr{}))
	mode("/etc/f", 0o4711)
	check(t, h.Chmod("/srv", 0o2775))
	check(t, h.Mkdir("/srv/inherits", Attr{}))
	mode("/srv/inherits", 0o2755)
	check(t, h.Mkdir("/srv/own", Attr{Mode: new(uint32(0o1777))}))
	mode("/srv/own", 0o1777)
	if os.Getuid() != 0 {
		t.Skip("owners need root")
	}
	check(t, h.Chown("/etc/f", new(1234), new(5678)))
	mode("/etc/f", 0o4711) // setuid survives a new owner
	check(t, h.WriteFile("/etc/f", "again", Attr{}))
	mode("/etc/f", 0o4711)
	if i, _ := h.Lstat("/etc/f"); i.UID != 1234 || i.GID != 5678 {
		t.Errorf("owner %d:%d was not kept", i.UID, i.GID)
	}
	check(t, h.WriteFile("/etc/f", "again", Attr{UID: new(4321)}))
	if i, _ := h.Lstat("/etc/f"); i.UID != 4321 || i.GID != 5678 {
		t.Errorf("owner is %d:%d", i.UID, i.GID)
	}
	mode("/etc/f", 0o4711)
	check(t, h.Symlink("f", "/etc/l"))
	check(t, h.Chown("/etc/l", new(7), nil))
	if i, _ := h.Lstat("/etc/l"); i.UID != 7 {
		t.Error("the link's own owner did not change")
	}
	if i, _ := h.Lstat("/etc/f"); i.UID != 4321 {
		t.Error("the link was followed")
	}
}

// A link of a user's own making must not turn a change of his file into one of somebody else's.
func TestFollowDistrustsUsersLinks(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to be another user")
	}
	h := rooted(t, "home/a/shadow -> /etc/shadow", "home/a/rc -> dotfiles/rc", "home/a/dotfiles/rc=x", "home/a/chain -> /srv/admin",
		"srv/admin -> /home/a/shadow", "home/a/gone -> /etc/gone", "etc/shadow=y", "etc/motd -> /home/a/dotfiles/rc")
	for _, name := range []string{"shadow", "rc", "dotfiles/rc", "chain", "gone"} {
		check(t, h.Chown("/home/a/"+name, new(1000), new(1000)))
	}
	for name, trusted := range map[string]bool{
		"/home/a/shadow": false, // to root's file
		"/home/a/chain":  false, // by way of root's link
		"/srv/admin":     false, // root's link to the user's link
		"/home/a/gone":   false, // to nothing yet
		"/home/a/rc":     true,  // to the user's own
		"/etc/motd":      true,  // root's link
	} {
		if real, err := h.Follow(name); (err == nil) != trusted {
			t.Errorf("%s: %q, %v", name, real, err)
		}
	}
}

func TestNoRights(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to become somebody else")
	}
	if p := os.Getenv("HOST_TEST_DENIED"); p != "" {
		check(t, syscall.Setgid(65534))
		check(t, syscall.Setuid(65534))
		h := New(p)
		for what, err := range map[string]error{
			"write": h.WriteFile("/etc/f", "x", Attr{}), "read": second(h.ReadFile("/etc/f")), "chmod": h.Chmod("/etc/f", 0o777),
			"chown": h.Chown("/etc/f", new(65534), nil), "remove": h.Remove("/etc/f"), "mkdir": h.Mkdir("/etc/d", Attr{}),
			"link": h.Symlink("x", "/etc/l"), "list": second(h.Tree("/etc/closed")),
		} {
			if !errors.Is(err, fs.ErrPermission) || strings.Contains(err.Error(), p) || strings.Contains(err.Error(), TempPrefix) {
				t.Errorf("%s: %v", what, err)
			}
		}
		check(t, h.WriteFile("/tmp/mine", "x", Attr{Mode: new(uint32(0o4755))})) // what needs no rights works
		return
	}
	h := rooted(t, "etc/f=x", "etc/closed/", "tmp/")
	check(t, h.Chmod("/etc/f", 0o600))
	check(t, h.Chmod("/etc/closed", 0o700))
	check(t, h.Chmod("/tmp", 0o1777))
	for p := h.Root(); p != os.TempDir(); p = filepath.Dir(p) {
		check(t, os.Chmod(p, 0o755))
	}
	bin := filepath.Join(h.Root(), "test") // the go command's own folder is closed
	b, err := os.ReadFile(os.Args[0])
	check(t, err)
	check(t, os.WriteFile(bin, b, 0o755))
	cmd := exec.Command(bin, "-test.run=^TestNoRights$")
	cmd.Env = append(os.Environ(), "HOST_TEST_DENIED="+h.Root())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// movable is a content in a file.
type movable struct {
	*os.File
	moved bool
}

func (m *movable) MoveTo(path string) bool {
	m.moved = os.Rename(m.Name(), path) == nil
	return m.moved
}

// TestMovedContent is as a written one: it has the group that its folder gives, and what attr says.
func TestMovedContent(t *testing.T) {
	h := rooted(t)
	dir := filepath.Join(h.Root(), "shared")
	check(t, os.Mkdir(dir, 0o755))
	if os.Geteuid() == 0 {
		check(t, os.Chown(dir, -1, 1234))
		check(t, os.Chmod(dir, os.ModeSetgid|0o755))
	}
	mode := uint32(0o640)
	check(t, h.WriteFile("/shared/written", "text", Attr{Mode: &mode}))
	want, err := os.Stat(filepath.Join(dir, "written"))
	check(t, err)

	path := filepath.Join(h.Root(), "content")
	check(t, os.WriteFile(path, []byte("text"), 0o600))
	f, err := os.Open(path)
	check(t, err)
	defer f.Close()
	content := &movable{File: f}
	check(t, h.Write("/shared/moved", content, Attr{Mode: &mode}))
	got, err := os.Stat(filepath.Join(dir, "moved"))
	check(t, err)
	if runtime.GOOS == "linux" && !content.moved {
		t.Error("it was copied")
	}
	uid, gid := owner(got)
	if u, g := owner(want); uid != u || gid != g || got.Mode() != want.Mode() {
		t.Errorf("moved: %v %d:%d, written: %v %d:%d", got.Mode(), uid, gid, want.Mode(), u, g)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "moved")); string(b) != "text" {
		t.Errorf("%q %v", b, err)
	}
}
