package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/fitout-dev/fitout/engine/executor/disk"
	"github.com/fitout-dev/fitout/engine/executor/disk/lossy"
)

// history runs a journal on a lossy disk and, before each change to it and after the last, looks at every state that a power cut may leave.
type history struct {
	t     testing.TB
	disk  *lossy.FS
	limit int // of states at each instant

	fs      *failing
	j       *Journal
	created bool
	sent    []Record // appended, the append at hand included
	cuts    []int    // how many records each number of whole appends makes
	synced  int
	states  int
}

const journalPath = "/var/fitout/runs/1/journal"

func newHistory(t testing.TB, limit int) *history {
	h := &history{t: t, disk: lossy.New(), limit: limit, cuts: []int{0}}
	h.fs = &failing{disk.WithSteps(h.disk, func(string) { h.look() }), 1 << 30, 1 << 30}
	must(t, disk.MakeDir(h.fs, "/var/fitout/runs/1", 0o700))
	return h
}

func (h *history) create() {
	j, err := Create(h.fs, journalPath)
	must(h.t, err)
	h.j, h.created = j, true
}

func (h *history) append(rs ...Record) {
	h.sent = append(h.sent, rs...)
	h.cuts = append(h.cuts, len(h.sent))
	must(h.t, h.j.Append(rs...))
}

// fail has the disk full in the middle of an append.
func (h *history) fail(room int, rs ...Record) {
	h.fs.room = room
	if h.j.Append(rs...) == nil {
		h.t.Fatal("the disk was not full")
	}
	h.fs.room = 1 << 30
}

func (h *history) sync() {
	must(h.t, h.j.Sync())
	h.synced = len(h.sent)
	h.look()
}

func (h *history) reopen() {
	must(h.t, h.j.Close())
	j, rs, err := Open(h.fs, journalPath)
	must(h.t, err)
	h.j, h.synced = j, len(rs)
	if !equal(rs, h.sent) {
		h.t.Fatalf("%d records of %d", len(rs), len(h.sent))
	}
}

func (h *history) look() {
	for state := range h.disk.Crashes(h.limit, uint64(h.states)) {
		h.states++
		h.check(state, h.states%50 == 0)
	}
}

func (h *history) check(state *lossy.FS, again bool) {
	cut := state.Copy() // as the power cut left it
	var open disk.FS = state
	if again { // and the power is cut while it recovers
		open = disk.WithSteps(state, func(string) {
			for second := range state.Crashes(20, 1) {
				h.check(second, false)
			}
		})
	}
	j, rs, err := Open(open, journalPath)
	if err != nil {
		if h.created || !errors.Is(err, ErrNotBegun) && !errors.Is(err, fs.ErrNotExist) {
			h.t.Fatalf("%v\n%s", err, cut)
		}
		return
	}
	if len(rs) < h.synced || !slices.Contains(h.cuts, len(rs)) || !equal(rs, h.sent[:len(rs)]) {
		h.t.Fatalf("%d synced of %d records, %d are left:\n%q\n%s", h.synced, len(h.sent), len(rs), rs, cut)
	}
	// What Open returned lasts, and what follows it too.
	must(h.t, j.Append(record(Event, "resumed")))
	want := append(slices.Clone(rs), record(Event, "resumed"))
	for last := range state.Crashes(4, 1) {
		_, got, err := Open(last, journalPath)
		if err != nil || len(got) < len(rs) || !equal(got, want[:len(got)]) {
			h.t.Fatalf("%d records were recovered; after another power cut: %d, %v\n%s", len(rs), len(got), err, last)
		}
	}
}

func TestPowerCut(t *testing.T) {
	h := newHistory(t, unlessShort(3000, 200))
	h.create()
	h.append(record(Document, "doc"))
	h.sync()
	h.append(record(Event, "1"), record(Event, "2"))
	h.append(record(Event, "3"))
	h.look()
	h.append(record(Intent, "i"))
	h.sync()
	h.append(record(Event, "4"))
	h.append(record(Blob, ""))
	h.reopen()
	h.append(Record{Blob, bytes.Repeat([]byte("blob"), 500)}, record(End, ""))
	h.sync()
	must(t, h.j.Close())
	t.Logf("%d states", h.states)
}

// TestPowerCutAfterFullDisk: nothing of an append that failed comes back, though one of the same length took its place.
func TestPowerCutAfterFullDisk(t *testing.T) {
	h := newHistory(t, unlessShort(500, 100))
	h.create()
	h.append(record(Document, "doc"))
	for _, room := range []int{1, headSize, headSize + 5, 2*headSize + 10, 3*headSize + 14} {
		failed := []Record{record(Event, "never"), record(Event, "was 1"), record(Event, "was 2")}
		h.fail(room, failed...)
		for range 3 {
			h.append(record(Event, "after"))
		}
		h.sync()
	}
	t.Logf("%d states", h.states)
}

// TestPowerCutRandom: histories made at random.
func TestPowerCutRandom(t *testing.T) {
	states := 0
	for seed := range uint64(unlessShort(40, 5)) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 7))
			some := func() (rs []Record) {
				for range 1 + r.IntN(3) {
					rs = append(rs, Record{Kind(1 + r.IntN(6)), bytes.Repeat([]byte{byte(r.IntN(3))}, r.IntN(4)*r.IntN(400))})
				}
				return rs
			}
			h := newHistory(t, 40)
			h.create()
			for range 15 {
				switch r.IntN(8) {
				case 0, 1:
					h.sync()
				case 2:
					h.reopen()
				case 3:
					h.fail(r.IntN(headSize), some()...)
				default:
					h.append(some()...)
				}
			}
			h.sync()
			states += h.states
		})
	}
	t.Logf("%d states", states)
}
