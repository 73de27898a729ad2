package winrm

import (
	"context"
	"crypto/tls"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A Server speaks WinRM on the listeners given to it. Its methods may be used concurrently.
type Server struct {
	HTTPAddr, HTTPSAddr string // addresses after Listen

	cfg    Config
	cert   atomic.Pointer[tls.Certificate]
	keys   *keytabKeys
	closed chan struct{}
	http   []*http.Server
	conns  atomic.Int64

	mu         sync.Mutex
	shells     map[string]*shell
	operations map[string]int // running now, by user
	log        []Request
	injections []*Injection
}

// A Request as the server saw it.
type Request struct {
	Conn   int64  // number of the TCP connection
	TLS    bool   // it came over HTTPS
	Auth   string // the method that authenticated it, "" before that
	User   string
	Sealed bool   // the body was sealed
	Clear  bool   // the body came in the clear over plain HTTP
	Action string // the last part of the action: Create, Command, Send, ...; "" where none was read
	Bytes  int    // of the body as it came
	Status int    // of the answer; 0 where the connection was cut
	Fault  uint32 // the answer's fault code
}

// New makes a server that does not listen yet.
func New(c Config) (*Server, error) {
	c = c.withDefaults()
	s := &Server{cfg: c, closed: make(chan struct{}), shells: map[string]*shell{}, operations: map[string]int{}}
	if c.Certificate != nil {
		s.cert.Store(c.Certificate)
	} else if err := s.ReplaceCertificate(); err != nil {
		return nil, err
	}
	if len(c.Keytab) > 0 {
		var err error
		if s.keys, err = loadKeytab(c.Keytab); err != nil {
			return nil, err
		}
	}
	go s.expire()
	return s, nil
}

// Certificate is what HTTPS shows now, in DER.
func (s *Server) Certificate() []byte { return s.cert.Load().Certificate[0] }

// ReplaceCertificate gives HTTPS a new self-signed certificate, as after re-imaging. Open connections keep the old one.
func (s *Server) ReplaceCertificate() error {
	c, err := SelfSigned(append([]string{s.cfg.Hostname}, s.cfg.Names...)...)
	if err == nil {
		s.cert.Store(&c)
	}
	return err
}

// Listen opens the listeners for HTTP and HTTPS; an empty address leaves one out.
func (s *Server) Listen(httpAddr, httpsAddr string) error {
	if httpAddr != "" {
		l, err := net.Listen("tcp", httpAddr)
		if err != nil {
			return err
		}
		s.HTTPAddr = l.Addr().String()
		s.Serve(l)
	}
	if httpsAddr != "" {
		l, err := net.Listen("tcp", httpsAddr)
		if err != nil {
			return err
		}
		s.HTTPSAddr = l.Addr().String()
		s.ServeTLS(l)
	}
	return nil
}

// Serve serves plain HTTP on l until Close.
func (s *Server) Serve(l net.Listener) { s.serve(&wireListener{l, s}) }

// ServeTLS serves HTTPS on l until Close.
func (s *Server) ServeTLS(l net.Listener) {
	s.serve(tls.NewListener(&wireListener{l, s}, &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.cert.Load(), nil },
		// Windows asks for a client's certificate by a renegotiation or after the handshake, which Go's servers can't.
		ClientAuth: tls.RequestClientCert,
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"},
	}))
}

func (s *Server) serve(l net.Listener) {
	h := &http.Server{
		Handler:      s,
		ErrorLog:     quiet,
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}, // HTTP/1.1 only: state is per connection
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			st := &conn{}
			if t, ok := c.(*tls.Conn); ok {
				st.tls = t
				c = t.NetConn()
			}
			st.wire = c.(*wire)
			return context.WithValue(ctx, connKey{}, st)
		},
	}
	s.mu.Lock()
	s.http = append(s.http, h)
	s.mu.Unlock()
	go func() { _ = h.Serve(l) }()
}

// Close ends all connections, shells and commands.
func (s *Server) Close() error {
	s.mu.Lock()
	select {
	case <-s.closed:
		s.mu.Unlock()
		return nil
	default:
	}
	close(s.closed)
	servers := s.http
	s.mu.Unlock()
	var errs []error
	for _, h := range servers {
		errs = append(errs, h.Close())
	}
	s.DropShells()
	return errors.Join(errs...)
}

// Requests returns what was asked so far, in the order of the answers.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.log)
}

// Connections is how many TCP connections were accepted so far.
func (s *Server) Connections() int { return int(s.conns.Load()) }

type connKey struct{}

// conn is the state of one TCP connection. Requests on it come one after the other.
type conn struct {
	wire *wire
	tls  *tls.Conn

	nego *negotiation // under way, or complete and able to seal
	mech mechanism    // once complete
	auth string       // how the connection, not a single request, is authenticated
	user string
}

// reply is an answer under way.
type reply struct {
	w      http.ResponseWriter
	conn   *conn
	req    *Request
	sealed string // protocol to seal the answer with
	token  string // for WWW-Authenticate of a success
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := r.Context().Value(connKey{}).(*conn)
	req := Request{Conn: c.wire.number, TLS: c.tls != nil}
	defer func() {
		s.mu.Lock()
		s.log = append(s.log, req)
		s.mu.Unlock()
	}()
	a := &reply{w: w, conn: c, req: &req}
	w.Header().Set("Server", "Microsoft-HTTPAPI/2.0")
	switch {
	case r.URL.Path != "/wsman" && r.URL.Path != "/wsman-anon/identify":
		a.empty(http.StatusNotFound)
		return
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", "POST")
		a.empty(http.StatusMethodNotAllowed)
		return
	}
	// A sealed or padded body is a little longer than its envelope.
	body, err := io.ReadAll(io.LimitReader(r.Body, int64(s.cfg.MaxEnvelopeSize)+64<<10))
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, r.Body)
	req.Bytes = len(body)
	if s.interfere(a, "") {
		return
	}
	if r.URL.Path == "/wsman-anon/identify" && r.Header.Get("WSMANIDENTIFY") == "unauthenticated" {
		s.answer(a, body)
		return
	}
	if !s.authenticate(a, r) {
		return
	}
	protocol := sealedProtocol(r.Header.Get("Content-Type"))
	switch {
	case len(body) == 0: // the handshake was the request
		a.empty(http.StatusOK)
		return
	case protocol != "":
		if c.mech == nil {
			a.empty(http.StatusBadRequest)
			return
		}
		req.Sealed = true
		if body, err = unsealBody(c.mech, protocol, body); err != nil {
			s.note(&req, err)
			c.forget()
			a.empty(http.StatusBadRequest)
			return
		}
		a.sealed = protocol
	case c.tls == nil:
		req.Clear = true
		if !s.cfg.AllowUnencrypted {
			a.empty(http.StatusInternalServerError)
			return
		}
	}
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/soap+xml") && protocol == "" {
		a.empty(http.StatusUnsupportedMediaType)
		return
	}
	s.answer(a, body)
}

// authenticate establishes who asks, and answers itself when that needs another step or fails.
func (s *Server) authenticate(a *reply, r *http.Request) bool {
	c := a.conn
	scheme, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	var err error
	switch strings.ToLower(scheme) {
	case "":
		if c.auth != "" {
			break
		}
		return s.unauthorized(a, nil)
	case "basic":
		a.req.Auth, a.req.User, err = s.basic(a, value)
		if err != nil {
			return s.unauthorized(a, err)
		}
		return true
	case "negotiate", "kerberos":
		token, err := base64.StdEncoding.DecodeString(strings.TrimSpace(value))
		if err != nil {
			return s.unauthorized(a, err)
		}
		if c.nego == nil || c.mech != nil {
			c.forget()
			c.nego = &negotiation{choose: s.mechanisms(c, scheme)}
		}
		reply, done, err := c.nego.step(token)
		if err != nil {
			return s.unauthorized(a, err)
		}
		if !done {
			a.w.Header().Set("WWW-Authenticate", scheme+" "+base64.StdEncoding.EncodeToString(reply))
			a.empty(http.StatusUnauthorized)
			return false
		}
		if len(reply) > 0 {
			a.token = scheme + " " + base64.StdEncoding.EncodeToString(reply)
		}
		c.mech = c.nego.mech
		c.auth, c.user = NTLM, c.mech.user()
		if _, ok := c.mech.(*ntlm); !ok {
			c.auth = Kerberos
		} else if u, _ := s.lookUp(c.user); u.Disabled {
			return s.unauthorized(a, errors.New("the account is disabled"))
		}
	case "http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/https/mutual":
		a.req.Auth = Certificate
		if a.req.User, err = s.certificateUser(c); err != nil {
			return s.unauthorized(a, err)
		}
		return true
	default:
		return s.unauthorized(a, fmt.Errorf("unknown scheme %q", scheme))
	}
	a.req.Auth, a.req.User = c.auth, c.user
	return true
}

func (c *conn) forget() { c.nego, c.mech, c.auth, c.user = nil, nil, "", "" }

func (s *Server) unauthorized(a *reply, err error) bool {
	a.conn.forget()
	s.note(a.req, err)
	h := a.w.Header()
	if s.allows(NTLM) || s.allows(Kerberos) {
		h.Add("WWW-Authenticate", "Negotiate")
	}
	if s.allows(Kerberos) {
		h.Add("WWW-Authenticate", "Kerberos")
	}
	if s.allows(Basic) && (a.conn.tls != nil || s.cfg.AllowUnencrypted) {
		h.Add("WWW-Authenticate", `Basic realm="WSMAN"`)
	}
	a.empty(http.StatusUnauthorized)
	return false
}

func (s *Server) allows(method string) bool { return slices.Contains(s.cfg.Auth, method) }

func (s *Server) basic(a *reply, value string) (method, user string, err error) {
	if !s.allows(Basic) || a.conn.tls == nil && !s.cfg.AllowUnencrypted {
		return "", "", errors.New("basic authentication is not allowed here")
	}
	b, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		return "", "", err
	}
	name, password, _ := strings.Cut(string(b), ":")
	u, ok := s.lookUp(name)
	if !ok || u.Password != password || u.Disabled {
		return "", "", errors.New("wrong user or password, or a disabled account")
	}
	return Basic, baseName(name), nil
}

func (s *Server) mechanisms(c *conn, scheme string) func(asn1.ObjectIdentifier) mechanism {
	return func(oid asn1.ObjectIdentifier) mechanism {
		switch {
		case oid.Equal(oidNTLM) && s.allows(NTLM) && strings.EqualFold(scheme, "negotiate"):
			return &ntlm{hostname: s.cfg.Hostname, bindings: bindingsOf(s, c), needCBT: s.cfg.RequireCBT && c.tls != nil,
				passwordOf: func(name string) (string, bool) { u, ok := s.lookUp(name); return u.Password, ok }}
		case (oid.Equal(oidKerberos) || oid.Equal(oidMSKrb5)) && s.allows(Kerberos) && s.keys != nil:
			return newKerberos(s.keys, bindingsOf(s, c), s.cfg.RequireCBT && c.tls != nil)
		}
		return nil
	}
}

// baseName takes a domain, or a realm, off a user's name.
func baseName(name string) string {
	if i := strings.LastIndexAny(name, `\`); i >= 0 {
		name = name[i+1:]
	}
	name, _, _ = strings.Cut(name, "@")
	return name
}

func (s *Server) lookUp(name string) (User, bool) {
	for n, u := range s.cfg.Users {
		if strings.EqualFold(n, baseName(name)) {
			return u, true
		}
	}
	return User{}, false
}

func (s *Server) certificateUser(c *conn) (string, error) {
	if !s.allows(Certificate) || c.tls == nil {
		return "", errors.New("certificates are not allowed here")
	}
	certs := c.tls.ConnectionState().PeerCertificates
	if len(certs) == 0 {
		return "", errors.New("the client showed no certificate")
	}
	now := time.Now()
	for name, u := range s.cfg.Users {
		if slices.Contains(u.Certificates, certs[0].Subject.CommonName) && !u.Disabled {
			if now.Before(certs[0].NotBefore) || now.After(certs[0].NotAfter) {
				return "", errors.New("the client's certificate is not valid now")
			}
			return name, nil
		}
	}
	return "", fmt.Errorf("no user is mapped to the certificate of %q", certs[0].Subject.CommonName)
}

// empty answers without a body.
func (a *reply) empty(status int) {
	if status == http.StatusOK && a.token != "" {
		a.w.Header().Set("WWW-Authenticate", a.token)
	}
	a.req.Status = status
	a.w.Header().Set("Content-Length", "0")
	a.w.WriteHeader(status)
}

// send answers with an envelope.
func (a *reply) send(status int, body []byte) {
	a.req.Status = status
	contentType := "application/soap+xml;charset=UTF-8"
	if a.sealed != "" {
		var err error
		if contentType, body, err = sealBody(a.conn.mech, a.sealed, body); err != nil {
			a.empty(http.StatusInternalServerError)
			return
		}
	}
	if a.token != "" {
		a.w.Header().Set("WWW-Authenticate", a.token)
	}
	a.w.Header().Set("Content-Type", contentType)
	a.w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	a.w.WriteHeader(status)
	_, _ = a.w.Write(body)
}
