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
	// After a piece that didn't get smaller, so many go as they are; twice as many when the next one doesn't either.
	minPause, maxPause = 16, 128

	headSize = 6 // kind, flags, length
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
	left := b.Size
	read := func(frame *[]byte) (more bool, err error) {
		if *frame == nil {
			*frame = make([]byte, headSize+min(left, blobPiece))
		}
		*frame = (*frame)[:headSize+min(left, blobPiece)]
		n, err := io.ReadFull(r, (*frame)[headSize:])
		left -= int64(n)
		if err != nil {
			return false, &SourceError{fmt.Errorf("blob %s ended %d bytes early: %w", b.Hash, left, err)}
		}
		return left > 0, nil
	}
	var packed []byte
	plain, pause := 0, minPause
	return overlap(b.Size, read, func(frame *[]byte) error {
		if plain == 0 && len(*frame)-headSize >= minCompress {
			packed = encoder().EncodeAll((*frame)[headSize:], append(packed[:0], make([]byte, headSize)...))
			if len(packed) < len(*frame) {
				pause = minPause
				putHead(packed, kindBlob, flagZstd)
				return c.write(packed)
			}
			// Nor are the next ones smaller, most likely: archives, pictures.
			plain, pause = pause, min(2*pause, maxPause)
		} else {
			plain = max(0, plain-1)
		}
		putHead(*frame, kindBlob, 0)
		return c.write(*frame)
	})
}

// overlap passes the pieces of a blob of that size from take to give. Those of a large one go through several buffers, so
// that one piece is taken while another is given. Neither runs any more when it returns.
func overlap[B any](size int64, take func(*B) (more bool, err error), give func(*B) error) error {
	if size <= blobPiece {
		var b B
		for more := size > 0; more; {
			var err error
			if more, err = take(&b); err != nil {
				return err
			}
			if err = give(&b); err != nil {
				return err
			}
		}
		return nil
	}
	var bufs [12]B // of 256 kB: the other side sends on while a disk takes a moment
	full, empty := make(chan *B, len(bufs)), make(chan *B, len(bufs))
	for i := range bufs {
		empty <- &bufs[i]
	}
	var failed error // until full is closed, the goroutine's
	go func() {
		defer close(full)
		for b := range empty {
			more, err := take(b)
			if failed = err; err != nil {
				return
			}
			if full <- b; !more {
				return
			}
		}
	}()
	for b := range full {
		if err := give(b); err != nil {
			close(empty)
			for range full {
			}
			return err
		}
		empty <- b
	}
	return failed
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
	at := buf.Len()
	buf.Write(make([]byte, headSize))
	buf.Write(payload)
	putHead(buf.Bytes()[at:], kind, flags)
	return nil
}

// putHead fills in the head of a frame.
func putHead(frame []byte, kind, flags byte) {
	frame[0], frame[1] = kind, flags
	binary.BigEndian.PutUint32(frame[2:], uint32(len(frame)-headSize))
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
	type piece struct {
		buffers
		payload []byte
	}
	left := b.Size
	take := func(p *piece) (more bool, err error) {
		kind, payload, err := c.next(&p.buffers)
		if err != nil {
			return false, noEOF(err)
		}
		if kind != kindBlob || len(payload) == 0 || int64(len(payload)) > left {
			return false, errors.New("a piece of a blob was due")
		}
		p.payload = payload
		left -= int64(len(payload))
		return left > 0, nil
	}
	var sink error
	if err := overlap(b.Size, take, func(p *piece) error {
		if sink == nil {
			_, sink = w.Write(p.payload)
		}
		return nil
	}); err != nil {
		return err
	}
	if sink != nil {
		return &SinkError{sink}
	}
	return nil
}

// SinkError is a blob that could not be kept, on a stream that is fine.
type SinkError struct{ error }

func (e *SinkError) Unwrap() error { return e.error }

// SourceError is a blob that could not be read where it is sent from. Half of it may be sent: the stream is of no use any more.
type SourceError struct{ error }

func (e *SourceError) Unwrap() error { return e.error }

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
	var head [headSize]byte
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
