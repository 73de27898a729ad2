// Package winrm is the transport over WinRM: WS-Management's shell, as Windows has it since Vista.
//
//	c, err := winrm.Dial(ctx, winrm.Options{Device: "lt-043", Address: "10.0.3.43", User: "Administrator", Password: ask})
//	defer c.Close()
//	p, err := c.Start(ctx, transport.Command{Line: "ver"})
//
// The port and TLS are found by themselves: 5986 with TLS, else 5985. ScanCertificate and Trust are what `fitout trust` is
// made of.
//
// It promises: nothing is sent in the clear, over HTTP only what Kerberos or NTLM has sealed; a certificate that nobody
// vouches for, or that has changed, is refused; a password is tried once; a program's output or input is never lost in
// silence. Programs run one to a shell: Windows doesn't promise that a shell runs two at once.
//
// Messages are made with masterzen/winrm; soap.go says which parts of it aren't used, and why.
package winrm

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fitout-dev/fitout/engine/transport"
	"github.com/fitout-dev/fitout/modules/hint"
)

var (
	_ transport.Transport   = (*Conn)(nil)
	_ transport.Remembering = (*Conn)(nil)
	_ transport.Narrow      = (*Conn)(nil)
)

// Prompt asks whoever sits at the terminal. echo says whether the answer may be seen.
type Prompt func(ctx context.Context, question string, echo bool) (string, error)

// Options say how to reach a device.
type Options struct {
	Device  string // the device's name, for messages
	Address string // a name or an IP address, with or without port
	Port    int    // 0: 5986, else 5985
	User    string // name, DOMAIN\name or name@domain. Default: Administrator; with Kerberos, the ticket's or the keytab's

	// Password is called when the device is to get it; nil if there is none.
	Password func() (string, error)
	// Auth is one of Methods; "" is negotiate.
	Auth string
	// TLS says whether to use it; nil finds out.
	TLS *bool
	// Fingerprint pins the device's certificate: its SHA-256.
	Fingerprint string
	// CAFile holds the authorities to accept, in PEM, instead of the system's.
	CAFile string
	// Known is fitout's own file of certificates, made by Trust.
	Known string

	Realm, Keytab     string // Kerberos: the realm, and a file with the user's key
	CertFile, KeyFile string // the client's certificate and key, in PEM; both may be one file

	// Prompt asks for the password; nil is never.
	Prompt Prompt
	// Timeout bounds the connection, and then each step of the handshake. Default: 15 seconds.
	Timeout time.Duration
}

// Conn is an open connection to one device: a number of HTTP connections that are logged in, and shells.
type Conn struct {
	o        Options
	host     string
	port     int    // 0: not given
	user     string // as given
	client   tls.Certificate
	scan     func(*x509.Certificate, error) // gets the certificate, instead of a login
	login    login
	here     netip.Addr
	endpoint *endpoint
	requests requests
	ready    atomic.Bool // Dial has succeeded

	// Requests counts the HTTP requests that were sent, handshakes included.
	Requests atomic.Int64
	envelope atomic.Int64 // how large a request may be
	asked    atomic.Bool  // the server's limits

	life     context.Context // of what goes on in the background
	end      context.CancelFunc
	cleaning sync.WaitGroup

	mu      sync.Mutex
	wires   []*wire  // idle
	shells  []*shell // idle
	running map[*process]bool
	closed  bool
	dropped bool  // no connection is kept any more
	broken  error // of kind Lost
}

// shell is a shell on the device.
type shell struct {
	id   string
	last string // a command that has ended, which the server still remembers
}

// User is the user that programs run as.
func (c *Conn) User() string { return c.o.User }

// Address is where the device was reached: host and port.
func (c *Conn) Address() string { return c.endpoint.address() }

// prepare makes a Conn that isn't connected.
func prepare(o Options) (c *Conn, host string, port int, err error) {
	fail := func(err error) (*Conn, string, int, error) { return nil, "", 0, &transport.Error{Err: err} }
	host, port = strings.Trim(o.Address, "[]"), o.Port
	user := o.User
	if h, p, err := net.SplitHostPort(o.Address); err == nil {
		host = h
		if n, err := strconv.Atoi(p); err == nil && port == 0 {
			port = n
		}
	}
	if o.User == "" {
		o.User = "Administrator"
	}
	if o.Auth == "" {
		o.Auth = negotiate
	}
	if o.Timeout == 0 {
		o.Timeout = 15 * time.Second
	}
	c = &Conn{o: o, host: host, port: port, user: user, running: map[*process]bool{}}
	c.life, c.end = context.WithCancel(context.Background())
	c.login.method = o.Auth
	c.envelope.Store(maxEnvelope)
	if !slices.Contains(Methods, o.Auth) {
		return fail(hint.New(fmt.Errorf("%s: there is no way to log in called %q", o.label(host), o.Auth), "`auth` is one of %s", strings.Join(Methods, ", ")))
	}
	if o.Auth == certificate {
		if o.CertFile == "" {
			return fail(hint.New(fmt.Errorf("%s: no certificate to log in with", o.label(host)), "name the file with the certificate and its key: `identityFile` under connect in the inventory"))
		}
		key := o.KeyFile
		if key == "" {
			key = o.CertFile
		}
		if c.client, err = tls.LoadX509KeyPair(o.CertFile, key); err != nil {
			return fail(hint.New(fmt.Errorf("certificate %s: %w", o.CertFile, err), "the file holds the certificate and its unencrypted key, in PEM"))
		}
	}
	return c, host, port, nil
}

// Dial connects, logs in and opens a shell. Cancelling ctx ends it at once.
func Dial(ctx context.Context, o Options) (*Conn, error) {
	c, host, port, err := prepare(o)
	if err != nil {
		return nil, err
	}
	if c.endpoint, err = c.dial(ctx, host, port); err != nil {
		c.hangUp()
		return nil, c.explain(err)
	}
	c.ready.Store(true)
	return c, nil
}

func (c *Conn) dial(ctx context.Context, host string, port int) (*endpoint, error) {
	w, err := c.find(ctx, host, port)
	if err != nil {
		return nil, err
	}
	c.endpoint, c.here = w.endpoint, w.here()
	c.requests = requests{w.endpoint.url.String()}
	if err := c.authenticate(ctx, w); err != nil {
		w.close()
		return w.endpoint, err
	}
	c.wires = append(c.wires, w)
	s, err := c.newShell(ctx)
	if err != nil {
		return w.endpoint, err
	}
	c.shells = append(c.shells, s)
	return w.endpoint, nil
}

// Start runs cmd's line in cmd.exe. Elevate is no matter: a remote logon of an administrator is one with all rights.
func (c *Conn) Start(ctx context.Context, cmd transport.Command) (transport.Process, error) {
	if ctx.Err() != nil {
		return nil, &transport.Error{Err: fmt.Errorf("%s: %w", c.label(), context.Cause(ctx))}
	}
	if err := c.begin(); err != nil {
		return nil, err
	}
	defer c.cleaning.Done()
	if n := len(cmd.Line); n > maxLine {
		return nil, &transport.Error{Err: fmt.Errorf("a command line of %d characters: cmd.exe takes %d", n, maxLine)}
	}
	p, err := c.start(ctx, cmd.Line)
	if err != nil {
		return nil, c.explain(err)
	}
	return p, nil
}

// maxLine is cmd.exe's limit, less the "cmd /c " that Windows puts before it.
const maxLine = 8100

// start runs a line in an idle shell, or in a new one where the idle ones are gone.
func (c *Conn) start(ctx context.Context, line string) (*process, error) {
	for {
		s, idle := c.idleShell()
		if s == nil {
			var err error
			if s, err = c.newShell(ctx); err != nil {
				return nil, err
			}
		}
		r, err := c.run(ctx, s, line)
		if err == nil {
			return c.newProcess(ctx, s, r.command)
		}
		f, ok := errors.AsType[*fault](err)
		if ok && f.noShell() && idle {
			continue // dropped while it was idle: nothing was started
		}
		c.dropShell(s, "")
		return nil, err
	}
}

func (c *Conn) run(ctx context.Context, s *shell, line string) (*reply, error) {
	if s.last != "" {
		if _, err := c.do(ctx, c.requests.terminate(s.id, s.last), poll+leeway); err != nil {
			if f, ok := errors.AsType[*fault](err); !ok || f.noShell() {
				return nil, err
			}
		}
		s.last = ""
	}
	r, err := c.do(ctx, c.requests.command(s.id, line), slow)
	if err == nil && r.command == "" {
		err = fmt.Errorf("%w: it names no command", errReply)
	}
	return r, err
}

func (c *Conn) idleShell() (s *shell, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.shells)
	if n == 0 {
		return nil, false
	}
	s, c.shells = c.shells[n-1], c.shells[:n-1]
	return s, true
}

func (c *Conn) newShell(ctx context.Context) (*shell, error) {
	r, err := c.do(ctx, c.requests.create(), slow)
	if err != nil {
		return nil, err
	}
	if r.shell == "" {
		return nil, fmt.Errorf("%w: it names no shell", errReply)
	}
	return &shell{id: r.shell}, nil
}

const (
	cleanup = 10 * time.Second        // how long ending a program, and its shell, may take
	goodbye = 1500 * time.Millisecond // and how long Close waits for that
)

// dropShell ends a shell in the background, and first the command that runs in it.
func (c *Conn) dropShell(s *shell, command string) {
	c.cleaning.Go(func() {
		ctx, cancel := context.WithTimeout(c.life, cleanup)
		defer cancel()
		if command != "" {
			c.send(ctx, c.requests.terminate(s.id, command), poll)
		}
		c.send(ctx, c.requests.delete(s.id), poll)
	})
}

// Close ends all programs, and their shells.
func (c *Conn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	running, shells, broken := slices.Collect(maps.Keys(c.running)), slices.Clone(c.shells), c.broken != nil
	c.shells = nil
	c.mu.Unlock()
	for _, p := range running {
		p.giveUp(c.lost(nil), c.lost(nil), func() { shells = append(shells, p.shell) }) // with the shell go its programs
	}
	if !broken {
		for _, s := range shells {
			c.dropShell(s, "")
		}
	}
	late := time.AfterFunc(goodbye, c.end)
	c.cleaning.Wait()
	late.Stop()
	c.hangUp()
	return nil
}

// Remembers says that a shell outlives a controller that doesn't close it, until its idle time-out.
func (c *Conn) Remembers() {}

// Here is our end of the first connection.
func (c *Conn) Here() netip.Addr { return c.here }

// hangUp closes all connections, and forgets the tickets.
func (c *Conn) hangUp() {
	c.end()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.wires {
		w.close()
	}
	c.wires, c.dropped = nil, true
	if c.login.krb != nil {
		c.login.krb.Close()
	}
}

// begin has Close wait for what may still drop a shell, until c.cleaning.Done.
func (c *Conn) begin() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.ended()
	if err == nil {
		c.cleaning.Add(1)
	}
	return err
}

// over says why nothing can be started any more.
func (c *Conn) over() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended()
}

// ended is over, and needs c.mu.
func (c *Conn) ended() error {
	if c.closed {
		return &transport.Error{Kind: transport.Lost, Err: fmt.Errorf("the connection to %s was closed", c.label())}
	}
	return c.broken
}

func (c *Conn) label() string {
	switch {
	case c.endpoint != nil:
		return c.o.label(c.endpoint.address())
	case c.port != 0:
		return c.o.label(net.JoinHostPort(c.host, strconv.Itoa(c.port)))
	}
	return c.o.label(c.host)
}
