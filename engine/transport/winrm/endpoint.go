package winrm

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"
)

// endpoint is where a device's service was found.
type endpoint struct {
	host string
	port int
	tls  bool
	url  *url.URL
}

const (
	httpPort  = 5985
	httpsPort = 5986
)

func newEndpoint(host string, port int, useTLS bool) *endpoint {
	u := &url.URL{Scheme: "http", Host: net.JoinHostPort(host, strconv.Itoa(port)), Path: "/wsman"}
	if useTLS {
		u.Scheme = "https"
	}
	return &endpoint{host, port, useTLS, u}
}

func (e *endpoint) address() string { return e.url.Host }

// hostHeader is the address as the device knows it: the zone of a link-local one is a matter of this machine.
func (e *endpoint) hostHeader() string {
	host, _, _ := strings.Cut(e.host, "%")
	return net.JoinHostPort(host, strconv.Itoa(e.port))
}

// service is the name that Kerberos knows it by.
func (e *endpoint) service() string { return "HTTP/" + strings.ToLower(e.host) }

// candidates are the endpoints that may be meant, the best first.
func (o *Options) candidates(host string, port int) []*endpoint {
	switch {
	case port != 0 && o.TLS != nil:
		return []*endpoint{newEndpoint(host, port, *o.TLS)}
	case o.TLS != nil && *o.TLS:
		return []*endpoint{newEndpoint(host, httpsPort, true)}
	case o.TLS != nil:
		return []*endpoint{newEndpoint(host, httpPort, false)}
	case port == httpPort || port == 80:
		return []*endpoint{newEndpoint(host, port, false)}
	case port == httpsPort || port == 443 || port != 0 && o.insistsOnTLS(host, port):
		return []*endpoint{newEndpoint(host, port, true)}
	case port != 0: // asked by a TLS handshake
		return []*endpoint{newEndpoint(host, port, true), newEndpoint(host, port, false)}
	case o.insistsOnTLS(host, httpsPort):
		return []*endpoint{newEndpoint(host, httpsPort, true)}
	}
	return []*endpoint{newEndpoint(host, httpsPort, true), newEndpoint(host, httpPort, false)}
}

// insistsOnTLS says whether somebody vouches for the device's certificate: nobody in between may then choose HTTP for us.
func (o *Options) insistsOnTLS(host string, port int) bool {
	if o.Fingerprint != "" || o.CAFile != "" || o.Auth == "basic" || o.Auth == "certificate" {
		return true
	}
	known, err := readKnown(o.Known)
	return err == nil && known.fingerprints(net.JoinHostPort(host, strconv.Itoa(port))) != nil
}

// patienceForTLS is how long the answer of the HTTPS port is waited for once the HTTP port has answered. Windows' firewall
// drops what it doesn't let in, so that no answer may be all there is.
const patienceForTLS = 500 * time.Millisecond

// find connects to the best of the candidates that answers.
func (c *Conn) find(ctx context.Context, host string, port int) (*wire, error) {
	all := c.o.candidates(host, port)
	if len(all) == 2 && all[0].port != all[1].port {
		return c.race(ctx, all[0], all[1])
	}
	w, err := c.connect(ctx, all[0])
	if _, isHTTP := errors.AsType[tls.RecordHeaderError](err); isHTTP && len(all) > 1 {
		return c.connect(ctx, all[1])
	}
	return w, err
}

// race tries HTTPS and HTTP at once, and takes HTTPS if it answers in time. A certificate that is refused ends the race: it
// must not lead to HTTP.
func (c *Conn) race(ctx context.Context, first, second *endpoint) (*wire, error) {
	type result struct {
		w   *wire
		err error
	}
	try := func(e *endpoint) chan result {
		done := make(chan result, 1)
		go func() {
			w, err := c.connect(ctx, e)
			done <- result{w, err}
		}()
		return done
	}
	drop := func(done chan result) {
		go func() {
			if r := <-done; r.w != nil {
				r.w.close()
			}
		}()
	}
	secure, plain := try(first), try(second)
	select {
	case r := <-secure:
		if r.err == nil || !isUnreachable(r.err) {
			drop(plain)
			return r.w, r.err
		}
		p := <-plain
		if p.err != nil {
			return nil, &nowhere{r.err, p.err}
		}
		return p.w, nil
	case p := <-plain:
		if p.err != nil {
			r := <-secure
			if r.err != nil && isUnreachable(r.err) {
				return nil, &nowhere{r.err, p.err}
			}
			return r.w, r.err
		}
		timer := time.NewTimer(patienceForTLS)
		defer timer.Stop()
		select {
		case r := <-secure:
			if r.err == nil || !isUnreachable(r.err) {
				p.w.close()
				return r.w, r.err
			}
		case <-timer.C:
			drop(secure)
		}
		return p.w, nil
	}
}

// nowhere says that neither port can be reached.
type nowhere struct{ secure, plain error }

func (n *nowhere) Error() string   { return n.plain.Error() }
func (n *nowhere) Unwrap() []error { return []error{n.plain, n.secure} }

// isUnreachable says that nobody was there, as against one that we don't want to talk to.
func isUnreachable(err error) bool {
	d, ok := errors.AsType[*dialError](err)
	return ok && d != nil
}

// dialError is a failure of the connection below TLS.
type dialError struct{ err error }

func (d *dialError) Error() string { return d.err.Error() }
func (d *dialError) Unwrap() error { return d.err }

// connect opens a connection, with TLS where it is due, and knows it from then on as c's endpoint.
func (c *Conn) connect(ctx context.Context, e *endpoint) (*wire, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.o.Timeout, errTimeout)
	defer cancel()
	conn, direct, err := dial(ctx, e)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, &dialError{err}
	}
	w := &wire{conn: conn, raw: &rawConn{Conn: conn, patience: c.o.Timeout}, tls: e.tls, endpoint: e, direct: direct}
	w.conn = w.raw
	if e.tls {
		client := tls.Client(w.raw, c.tlsConfig(e))
		if err := client.HandshakeContext(ctx); err != nil {
			conn.Close()
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return nil, err
		}
		w.conn = client
	}
	w.r = bufio.NewReaderSize(w.conn, 64<<10)
	return w, nil
}

// dialer notices a dead peer by itself: within 14 seconds.
var dialer = net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 3 * time.Second, Count: 3}}

// dial connects, through a proxy where the environment names one: by CONNECT also for HTTP, since a login is for one
// connection from end to end. A connection is direct where there is no proxy.
func dial(ctx context.Context, e *endpoint) (c net.Conn, direct bool, err error) {
	proxy, err := httpproxy.FromEnvironment().ProxyFunc()(e.url)
	if err != nil {
		return nil, false, fmt.Errorf("proxy: %w", err)
	}
	if proxy == nil {
		c, err = dialer.DialContext(ctx, "tcp", e.address())
		return c, true, err
	}
	c, err = dialThrough(ctx, proxy, e)
	return c, false, err
}

func dialThrough(ctx context.Context, proxy *url.URL, e *endpoint) (net.Conn, error) {
	address := proxy.Host
	if proxy.Port() == "" {
		address = net.JoinHostPort(proxy.Hostname(), map[string]string{"https": "443"}[proxy.Scheme])
		if proxy.Scheme != "https" {
			address = net.JoinHostPort(proxy.Hostname(), "80")
		}
	}
	if proxy.Scheme != "http" && proxy.Scheme != "https" {
		return nil, fmt.Errorf("proxy %s: only http and https ones can be used", proxy.Redacted())
	}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("proxy %s: %w", address, err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	through := net.Conn(conn)
	if proxy.Scheme == "https" {
		through = tls.Client(conn, &tls.Config{ServerName: proxy.Hostname()})
	}
	if err := tunnel(through, proxy, e.address()); err != nil {
		conn.Close()
		return nil, fmt.Errorf("proxy %s: %w", address, err)
	}
	return through, nil
}

func tunnel(conn net.Conn, proxy *url.URL, target string) error {
	header := ""
	if proxy.User != nil {
		password, _ := proxy.User.Password()
		header = "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(proxy.User.Username()+":"+password)) + "\r\n"
	}
	if _, err := fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", target, target, header); err != nil {
		return err
	}
	// Byte by byte: what comes after the answer isn't ours.
	resp, err := http.ReadResponse(bufio.NewReaderSize(oneByte{conn}, 16), &http.Request{Method: http.MethodConnect})
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("it refuses to connect to %s: %s", target, resp.Status)
	}
	return nil
}

type oneByte struct{ net.Conn }

func (o oneByte) Read(b []byte) (int, error) { return o.Conn.Read(b[:min(1, len(b))]) }
