//go:build unix

package host

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestFolderFollowsNoLink(t *testing.T) {
	h := New(t.TempDir())
	home := filepath.Join(h.Root(), "home")
	for _, d := range []string{"home/.ssh", "secret"} {
		if err := os.MkdirAll(filepath.Join(h.Root(), d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(h.Root(), "secret/key"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"dir": "/secret", "up": "../secret", "inside": ".ssh", "file": "../secret/key"} {
		if err := os.Symlink(target, filepath.Join(home, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(home, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := h.OpenFolder("/home")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, name := range []string{"dir", "up", "inside"} {
		if sub, err := f.Folder(name); err == nil {
			sub.Close()
			t.Errorf("%s: a link was entered", name)
		}
	}
	for _, name := range []string{"file", "dir/key", "up/key", "pipe", ".ssh"} {
		if b, err := f.ReadFile(name); err == nil {
			t.Errorf("%s: read %q", name, b)
		}
	}
	for _, name := range []string{"up/key", "../secret/key", "dir/key"} {
		if err := f.Write(name, "bad", Attr{}); err == nil {
			t.Errorf("%s: was written", name)
		}
	}
	if err := f.Mkdir("up/new", Attr{}); err == nil {
		t.Error("up/new: was made")
	}
	if err := f.Write("file", "mine", Attr{}); err != nil { // the link itself is replaced
		t.Error(err)
	}
	if b, _ := h.ReadFile("/secret/key"); string(b) != "secret" {
		t.Errorf("the file outside holds %q", b)
	}
	if i, err := f.Lstat("file"); err != nil || i.Kind != KindFile || i.Mode != 0o600 {
		t.Errorf("%+v, %v", i, err)
	}
	if _, err := f.ReadFile("nothing"); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "/home/nothing") {
		t.Errorf("got %v", err)
	}
	names, _ := h.ReadDir("/home")
	for _, n := range names {
		if strings.HasPrefix(n, TempPrefix) {
			t.Errorf("%s lies about", n)
		}
	}
}
