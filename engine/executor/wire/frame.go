package wire

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// Magic begins a stream in either direction.
const Magic = "\x00\xfbfitout\x01\n"

const (
	kindMessage = 'm'
	kindBlob    = 'b'

	flagZstd = 1

	// MaxFrame bounds what one frame may make the other side hold.
	MaxFrame = 16 << 20
	// maxObjects bounds the objects in a message: a frame of "{},{},{}" would grow a hundredfold when it is decoded.
	maxObjects = 1 << 18
	// maxJunk is how much may come before Magic.
	maxJunk = 1 << 20
	// Small payloads aren't worth a compressor's time.
	minCompress = 4096
	blobPiece   = 256 << 10
)

// JunkError means that a stream ended, or went on for too long, without Magic. Junk is what was read instead.
type JunkError struct {
	Junk []byte // its beginning
	Err  error
}

func (e *JunkError) Error() string { return fmt.Sprintf("no executor answered: %v", e.Err) }
func (e *JunkError) Unwrap() error { return e.Err }

// Conn frames messages over a pair of streams. Send may be called concurrently; Receive by one goroutine.
type Conn struct {
	r       *bufio.Reader
	started bool // Magic was read

	mu    sync.Mutex // held through a whole blob, so that nothing comes between its pieces
	w     io.Writer
	begun bool // Magic was written

	// Line, if set, sees each whole line of junk before Magic; an error from it ends Receive.
	Line func(line string) error
}

// NewConn returns a Conn that reads frames from r and writes them to w.
func NewConn(r io.Reader, w io.Writer) *Conn {
	return &Conn{r: bufio.NewReaderSize(r, 4<<10), w: w}
}

// Codecs are shared: each holds some memory, and a controller has thousands of connections.
var encoder = sync.OnceValue(func() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(2), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(256<<10), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(err)
	}
	return e
})

var decoder = sync.OnceValue(func() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxMemory(MaxFrame), zstd.WithDecoderLowmem(true))
	if err != nil {
		panic(err)
	}
	return d
})

// Send writes messages, in one write. Nothing is written when one of them can't be encoded.
func (c *Conn) Send(messages ...Message) error {
	b, err := encode(messages...)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.write(b)
}

func encode(messages ...Message) ([]byte, error) {
	var buf bytes.Buffer
	for _, m := range messages {
		b, err := json.Marshal(m)
		if err != nil {
			return nil, err
		}
		if err := frame(&buf, kindMessage, b, true); err != nil {
			return nil, err
		}
	}
	return buf.Bytes(), nil
}

// SendBlob announces a blob and sends its bytes. Messages sent meanwhile wait for its end. When r gives too little, the
// stream can't be used any more.
func (c *Conn) SendBlob(b Blob, r io.Reader) error {
	head, err := encode(Message{Blob: &b})
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.write(head); err != nil {
		return err
	}
	piece, left := make([]byte, max(0, min(b.Size, blobPiece))), b.Size
	var buf bytes.Buffer
	for plain := 0; left > 0; plain-- {
		n, err := io.ReadFull(r, piece[:min(left, blobPiece)])
		if err != nil {
			return fmt.Errorf("blob %s ended %d bytes early: %w", b.Hash, left-int64(n), err)
		}
		left -= int64(n)
		buf.Reset()
		if err := frame(&buf, kindBlob, piece[:n], plain <= 0); err != nil {
			return err
		}
		if plain <= 0 && buf.Len() > n { // so are the next ones, most likely: archives, pictures
			plain = 16
		}
		if err := c.write(buf.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

// write needs c.mu.
func (c *Conn) write(b []byte) error {
	if !c.begun {
		b = append([]byte(Magic), b...)
		c.begun = true
	}
	_, err := c.w.Write(b)
	return err
}

func frame(buf *bytes.Buffer, kind byte, payload []byte, compress bool) error {
	if len(payload) > MaxFrame {
		return fmt.Errorf("a frame of %d bytes is too large", len(payload))
	}
	flags := byte(0)
	if compress && len(payload) >= minCompress {
		if z := encoder().EncodeAll(payload, nil); len(z) < len(payload) {
			payload, flags = z, flagZstd
		}
	}
	var head [6]byte
	head[0], head[1] = kind, flags
	binary.BigEndian.PutUint32(head[2:], uint32(len(payload)))
	buf.Write(head[:])
	buf.Write(payload)
	return nil
}

// Receive reads the next message. At the end of the stream between two frames it returns io.EOF.
func (c *Conn) Receive() (Message, error) {
	var m Message
	kind, b, err := c.next(nil)
	if err != nil {
		return m, err
	}
	if kind != kindMessage {
		return m, fmt.Errorf("a message was due, not a frame of kind %q", kind)
	}
	if n := bytes.Count(b, []byte("{")); n > maxObjects {
		return m, fmt.Errorf("bad message: %d objects are too many", n)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("bad message: %w", err)
	}
	return m, nil
}

// ReceiveBlob copies the bytes of a blob that was just announced.
// When w fails, the rest is read all the same, so that the stream stays in step, and w's error is returned as a SinkError.
func (c *Conn) ReceiveBlob(b Blob, w io.Writer) error {
	var sink error
	var buf buffers
	for left := b.Size; left > 0; {
		kind, p, err := c.next(&buf)
		if err != nil {
			return noEOF(err)
		}
		if kind != kindBlob || len(p) == 0 || int64(len(p)) > left {
			return errors.New("a piece of a blob was due")
		}
		left -= int64(len(p))
		if sink == nil {
			_, sink = w.Write(p)
		}
	}
	if sink != nil {
		return &SinkError{sink}
	}
	return nil
}

// SinkError is a blob that could not be kept, on a stream that is fine.
type SinkError struct{ error }

func (e *SinkError) Unwrap() error { return e.error }

// buffers are reused from one frame to the next.
type buffers struct {
	raw   bytes.Buffer
	plain []byte
}

// next reads a frame. Its payload stands until buf is used again; nil gives it a buffer of its own.
func (c *Conn) next(buf *buffers) (kind byte, payload []byte, err error) {
	if !c.started {
		if err := c.skipJunk(); err != nil {
			return 0, nil, err
		}
		c.started = true
	}
	var head [6]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[2:])
	if n > MaxFrame {
		return 0, nil, fmt.Errorf("a frame claims %d bytes", n)
	}
	if buf == nil {
		buf = new(buffers)
	}
	// Grow with what really comes: a length alone must not make us allocate.
	buf.raw.Reset()
	if _, err := io.CopyN(&buf.raw, c.r, int64(n)); err != nil {
		return 0, nil, noEOF(err)
	}
	payload = buf.raw.Bytes()
	if head[1]&flagZstd != 0 {
		if payload, err = decoder().DecodeAll(payload, buf.plain[:0]); err != nil {
			return 0, nil, fmt.Errorf("bad frame: %w", err)
		}
		buf.plain = payload
	}
	return head[0], payload, nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (c *Conn) skipJunk() error {
	var junk, line []byte
	for n := 0; n < maxJunk; n++ {
		b, err := c.r.ReadByte()
		if err != nil {
			return &JunkError{junk, err}
		}
		if len(junk) < 4096 {
			junk = append(junk, b)
		}
		line = append(line, b)
		if bytes.HasSuffix(line, []byte(Magic)) {
			return nil
		}
		if b == '\n' {
			if c.Line != nil {
				if err := c.Line(string(bytes.TrimRight(line, "\r\n"))); err != nil {
					return err
				}
			}
			line = line[:0]
		}
	}
	return &JunkError{junk, errors.New("only other output came")}
}
