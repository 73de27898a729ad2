package journal

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	"github.com/fitout-dev/fitout/modules/hint"
)

const (
	magic      = "fitout journal "
	version    = "1"
	headerSize = 35
	headSize   = 21
	more       = 128
)

// ErrNotBegun is what Open finds (errors.Is) where Create was cut off: nothing was ever recorded, and the file can go.
var ErrNotBegun = errors.New("the journal was cut off while it was created")

// DamagedError says where a journal stops being what was written.
type DamagedError struct {
	Path   string
	Offset int64 // where the first record that is wrong begins
	Record int   // its number, from 1; 0: the first line
	Reason string
}

func (e *DamagedError) Error() string {
	at := "its first line"
	if e.Record > 0 {
		at = fmt.Sprintf("record %d", e.Record)
	}
	return fmt.Sprintf("journal %s is damaged at byte %d (%s): %s", e.Path, e.Offset, at, e.Reason)
}

func damaged(path string, offset int64, record int, reason string) error {
	return hint.New(&DamagedError{path, offset, record, reason},
		"the device's disk or memory may be failing: check them, and keep a copy of the file; the next apply observes the device anew")
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

func headerOf(marker [4]byte) []byte {
	s := magic + version + " " + hex.EncodeToString(marker[:])
	return fmt.Appendf(nil, "%s %08x\n", s, checksum([]byte(s)))
}

func parseHeader(b []byte, path string) (marker [4]byte, err error) {
	if len(b) >= headerSize {
		hex.Decode(marker[:], b[len(magic)+2:len(magic)+10])
		if bytes.Equal(b[:headerSize], headerOf(marker)) {
			return marker, nil
		}
	}
	if len(b) <= headerSize {
		return marker, fmt.Errorf("journal %s: %w", path, ErrNotBegun)
	}
	if rest, ok := strings.CutPrefix(string(b[:headerSize]), magic); ok {
		v, _, _ := strings.Cut(rest, " ")
		if n, err := strconv.ParseUint(v, 10, 16); err == nil && v != version {
			return marker, hint.New(&DamagedError{path, int64(len(magic)), 0, fmt.Sprintf("its format has version %d, known here is %s", n, version)},
				"attach with the version of fitout that began the run")
		}
	}
	return marker, damaged(path, 0, 0, "it is wrong")
}

// pass is one way through a journal's records.
type pass struct {
	marker [4]byte
	base   int64  // where in the file b begins
	number uint32 // of the next record
	done   uint32 // number of the last one returned
	at     int    // where the next record should be, once split has stopped
}

type flaw struct {
	at     int
	number uint32
	reason string
}

// head is a record's fields before its data.
type head struct {
	length         int
	number, synced uint32
	kind           byte
}

// parse reads the record that b begins with. hashed is what its checksum cost.
func (p *pass) parse(b []byte) (h head, hashed int, whole bool) {
	if len(b) < headSize || !bytes.Equal(b[:4], p.marker[:]) {
		return h, 0, false
	}
	length := binary.LittleEndian.Uint32(b[8:])
	h = head{int(length), binary.LittleEndian.Uint32(b[12:]), binary.LittleEndian.Uint32(b[16:]), b[20]}
	if length > MaxRecord || len(b)-headSize < h.length || h.kind&^more == 0 || h.synced >= h.number {
		return h, 0, false
	}
	hashed = headSize + h.length
	return h, hashed, checksum(b[8:hashed]) == binary.LittleEndian.Uint32(b[4:])
}

// split returns the records that b begins with, up to the last append that is whole, and how long that is. The records
// lie in b.
func (p *pass) split(b []byte) (rs []Record, used int, f *flaw) {
	kept := 0
	for p.at = 0; ; {
		h, size, whole := p.parse(b[p.at:])
		if !whole {
			return rs[:kept], used, nil
		}
		if h.number != p.number {
			return rs[:kept], used, &flaw{p.at, p.number, fmt.Sprintf("record %d is in its place", h.number)}
		}
		rs = append(rs, Record{Kind(h.kind &^ more), b[p.at+headSize : p.at+size : p.at+size]})
		p.at += size
		p.number++
		if h.kind&more == 0 {
			kept, used, p.done = len(rs), p.at, h.number
		}
	}
}

// search looks behind the place where split has stopped for proof that a whole record was there.
func (p *pass) search(b []byte) *flaw {
	budget := 4 * (len(b) - p.at)
	for at := p.at + 1; at < len(b); {
		i := bytes.Index(b[at:], p.marker[:])
		if i < 0 {
			return nil
		}
		at += i
		h, hashed, whole := p.parse(b[at:])
		if budget -= hashed; budget < 0 {
			return &flaw{p.at, p.number, "no record is whole there, and too much after it looks like records"}
		}
		switch {
		case !whole:
			at++
		case h.synced >= p.number || h.number <= p.number:
			return &flaw{p.at, p.number, fmt.Sprintf("it is not whole, yet record %d at byte %d, written after it was safe, is", h.number, p.base+int64(at))}
		default:
			at += hashed
		}
	}
	return nil
}
