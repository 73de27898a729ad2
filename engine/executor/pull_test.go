package executor

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/wire"
)

// server answers each connection with what a test wants. Asked are the first lines of what it got.
type server struct {
	address string
	asked   chan string
}

func serving(t *testing.T, answer func(net.Conn)) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{l.Addr().String(), make(chan string, 16)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			line, _ := bufio.NewReader(c).ReadString('\n')
			s.asked <- line
			answer(c)
			c.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return s
}

var pullKey = bytes.Repeat([]byte("k"), wire.KeySize)

const ok = "HTTP/1.0 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n"

// sealedBlob is the body of an answer: a blob announced so, and these bytes.
func sealedBlob(t *testing.T, b wire.Blob, text string, key []byte) string {
	t.Helper()
	var buf bytes.Buffer
	w, err := wire.Seal(&buf, key)
	if err != nil {
		t.Fatal(err)
	}
	if err := wire.NewConn(nil, w).SendBlob(b, strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	return buf.String()
}

// pull has the device fetch a content, and returns why it didn't.
func (c *client) pull(address string, b wire.Blob) string {
	c.t.Helper()
	c.send(wire.Message{Pull: &wire.Pull{Blob: b, Address: address, Token: "token", Key: pullKey}})
	p := c.next(func(m wire.Message) bool { return m.Pulled != nil }).Pulled
	if p.Hash != b.Hash {
		c.t.Errorf("the answer is for %s", p.Hash)
	}
	return p.Error
}

func TestAContentIsPulled(t *testing.T) {
	text := strings.Repeat("0123456789abcdef", large/16) + "x"
	b, content := blob(text)
	announced := wire.Blob{Hash: b.Hash, Size: b.Size}
	body := sealedBlob(t, announced, text, pullKey)
	s := serving(t, func(c net.Conn) { io.WriteString(c, ok+body) })
	d := newDevice(t)
	c := connect(t, d)
	r := resource("files", "/etc/x", content)
	if o := c.observe(nil, r); len(o.Missing) != 1 {
		t.Fatalf("missing: %v", o.Missing)
	}
	if why := c.pull(s.address, announced); why != "" {
		t.Fatal(why)
	}
	if asked := <-s.asked; asked != "GET /token HTTP/1.0\r\n" {
		t.Errorf("it asked %q", asked)
	}
	if o := c.observe(nil, r); len(o.Missing) != 0 {
		t.Errorf("missing still: %v", o.Missing)
	}
	if got := resolved(c.run(doc("r1", r))); got != "files//etc/x changed" || d.read("etc/x") != text {
		t.Errorf("resolved %s, %d bytes", got, len(d.read("etc/x")))
	}
}

// TestWhatCantBePulledIsSent has all that may go wrong, and then the content comes through the session.
func TestWhatCantBePulledIsSent(t *testing.T) {
	text := strings.Repeat("0123456789abcdef", 1<<16)
	b, content := blob(text)
	announced := wire.Blob{Hash: b.Hash, Size: b.Size}
	body := sealedBlob(t, announced, text, pullKey)
	other := "another" + text[7:]
	says := func(answer string) func(net.Conn) { return func(c net.Conn) { io.WriteString(c, answer) } }
	otherBlob, _ := blob(other)
	for name, c := range map[string]struct {
		answer func(net.Conn)
		why    string
	}{
		"nobody listens":        {nil, "refused"},
		"nothing is said":       {func(c net.Conn) { io.Copy(io.Discard, c) }, "timeout"},
		"it ends at once":       {says(""), "EOF"},
		"the token is unknown":  {says("HTTP/1.0 404 Not Found\r\n\r\n"), `"HTTP/1.0 404 Not Found"`},
		"a head without end":    {says("HTTP/1.0 200 OK\r\n" + strings.Repeat("a: b\r\n", 200)), "lines of head"},
		"a line without end":    {says("HTTP/1.0 200 OK\r\n" + strings.Repeat("a", 1<<20)), "buffer full"},
		"no HTTP":               {says("220 mail ESMTP\r\n"), `"220 mail ESMTP"`},
		"cut in the head":       {says(ok[:30]), "EOF"},
		"cut half-way":          {says(ok + body[:len(body)/2]), "EOF"},
		"cut before the end":    {says(ok + body[:len(body)-1]), "EOF"},
		"stalled half-way":      {func(c net.Conn) { io.WriteString(c, ok+body[:len(body)/2]); io.Copy(io.Discard, c) }, "timeout"},
		"in plain":              {says(ok + text), "claims"},
		"sealed by others":      {says(ok + sealedBlob(t, announced, text, bytes.Repeat([]byte("o"), wire.KeySize))), "wasn't sealed"},
		"changed on its way":    {says(ok + body[:len(body)-1] + "x"), "wasn't sealed"},
		"another announced":     {says(ok + sealedBlob(t, wire.Blob{Hash: otherBlob.Hash, Size: otherBlob.Size}, other, pullKey)), "another content"},
		"another content of it": {says(ok + sealedBlob(t, announced, other, pullKey)), "damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			defer func(d time.Duration) { stalling = d }(stalling)
			stalling = 10 * time.Second
			if c.why == "timeout" {
				stalling = 20 * time.Millisecond
			}
			address := "127.0.0.1:1"
			if c.answer != nil {
				address = serving(t, c.answer).address
			}
			d := newDevice(t)
			client := connect(t, d)
			r := resource("files", "/etc/x", content)
			client.observe(nil, r)
			if why := client.pull(address, announced); !strings.Contains(why, c.why) || why == "" {
				t.Errorf("it says %q", why)
			}
			if left, _ := filepath.Glob(filepath.Join(d.dir, "store", "*")); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
			client.push(text, announced)
			if got := resolved(client.run(doc("r1", r))); got != "files//etc/x changed" || d.read("etc/x") != text {
				t.Errorf("resolved %s", got)
			}
		})
	}
}

// TestAPulledContentThatCantBeKept isn't asked for again: the resource that needs it says why.
func TestAPulledContentThatCantBeKept(t *testing.T) {
	b, content := blob("text")
	announced := wire.Blob{Hash: b.Hash, Size: b.Size}
	s := serving(t, func(c net.Conn) { io.WriteString(c, ok+sealedBlob(t, announced, "text", pullKey)) })
	d := newDevice(t)
	c := connect(t, d)
	r := resource("files", "/etc/x", content)
	c.observe(nil, r)
	store := filepath.Join(d.dir, "store")
	if err := errors.Join(os.MkdirAll(d.dir, 0o700), os.WriteFile(store, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if why := c.pull(s.address, announced); why != "" {
		t.Errorf("to be sent, since %s", why)
	}
	if err := os.Remove(store); err != nil {
		t.Fatal(err)
	}
	e := event(t, c.run(doc("r1", r)), wire.Resolved, r.Address)
	if e.Status != wire.FailedStatus || !strings.Contains(e.Error, "could not be kept") {
		t.Errorf("%+v", e)
	}
}

// TestNobodyWaitsForAPull: a controller that goes away ends it.
func TestNobodyWaitsForAPull(t *testing.T) {
	reached := make(chan struct{})
	s := serving(t, func(c net.Conn) {
		close(reached)
		io.Copy(io.Discard, c) // until the device hangs up
	})
	c := connect(t, newDevice(t))
	c.send(wire.Message{Pull: &wire.Pull{Blob: wire.Blob{Hash: strings.Repeat("0", 64), Size: 1}, Address: s.address, Token: "token", Key: pullKey}})
	<-reached
	started := time.Now()
	if err := c.hangUp(); err != nil || time.Since(started) > stalling/2 {
		t.Errorf("after %s: %v", time.Since(started), err)
	}
}
