package wire

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/fitout-dev/fitout/modules"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func raw(flags byte, length uint32, payload string) []byte {
	head := []byte{kindMessage, flags, 0, 0, 0, 0}
	binary.BigEndian.PutUint32(head[2:], length)
	return append(head, payload...)
}

func stream(frames ...[]byte) []byte { return append([]byte(Magic), bytes.Join(frames, nil)...) }

func receive(b []byte) (Message, error) { return NewConn(bytes.NewReader(b), nil).Receive() }

func TestMessages(t *testing.T) {
	text := "old\n"
	messages := []Message{
		{Hello: &Hello{Version: 1, Facts: map[string]any{"os": "linux", "cpus": 4.0}}},
		{Observed: &Observed{Observations: []Observation{{Address: "a", Op: modules.Update, Changes: []modules.Change{{Property: "p", Before: "x", After: []any{"y"}}}, Text: &text}}, Missing: []string{"h"}}},
		{Event: &Event{N: 1, Time: time.Unix(1, 0).UTC(), Type: Finished, Counts: &Counts{Changed: 1}}},
		{Alive: true},
		{Run: &Document{ID: "r", Resources: []Resource{{Address: "a", Type: "t", Want: []byte(`{"x":1}`), Timeout: time.Second}}, Secrets: []string{strings.Repeat("s", 5000)}}},
	}
	var buf bytes.Buffer
	w := NewConn(nil, &buf)
	if err := w.Send(messages[:3]...); err != nil {
		t.Fatal(err)
	}
	if err := w.Send(messages[3:]...); err != nil {
		t.Fatal(err)
	}
	for _, reader := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.HalfReader, iotest.DataErrReader} {
		r := NewConn(reader(bytes.NewReader(buf.Bytes())), nil)
		for _, want := range messages {
			m, err := r.Receive()
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, m); d != "" {
				t.Error(d)
			}
		}
		if _, err := r.Receive(); err != io.EOF {
			t.Errorf("at the end: %v", err)
		}
	}
	if bytes.Contains(buf.Bytes(), []byte("sssssssss")) {
		t.Error("a large payload is not compressed")
	}
}

func TestJunkBeforeTheFirstFrame(t *testing.T) {
	var good bytes.Buffer
	if err := NewConn(nil, &good).Send(Message{Alive: true}); err != nil {
		t.Fatal(err)
	}
	for name, junk := range map[string]string{
		"none": "", "a banner": "Welcome!\r\nYou have mail.\n", "no newline": "stty: not a tty",
		"half a beginning": "\x00\xfbfit\n", "a beginning cut": "\x00\xfbfitout\x01", "zeros": "\x00\x00\x00", "twice half": "\x00\xfbfitout\x01\x00\xfbfitout\x01",
		"binary": string([]byte{0xff, 0xfe, 0, 1, 2, 'm', 0, 0, 0, 0, 0}), "long": strings.Repeat("motd ", 100_000),
	} {
		for _, reader := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.OneByteReader} {
			m, err := NewConn(reader(strings.NewReader(junk+good.String())), nil).Receive()
			if err != nil || !m.Alive {
				t.Errorf("%s: %+v %v", name, m, err)
			}
		}
	}
	var lines []string
	c := NewConn(strings.NewReader("one\r\n\nthree\n"+good.String()), nil)
	c.Line = func(line string) error { lines = append(lines, line); return nil }
	if _, err := c.Receive(); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"one", "", "three"}, lines); d != "" {
		t.Error(d)
	}
	stop := errors.New("that line says enough")
	c = NewConn(strings.NewReader("one\ntwo\n"+good.String()), nil)
	c.Line = func(string) error { return stop }
	if _, err := c.Receive(); err != stop {
		t.Errorf("%v", err)
	}
}

func TestNothingButJunk(t *testing.T) {
	_, err := receive([]byte("bash: fitout: command not found\n"))
	var junk *JunkError
	if !errors.As(err, &junk) || !errors.Is(err, io.EOF) || string(junk.Junk) != "bash: fitout: command not found\n" {
		t.Errorf("%v", err)
	}
	// One who never stops talking is not listened to for ever, nor remembered.
	_, err = NewConn(endless('x'), nil).Receive()
	if !errors.As(err, &junk) || len(junk.Junk) > 4096 {
		t.Errorf("%v", err)
	}
}

type endless byte

func (e endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(e)
	}
	return len(p), nil
}

func TestCutAtEveryByte(t *testing.T) {
	var buf bytes.Buffer
	w := NewConn(nil, &buf)
	w.Send(Message{Run: &Document{ID: "r", Secrets: []string{strings.Repeat("abc ", 1000)}}})
	first := buf.Len()
	w.SendBlob(Blob{Hash: "h", Size: 5000}, strings.NewReader(strings.Repeat("x", 5000)))
	announced := first + 6 + len(`{"blob":{"hash":"h","size":5000}}`)
	for n := range buf.Len() {
		c := NewConn(bytes.NewReader(buf.Bytes()[:n]), nil)
		_, err := c.Receive()
		switch {
		case n < len(Magic):
			if _, ok := errors.AsType[*JunkError](err); !ok {
				t.Fatalf("%d bytes: %v", n, err)
			}
			continue
		case n == len(Magic):
			if err != io.EOF {
				t.Fatalf("%d bytes: %v", n, err)
			}
			continue
		case n < first:
			if err != io.ErrUnexpectedEOF {
				t.Fatalf("%d bytes: %v", n, err)
			}
			continue
		}
		m, err := c.Receive()
		if n < announced {
			if want := map[bool]error{true: io.EOF, false: io.ErrUnexpectedEOF}[n == first]; err != want {
				t.Fatalf("%d bytes: %v", n, err)
			}
			continue
		}
		if err := c.ReceiveBlob(*m.Blob, io.Discard); err != io.ErrUnexpectedEOF {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
}

// What a hostile peer sends costs neither much memory nor much time.
func TestHostileFrames(t *testing.T) {
	compress := func(n int) string {
		e, _ := zstd.NewWriter(nil)
		defer e.Close()
		return string(e.EncodeAll(make([]byte, n), nil))
	}
	bomb, bombs := compress(20*MaxFrame), strings.Repeat(compress(MaxFrame), 200)
	objects := `{"observed":{"observations":[` + strings.Repeat("{},", MaxFrame/3-20) + `{}]}}`
	var packed bytes.Buffer
	if err := frame(&packed, kindMessage, []byte(objects), true); err != nil {
		t.Fatal(err)
	}
	cases := map[string][]byte{
		"a length of 4 GB":            stream(raw(0, 1<<32-1, "{}")),
		"a length that never comes":   stream(raw(0, MaxFrame, "{}")),
		"a bomb":                      stream(raw(flagZstd, uint32(len(bomb)), bomb)),
		"many bombs in one":           stream(raw(flagZstd, uint32(len(bombs)), bombs)),
		"not compressed":              stream(raw(flagZstd, 2, "{}")),
		"a million objects":           stream(packed.Bytes()),
		"a million objects, in plain": stream(raw(0, uint32(len(objects)), objects)),
		"deep":                        stream(raw(0, 2<<20, strings.Repeat("[", 2<<20))),
		"no JSON":                     stream(raw(0, 3, "{]}")),
		"another kind":                stream([]byte("x\x00\x00\x00\x00\x02{}")),
		"a piece of no blob":          stream([]byte("b\x00\x00\x00\x00\x02{}")),
		"a type that is not there":    stream(raw(0, 13, `{"hello":"x"}`)),
	}
	decoder() // its own memory doesn't count
	for name, in := range cases {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			_, err := receive(in)
			runtime.ReadMemStats(&after)
			if err == nil {
				t.Error("it was taken for a message")
			}
			if got := after.TotalAlloc - before.TotalAlloc; got > 10*MaxFrame {
				t.Errorf("it took %d MB", got>>20)
			}
		})
	}
}

func TestALengthThatIsTooLargeIsNotRead(t *testing.T) {
	in := &counting{Reader: io.MultiReader(bytes.NewReader(stream(raw(0, MaxFrame+1, ""))), endless(' '))}
	if _, err := NewConn(in, nil).Receive(); err == nil || in.n > 1<<20 {
		t.Errorf("%v after %d bytes", err, in.n)
	}
}

type counting struct {
	io.Reader
	n int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

func TestBlobs(t *testing.T) {
	random := make([]byte, 3*blobPiece+17)
	src := rand.NewChaCha8([32]byte{1})
	src.Read(random)
	for _, content := range [][]byte{nil, []byte("x"), random, bytes.Repeat([]byte("text "), 200_000)} {
		var buf bytes.Buffer
		w := NewConn(nil, &buf)
		b := Blob{Hash: "h", Size: int64(len(content))}
		if err := w.SendBlob(b, bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
		if err := w.Send(Message{Alive: true}); err != nil {
			t.Fatal(err)
		}
		for _, full := range []bool{false, true} {
			r := NewConn(iotest.HalfReader(bytes.NewReader(buf.Bytes())), nil)
			m, err := r.Receive()
			if err != nil || *m.Blob != b {
				t.Fatalf("%+v %v", m, err)
			}
			var got bytes.Buffer
			var sink io.Writer = &got
			if full {
				sink = failing{}
			}
			err = r.ReceiveBlob(*m.Blob, sink)
			if _, ok := errors.AsType[*SinkError](err); ok != (full && b.Size > 0) || !full && (err != nil || !bytes.Equal(got.Bytes(), content)) {
				t.Errorf("%d bytes, full %t: %v", len(content), full, err)
			}
			// A full disk does not break the stream.
			if m, err := r.Receive(); err != nil || !m.Alive {
				t.Errorf("what follows: %+v %v", m, err)
			}
		}
	}
	if err := NewConn(nil, io.Discard).SendBlob(Blob{Hash: "h", Size: 10}, strings.NewReader("short")); err == nil || !strings.Contains(err.Error(), "5 bytes early") {
		t.Errorf("a source that is too short: %v", err)
	}
	for name, in := range map[string][]byte{
		"a message between":  []byte("m\x00\x00\x00\x00\x02{}"),
		"an empty piece":     []byte("b\x00\x00\x00\x00\x00"),
		"more than was said": []byte("b\x00\x00\x00\x00\x05abcde"),
	} {
		if err := NewConn(bytes.NewReader(stream(in)), nil).ReceiveBlob(Blob{Size: 4}, io.Discard); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// Messages that are sent while a blob is on its way don't come between its pieces.
func TestSendingAtOnce(t *testing.T) {
	r, w := io.Pipe()
	defer r.Close()
	out := NewConn(nil, w)
	content := bytes.Repeat([]byte{7}, 5*blobPiece)
	var wg sync.WaitGroup
	pieces := 0
	talking := readerFunc(func(p []byte) (int, error) {
		pieces++
		sent := make(chan struct{})
		wg.Go(func() {
			defer close(sent)
			if err := out.Send(Message{Alive: true}); err != nil {
				t.Error(err)
			}
		})
		select { // it has its chance to come too early
		case <-sent:
		case <-time.After(5 * time.Millisecond):
		}
		return copy(p, content), nil
	})
	wg.Go(func() {
		if err := out.SendBlob(Blob{Hash: "h", Size: int64(len(content))}, talking); err != nil {
			t.Error(err)
		}
	})
	go func() { wg.Wait(); w.Close() }()
	in, alive, blobs := NewConn(r, nil), 0, 0
	for {
		m, err := in.Receive()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if m.Alive {
			alive++
			continue
		}
		sum := sha256.New()
		if err := in.ReceiveBlob(*m.Blob, sum); err != nil {
			t.Fatal(err)
		}
		if blobs++; !bytes.Equal(sum.Sum(nil), sha256sum(content)) {
			t.Error("the blob is another")
		}
	}
	if alive != pieces || pieces < 5 || blobs != 1 {
		t.Errorf("%d messages of %d, %d blobs", alive, pieces, blobs)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func sha256sum(b []byte) []byte {
	s := sha256.Sum256(b)
	return s[:]
}

func TestTooLargeToSendWritesNothing(t *testing.T) {
	var buf bytes.Buffer
	c := NewConn(nil, &buf)
	if err := c.Send(Message{Failed: &Failed{Error: strings.Repeat("x", MaxFrame)}}); err == nil {
		t.Error("a frame without bounds")
	}
	if buf.Len() != 0 {
		t.Errorf("%d bytes were written", buf.Len())
	}
}

// The formats outlive executors: a field is added, never renamed. A device may hold events and a lock of an older one.
func TestFormatsAreStable(t *testing.T) {
	for _, c := range []struct {
		v    any
		want string
	}{
		{Event{}, "n time type address status op changes before after reason error hint seconds reboot level text counts"},
		{Holder{}, "run who from since pid boot"},
		{Blob{}, "hash size secret"},
		{Counts{}, "changed unchanged failed skipped cancelled"},
		{Document{}, "id holder resources secrets expect"},
		{Resource{}, "address type want secret after notify timeout retries skip"},
	} {
		var names []string
		typ := reflect.TypeOf(c.v)
		for i := range typ.NumField() {
			name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			names = append(names, name)
		}
		for _, w := range strings.Fields(c.want) {
			if !strings.Contains(" "+strings.Join(names, " ")+" ", " "+w+" ") {
				t.Errorf("%s lost %s", typ, w)
			}
		}
	}
}

func FuzzReceive(f *testing.F) {
	var buf bytes.Buffer
	w := NewConn(nil, &buf)
	w.Send(Message{Alive: true}, Message{Run: &Document{ID: "r", Secrets: []string{strings.Repeat("abc ", 1000)}}})
	w.SendBlob(Blob{Hash: "h", Size: 3}, strings.NewReader("abc"))
	f.Add(buf.Bytes())
	f.Add(append([]byte("junk\n"), buf.Bytes()...))
	f.Add(stream(raw(flagZstd, 2, "{}")))
	f.Add(stream(raw(0, 1<<31, "{}")))
	f.Fuzz(func(t *testing.T, in []byte) {
		c := NewConn(bytes.NewReader(in), nil)
		for range 100 {
			m, err := c.Receive()
			if err != nil {
				return
			}
			if m.Blob != nil {
				if c.ReceiveBlob(*m.Blob, io.Discard) != nil {
					return
				}
			}
		}
	})
}

// TestLargeBlobs go through several buffers at once.
func TestLargeBlobs(t *testing.T) {
	text := strings.Repeat("setting = value\n", 5*blobPiece/16) + "x"
	random := make([]byte, 40*blobPiece)
	rand.NewChaCha8([32]byte{}).Read(random)
	content := string(random) + text
	blob := Blob{Hash: "h", Size: int64(len(content))}
	var stream bytes.Buffer
	if err := NewConn(nil, &stream).SendBlob(blob, strings.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	sent := stream.Bytes()
	receive := func(b []byte, w io.Writer) error {
		c := NewConn(bytes.NewReader(b), nil)
		if _, err := c.Receive(); err != nil {
			t.Fatal(err)
		}
		return c.ReceiveBlob(blob, w)
	}
	var got bytes.Buffer
	if err := receive(sent, &got); err != nil || got.String() != content {
		t.Errorf("%v, %d bytes of %d", err, got.Len(), len(content))
	}
	if err := receive(sent[:len(sent)/2], io.Discard); err != io.ErrUnexpectedEOF {
		t.Errorf("half of it: %v", err)
	}
	if _, ok := errors.AsType[*SinkError](receive(sent, &limited{n: 3 * blobPiece})); !ok {
		t.Error("no SinkError")
	}
	// Neither end goes on when the other one fails.
	if err := NewConn(nil, io.Discard).SendBlob(blob, strings.NewReader(content[:len(content)/2])); err == nil || !strings.Contains(err.Error(), "early") {
		t.Errorf("half a source: %v", err)
	}
	source := strings.NewReader(content)
	if err := NewConn(nil, &limited{n: 3 * blobPiece}).SendBlob(blob, source); !errors.Is(err, errFull) {
		t.Errorf("a full sink: %v", err)
	}
	if left := source.Len(); left < len(content)/2 {
		t.Errorf("went on reading: %d bytes left", left)
	}
}

var errFull = errors.New("full")

// limited takes n bytes.
type limited struct{ n int }

func (l *limited) Write(p []byte) (int, error) {
	if l.n -= len(p); l.n < 0 {
		return 0, errFull
	}
	return len(p), nil
}
