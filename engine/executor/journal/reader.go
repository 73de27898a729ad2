package journal

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/fitout-dev/fitout/engine/executor/disk"
)

// Reader follows a journal that another process may be writing. It is used by one goroutine.
type Reader struct {
	fs   disk.FS
	path string

	file   disk.File
	begun  bool
	offset int64 // of the next record
	pass   pass
	looked int64 // the journal's length when what follows was searched last
}

// NewReader follows the journal from its beginning. The file is opened by the first Next.
func NewReader(fsys disk.FS, path string) *Reader { return &Reader{fs: fsys, path: path} }

// window is how much Next reads at once, unless an append is larger.
const window = 1 << 20

// Next returns the records that came since it was called last, or some of them: call it until there are none. It never waits.
// What isn't there to its end has not come yet; whether the writer still lives is for others to know. Damage is a
// *DamagedError, after the records before it.
func (r *Reader) Next() ([]Record, error) {
	if r.file == nil {
		f, err := r.fs.OpenFile(r.path, os.O_RDONLY, 0)
		if err != nil {
			return nil, fmt.Errorf("open journal: %w", err)
		}
		r.file = f
	}
	fi, err := r.file.Stat()
	if err != nil {
		return nil, fmt.Errorf("read journal %s: %w", r.path, err)
	}
	size := fi.Size()
	switch {
	case size < r.offset:
		return nil, damaged(r.path, size, int(r.pass.number), "it has become shorter than what was read of it")
	case size > MaxSize:
		return nil, damaged(r.path, MaxSize, int(r.pass.number), fmt.Sprintf("it is longer than a journal can be (%d bytes)", MaxSize))
	case !r.begun && size < headerSize:
		return nil, nil
	}
	if !r.begun {
		b, err := r.read(headerSize + min(size-headerSize, 1)) // one more tells damage from a beginning
		if b == nil || err != nil {
			return nil, err
		}
		marker, err := parseHeader(b, r.path)
		if errors.Is(err, ErrNotBegun) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		r.begun, r.offset, r.pass = true, headerSize, pass{marker: marker, number: 1}
	}
	for n := int64(window); ; n *= 4 {
		rest := size - r.offset
		b, err := r.read(min(rest, n))
		if b == nil || err != nil {
			return nil, err
		}
		p := r.pass
		p.base = r.offset
		rs, used, flaw := p.split(b)
		if used > 0 {
			r.offset += int64(used)
			r.pass.number = p.done + 1
			return rs, nil
		}
		if flaw == nil && n >= rest && size != r.looked {
			r.looked = size
			flaw = p.search(b)
		}
		if flaw != nil {
			r.looked = 0
			return nil, damaged(r.path, r.offset+int64(flaw.at), int(flaw.number), flaw.reason)
		}
		if n >= rest {
			return nil, nil
		}
	}
}

// read returns the next n bytes, or nil if the journal was cut meanwhile.
func (r *Reader) read(n int64) ([]byte, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(io.NewSectionReader(r.file, r.offset, n), b)
	switch {
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read journal %s: %w", r.path, err)
	}
	return b, nil
}

// Close lets go of the file.
func (r *Reader) Close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}
