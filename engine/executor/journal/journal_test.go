package journal

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fitout-dev/fitout/engine/executor/disk"
	"github.com/fitout-dev/fitout/modules/hint"
)

var same = cmp.Comparer(bytes.Equal)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func record(k Kind, s string) Record { return Record{k, []byte(s)} }

// TestSpecification: the example in the package comment is what is written, and is read.
func TestSpecification(t *testing.T) {
	src, err := parser.ParseFile(token.NewFileSet(), "journal.go", nil, parser.ParseComments|parser.PackageClauseOnly)
	must(t, err)
	_, doc, ok := strings.Cut(src.Doc.Text(), "For example,")
	if !ok {
		t.Fatal("the package comment has no example")
	}
	var hexed string
	for l := range strings.Lines(doc) {
		if rest, ok := strings.CutPrefix(l, "\t"); ok {
			bytes, _, _ := strings.Cut(rest, "|")
			hexed += strings.Join(strings.Fields(bytes), "")
		} else if hexed != "" && strings.TrimSpace(l) != "" {
			break
		}
	}
	example, err := hex.DecodeString(hexed)

	path := filepath.Join(t.TempDir(), "journal")
	j, e := create(disk.OS, path, [4]byte{'f', 'o', 'x', '!'})
	must(t, e)
	must(t, j.Append(record(Event, "hi")))
	must(t, j.Sync())
	must(t, j.Append(record(End, "")))
	must(t, j.Close())
	got, e := os.ReadFile(path)
	must(t, e)
	if err != nil || !bytes.Equal(got, example) {
		t.Errorf("the example is not what is written (%v):\n%s", err, hex.Dump(got))
	}
}

func TestAppendAndOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j, err := Create(disk.OS, path)
	must(t, err)
	if _, err := Create(disk.OS, path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a journal was created over another one: %v", err)
	}
	want := []Record{record(Document, "{}"), record(Intent, "a"), record(Event, ""), {Blob, bytes.Repeat([]byte{0}, 3<<20)}, record(100, "of a later version")}
	must(t, j.Append(want[0]))
	must(t, j.Append(want[1:3]...))
	must(t, j.Sync())
	must(t, j.Append(want[3:]...))
	size := j.Size()
	must(t, j.Close())
	must(t, j.Close())
	if err := j.Append(want[0]); !errors.Is(err, os.ErrClosed) {
		t.Errorf("append after close: %v", err)
	}
	for range 2 {
		j, rs, err := Open(disk.OS, path)
		must(t, err)
		if diff := cmp.Diff(want, rs, same); diff != "" {
			t.Fatal(diff)
		}
		if j.Size() != size || j.Torn() != 0 {
			t.Errorf("size %d, want %d; torn %d", j.Size(), size, j.Torn())
		}
		want = append(want, record(Event, "more"))
		must(t, j.Append(want[len(want)-1]))
		size = j.Size()
		must(t, j.Close())
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" { // there the folder keeps others out
		t.Errorf("others may read the journal: %v, %v", fi.Mode(), err)
	}
}

func TestBounds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j, err := Create(disk.OS, path)
	must(t, err)
	j.limit = reserve + 1000
	for _, r := range []Record{{Event, make([]byte, MaxRecord+1)}, {0, nil}, {128, nil}} {
		if j.Append(r) == nil {
			t.Errorf("kind %d with %d bytes was taken", r.Kind, len(r.Data))
		}
	}
	big := Record{Event, make([]byte, 900)}
	must(t, j.Append(big))
	if err := j.Append(big); !errors.Is(err, ErrFull) || hint.Of(err) == "" {
		t.Errorf("a full journal: %v", err)
	}
	must(t, j.Append(record(End, "full"))) // the last words have room
	must(t, j.Close())
	_, rs, err := Open(disk.OS, path)
	must(t, err)
	if len(rs) != 2 {
		t.Errorf("%d records", len(rs))
	}
	// Larger than any journal, without that much being read.
	must(t, os.Truncate(path, 1<<40))
	damage := new(DamagedError)
	if _, _, err := Open(disk.OS, path); !errors.As(err, &damage) {
		t.Errorf("open a file of 1 TiB: %v", err)
	}
	if _, err := NewReader(disk.OS, path).Next(); !errors.As(err, &damage) {
		t.Errorf("follow a file of 1 TiB: %v", err)
	}
}

// failing lets so many bytes be written, and then so many truncations and syncs succeed.
type failing struct {
	disk.FS
	room, calls int
}

type failingFile struct {
	disk.File
	fs *failing
}

var errDisk = errors.New("no space left on device")

func (f *failing) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	file, err := f.FS.OpenFile(name, flag, perm)
	return &failingFile{file, f}, err
}

func (f *failingFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p[:min(len(p), f.fs.room)])
	f.fs.room -= n
	if err == nil && n < len(p) {
		err = errDisk
	}
	return n, err
}

func (f *failingFile) call() error {
	if f.fs.calls--; f.fs.calls < 0 {
		return errDisk
	}
	return nil
}

func (f *failingFile) Truncate(n int64) error { return errors.Join(f.call(), f.File.Truncate(n)) }
func (f *failingFile) Sync() error            { return errors.Join(f.call(), f.File.Sync()) }

// TestDiskFull: an append that fails at any byte leaves nothing, and others may follow.
func TestDiskFull(t *testing.T) {
	batch := []Record{record(Intent, "one"), record(Event, "two")}
	whole := 2*headSize + 6
	for room := range whole {
		path := filepath.Join(t.TempDir(), "journal")
		full := &failing{disk.OS, 1000, 1000}
		j, err := Create(full, path)
		must(t, err)
		must(t, j.Append(record(Document, "d")))
		r := NewReader(disk.OS, path)
		size := j.Size()
		full.room = room
		if err := j.Append(batch...); !errors.Is(err, errDisk) {
			t.Fatalf("room for %d bytes: %v", room, err)
		}
		if j.Size() != size {
			t.Errorf("size %d, want %d", j.Size(), size)
		}
		full.room = 1000
		must(t, j.Append(record(Event, "after")))
		must(t, j.Close())
		want := []Record{record(Document, "d"), record(Event, "after")}
		if got, err := r.Next(); err != nil || !cmp.Equal(want, got, same) {
			t.Fatalf("room for %d bytes: followed: %v %v", room, got, err)
		}
		_, got, err := Open(disk.OS, path)
		must(t, err)
		if diff := cmp.Diff(want, got, same); diff != "" {
			t.Fatalf("room for %d bytes: %s", room, diff)
		}
	}
}

// TestBroken: once it isn't known what is on the disk, nothing more is appended.
func TestBroken(t *testing.T) {
	for name, f := range map[string]func(*failing, *Journal) error{
		"sync": func(_ *failing, j *Journal) error { return j.Sync() },
		"roll back": func(full *failing, j *Journal) error {
			full.room = 3
			return j.Append(record(Event, "x"))
		},
		"roll back, sync": func(full *failing, j *Journal) error {
			full.room, full.calls = 3, 1
			return j.Append(record(Event, "x"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "journal")
			full := &failing{disk.OS, 1000, 1000}
			j, err := Create(full, path)
			must(t, err)
			must(t, j.Append(record(Event, "before")))
			full.calls = 0
			if err := f(full, j); !errors.Is(err, errDisk) {
				t.Fatalf("got %v", err)
			}
			full.room, full.calls = 1000, 1000
			if err := j.Append(record(Event, "y")); !errors.Is(err, errDisk) {
				t.Errorf("append: %v", err)
			}
			if err := j.Sync(); !errors.Is(err, errDisk) {
				t.Errorf("sync: %v", err)
			}
			must(t, j.Close())
			_, rs, err := Open(disk.OS, path)
			must(t, err)
			if diff := cmp.Diff([]Record{record(Event, "before")}, rs, same); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestConcurrentAppend(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j, err := Create(disk.OS, path)
	must(t, err)
	const writers, each = 8, 200
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if err := j.Append(record(Event, fmt.Sprint(w, " ", i)), record(Intent, fmt.Sprint(w, " ", i))); err != nil {
					t.Error(err)
				}
				if i%50 == 0 {
					if err := j.Sync(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	must(t, j.Close())
	_, rs, err := Open(disk.OS, path)
	must(t, err)
	next := map[string]int{}
	for i := 0; i < len(rs); i += 2 {
		w, n, _ := strings.Cut(string(rs[i].Data), " ")
		if rs[i].Kind != Event || rs[i+1].Kind != Intent || n != fmt.Sprint(next[w]) || string(rs[i+1].Data) != string(rs[i].Data) {
			t.Fatalf("record %d: %q, then %q", i, rs[i].Data, rs[i+1].Data)
		}
		next[w]++
	}
	if len(rs) != 2*writers*each {
		t.Errorf("%d records", len(rs))
	}
}

func BenchmarkAppend(b *testing.B) {
	j, err := Create(disk.OS, filepath.Join(b.TempDir(), "journal"))
	must(b, err)
	defer j.Close()
	r := Record{Event, bytes.Repeat([]byte("x"), 300)}
	b.SetBytes(300)
	for b.Loop() {
		if err := j.Append(r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	path := filepath.Join(b.TempDir(), "journal")
	j, err := Create(disk.OS, path)
	must(b, err)
	for range 10000 {
		must(b, j.Append(Record{Event, bytes.Repeat([]byte("x"), 300)}))
	}
	must(b, j.Close())
	for b.Loop() {
		j, rs, err := Open(disk.OS, path)
		if err != nil || len(rs) != 10000 {
			b.Fatal(len(rs), err)
		}
		j.Close()
	}
}

var _ io.Closer = (*Reader)(nil)
