package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/fitout-dev/fitout/modules/fuzzing"
	"github.com/google/go-cmp/cmp"
)

// spoken is what a stream says: its messages, and what follows those that announce a blob.
type spoken struct {
	messages []Message
	blobs    []string
	end      string // the error
	junk     []string
}

// listen reads a stream to its end, or as far as any session would.
func listen(r io.Reader) (s spoken) {
	c := NewConn(r, nil)
	c.Line = func(line string) error { s.junk = append(s.junk, line); return nil }
	for range 200 {
		m, err := c.Receive()
		if err != nil {
			s.end = err.Error()
			return s
		}
		s.messages = append(s.messages, m)
		if m.Blob != nil {
			var b bytes.Buffer
			err := c.ReceiveBlob(*m.Blob, &b)
			s.blobs = append(s.blobs, b.String())
			if err != nil {
				s.end = err.Error()
				return s
			}
			if int64(b.Len()) != max(0, m.Blob.Size) {
				s.end = "wrong size"
				return s
			}
		}
	}
	return s
}

// Whatever comes in place of frames: it says the same in however small pieces it comes, its reader allocates no more than
// comes or a frame may hold, and a message that is sent on is the same message.
func FuzzFrames(f *testing.F) {
	var buf bytes.Buffer
	w := NewConn(nil, &buf)
	if err := errors.Join(w.Send(Message{Alive: true}, Message{Run: &Document{ID: "r", Secrets: []string{strings.Repeat("abc ", 1000)}}}), w.SendBlob(Blob{Hash: "h", Size: 3}, strings.NewReader("abc"))); err != nil {
		f.Fatal(err)
	}
	f.Add(buf.Bytes(), uint8(1))
	f.Add(append([]byte("motd\r\n\x00junk\n"), buf.Bytes()...), uint8(7))
	f.Add(stream(raw(flagZstd, 2, "{}")), uint8(0))
	f.Add(stream(raw(flagZstd, 0, ""), raw(0, 2, "{}")), uint8(0))
	f.Add(stream(raw(0, 1<<31, "{}")), uint8(0))
	f.Add(stream(raw(0, MaxFrame, "{}")), uint8(3))
	f.Add(stream(raw(0, 41, `{"blob":{"hash":"h","size":-9223372036854775808}}`)), uint8(3))
	many := `{"observe":{"resources":[` + strings.Repeat("{},", 5000) + `{}]}}`
	f.Add(stream(raw(0, uint32(len(many)), many)), uint8(200))
	small := encoder().EncodeAll(bytes.Repeat([]byte(" "), MaxFrame), nil)
	f.Add(stream(raw(flagZstd, uint32(len(small)), string(small))), uint8(200))
	bomb := encoder().EncodeAll(bytes.Repeat([]byte(" "), MaxFrame+1), nil)
	f.Add(stream(raw(flagZstd, uint32(len(bomb)), string(bomb))), uint8(200))
	f.Fuzz(func(t *testing.T, in []byte, size uint8) {
		if len(in) > fuzzing.Most {
			t.Skip()
		}
		fuzzing.Soon(func() { checkFrames(t, in, int(size)+1) })
	})
}

func checkFrames(t *testing.T, in []byte, size int) {
	decoder() // its tables aren't the stream's
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	whole := listen(bytes.NewReader(in))
	runtime.ReadMemStats(&after)
	// What a message becomes is larger than its text, and what grows is copied; a compressed frame may hold MaxFrame.
	compressed := bytes.Count(in, []byte{'m', flagZstd}) + bytes.Count(in, []byte{'b', flagZstd})
	if took := after.TotalAlloc - before.TotalAlloc; took > uint64(1<<20+1000*len(in)+compressed*8*MaxFrame) {
		t.Errorf("%d bytes made it allocate %d", len(in), took)
	}
	same := cmp.AllowUnexported(spoken{})
	if d := cmp.Diff(whole, listen(&slow{bytes.NewReader(in), size}), same); d != "" {
		t.Fatalf("in pieces of %d it says something else:\n%s", size, d)
	}
	if d := cmp.Diff(whole, listen(iotest.DataErrReader(bytes.NewReader(in))), same); d != "" {
		t.Fatalf("ended at once it says something else:\n%s", d)
	}
	if whole.end == "" && len(whole.messages) < 200 || whole.end == "wrong size" {
		t.Fatalf("it ends with %q", whole.end)
	}
	for _, m := range whole.messages {
		m.Blob = nil // of its bytes there may be too many
		var out bytes.Buffer
		if err := NewConn(nil, &out).Send(m); err != nil {
			t.Fatalf("%+v was received and can't be sent: %v", m, err)
		}
		again, err := NewConn(&out, nil).Receive()
		if err != nil {
			t.Fatalf("%+v was received, sent, and not received again: %v", m, err)
		}
		one, _ := json.Marshal(m)
		other, _ := json.Marshal(again)
		if !bytes.Equal(one, other) {
			t.Fatalf("received %s, sent on it is %s", one, other)
		}
	}
}

// slow gives a few bytes at a time.
type slow struct {
	r    io.Reader
	size int
}

func (s *slow) Read(p []byte) (int, error) { return s.r.Read(p[:min(len(p), s.size)]) }

// A blob arrives as it was sent, and what follows it too, whether its bytes can be kept or not; one that is too short is
// an error on both sides.
func FuzzBlob(f *testing.F) {
	f.Add([]byte("setting = value\n"), uint16(1), uint16(3), uint8(5), false)
	f.Add([]byte{0}, uint16(40_000), uint16(16), uint8(255), true)
	f.Add([]byte("abc"), uint16(0), uint16(0), uint8(0), false)
	f.Add([]byte("\x28\xb5\x2f\xfd"), uint16(65535), uint16(1000), uint8(100), false)
	f.Fuzz(func(t *testing.T, text []byte, times, missing uint16, size uint8, full bool) {
		if len(text) > fuzzing.Most || len(text)*int(times) > 1<<20 {
			t.Skip()
		}
		fuzzing.Soon(func() { checkBlob(t, bytes.Repeat(text, int(times)), int64(missing), int(size)+1, full) })
	})
}

func checkBlob(t *testing.T, content []byte, missing int64, size int, full bool) {
	var out bytes.Buffer
	w := NewConn(nil, &out)
	b := Blob{Hash: "h", Size: int64(len(content))}
	if err := errors.Join(w.SendBlob(b, &slow{bytes.NewReader(content), size * 100}), w.Send(Message{Alive: true})); err != nil {
		t.Fatal(err)
	}
	r := NewConn(&slow{bytes.NewReader(out.Bytes()), size * 100}, nil)
	m, err := r.Receive()
	if err != nil || m.Blob == nil || *m.Blob != b {
		t.Fatalf("announced is %+v: %v", m.Blob, err)
	}
	var got bytes.Buffer
	to := io.Writer(&got)
	if full {
		to = failing{}
	}
	switch err := r.ReceiveBlob(b, to); {
	case full && len(content) > 0:
		if _, ok := errors.AsType[*SinkError](err); !ok {
			t.Fatalf("a sink that is full gives %v", err)
		}
	case err != nil || !bytes.Equal(got.Bytes(), content) && !full:
		t.Fatalf("sent %d bytes, received %d: %v", len(content), got.Len(), err)
	}
	if m, err := r.Receive(); err != nil || !m.Alive {
		t.Fatalf("behind the blob comes %+v: %v", m, err)
	}
	if _, err := r.Receive(); err != io.EOF {
		t.Fatalf("the end is %v", err)
	}
	if missing == 0 {
		return
	}
	b.Size += missing
	if err := NewConn(nil, io.Discard).SendBlob(b, bytes.NewReader(content)); err == nil {
		t.Fatalf("a blob of %d bytes was sent of %d", b.Size, len(content))
	}
}
