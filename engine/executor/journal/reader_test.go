package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fitout-dev/fitout/engine/executor/disk"
)

// TestFollow: several readers get each record once and in order while it is written, and the writer dies and is resumed in between.
func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j, err := Create(disk.OS, path)
	must(t, err)
	const total = 3000
	nth := func(n int) Record {
		return Record{Event, fmt.Appendf(nil, "%d %s", n, make([]byte, n%7*n%2000))}
	}
	deadline := time.Now().Add(time.Minute)
	results := make(chan error)
	const readers = 3
	for range readers {
		go func() {
			r := NewReader(disk.OS, path)
			defer r.Close()
			for n := 0; n < total; {
				rs, err := r.Next()
				if err == nil && time.Now().After(deadline) {
					err = errors.New("it doesn't come to its end")
				}
				for _, got := range rs {
					if err == nil && !cmp.Equal(got, nth(n), same) {
						err = fmt.Errorf("record %d: %.100q", n, got.Data)
					}
					n++
				}
				if err != nil {
					results <- err
					return
				}
			}
			rs, err := r.Next()
			if err == nil && len(rs) > 0 {
				err = fmt.Errorf("%d records more", len(rs))
			}
			results <- err
		}()
	}
	for n := 0; n < total; {
		batch := []Record{}
		for range 1 + n%4 {
			if n < total {
				batch = append(batch, nth(n))
				n++
			}
		}
		must(t, j.Append(batch...))
		if n%100 < 2 {
			must(t, j.Sync())
		}
		if n%500 < 2 { // it dies in the middle of an append
			must(t, j.Close())
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
			must(t, err)
			torn := appendRecord(nil, j.marker, uint32(n+1), 0, Record{Event, make([]byte, 1000)}, true)
			torn = appendRecord(torn, j.marker, uint32(n+2), 0, Record{Event, make([]byte, 1000)}, false)
			_, err = f.Write(torn[:len(torn)*(n%1000)/1000])
			must(t, errors.Join(err, f.Close()))
			var rs []Record
			j, rs, err = Open(disk.OS, path)
			must(t, err)
			if len(rs) != n {
				t.Fatalf("%d records of %d", len(rs), n)
			}
		}
	}
	must(t, j.Close())
	for range readers {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

// TestFollowByByte: however little of it has come, a reader returns what is whole and waits for the rest.
func TestFollowByByte(t *testing.T) {
	s := small(t)
	fsys := place(t, nil)
	f, err := fsys.OpenFile("/journal", os.O_WRONLY, 0)
	must(t, err)
	r := NewReader(fsys, "/journal")
	var got []Record
	for i := range s.data {
		_, err := f.Write(s.data[i : i+1])
		must(t, err)
		for {
			rs, err := r.Next()
			must(t, err)
			if len(rs) == 0 {
				break
			}
			got = append(got, rs...)
		}
		if want := s.upTo(i + 1); len(got) != want {
			t.Fatalf("after %d bytes: %d records, want %d", i+1, len(got), want)
		}
	}
	if !equal(got, s.records) {
		t.Error(cmp.Diff(s.records, got, same))
	}
}

// TestFollowLarge: appends larger than what is read at once, and many at once.
func TestFollowLarge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j, err := Create(disk.OS, path)
	must(t, err)
	var want []Record
	for n := range 2000 {
		r := Record{Event, make([]byte, n)}
		must(t, j.Append(r))
		want = append(want, r)
	}
	big := []Record{{Blob, make([]byte, 5*window)}, {Blob, make([]byte, window+1)}}
	must(t, j.Append(big...))
	must(t, j.Append(want[0]))
	got, err := follow(disk.OS, path)
	must(t, err)
	if want = append(append(want, big...), want[0]); !equal(got, want) {
		t.Errorf("%d records, want %d", len(got), len(want))
	}
}

// TestFollowDamage: a byte that goes bad before the reader comes to it is told once it is known to be no tail, with the
// records before it returned first; as is a journal that shrinks.
func TestFollowDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	r := NewReader(disk.OS, path)
	if _, err := r.Next(); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("no file: %v", err)
	}
	j, err := Create(disk.OS, path)
	must(t, err)
	must(t, j.Append(record(Event, "good")))
	bad := j.Size()
	must(t, j.Append(record(Event, "bad")))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	_, err = f.WriteAt([]byte("B"), bad+headSize)
	must(t, err)
	if rs, err := r.Next(); err != nil || !equal(rs, []Record{record(Event, "good")}) {
		t.Fatalf("%q, %v", rs, err)
	}
	must(t, j.Append(record(Event, "not synced")))
	if rs, err := r.Next(); err != nil || len(rs) != 0 {
		t.Fatalf("%q, %v", rs, err)
	}
	must(t, j.Sync())
	must(t, j.Append(record(Event, "synced")))
	for range 2 {
		damage := new(DamagedError)
		if rs, err := r.Next(); !errors.As(err, &damage) || len(rs) != 0 || damage.Offset != bad || damage.Record != 2 {
			t.Fatalf("%q, %v", rs, err)
		}
	}
	_, err = f.WriteAt([]byte("b"), bad+headSize) // had it only not been written yet
	must(t, err)
	if rs, err := r.Next(); err != nil || len(rs) != 3 {
		t.Fatalf("%q, %v", rs, err)
	}
	must(t, f.Truncate(bad))
	damage := new(DamagedError)
	if _, err := r.Next(); !errors.As(err, &damage) || damage.Offset != bad {
		t.Fatalf("%v", err)
	}
}
