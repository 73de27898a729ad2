package journal

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fitout-dev/fitout/engine/executor/disk"
	"github.com/fitout-dev/fitout/engine/executor/disk/lossy"
	"github.com/fitout-dev/fitout/modules/hint"
)

// sample is a journal with what is known of it.
type sample struct {
	data    []byte
	records []Record
	starts  []int // of each record
	ends    []int // the end of the append that each record belongs to
	synced  []int // how many records each record says were synced before it
}

// small has each shape of record and append.
func small(t testing.TB) *sample {
	return makeSample(t, [][]Record{
		{record(Document, `{"run":1}`)},
		{record(Intent, "files//etc/motd")},
		nil, // Sync
		{record(Event, "a"), record(Event, ""), record(Event, "\x00\x00")},
		{record(Blob, "fox!fox!fox!")}, // the marker
		{record(Intent, "fo")},
		nil,
		{record(Reboot, "kernel")},
		{record(Event, "x"), record(End, "")},
	})
}

// real is like a run's: an intent, synced, and its events for each resource.
func real(t testing.TB, resources int) *sample {
	r := rand.New(rand.NewPCG(1, 1))
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	history := [][]Record{{record(Document, `{"profile":"sales-laptop","resources":[]}`), {Blob, noise(700)}}, nil}
	for i := range resources {
		address := fmt.Sprintf("files//srv/sales/%d", i)
		history = append(history,
			[]Record{record(Intent, fmt.Sprintf(`{"address":%q,"before":{"mode":"0644","content":{"hash":"%x","size":%d}}}`, address, noise(32), i))}, nil,
			[]Record{record(Event, fmt.Sprintf(`{"number":%d,"address":%q,"type":"started"}`, 2*i, address))},
			[]Record{record(Event, fmt.Sprintf(`{"number":%d,"address":%q,"type":"done","op":"update","changes":[{"property":"mode","before":"0644","after":"0600"}]}`, 2*i+1, address))})
	}
	return makeSample(t, append(history, []Record{record(End, "{}")}, nil))
}

func makeSample(t testing.TB, history [][]Record) *sample {
	fsys, s, synced := lossy.New(), &sample{}, 0
	j, err := create(fsys, "/journal", [4]byte{'f', 'o', 'x', '!'})
	must(t, err)
	for _, rs := range history {
		if rs == nil {
			must(t, j.Sync())
			synced = len(s.records)
			continue
		}
		at := int(j.Size())
		must(t, j.Append(rs...))
		for _, r := range rs {
			s.records = append(s.records, r)
			s.starts = append(s.starts, at)
			s.ends = append(s.ends, int(j.Size()))
			s.synced = append(s.synced, synced)
			at += headSize + len(r.Data)
		}
	}
	s.data, err = disk.ReadFile(fsys, "/journal")
	must(t, err)
	return s
}

// unlessShort has the race detector look at less.
func unlessShort(full, short int) int {
	if testing.Short() {
		return short
	}
	return full
}

// upTo is how many records belong to appends that end at or before a place.
func (s *sample) upTo(place int) (n int) {
	for n < len(s.ends) && s.ends[n] <= place {
		n++
	}
	return n
}

func place(t testing.TB, data []byte) *lossy.FS {
	fsys := lossy.New()
	f, err := fsys.OpenFile("/journal", os.O_CREATE|os.O_WRONLY, 0o600)
	must(t, err)
	_, err = f.Write(data)
	must(t, errors.Join(err, f.Close()))
	return fsys
}

func equal(a, b []Record) bool {
	return slices.EqualFunc(a, b, func(a, b Record) bool { return a.Kind == b.Kind && bytes.Equal(a.Data, b.Data) })
}

// recovered opens data and holds what must be so whatever was done to it: the records are a prefix of what was appended; else
// the error says the place and the file is as it was; and appending goes on. A Reader comes to the same.
func (s *sample) recovered(t *testing.T, data []byte) ([]Record, error) {
	t.Helper()
	fsys := place(t, data)
	followed, rerr := follow(fsys, "/journal")
	j, rs, err := Open(fsys, "/journal")
	if len(rs) > len(s.records) || !equal(rs, s.records[:len(rs)]) {
		t.Fatalf("%d records are no prefix of what was appended: %q", len(rs), rs)
	}
	if !equal(followed, rs) || (rerr != nil) != (err != nil) && !errors.Is(err, ErrNotBegun) {
		t.Fatalf("a reader got %d records and %v, Open %d and %v", len(followed), rerr, len(rs), err)
	}
	if err != nil {
		damage := new(DamagedError)
		switch left, _ := disk.ReadFile(fsys, "/journal"); {
		case !bytes.Equal(left, data):
			t.Fatalf("a refused journal was changed")
		case errors.Is(err, ErrNotBegun):
			if len(data) > headerSize {
				t.Fatalf("%v, but there are %d bytes", err, len(data))
			}
		case !errors.As(err, &damage) || hint.Of(err) == "" || damage.Offset < 0 || damage.Offset > int64(len(data)) || damage.Record > len(rs)+10:
			t.Fatalf("no place, or no hint: %v", err)
		}
		return rs, err
	}
	more := record(Event, "goes on")
	must(t, j.Append(more))
	must(t, j.Close())
	_, again, err := Open(fsys, "/journal")
	if err != nil || !equal(again, append(slices.Clone(rs), more)) {
		t.Fatalf("after recovery of %d records an append did not last: %d, %v", len(rs), len(again), err)
	}
	return rs, nil
}

func follow(fsys disk.FS, path string) (all []Record, err error) {
	r := NewReader(fsys, path)
	defer r.Close()
	for {
		rs, err := r.Next()
		all = append(all, rs...)
		if err != nil || len(rs) == 0 {
			return all, err
		}
	}
}

// TestEveryTruncation: cut at any byte, it holds what lies whole before the cut, and is never refused.
func TestEveryTruncation(t *testing.T) {
	for _, s := range []*sample{small(t), real(t, unlessShort(30, 5))} {
		for n := range s.data {
			rs, err := s.recovered(t, s.data[:n])
			if n < headerSize {
				if !errors.Is(err, ErrNotBegun) {
					t.Fatalf("cut at byte %d: %v", n, err)
				}
				continue
			}
			if want := s.upTo(n); err != nil || len(rs) != want {
				t.Fatalf("cut at byte %d: %d records and %v, want %d", n, len(rs), err, want)
			}
		}
	}
}

// afterFlip says what a wrong byte must lead to: damage if it lies where something later says that it was synced.
func (s *sample) afterFlip(t *testing.T, at int, rs []Record, err error) {
	t.Helper()
	damage := new(DamagedError)
	if at < headerSize {
		if !errors.As(err, &damage) || damage.Record != 0 || len(rs) > 0 {
			t.Fatalf("byte %d: %d records and %v", at, len(rs), err)
		}
		return
	}
	i := len(s.starts) - 1
	for s.starts[i] > at {
		i--
	}
	if want := s.upTo(s.starts[i]); len(rs) != want {
		t.Fatalf("byte %d: %d records, want %d", at, len(rs), want)
	}
	if proven := slices.Max(s.synced) > i; proven != (err != nil) {
		t.Fatalf("byte %d, in record %d: %v; synced: %v", at, i+1, err, proven)
	}
	if err != nil && (!errors.As(err, &damage) || damage.Offset != int64(s.starts[i]) || damage.Record != i+1) {
		t.Fatalf("byte %d, in record %d at byte %d: %v", at, i+1, s.starts[i], err)
	}
}

func TestEveryFlippedByte(t *testing.T) {
	s := small(t)
	data := slices.Clone(s.data)
	for at := range data {
		for x := 1; x < 256; x += unlessShort(1, 9) {
			data[at] ^= byte(x)
			rs, err := s.recovered(t, data)
			s.afterFlip(t, at, rs, err)
			data[at] ^= byte(x)
		}
	}
}

func TestEveryFlippedBit(t *testing.T) {
	s := real(t, unlessShort(16, 2))
	data := slices.Clone(s.data)
	for at := range data {
		for bit := range 8 {
			data[at] ^= 1 << bit
			rs, err := s.recovered(t, data)
			s.afterFlip(t, at, rs, err)
			data[at] ^= 1 << bit
		}
	}
	t.Logf("%d records in %d bytes", len(s.records), len(data))
}

// TestEveryCut: with any piece cut out, zeroed, or there twice, what comes is still a prefix or a refusal.
func TestEveryCut(t *testing.T) {
	s := small(t)
	for from := 0; from < len(s.data); from += unlessShort(1, 5) {
		for to := from + 1; to <= len(s.data); to++ {
			head, piece, tail := s.data[:from], s.data[from:to], s.data[to:]
			rs, err := s.recovered(t, slices.Concat(head, tail))
			if err == nil && len(rs) != s.upTo(common(s.data, slices.Concat(head, tail))) {
				t.Fatalf("without %d to %d: %d records", from, to, len(rs))
			}
			s.recovered(t, slices.Concat(head, make([]byte, to-from), tail))
			if from%3 == 0 {
				s.recovered(t, slices.Concat(head, piece, piece, tail))
			}
		}
	}
}

// TestForeignRecords: what looks like records inside data, or is left of another journal behind this one, is none.
func TestForeignRecords(t *testing.T) {
	other := lossy.New()
	j, err := create(other, "/journal", [4]byte{1, 2, 3, 4})
	must(t, err)
	for range 5 {
		must(t, j.Append(record(Event, "of another run")))
		must(t, j.Sync())
	}
	foreign, err := disk.ReadFile(other, "/journal")
	must(t, err)
	s := makeSample(t, [][]Record{{record(Event, "1")}, nil, {{Blob, foreign}}, {{Event, foreign}}})
	for n := headerSize; n < len(s.data); n++ {
		data := append(slices.Clone(s.data[:n]), foreign[headerSize:]...)
		if rs, err := s.recovered(t, data); err != nil || len(rs) != s.upTo(common(s.data, data)) {
			t.Fatalf("cut at %d: %d records, %v", n, len(rs), err)
		}
	}
}

// common is how long a and b are the same.
func common(a, b []byte) (n int) {
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

func TestOtherFiles(t *testing.T) {
	for name, data := range map[string]string{
		"text":          "once upon a time there was a file that was no journal at all\n",
		"zeros":         string(make([]byte, 4096)),
		"later version": "fitout journal 12 666f7821 97a5adb1 and more\n\x01\x02\x03",
	} {
		_, _, err := Open(place(t, []byte(data)), "/journal")
		damage := new(DamagedError)
		if !errors.As(err, &damage) || damage.Record != 0 || hint.Of(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := Open(lossy.New(), "/journal"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// TestHostile: recovery takes linear time on files made to make it slow. Were it quadratic, each would take minutes.
func TestHostile(t *testing.T) {
	size := unlessShort(16, 4) << 20
	marker := [4]byte{'f', 'o', 'x', '!'}
	one := appendRecord(nil, marker, 1, 0, record(Event, "first"), false)
	fill := func(piece func(rest int) []byte) []byte {
		b := append(headerOf(marker), one...)
		b = append(b, 0) // here it is bad
		for len(b) < size {
			b = append(b, piece(size-len(b))...)
		}
		return b
	}
	long := func(rest int, synced uint32) []byte {
		r := appendRecord(nil, marker, 9, synced, Record{Kind: Event}, false)
		l := max(rest-headSize, 0)
		r[8], r[9], r[10], r[11] = byte(l), byte(l>>8), byte(l>>16), byte(l>>24)
		return r
	}
	for name, data := range map[string][]byte{
		"markers": fill(func(int) []byte { return marker[:] }),
		"headers": fill(func(rest int) []byte { return long(rest, 1) }),
		"records": fill(func(int) []byte { return appendRecord(nil, marker, 9, 0, Record{Kind: Event}, false) }),
		"open append": append(headerOf(marker), func() (b []byte) {
			for n := uint32(1); len(b) < size; n++ {
				b = appendRecord(b, marker, n, 0, Record{Kind: Event}, true)
			}
			return b
		}()...),
	} {
		start := time.Now()
		fsys := place(t, data)
		_, rerr := follow(fsys, "/journal")
		_, rs, err := Open(fsys, "/journal")
		if d := time.Since(start); d > 20*time.Second {
			t.Errorf("%s: took %v", name, d)
		}
		if name == "headers" && (err == nil || rerr == nil) {
			t.Errorf("%s: taken for a torn tail", name)
		}
		if len(rs) > 1 {
			t.Errorf("%s: %d records", name, len(rs))
		}
	}
}

// mend makes checksums right, so that the fuzzer gets past them.
func mend(data []byte) []byte {
	marker := [4]byte{'f', 'o', 'x', '!'}
	data = append(headerOf(marker), data...)
	for at := headerSize; at+headSize <= len(data); {
		copy(data[at:], marker[:])
		length := int(data[at+8]) // short ones make more of them
		data[at+9], data[at+10], data[at+11] = 0, 0, 0
		end := min(at+headSize+length, len(data))
		sum := checksum(data[at+8 : end])
		data[at+4], data[at+5], data[at+6], data[at+7] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
		at = end
	}
	return data
}

// FuzzOpen: whatever the file, Open and Reader agree and don't panic, and what was recovered stays.
func FuzzOpen(f *testing.F) {
	s := small(f)
	for _, n := range []int{0, 10, headerSize, headerSize + 1, s.ends[0], s.ends[3] - 3, len(s.data)} {
		f.Add(s.data[:n], false)
		f.Add(s.data[headerSize:max(n, headerSize)], true)
	}
	f.Add(append(slices.Clone(s.data), make([]byte, 100)...), false)
	f.Add(slices.Concat(s.data[:s.starts[1]], s.data[s.starts[2]:]), false)
	f.Add([]byte("fitout journal 2 666f7821 97a5adb1\n"), false)
	f.Fuzz(func(t *testing.T, data []byte, whole bool) {
		if whole {
			data = mend(data)
		}
		fsys := place(t, data)
		followed, rerr := follow(fsys, "/journal")
		j, rs, err := Open(fsys, "/journal")
		if !equal(followed, rs) || (rerr != nil) != (err != nil) && !errors.Is(err, ErrNotBegun) {
			t.Fatalf("a reader got %d records and %v, Open %d and %v", len(followed), rerr, len(rs), err)
		}
		if err != nil {
			return
		}
		if j.Size()+j.Torn() != int64(len(data)) {
			t.Fatalf("%d bytes kept and %d cut of %d", j.Size(), j.Torn(), len(data))
		}
		must(t, j.Append(record(End, "e")))
		must(t, j.Close())
		_, again, err := Open(fsys, "/journal")
		if err != nil || !equal(again, append(rs, record(End, "e"))) {
			t.Fatal(cmp.Diff(rs, again, same), err)
		}
	})
}
