package winrm

import (
	"context"
	"crypto"
	"crypto/md5"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fitout-dev/fitout/engine/transport/winrm/kerberos"
	"github.com/fitout-dev/fitout/engine/transport/winrm/ntlm"
)

// Methods of Options.Auth.
const (
	negotiate   = "negotiate" // Kerberos where a realm is known, else NTLM
	byKerberos  = "kerberos"
	byNTLM      = "ntlm"
	basic       = "basic"
	certificate = "certificate"
)

// Methods are all of them.
var Methods = []string{negotiate, byKerberos, byNTLM, basic, certificate}

// mutual is what stands for a password where a certificate does.
const mutual = "http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/https/mutual"

// login is what a Conn logs its connections in with. Windows wants that for each. Rules: nothing but the handshake's own
// tokens is sent before it has succeeded; a password is asked for, and tried, once; a refusal is final.
type login struct {
	mu       sync.Mutex
	method   string
	password *string
	krb      *kerberos.Client
	refused  error
	note     error // why Kerberos was passed over
}

// refusal is a server's no.
type refusal struct {
	method string
	offers []string // the methods that the server names
	err    error    // what is behind it, if anything says
}

func (r *refusal) Error() string {
	if r.err != nil {
		return r.err.Error()
	}
	return r.method + " was refused"
}

func (r *refusal) Unwrap() error { return r.err }

// secret is the password: asked for once.
func (c *Conn) secret(ctx context.Context) (string, error) {
	if c.login.password != nil {
		return *c.login.password, nil
	}
	var password string
	var err error
	switch {
	case c.o.Password != nil:
		password, err = c.o.Password()
	case c.o.Prompt != nil:
		password, err = c.o.Prompt(ctx, fmt.Sprintf("Password of %s on %s: ", c.o.User, c.o.label(c.host)), false)
	default:
		err = errNoPassword
	}
	if err != nil {
		return "", err
	}
	c.login.password = &password
	return password, nil
}

var errNoPassword = errors.New("there is no password, and nobody can be asked for one")

// authenticate logs a connection in.
func (c *Conn) authenticate(ctx context.Context, w *wire) error {
	l := &c.login
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refused != nil {
		return l.refused
	}
	err := c.logIn(ctx, w)
	if _, ok := errors.AsType[*refusal](err); ok {
		l.refused = err
	}
	return err
}

func (c *Conn) logIn(ctx context.Context, w *wire) error {
	l := &c.login
	switch l.method {
	case basic, certificate:
		if !w.tls {
			return errClear
		}
		if l.method == certificate {
			w.basic = mutual
			return nil
		}
		password, err := c.secret(ctx)
		if err != nil {
			return err
		}
		if err := c.renew(ctx, w); err != nil {
			return err
		}
		w.basic = "Basic " + base64.StdEncoding.EncodeToString([]byte(c.o.User+":"+password))
		return nil
	case byKerberos:
		return c.kerberos(ctx, w)
	case byNTLM:
		return c.ntlm(ctx, w)
	}
	if c.hasRealm() {
		err := c.kerberos(ctx, w)
		if err == nil {
			l.method = byKerberos
			return nil
		}
		if e, ok := errors.AsType[*kerberos.Error](err); ctx.Err() != nil || ok && slices.Contains(final, e.Reason) {
			return err
		}
		l.note = err
		if c.o.Password == nil && c.o.Prompt == nil {
			return err
		}
	}
	l.method = byNTLM
	return c.ntlm(ctx, w)
}

// renew makes a connection anew that the server has closed meanwhile: because it refused Kerberos on it, or because the
// password took its time.
func (c *Conn) renew(ctx context.Context, w *wire) error {
	if !w.broken() {
		return nil
	}
	w.close()
	again, err := c.connect(ctx, w.endpoint)
	if err == nil {
		*w = *again
	}
	return err
}

// final are the failures of Kerberos that NTLM must not follow: the password, or the account, was judged.
var final = []kerberos.Reason{kerberos.WrongPassword, kerberos.UnknownUser, kerberos.Expired, kerberos.Revoked}

// errClear is for what has no encryption of its own.
var errClear = errors.New("it is only used over HTTPS: over HTTP the password could be read by anyone in between")

// hasRealm says whether Kerberos is worth a try: it needs a name, since a ticket is for one, and somebody must have named a
// realm. The default of krb5.conf doesn't count: a local Administrator's password would be tried on the realm's.
func (c *Conn) hasRealm() bool {
	if net.ParseIP(c.host) != nil {
		return false
	}
	_, realm, ok := strings.Cut(c.o.User, "@")
	return c.o.Realm != "" || c.o.Keytab != "" || ok && strings.Contains(realm, ".") || c.o.Password == nil && c.kerberosOptions(context.Background()).HasTicket()
}

func (c *Conn) kerberosOptions(ctx context.Context) kerberos.Options {
	_, user, hasDomain := strings.Cut(c.user, `\`)
	if !hasDomain {
		user = c.user
	}
	o := kerberos.Options{User: user, Realm: c.o.Realm, Keytab: c.o.Keytab}
	if c.o.Password != nil || c.o.Prompt != nil {
		o.Password = func() (string, error) { return c.secret(ctx) }
	}
	return o
}

func (c *Conn) kerberos(ctx context.Context, w *wire) error {
	l := &c.login
	if l.krb == nil {
		krb, err := kerberos.Login(ctx, c.kerberosOptions(ctx))
		if err != nil {
			return err
		}
		l.krb = krb
	}
	if err := c.renew(ctx, w); err != nil {
		return err
	}
	s, err := l.krb.Session(ctx, w.endpoint.service(), w.binding())
	if err != nil {
		return err
	}
	a, err := c.handshake(ctx, w, s.Token())
	if err != nil {
		return err
	}
	token, offers := a.challenge()
	if a.status != http.StatusOK {
		r := &refusal{method: "Kerberos", offers: offers}
		if len(token) > 0 {
			r.err = s.Accept(token)
		}
		return r
	}
	if err := s.Accept(token); err != nil {
		return err
	}
	if !w.tls {
		w.seal = s
	}
	return nil
}

func (c *Conn) ntlm(ctx context.Context, w *wire) error {
	password, err := c.secret(ctx)
	if err == nil {
		err = c.renew(ctx, w)
	}
	if err != nil {
		return err
	}
	name, _ := os.Hostname()
	name, _, _ = strings.Cut(name, ".")
	client := &ntlm.Client{User: c.o.User, Key: ntlm.Key(password), Target: w.endpoint.service(), Binding: w.binding(), Workstation: strings.ToUpper(name)}
	a, err := c.handshake(ctx, w, client.Negotiate())
	if err != nil {
		return err
	}
	token, offers := a.challenge()
	if a.status != http.StatusUnauthorized {
		return &statusError{a.status}
	}
	if len(token) == 0 {
		return &refusal{method: "NTLM", offers: offers, err: errNotOffered}
	}
	last, session, err := client.Authenticate(token)
	if err != nil {
		return err
	}
	if a, err = c.handshake(ctx, w, last); err != nil {
		return err
	}
	switch a.status {
	case http.StatusOK:
	case http.StatusUnauthorized:
		_, offers := a.challenge()
		return &refusal{method: "NTLM", offers: offers}
	default:
		return &statusError{a.status}
	}
	if !w.tls {
		w.seal = session
	}
	return nil
}

var errNotOffered = errors.New("the device does not offer it")

// statusError is an HTTP status that says all there is.
type statusError struct{ status int }

func (s *statusError) Error() string {
	return fmt.Sprintf("HTTP status %d (%s)", s.status, http.StatusText(s.status))
}

// handshake sends a token, and nothing else.
func (c *Conn) handshake(ctx context.Context, w *wire, token []byte) (*answer, error) {
	c.Requests.Add(1)
	return w.roundTrip(ctx, http.Header{
		"Authorization": {"Negotiate " + base64.StdEncoding.EncodeToString(token)},
		"Content-Type":  {soapType},
	}, nil, c.o.Timeout+time.Minute) // a domain controller may be asked, and be slow
}

// challenge is the token that a server answers with, and the methods that it names.
func (a *answer) challenge() (token []byte, offers []string) {
	for _, h := range a.header.Values("Www-Authenticate") {
		for part := range strings.SplitSeq(h, ",") {
			scheme, value, _ := strings.Cut(strings.TrimSpace(part), " ")
			switch strings.ToLower(scheme) {
			case "negotiate", "kerberos":
				if b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(value)); err == nil && len(b) > 0 {
					token = b
				}
			}
			if scheme != "" && !strings.Contains(scheme, "=") {
				offers = append(offers, scheme)
			}
		}
	}
	return token, offers
}

// binding is the MD5 of the TLS channel's bindings (RFC 5929, tls-server-end-point), for servers that insist on it.
func (w *wire) binding() []byte {
	t, ok := w.conn.(*tls.Conn)
	if !ok {
		return nil
	}
	certs := t.ConnectionState().PeerCertificates
	if len(certs) == 0 {
		return nil
	}
	data := append([]byte("tls-server-end-point:"), endPointHash(certs[0])...)
	b := append(make([]byte, 16), binary.LittleEndian.AppendUint32(nil, uint32(len(data)))...)
	sum := md5.Sum(append(b, data...))
	return sum[:]
}

// endPointHash is by the hash of the certificate's signature; SHA-256 stands for those that are broken.
func endPointHash(cert *x509.Certificate) []byte {
	switch cert.SignatureAlgorithm {
	case x509.SHA384WithRSA, x509.ECDSAWithSHA384, x509.SHA384WithRSAPSS:
		h := crypto.SHA384.New()
		h.Write(cert.Raw)
		return h.Sum(nil)
	case x509.SHA512WithRSA, x509.ECDSAWithSHA512, x509.SHA512WithRSAPSS:
		h := crypto.SHA512.New()
		h.Write(cert.Raw)
		return h.Sum(nil)
	}
	sum := sha256.Sum256(cert.Raw)
	return sum[:]
}
