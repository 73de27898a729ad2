// Package journal is the record of a run on its device: append-only, and readable up to where a crash, a power cut or a
// failing disk cut it off.
//
//	j, err := journal.Create(disk.OS, path)
//	err = j.Append(journal.Record{Kind: journal.Intent, Data: before})
//	err = j.Sync() // before the change itself
//
//	j, records, err := journal.Open(disk.OS, path) // after whatever happened
//
//	r := journal.NewReader(disk.OS, path) // another process, while the first one writes
//	records, err := r.Next()
//
// # Promises
//
// What was appended before a Sync that succeeded is there after a power cut. The records of one Append are there
// together or not at all. What Open and Reader return is, from the first record on, exactly what was appended: where that
// can't be had, a *DamagedError says the place. A failed Append (disk full) leaves the journal as it was.
//
// # Format, version 1
//
// Numbers are little-endian. A journal begins with a line of 35 bytes,
//
//	fitout journal 1 MMMMMMMM CCCCCCCC
//
// the format's version, the journal's marker (4 random bytes in hexadecimal) and the CRC-32C (Castagnoli) of the 25
// bytes before the last space. Records follow without gaps:
//
//	 0  4  the journal's marker
//	 4  4  CRC-32C of all that follows in this record
//	 8  4  length of the data, at most 64 MiB
//	12  4  the record's number: 1, 2, 3 ...
//	16  4  the number of the last record that was known to be synced when this one was written; 0: none
//	20  1  kind, 1 to 127; plus 128 if the next record belongs to the same append
//	21     data
//
// A reader skips kinds that it doesn't know. A journal is at most 512 MiB long.
//
// For example, the marker 66 6f 78 21, an event "hi", a Sync, and an end without data:
//
//	66 69 74 6f 75 74 20 6a 6f 75 72 6e 61 6c 20 31 20 | "fitout journal 1 "
//	36 36 36 66 37 38 32 31 20                         | "666f7821 "
//	39 37 61 35 61 64 62 31 0a                         | "97a5adb1\n"
//	66 6f 78 21 b0 b7 b0 e5 02 00 00 00                | marker, CRC, length 2
//	01 00 00 00 00 00 00 00 03 68 69                   | record 1, synced 0, event, "hi"
//	66 6f 78 21 c1 f7 7a 4f 00 00 00 00                | marker, CRC, length 0
//	02 00 00 00 01 00 00 00 06                         | record 2, synced 1, end
//
// # Recovery
//
// A record is whole if it has the marker, a length that is allowed and lies within the file, a kind, a synced number below its own,
// and the CRC. Reading stops at the first place, B, where the next number's whole record isn't. Then:
//
//   - A whole record at B that has another number: something was cut out or put in. The journal is damaged.
//   - Somewhere after B lies a whole record which says that the one missing at B had been synced, or whose number isn't higher.
//     The disk (or someone) broke its promise. The journal is damaged.
//   - Otherwise nothing at B or after it was ever promised: B is a torn tail. A power cut leaves that, also with whole records
//     behind a hole, since a disk writes un-synced blocks in any order. It is cut off, along with an append that isn't there to its end.
//
// Whole records after B are searched by their marker and number. The search computes CRCs over at most four times the rest of the
// file: only a file made for the purpose needs more, and counts as damaged. So recovery takes linear time on any input.
//
// A file that ends within the first line, or with it and has it wrong, was cut off while it was created, and holds nothing
// (ErrNotBegun). Any other wrong first line is damage.
package journal

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/fitout-dev/fitout/engine/executor/disk"
	"github.com/fitout-dev/fitout/modules/hint"
)

const (
	// MaxRecord is how much data one record holds.
	MaxRecord = 64 << 20
	// MaxSize is how long a journal may become. The last MiB is kept for a Reboot or an End.
	MaxSize = 512 << 20

	reserve = 1 << 20
)

// Kind is what a record is about. The numbers never change.
type Kind byte

const (
	Document Kind = 1 // the run document
	Intent   Kind = 2 // before a change: what, and the state before
	Event    Kind = 3 // an event of the run
	Blob     Kind = 4 // a sealed secret content
	Reboot   Kind = 5 // the device is about to restart, and why
	End      Kind = 6 // the run is over
)

// Record is one entry.
type Record struct {
	Kind Kind
	Data []byte
}

// ErrFull is why an Append that would make the journal too long was refused.
var ErrFull = errors.New("the journal is full")

// Journal is one that is open for writing. It has one writer process at a time; its methods may be called from any goroutine.
type Journal struct {
	file  disk.File
	path  string
	limit int64
	torn  int64

	mu     sync.Mutex
	marker [4]byte
	size   int64
	kept   int64 // up to where the disk keeps room
	count  uint32
	synced uint32
	buf    []byte
	err    error // why nothing can be written any more

	syncing sync.Mutex
}

// Create begins a journal where there is no file yet. It stays if its folder does: make that with disk.MakeDir.
func Create(fsys disk.FS, path string) (*Journal, error) {
	var marker [4]byte
	rand.Read(marker[:])
	return create(fsys, path, marker)
}

func create(fsys disk.FS, path string, marker [4]byte) (*Journal, error) {
	f, err := fsys.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create journal: %w", err)
	}
	_, err = f.Write(headerOf(marker))
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = fsys.SyncDir(filepath.Dir(path))
	}
	if err != nil {
		f.Close()
		fsys.Remove(path)
		return nil, fmt.Errorf("create journal %s: %w", path, err)
	}
	return &Journal{file: f, path: path, limit: MaxSize, marker: marker, size: headerSize}, nil
}

// Open recovers a journal: it returns all whole records, cuts off a torn tail, and syncs the rest, so that what was returned
// lasts. A journal that is damaged is left alone: then the records before the damage come with the error.
// The records share one block of memory.
func Open(fsys disk.FS, path string) (*Journal, []Record, error) {
	f, err := fsys.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open journal: %w", err)
	}
	j := &Journal{file: f, path: path, limit: MaxSize}
	rs, err := j.recover()
	if err == nil {
		err = fsys.SyncDir(filepath.Dir(path))
	}
	if err != nil {
		f.Close()
		return nil, rs, err
	}
	return j, rs, nil
}

func (j *Journal) recover() ([]Record, error) {
	fi, err := j.file.Stat()
	if err != nil {
		return nil, fmt.Errorf("read journal %s: %w", j.path, err)
	}
	if fi.Size() > j.limit {
		return nil, damaged(j.path, j.limit, 0, fmt.Sprintf("it is longer than a journal can be (%d bytes)", j.limit))
	}
	b := make([]byte, fi.Size())
	if _, err = io.ReadFull(j.file, b); err != nil {
		return nil, fmt.Errorf("read journal %s: %w", j.path, err)
	}
	if j.marker, err = parseHeader(b, j.path); err != nil {
		return nil, err
	}
	p := pass{marker: j.marker, base: headerSize, number: 1}
	rs, used, flaw := p.split(b[headerSize:])
	if flaw == nil {
		flaw = p.search(b[headerSize:])
	}
	if flaw != nil {
		return rs, damaged(j.path, headerSize+int64(flaw.at), int(flaw.number), flaw.reason)
	}
	j.size = headerSize + int64(used)
	j.count = p.done
	if j.torn = fi.Size() - j.size; j.torn > 0 {
		err = j.file.Truncate(j.size)
	}
	if err == nil {
		err = j.file.Sync()
	}
	if err == nil {
		_, err = j.file.Seek(j.size, io.SeekStart)
	}
	if err != nil {
		return nil, fmt.Errorf("recover journal %s: %w", j.path, err)
	}
	j.synced = j.count
	return rs, nil
}

// Append adds records, all or none, with one write. They last only after a Sync, but are there if the process dies.
func (j *Journal) Append(rs ...Record) error {
	if len(rs) == 0 {
		return nil
	}
	size, room, intent := int64(0), j.limit-reserve, false
	for _, r := range rs {
		if len(r.Data) > MaxRecord {
			return fmt.Errorf("append to journal %s: a record of %d bytes is larger than %d", j.path, len(r.Data), MaxRecord)
		}
		if r.Kind == 0 || r.Kind >= more {
			return fmt.Errorf("append to journal %s: %d is no kind of record", j.path, r.Kind)
		}
		if r.Kind == End || r.Kind == Reboot {
			room = j.limit
		}
		intent = intent || r.Kind == Intent
		size += headSize + int64(len(r.Data))
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil {
		return j.err
	}
	if j.size+size > room {
		return hint.New(fmt.Errorf("append to journal %s: %w: %d bytes", j.path, ErrFull, j.size), "divide the profile, or what it writes, into several runs")
	}
	if intent {
		if err := j.keepRoom(size); err != nil {
			return fmt.Errorf("append to journal %s: %w", j.path, err)
		}
	}
	b := j.buf[:0]
	for i, r := range rs {
		b = appendRecord(b, j.marker, j.count+1+uint32(i), j.synced, r, i < len(rs)-1)
	}
	n, err := j.file.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if j.buf = b; cap(b) > 1<<20 {
		j.buf = nil
	}
	if err != nil {
		return j.rollBack(fmt.Errorf("append to journal %s: %w", j.path, err))
	}
	j.size += size
	j.count += uint32(len(rs))
	return nil
}

// spare is the room on the disk for what will be told of a change, beyond twice what its intent takes: how it was, and how it is.
const spare = 64 << 10

// keepRoom sees that there is room for intents of that size, and for telling what became of them. Without it nothing is begun
// that a full disk would keep from being recorded as done.
func (j *Journal) keepRoom(size int64) error {
	need := j.size + 3*size + spare
	if need <= j.kept {
		return nil
	}
	need += spare // not at each change
	if err := disk.Reserve(j.file, j.size, need); err != nil {
		return err
	}
	j.kept = need
	return nil
}

// rollBack takes a part of an append away. It must be gone for good: after a power cut, a later append of the same length
// could otherwise be followed by what is left of this one.
func (j *Journal) rollBack(cause error) error {
	j.kept = 0 // it goes, too
	err := j.file.Truncate(j.size)
	if err == nil {
		_, err = j.file.Seek(j.size, io.SeekStart)
	}
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		j.err = fmt.Errorf("%w; and what was written of it can't be removed: %w", cause, err)
		return j.err
	}
	return cause
}

// Sync returns when all that was appended before the call lasts. After it has failed once, nothing can be appended any more: what
// is on the disk isn't known then.
func (j *Journal) Sync() error {
	j.mu.Lock()
	wanted := j.count
	j.mu.Unlock()

	j.syncing.Lock()
	defer j.syncing.Unlock()
	j.mu.Lock()
	err, covered := j.err, j.count
	done := j.synced >= wanted
	j.mu.Unlock()
	if err != nil || done {
		return err
	}
	err = j.file.Sync()
	j.mu.Lock()
	defer j.mu.Unlock()
	if err != nil {
		if j.err == nil {
			j.err = fmt.Errorf("sync journal %s: %w", j.path, err)
		}
		return j.err
	}
	j.synced = covered
	return nil
}

// Close ends writing. It doesn't sync.
func (j *Journal) Close() error {
	j.syncing.Lock()
	defer j.syncing.Unlock()
	j.mu.Lock()
	defer j.mu.Unlock()
	if errors.Is(j.err, os.ErrClosed) {
		return nil
	}
	if j.kept > j.size && j.err == nil {
		j.file.Truncate(j.size) // gives back the room that was kept; without that it is but a few blocks
	}
	j.err = fmt.Errorf("journal %s: %w", j.path, os.ErrClosed)
	return j.file.Close()
}

// Size is the journal's length in bytes.
func (j *Journal) Size() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.size
}

// Torn is how many bytes Open has cut off.
func (j *Journal) Torn() int64 { return j.torn }

func appendRecord(b []byte, marker [4]byte, number, synced uint32, r Record, followed bool) []byte {
	start := len(b)
	kind := byte(r.Kind)
	if followed {
		kind |= more
	}
	b = append(b, marker[:]...)
	b = append(b, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(r.Data)))
	b = binary.LittleEndian.AppendUint32(b, number)
	b = binary.LittleEndian.AppendUint32(b, synced)
	b = append(b, kind)
	b = append(b, r.Data...)
	binary.LittleEndian.PutUint32(b[start+4:], checksum(b[start+8:]))
	return b
}
