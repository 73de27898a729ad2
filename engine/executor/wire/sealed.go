package wire

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/chacha20poly1305"
)

// What a device fetches (Pull) passes through no session: it is sealed with a key that the session told. The body is
// records, each four bytes of length (big endian) and so many of a piece that ChaCha20-Poly1305 has sealed; the nonce is the
// record's number. A key is for one body alone. A body that is cut between two records lacks a part of what is in it, a blob of
// known size; so no record has to say that it is the last.

// KeySize is that of a Pull's key.
const KeySize = chacha20poly1305.KeySize

// maxRecord is how much is sealed at once, at most: a piece of a blob and its head as a rule.
const maxRecord = 512 << 10

// records counts them.
type records struct {
	aead cipher.AEAD
	n    uint64
	buf  []byte
}

func newRecords(key []byte) (records, error) {
	a, err := chacha20poly1305.New(key)
	return records{aead: a}, err
}

// nonce is for one record.
func (r *records) nonce() []byte {
	var b [chacha20poly1305.NonceSize]byte
	binary.BigEndian.PutUint64(b[chacha20poly1305.NonceSize-8:], r.n)
	r.n++
	return b[:]
}

type sealing struct {
	records
	w io.Writer
}

// Seal returns a writer that seals what is written to it, each write at least one record, and passes it on to w.
func Seal(w io.Writer, key []byte) (io.Writer, error) {
	r, err := newRecords(key)
	return &sealing{r, w}, err
}

func (s *sealing) Write(p []byte) (n int, err error) {
	for n < len(p) {
		piece := p[n:min(len(p), n+maxRecord)]
		s.buf = s.aead.Seal(append(s.buf[:0], 0, 0, 0, 0), s.nonce(), piece, nil)
		binary.BigEndian.PutUint32(s.buf, uint32(len(s.buf)-4))
		if _, err := s.w.Write(s.buf); err != nil {
			return n, err
		}
		n += len(piece)
	}
	return n, nil
}

type unsealing struct {
	records
	r    io.Reader
	left []byte // of buf
}

// Unseal returns a reader of what Seal has sealed with the same key. What anybody else has made of it is an error.
func Unseal(r io.Reader, key []byte) (io.Reader, error) {
	rs, err := newRecords(key)
	return &unsealing{records: rs, r: r}, err
}

func (u *unsealing) Read(p []byte) (int, error) {
	for len(u.left) == 0 {
		var head [4]byte
		if _, err := io.ReadFull(u.r, head[:]); err != nil {
			return 0, err
		}
		n := int(binary.BigEndian.Uint32(head[:]))
		if n > maxRecord+u.aead.Overhead() {
			return 0, fmt.Errorf("a sealed record claims %d bytes", n)
		}
		if cap(u.buf) < n {
			u.buf = make([]byte, n)
		}
		u.buf = u.buf[:n]
		if _, err := io.ReadFull(u.r, u.buf); err != nil {
			return 0, noEOF(err)
		}
		var err error
		if u.left, err = u.aead.Open(u.buf[:0], u.nonce(), u.buf, nil); err != nil {
			return 0, errors.New("what came wasn't sealed with the key that was told")
		}
	}
	n := copy(p, u.left)
	u.left = u.left[n:]
	return n, nil
}
