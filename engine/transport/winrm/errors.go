//lint:file-ignore ST1008 a cause and its remedy stand in this order, as people read them

package winrm

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/fitout-dev/fitout/engine/transport"
	"github.com/fitout-dev/fitout/engine/transport/winrm/kerberos"
	"github.com/fitout-dev/fitout/modules/hint"
)

var errTimeout = errors.New("no answer in time")

// said replaces an error's words and keeps its chain.
type said struct {
	text string
	err  error
}

func (s *said) Error() string { return s.text }
func (s *said) Unwrap() error { return s.err }

// explain turns a failure into words with a next step.
func (c *Conn) explain(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*transport.Error](err); ok {
		return err
	}
	kind, err, remedy := c.words(err)
	err = fmt.Errorf("%s: %w", c.label(), err)
	if remedy != "" {
		err = hint.New(err, "%s", remedy)
	}
	return &transport.Error{Kind: kind, Err: err}
}

func (c *Conn) words(err error) (kind transport.Kind, cause error, remedy string) {
	if p, ok := errors.AsType[*certProblem](err); ok {
		return transport.HostKey, p, c.certRemedy(p)
	}
	if f, ok := errors.AsType[*fault](err); ok {
		return c.faultWords(f)
	}
	if e, ok := errors.AsType[*kerberos.Error](err); ok {
		return c.kerberosWords(e)
	}
	if r, ok := errors.AsType[*refusal](err); ok {
		return c.refusalWords(r)
	}
	if s, ok := errors.AsType[*statusError](err); ok {
		return c.statusWords(s)
	}
	if n, ok := errors.AsType[*nowhere](err); ok {
		return c.nowhereWords(n)
	}
	if d, ok := errors.AsType[*dialError](err); ok {
		return c.dialWords(d)
	}
	says := func(text string) error { return &said{text, err} }
	_, isTLS := errors.AsType[tls.RecordHeaderError](err)
	alert, isAlert := errors.AsType[tls.AlertError](err)
	switch {
	case errors.Is(err, errTimeout):
		return transport.TimedOut, says("connected, but no answer to the handshake"), "see whether the device's WinRM service hangs: `Restart-Service WinRM` there"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return transport.Unknown, err, ""
	case isTLS:
		return transport.Protocol, says("no TLS is spoken there"), fmt.Sprintf("%d is the port for HTTPS, and %d for HTTP; or say `tls: false` under connect in the inventory", httpsPort, httpPort)
	case isAlert:
		return transport.Protocol, says("the TLS handshake failed: " + alert.Error()), "see the device's System event log, source Schannel"
	case errors.Is(err, errClear):
		return transport.Auth, says(c.o.Auth + " is refused: " + errClear.Error()), fmt.Sprintf("use HTTPS (port %d), or `auth: negotiate`, which encrypts by itself", httpsPort)
	case errors.Is(err, errNoPassword):
		return transport.Auth, err, "run it on a terminal, or put the password into the inventory as ${secrets.NAME}"
	case errors.Is(err, errUnsealed), errors.Is(err, errSealed), errors.Is(err, errReply):
		return transport.Protocol, err, "is it a WinRM service that answers there? Check the port"
	case isCut(err):
		return transport.Lost, says("the connection was lost"), "see whether the device is switched on and its WinRM service runs, then run the same command again"
	}
	return transport.Unknown, err, ""
}

// lose notes that the connection broke: what was under way is lost, and nothing new is begun on it.
func (c *Conn) lose(err error) error {
	if _, ok := errors.AsType[*transport.Error](err); ok {
		return err
	}
	lost := c.lost(err)
	_, isRefusal := errors.AsType[*refusal](err)
	_, isCert := errors.AsType[*certProblem](err)
	if isRefusal || isCert { // the device answers, but not as before: coming back doesn't help
		lost = c.explain(err)
	}
	c.mu.Lock()
	if c.broken == nil {
		c.broken = lost
	}
	c.mu.Unlock()
	return lost
}

func (c *Conn) lost(err error) error {
	if err == nil {
		return &transport.Error{Kind: transport.Lost, Err: fmt.Errorf("the connection to %s was closed", c.label())}
	}
	text := fmt.Sprintf("the connection to %s was lost", c.label())
	if t, ok := errors.AsType[net.Error](err); ok && t.Timeout() || errors.Is(err, os.ErrDeadlineExceeded) {
		text += ": no sign of life"
	} else if !isCut(err) {
		text += ": " + err.Error()
	}
	return &transport.Error{Kind: transport.Lost, Err: hint.New(&said{text, err}, "see whether the device is switched on and in the network, then run the same command again")}
}

// lostShell is for a shell that the server has dropped. The connection is good for another.
func (c *Conn) lostShell(f *fault) error {
	return &transport.Error{Kind: transport.Lost, Err: hint.New(&said{fmt.Sprintf("%s: the device has dropped the shell: %v", c.label(), f), f},
		"its WinRM service was restarted, or a limit was reached: see `winrm get winrm/config/winrs` there")}
}

// isCut tells a connection that has ended from what was said on it.
func isCut(err error) bool {
	_, isNet := errors.AsType[*net.OpError](err)
	return isNet || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded)
}

func isAny(err error, these []error) bool {
	return slices.ContainsFunc(these, func(e error) bool { return errors.Is(err, e) })
}

func (c *Conn) certRemedy(p *certProblem) string {
	switch {
	case p.pin != "":
		return "somebody may be in between. If the device got a new certificate, correct `fingerprint` in the inventory"
	case p.known != "":
		return fmt.Sprintf("somebody may be in between: do not go on before you know why. If the device was re-imaged, run `fitout trust --replace %s`", c.o.trustArgs(p.address))
	}
	return fmt.Sprintf("compare the fingerprint with the device's own, then run `fitout trust %s`", c.o.trustArgs(p.address))
}

func (c *Conn) dialWords(d *dialError) (transport.Kind, error, string) {
	says := func(text string) error { return &said{text, d} }
	dns, isDNS := errors.AsType[*net.DNSError](d.err)
	t, isNet := errors.AsType[net.Error](d.err)
	switch {
	case errors.Is(d.err, context.Canceled):
		return transport.Unknown, d.err, ""
	case isDNS && dns.IsTimeout:
		return transport.TimedOut, says("the name server doesn't answer"), "see whether this machine is in the network, or give the device's IP address"
	case isDNS:
		return transport.NameNotFound, says("the name " + c.host + " is not known"), "check the address, or give the device's IP address"
	case strings.HasPrefix(d.Error(), "proxy"):
		return transport.Refused, d.err, "the proxy is from HTTPS_PROXY or HTTP_PROXY; NO_PROXY lists what to reach without it"
	case isAny(d.err, refusedErrors):
		return transport.Refused, says("the connection is refused"), "the WinRM service does not run there, or has no listener: run `winrm quickconfig` on the device, or what `fitout bootstrap windows` prints"
	case errors.Is(d.err, errTimeout), isNet && t.Timeout(), isAny(d.err, unreachableErrors):
		return transport.TimedOut, says("no answer"), "see whether the device is switched on and reachable from here, and whether its firewall lets WinRM in: on a network that is Public to it, only its own subnet gets through"
	}
	return transport.Unknown, d.err, ""
}

func (c *Conn) nowhereWords(n *nowhere) (transport.Kind, error, string) {
	d, _ := errors.AsType[*dialError](n.plain)
	kind, err, remedy := c.dialWords(d)
	if kind == transport.Refused || kind == transport.TimedOut {
		if s, ok := err.(*said); ok {
			err = &said{fmt.Sprintf("%s, at port %d as at %d", s.text, httpsPort, httpPort), n}
		}
	}
	return kind, err, remedy
}

func (c *Conn) statusWords(s *statusError) (transport.Kind, error, string) {
	switch s.status {
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return transport.Protocol, &said{fmt.Sprintf("a web server, but no WinRM: %v", s), s}, fmt.Sprintf("check the port: WinRM's are %d and %d", httpsPort, httpPort)
	case http.StatusServiceUnavailable:
		return transport.Refused, &said{fmt.Sprintf("the WinRM service does not run: %v", s), s}, "run `Start-Service WinRM` on the device"
	case http.StatusForbidden:
		return transport.Auth, s, "the device's WinRM accepts no connection from here: see IPv4Filter in `winrm get winrm/config/service` there"
	case http.StatusBadRequest:
		return transport.Protocol, s, fmt.Sprintf("is it the port for HTTPS that was asked without TLS? WinRM's are %d with TLS, and %d without", httpsPort, httpPort)
	}
	return transport.Protocol, s, ""
}

func (c *Conn) refusalWords(r *refusal) (transport.Kind, error, string) {
	if e, ok := errors.AsType[*kerberos.Error](r.err); ok {
		return c.kerberosWords(e)
	}
	text := fmt.Sprintf("%s may not log in (%s)", c.o.User, r.method)
	if len(r.offers) > 0 {
		text += "; the device accepts " + strings.Join(r.offers, ", ")
	}
	if c.login.note != nil {
		text += "; " + c.login.note.Error()
	}
	err := &said{text, r}
	offers := strings.ToLower(strings.Join(r.offers, " "))
	switch {
	case errors.Is(r.err, errNotOffered) || r.method == basic && offers != "" && !strings.Contains(offers, basic):
		return transport.Auth, err, "its WinRM does not offer this way to log in: see Auth in `winrm get winrm/config/service` there, or choose another `auth` in the inventory"
	case r.method == certificate:
		return transport.Auth, err, "map the certificate to a user on the device (WSMan:\\localhost\\ClientCertificate), and allow Certificate in its WinRM's Auth"
	}
	return transport.Auth, err, "check the user and the password, and on the device whether the account is disabled, locked, or its password expired (`net user NAME`); " +
		"NTLM may be forbidden there by policy (then use `auth: kerberos`). It was tried once only, so that nothing locks"
}

func (c *Conn) kerberosWords(e *kerberos.Error) (transport.Kind, error, string) {
	remedy := ""
	kind := transport.Auth
	switch e.Reason {
	case kerberos.NoCredentials:
		remedy = "run `kinit`, name a `keytab`, or give a password; a user is written name@REALM"
	case kerberos.Unreachable:
		remedy = "see whether the domain controller can be reached, and whether /etc/krb5.conf or the DNS knows the realm"
	case kerberos.WrongPassword:
		remedy = "check the user and the password. It was tried once only, so that nothing locks"
	case kerberos.UnknownUser:
		remedy = "check the user and the realm: " + c.o.User
	case kerberos.UnknownService:
		remedy = "use the device's name as the domain knows it, not an alias or an address; `setspn -L NAME` lists what it is known by"
	case kerberos.Skew:
		remedy = "set this machine's clock, or the device's: they may differ by five minutes at most"
	case kerberos.Expired:
		remedy = "log in once at a machine of the domain, and change the password"
	case kerberos.Revoked:
		remedy = "have the account enabled, or unlocked, by the domain's administrator"
	}
	return kind, e.Err, remedy
}

func (c *Conn) faultWords(f *fault) (transport.Kind, error, string) {
	says := func(text string) error { return &said{fmt.Sprintf("%s: %v", text, f), f} }
	switch f.code {
	case accessDenied, accessDeniedResult:
		return transport.Auth, says(c.o.User + " is not allowed to run programs there"),
			"the user has to be in Administrators or Remote Management Users. A local administrator other than the built-in one is held back by UAC: set LocalAccountTokenFilterPolicy to 1, as the script of `fitout bootstrap windows` does"
	case envelopeTooLarge, encodingLimit, maxEnvelopeExceeded, serverEnvelopeLimit:
		return transport.Protocol, says("a message is too large for the device's WinRM"), `raise it there: Set-Item WSMan:\localhost\MaxEnvelopeSizekb 500`
	case quotaLimit, quotaMaxShells, quotaMaxOperations, quotaUser, quotaSystem, quotaMaxShellUsers, quotaMaxShellsPPQ, quotaMaxUsersPPQ:
		return transport.Refused, says("the device's WinRM has too many shells"),
			"idle ones end by themselves: try again later, or raise MaxShellsPerUser (`winrm get winrm/config/winrs` there)"
	case remoteShellsForbidden:
		return transport.Auth, says("its policy allows no remote shells"), `allow them there: Set-Item WSMan:\localhost\Shell\AllowRemoteShellAccess $true`
	case remoteAccessDisabled:
		return transport.Refused, says("its WinRM listens to nobody"), "run `winrm quickconfig` on the device, or what `fitout bootstrap windows` prints"
	}
	if f.noShell() {
		return transport.Lost, says("the device has dropped the shell"), "run the same command again"
	}
	return transport.Unknown, f, ""
}
