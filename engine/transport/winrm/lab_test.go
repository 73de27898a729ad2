//go:build unix

package winrm

import (
	"crypto/x509"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/engine/transport"
	"github.com/fitout-dev/fitout/engine/transport/transporttest"
	"github.com/fitout-dev/fitout/integration/lab"
	labwinrm "github.com/fitout-dev/fitout/integration/lab/winrm"
)

// labServer is the lab's WinRM server over /bin/sh: as strict as Windows, and proven by clients that aren't ours.
func labServer(t testing.TB, c labwinrm.Config) *labwinrm.Server {
	t.Helper()
	if c.Users == nil {
		c.Users = map[string]labwinrm.User{testUser: {Password: testPassword, Certificates: []string{"technician"}}}
	}
	s, err := labwinrm.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen("127.0.0.1:0", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		for _, r := range s.Requests() {
			if r.Clear {
				t.Errorf("%s went over HTTP in the clear", r.Action)
			}
		}
	})
	return s
}

func labOptions(t testing.TB, s *labwinrm.Server, auth string, https bool) Options {
	t.Helper()
	o := Options{Address: s.HTTPAddr, User: testUser, Password: func() (string, error) { return testPassword, nil }, Auth: auth, TLS: &https}
	if https {
		cert, err := x509.ParseCertificate(s.Certificate())
		if err != nil {
			t.Fatal(err)
		}
		o.Address, o.Fingerprint = s.HTTPSAddr, fingerprint(cert)
	}
	if auth == certificate {
		o.CertFile = filepath.Join(t.TempDir(), "client.pem")
		writeFile(t, o.CertFile, clientPEM(t))
		o.Password = nil
	}
	return o
}

var logins = []struct {
	name, auth string
	https      bool
}{
	{"ntlm, sealed", byNTLM, false},
	{"ntlm over https", byNTLM, true},
	{"negotiate", negotiate, false},
	{"basic", basic, true},
	{"certificate", certificate, true},
}

func TestContractLab(t *testing.T) {
	for _, l := range logins {
		t.Run(l.name, func(t *testing.T) {
			s := labServer(t, labwinrm.Config{})
			o := labOptions(t, s, l.auth, l.https)
			p := lab.NewProxy(t, o.Address)
			o.Address = p.Addr()
			transporttest.Run(t, transporttest.Target{
				Open: func(t *testing.T) transport.Transport { return dialed(t, o) },
				Cut:  func(t *testing.T) { p.Cut(); t.Cleanup(p.Resume) },
				Dir:  t.TempDir(),
			})
		})
	}
}

// A server that insists on channel bindings gets them.
func TestChannelBindings(t *testing.T) {
	s := labServer(t, labwinrm.Config{RequireCBT: true})
	printed(t, dialed(t, labOptions(t, s, byNTLM, true)), "echo")
}

// How many HTTP requests it takes to log in, run a program and leave; a login takes two of them for each connection.
func TestRequestsLab(t *testing.T) {
	for _, l := range logins {
		s := labServer(t, labwinrm.Config{})
		c := dialed(t, labOptions(t, s, l.auth, l.https))
		printed(t, c, "echo")
		c.Close()
		most := map[string]int{byNTLM: 7, negotiate: 7, basic: 5, certificate: 5}[l.auth]
		if got := len(s.Requests()); got > most {
			t.Errorf("%s: %d requests, want at most %d: %+v", l.name, got, most, s.Requests())
		}
		if got := c.Requests.Load(); int(got) != len(s.Requests()) {
			t.Errorf("%s: %d counted, %d seen", l.name, got, len(s.Requests()))
		}
	}
}

func TestRefusedLogins(t *testing.T) {
	users := map[string]labwinrm.User{
		testUser: {Password: testPassword}, "disabled": {Password: "hunter2", Disabled: true}, "denied": {Password: "hunter2", Denied: true},
	}
	for _, l := range logins[:4] {
		t.Run(l.name, func(t *testing.T) {
			s := labServer(t, labwinrm.Config{Users: users})
			o := labOptions(t, s, l.auth, l.https)
			o.Password = func() (string, error) { return "hunter2", nil }
			refused(t, o, transport.Auth, "Administrator may not log in", "once")
			most := 2 // NTLM's two messages
			if l.auth == basic {
				most = 1
			}
			if n := len(s.Requests()); n > most {
				t.Errorf("%d requests with a wrong password: %+v", n, s.Requests())
			}
			o.User = "disabled"
			refused(t, o, transport.Auth, "disabled may not log in", "disabled, locked")
			o.User = "denied"
			refused(t, o, transport.Auth, "not allowed to run programs", "LocalAccountTokenFilterPolicy")
			o.User = "nobody"
			refused(t, o, transport.Auth, "nobody may not log in")
		})
	}
	s := labServer(t, labwinrm.Config{Auth: []string{labwinrm.Basic}})
	refused(t, labOptions(t, s, byNTLM, true), transport.Auth, "accepts Basic", "another `auth`")
	s = labServer(t, labwinrm.Config{Auth: []string{labwinrm.NTLM}})
	refused(t, labOptions(t, s, basic, true), transport.Auth, "accepts Negotiate", "another `auth`")
}

// A certificate that changes in mid-session is noticed by the next connection.
func TestChangedCertificateLab(t *testing.T) {
	s := labServer(t, labwinrm.Config{})
	o := labOptions(t, s, byNTLM, true)
	c := dialed(t, o)
	printed(t, c, "echo")
	if err := s.ReplaceCertificate(); err != nil {
		t.Fatal(err)
	}
	refused(t, o, transport.HostKey, "not the pinned")
}

// What a server may do to us in the middle: nothing is lost in silence, and all is told in time.
func TestTrouble(t *testing.T) {
	for _, test := range []struct {
		name string
		i    labwinrm.Injection
		kind transport.Kind
	}{
		{"an answer is cut", labwinrm.Injection{Kind: labwinrm.Cut, On: "Receive", After: 100}, transport.Lost},
		{"a request is cut", labwinrm.Injection{Kind: labwinrm.CutBefore, On: "Receive"}, transport.Lost},
		{"the shells are gone", labwinrm.Injection{Kind: labwinrm.Drop, On: "Receive"}, transport.Lost},
		{"a fault", labwinrm.Injection{Kind: labwinrm.Answer, On: "Receive", Fault: &labwinrm.Fault{Code: 1234, Reason: "out of order"}}, transport.Unknown},
		{"an answer never comes", labwinrm.Injection{Kind: labwinrm.Stall, On: "Receive"}, transport.Lost},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := labServer(t, labwinrm.Config{})
			c := dialed(t, labOptions(t, s, byNTLM, false))
			s.Inject(test.i)
			start := time.Now()
			p, err := c.Start(t.Context(), transport.Command{Line: "sleep 600"})
			if err != nil {
				t.Fatal(err)
			}
			_, readErr := io.Copy(io.Discard, p.Stdout())
			_, err = p.Wait()
			for _, err := range []error{readErr, err} {
				if err == nil || transporttest.KindOf(err) != test.kind {
					t.Errorf("got %v, want kind %d", err, test.kind)
				}
			}
			if d := time.Since(start); d > 15*time.Second {
				t.Errorf("noticed after %v", d)
			}
		})
	}
}

// A server that forgets a connection's login in mid-session is told again, and nothing is lost.
func TestForgottenLogin(t *testing.T) {
	for _, on := range []string{"Receive", "Command", "Send"} {
		s := labServer(t, labwinrm.Config{})
		c := dialed(t, labOptions(t, s, byNTLM, false))
		s.Inject(labwinrm.Injection{Kind: labwinrm.Unauthorized, On: on})
		p, err := c.Start(t.Context(), transport.Command{Line: "cat"})
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(p.Stdin(), "hello")
		p.Stdin().Close()
		out, err := io.ReadAll(p.Stdout())
		if _, werr := p.Wait(); string(out) != "hello" || errors.Join(err, werr) != nil {
			t.Errorf("%s: %q, %v, %v", on, out, err, werr)
		}
	}
}

func TestQuotaOfShells(t *testing.T) {
	s := labServer(t, labwinrm.Config{MaxShellsPerUser: 2})
	o := labOptions(t, s, byNTLM, false)
	dialed(t, o)
	c := dialed(t, o)
	refused(t, o, transport.Refused, "too many shells", "MaxShellsPerUser")
	c.Close()
	dialed(t, o)
}

// The limit on envelopes is kept, with the sealing and all.
func TestSmallEnvelopesLab(t *testing.T) {
	s := labServer(t, labwinrm.Config{MaxEnvelopeSize: maxEnvelope})
	c := dialed(t, labOptions(t, s, byNTLM, false))
	p, err := c.Start(t.Context(), transport.Command{Line: "wc -c"})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		io.Copy(p.Stdin(), io.LimitReader(zeros{}, 3<<20))
		p.Stdin().Close()
	}()
	out, err := io.ReadAll(p.Stdout())
	if strings.TrimSpace(string(out)) != "3145728" || err != nil {
		t.Errorf("counted %q, %v", out, err)
	}
	p.Wait()
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }
