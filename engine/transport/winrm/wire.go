package winrm

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// sealer encrypts what goes over a connection that is logged in. Its messages depend on each other: one wire, one sealer.
type sealer interface {
	Seal(plain []byte) (signature, sealed []byte, err error)
	Unseal(signature, sealed []byte) ([]byte, error)
}

// wire is one HTTP connection. net/http's own client would send a request again on another connection, which is not logged
// in, and can't say whether a request has left. It is for one goroutine at a time.
type wire struct {
	conn  net.Conn // with TLS, where there is
	raw   *rawConn
	r     *bufio.Reader
	tls   bool
	seal  sealer
	basic string // the Authorization of every request
	used  bool   // a request was answered after the login
	ended bool   // the peer has closed it, or said that it will

	endpoint *endpoint
	direct   bool // no proxy is in between
}

// rawConn gives up on a peer that says nothing for as long as it may.
type rawConn struct {
	net.Conn
	patience time.Duration
	ahead    []byte // read before its time, by alive
}

func (c *rawConn) Read(b []byte) (int, error) {
	if len(c.ahead) > 0 {
		n := copy(b, c.ahead)
		c.ahead = c.ahead[n:]
		return n, nil
	}
	c.Conn.SetReadDeadline(time.Now().Add(c.patience))
	return c.Conn.Read(b)
}

func (c *rawConn) Write(b []byte) (int, error) {
	c.Conn.SetWriteDeadline(time.Now().Add(c.patience))
	return c.Conn.Write(b)
}

// alive says whether an idle connection is still open. Windows closes one after two minutes; a request on it would be lost,
// and nobody could tell whether it was carried out.
func (w *wire) alive() bool {
	c := w.raw
	var b [512]byte
	for len(c.ahead) < 8<<10 {
		c.Conn.SetReadDeadline(time.Now().Add(100 * time.Microsecond))
		n, err := c.Conn.Read(b[:])
		c.ahead = append(c.ahead, b[:n]...) // such as TLS session tickets
		if err != nil {
			t, ok := errors.AsType[net.Error](err)
			return ok && t.Timeout()
		}
	}
	return false
}

func (w *wire) close() { w.raw.Conn.Close() }

// broken says whether nothing more can be asked on it.
func (w *wire) broken() bool { return w.ended || !w.alive() }

// maxReply is more than any server of ours sends: it keeps to the MaxEnvelopeSize that we tell it.
const maxReply = 16 << 20

// answer is an HTTP response, read whole.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// roundTrip sends a request and reads what comes back. Patience is for each time that nothing moves. When ctx ends, so does
// the connection.
func (w *wire) roundTrip(ctx context.Context, header http.Header, body []byte, patience time.Duration) (*answer, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	w.raw.patience = patience
	stop := context.AfterFunc(ctx, w.close)
	a, err := w.exchange(header, body)
	if !stop() {
		return nil, context.Cause(ctx)
	}
	return a, err
}

func (w *wire) exchange(header http.Header, body []byte) (*answer, error) {
	req := &http.Request{Method: http.MethodPost, URL: w.endpoint.url, Host: w.endpoint.hostHeader(), Header: header, ContentLength: int64(len(body)), Body: http.NoBody}
	if len(body) > 0 {
		req.Body = io.NopCloser(bytes.NewReader(body))
	}
	req.Header.Set("User-Agent", "fitout")
	if err := writeRequest(w.conn, req); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(w.r, req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxReply {
		return nil, fmt.Errorf("an answer of more than %d MB", maxReply>>20)
	}
	w.ended = resp.Close
	return &answer{resp.StatusCode, resp.Header, b}, nil
}

// writeRequest writes a request with as few packets as may be. Content-Length: 0 is written, too: Windows wants it.
func writeRequest(conn io.Writer, req *http.Request) error {
	out := bufio.NewWriterSize(conn, 64<<10)
	fmt.Fprintf(out, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", req.URL.RequestURI(), req.Host, req.ContentLength)
	if err := req.Header.Write(out); err != nil {
		return err
	}
	out.WriteString("\r\n")
	if _, err := io.Copy(out, req.Body); err != nil {
		return err
	}
	return out.Flush()
}

// here is not valid where the device wouldn't know the address: behind a proxy, or of one link, which it calls otherwise.
func (w *wire) here() netip.Addr {
	a, err := netip.ParseAddrPort(w.raw.LocalAddr().String())
	if err != nil || !w.direct || a.Addr().Zone() != "" {
		return netip.Addr{}
	}
	return a.Addr().Unmap()
}
