package executor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/wire"
)

// A large content may come faster past the session than through it: over WinRM, whose messages are slow. The device fetches it
// from the controller then, by HTTP. That needs no trust in what is between the two: the session told the key that it is
// sealed with, and its hash. Whatever goes wrong, the controller is told and sends it through the session.

// A firewall drops what it doesn't like without a word. Tests shorten these.
var (
	reaching = 3 * time.Second  // how long connecting to the controller may take
	stalling = 15 * time.Second // how long nothing may come then
)

// pull fetches a content and says whether it came.
func (s *session) pull(ctx context.Context, p *wire.Pull) {
	answer := wire.Pulled{Hash: p.Blob.Hash}
	if err := s.store.fetch(ctx, p); err != nil {
		answer.Error = err.Error()
	}
	s.say(wire.Message{Pulled: &answer})
}

// fetch returns an error for a content that is to be sent in another way. One that came and can't be kept wouldn't be then,
// either: it is remembered as lost.
func (c *contents) fetch(ctx context.Context, p *wire.Pull) error {
	dialer := net.Dialer{Timeout: reaching}
	conn, err := dialer.DialContext(ctx, "tcp", p.Address)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	body, err := get(impatient{conn}, p.Token)
	if err != nil {
		return err
	}
	plain, err := wire.Unseal(body, p.Key)
	if err != nil {
		return err
	}
	stream := wire.NewConn(plain, nil)
	m, err := stream.Receive()
	switch {
	case err != nil:
		return err
	case m.Blob == nil || *m.Blob != p.Blob:
		return errors.New("another content came")
	}
	lost, err := c.keep(stream, p.Blob)
	if errors.Is(lost, errDamaged) {
		err = lost
	}
	if err != nil {
		return err
	}
	c.note(p.Blob.Hash, lost)
	return nil
}

// impatient gives up on a peer from which nothing comes.
type impatient struct{ net.Conn }

func (i impatient) Read(p []byte) (int, error) {
	i.SetReadDeadline(time.Now().Add(stalling))
	return i.Conn.Read(p)
}

// get asks by HTTP/1.0, the answer to which ends with the connection: so little of HTTP is needed that the executor is spared
// a quarter of its size, net/http.
func get(conn net.Conn, token string) (body io.Reader, err error) {
	conn.SetWriteDeadline(time.Now().Add(stalling))
	if _, err := fmt.Fprintf(conn, "GET /%s HTTP/1.0\r\nHost: %s\r\n\r\n", token, conn.RemoteAddr()); err != nil {
		return nil, err
	}
	r := bufio.NewReaderSize(conn, 64<<10)
	status, err := headLine(r)
	if err != nil {
		return nil, err
	}
	if f := strings.Fields(status); len(f) < 2 || !strings.HasPrefix(f[0], "HTTP/1.") || f[1] != "200" {
		return nil, fmt.Errorf("it answered %.100q", status)
	}
	const most = 100
	for range most {
		if line, err := headLine(r); err != nil || line == "" {
			return r, err
		}
	}
	return nil, fmt.Errorf("its answer has more than %d lines of head", most)
}

func headLine(r *bufio.Reader) (string, error) {
	b, err := r.ReadSlice('\n')
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return strings.TrimRight(string(b), "\r\n"), err
}
