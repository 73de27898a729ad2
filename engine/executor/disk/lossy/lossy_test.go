package lossy

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fitout-dev/fitout/engine/executor/disk"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, fsys disk.FS, name, data string, sync bool) disk.File {
	t.Helper()
	f, err := fsys.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	must(t, err)
	_, err = f.Write([]byte(data))
	must(t, err)
	if sync {
		must(t, f.Sync())
	}
	return f
}

// states lists what a power cut may leave, as "name=content" joined.
func states(f *FS) []string {
	var out []string
	for s := range f.Crashes(10000, 1) {
		var files []string
		for l := range strings.Lines(s.String()) {
			if l = strings.TrimSpace(l); l != "/" {
				files = append(files, l)
			}
		}
		out = append(out, strings.Join(files, ", "))
	}
	slices.Sort(out)
	return out
}

// TestStates: what may be left of the smallest histories, listed by hand.
func TestStates(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(*testing.T, *FS)
		want []string
	}{
		"nothing": {func(t *testing.T, f *FS) {}, []string{``}},
		"a write": {func(t *testing.T, f *FS) {
			w := write(t, f, "/f", "", false)
			must(t, f.SyncDir("/"))
			_, err := w.Write([]byte("ab"))
			must(t, err)
		}, []string{`/f ""`, `/f "\x00\x00"`, `/f "\x00b"`, `/f "a"`, `/f "a\x00"`, `/f "ab"`}},
		"a hole": {func(t *testing.T, f *FS) {
			w := write(t, f, "/f", "", false)
			must(t, f.SyncDir("/"))
			for range 2 {
				_, err := w.Write([]byte("x"))
				must(t, err)
			}
		}, []string{`/f ""`, `/f "\x00"`, `/f "\x00\x00"`, `/f "\x00x"`, `/f "x"`, `/f "x\x00"`, `/f "xx"`}},
		"an overwrite": {func(t *testing.T, f *FS) {
			w := write(t, f, "/f", "ab", true)
			must(t, f.SyncDir("/"))
			_, err := w.Seek(0, io.SeekStart)
			must(t, err)
			_, err = w.Write([]byte("cd"))
			must(t, err)
		}, []string{`/f "ab"`, `/f "ad"`, `/f "cb"`, `/f "cd"`}},
		"a truncation": {func(t *testing.T, f *FS) {
			w := write(t, f, "/f", "ab", true)
			must(t, f.SyncDir("/"))
			must(t, w.Truncate(1))
		}, []string{`/f "a"`, `/f "ab"`}},
		"a synced file without its name": {func(t *testing.T, f *FS) {
			write(t, f, "/f", "ab", true)
		}, []string{``, `/f "ab"`}},
		"a synced name without its content": {func(t *testing.T, f *FS) {
			write(t, f, "/f", "a", false)
			must(t, f.SyncDir("/"))
		}, []string{`/f ""`, `/f "\x00"`, `/f "a"`}},
		"a rename": {func(t *testing.T, f *FS) {
			write(t, f, "/f", "1", true)
			write(t, f, "/g", "2", true)
			must(t, f.SyncDir("/"))
			must(t, f.Rename("/g", "/f"))
		}, []string{`/f "1", /g "2"`, `/f "2"`, `/f "2", /g "2"`}},
		"a removal": {func(t *testing.T, f *FS) {
			write(t, f, "/f", "1", true)
			must(t, f.SyncDir("/"))
			must(t, f.Remove("/f"))
		}, []string{``, `/f "1"`}},
		"a new folder": {func(t *testing.T, f *FS) {
			must(t, f.MkdirAll("/d", 0o700))
			write(t, f, "/d/f", "1", true)
			must(t, f.SyncDir("/d"))
		}, []string{``, `/d/, /d/f "1"`}},
		"renamed between folders": {func(t *testing.T, f *FS) {
			must(t, f.MkdirAll("/d", 0o700))
			write(t, f, "/f", "1", true)
			must(t, f.SyncDir("/"))
			must(t, f.Rename("/f", "/d/f"))
			must(t, f.SyncDir("/"))
		}, []string{`/d/, /d/f "1"`}},
	} {
		t.Run(name, func(t *testing.T) {
			f := New()
			c.do(t, f)
			if diff := cmp.Diff(c.want, states(f)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestSampled: of a long history a bounded number of states comes, the two ends among them, the same ones each time.
func TestSampled(t *testing.T) {
	f := New()
	w := write(t, f, "/f", "", true)
	must(t, f.SyncDir("/"))
	all := ""
	for i := range 100 {
		s := fmt.Sprintf("record %d\n", i)
		all += s
		_, err := w.Write([]byte(s))
		must(t, err)
	}
	collect := func(seed uint64) (out []string) {
		for s := range f.Crashes(50, seed) {
			b, err := disk.ReadFile(s, "/f")
			must(t, err)
			out = append(out, string(b))
		}
		return out
	}
	got := collect(1)
	if len(got) < 40 || len(got) > 52 || !slices.Contains(got, "") || !slices.Contains(got, all) {
		t.Errorf("%d states", len(got))
	}
	if !slices.Equal(got, collect(1)) || slices.Equal(got, collect(2)) {
		t.Error("the seed does not decide")
	}
}

// TestWhole: where there are too many ways to cut the writes, each is at least lost or kept in every combination.
func TestWhole(t *testing.T) {
	f := New()
	w := write(t, f, "/f", "", true)
	must(t, f.SyncDir("/"))
	const writes, length = 6, 100
	for range writes {
		_, err := w.Write([]byte(strings.Repeat("x", length)))
		must(t, err)
	}
	seen := map[string]bool{}
	for s := range f.Crashes(1<<writes, 1) {
		b, err := disk.ReadFile(s, "/f")
		must(t, err)
		pattern := ""
		for i := range writes {
			at := i * length
			switch piece := string(b[min(at, len(b)):min(at+length, len(b))]); piece {
			case strings.Repeat("x", length):
				pattern += "1"
			case "", strings.Repeat("\x00", length):
				pattern += "0"
			}
		}
		if len(pattern) == writes {
			seen[pattern] = true
		}
	}
	if len(seen) != 1<<writes {
		t.Errorf("%d combinations", len(seen))
	}
}

// TestReplace: disk.Replace keeps its promise at each instant, and without any one of its barriers it would not.
func TestReplace(t *testing.T) {
	try := func(t *testing.T, wrap func(disk.FS) disk.FS) (broken error) {
		f := New()
		must(t, disk.MakeDir(f, "/d", 0o700))
		must(t, disk.Replace(f, "/d/f", []byte("old"), 0o600))
		n := 0
		check := func(allowed ...string) {
			for s := range f.Crashes(5000, 1) {
				n++
				if b, err := disk.ReadFile(s, "/d/f"); err != nil || !slices.Contains(allowed, string(b)) {
					broken = fmt.Errorf("%q, %v is left\n%s", b, err, s)
				}
			}
		}
		must(t, disk.Replace(wrap(disk.WithSteps(f, func(string) { check("old", "new") })), "/d/f", []byte("new"), 0o600))
		check("new")
		if broken == nil && n < 20 {
			t.Errorf("only %d states were seen", n)
		}
		return broken
	}
	if err := try(t, func(f disk.FS) disk.FS { return f }); err != nil {
		t.Error(err)
	}
	for name, wrap := range map[string]func(disk.FS) disk.FS{
		"file":   func(f disk.FS) disk.FS { return careless{f, true, false} },
		"folder": func(f disk.FS) disk.FS { return careless{f, false, true} },
	} {
		if try(t, wrap) == nil {
			t.Errorf("a %s that isn't synced was not noticed", name)
		}
	}
}

// careless leaves syncs out.
type careless struct {
	disk.FS
	file, folder bool
}

func (c careless) SyncDir(name string) error {
	if c.folder {
		return nil
	}
	return c.FS.SyncDir(name)
}

func (c careless) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	f, err := c.FS.OpenFile(name, flag, perm)
	return carelessFile{f, c.file}, err
}

type carelessFile struct {
	disk.File
	careless bool
}

func (f carelessFile) Sync() error {
	if f.careless {
		return nil
	}
	return f.File.Sync()
}

// TestMakeDir: folders stay, also below one that another process made and didn't live to sync.
func TestMakeDir(t *testing.T) {
	f := New()
	must(t, f.MkdirAll("/a", 0o700))
	must(t, disk.MakeDir(f, "/a/b/c", 0o700))
	for s := range f.Crashes(100, 1) {
		if _, err := s.Stat("/a/b/c"); err != nil {
			t.Errorf("%v\n%s", err, s)
		}
	}
}

// TestLikeOS: the same calls have the same results on a real disk.
func TestLikeOS(t *testing.T) {
	dir := t.TempDir()
	mem := New()
	must(t, mem.MkdirAll(dir, 0o700))
	try := func(f disk.FS) (log []string) {
		say := func(what string, err error) {
			for _, e := range []error{fs.ErrNotExist, fs.ErrExist, fs.ErrClosed, io.EOF} {
				if errors.Is(err, e) {
					err = e
				}
			}
			log = append(log, fmt.Sprint(what, ": ", err))
		}
		p := func(name string) string { return filepath.Join(dir, name) }
		open := func(name string, flag int) disk.File {
			w, err := f.OpenFile(p(name), flag, 0o600)
			say("open "+name, err)
			return w
		}
		open("none", os.O_RDONLY)
		open("no/where", os.O_CREATE|os.O_RDWR)
		w := open("a", os.O_CREATE|os.O_EXCL|os.O_RDWR)
		open("a", os.O_CREATE|os.O_EXCL|os.O_RDWR)
		w.Write([]byte("hello"))
		say("truncate", w.Truncate(3))
		w.Write([]byte("!"))
		b := make([]byte, 4)
		n, err := w.ReadAt(b, 2)
		say(fmt.Sprintf("read %d %q", n, b), err)
		n, err = w.ReadAt(b, 4)
		say(fmt.Sprintf("read %d %q", n, b), err)
		at, err := w.Seek(-2, io.SeekEnd)
		say(fmt.Sprint("seek ", at), err)
		n, err = w.Read(b)
		say(fmt.Sprintf("read %d %q", n, b), err)
		n, err = w.Read(b)
		say(fmt.Sprint("read ", n), err)
		say("remove", f.Remove(p("a")))
		fi, err := w.Stat()
		say(fmt.Sprint("stat ", fi.Size(), fi.Name(), fi.Mode()), err)
		w.Close()
		say("close", w.Close())
		say("mkdir", f.MkdirAll(p("d/e"), 0o700))
		say("mkdir", f.MkdirAll(p("d/e"), 0o700))
		open("d/e/f", os.O_CREATE|os.O_WRONLY).Close()
		say("mkdir in a file", errors.Join(f.MkdirAll(p("d/e/f/g"), 0o700), fs.ErrExist))
		say("rename", f.Rename(p("d/e/f"), p("g")))
		say("rename", f.Rename(p("d/e/f"), p("g")))
		a := open("g", os.O_WRONLY|os.O_APPEND)
		a.Write([]byte("x"))
		a.Close()
		open("g", os.O_WRONLY|os.O_TRUNC).Close()
		fi, err = f.Stat(p("g"))
		say(fmt.Sprint("stat ", fi.Size()), err)
		es, err := f.ReadDir(dir)
		for _, e := range es {
			say(fmt.Sprint(e.Name(), e.IsDir()), err)
		}
		if f.Remove(p("d")) == nil {
			say("a full folder was removed", nil)
		}
		say("remove all", f.RemoveAll(p("d")))
		say("remove all", f.RemoveAll(p("d")))
		_, err = f.Stat(p("d/e"))
		say("stat", err)
		say("sync", f.SyncDir(dir))
		say("sync", f.SyncDir(p("d")))
		return log
	}
	if diff := cmp.Diff(try(disk.OS), try(mem)); diff != "" {
		t.Error(diff)
	}
}
