//go:build unix

package winrm

import (
	"io"
	"testing"

	"github.com/fitout-dev/fitout/engine/transport"
	"github.com/fitout-dev/fitout/engine/transport/transporttest"
	"github.com/fitout-dev/fitout/integration/lab"
)

// Over HTTP all is sealed: the server fails the test where anything isn't.
func TestContractSealed(t *testing.T) {
	s := newNTLMServer(t)
	p := lab.NewProxy(t, s.http.Listener.Addr().String())
	transporttest.Run(t, transporttest.Target{
		Open: func(t *testing.T) transport.Transport {
			o := s.options()
			o.Address = p.Addr()
			return dialed(t, o)
		},
		Cut: func(t *testing.T) { p.Cut(); t.Cleanup(p.Resume) },
		Dir: t.TempDir(),
	})
}

// A login takes two requests for each connection; to run a program whose stdin is used takes two connections.
func TestRequestsSealed(t *testing.T) {
	s := newNTLMServer(t)
	c := dialed(t, s.options())
	printed(t, c, "echo")
	c.Close()
	if s.count() > 2+5 {
		t.Errorf("to log in, run a program and leave: %d requests", s.count())
	}
	if int64(s.count()) != c.Requests.Load() {
		t.Errorf("%d requests were counted, %d seen", c.Requests.Load(), s.count())
	}
	t.Logf("log in, open a shell, run a program, read its output, close the shell: %d requests", s.count())

	c = dialed(t, s.options())
	before := s.count()
	p, err := c.Start(t.Context(), transport.Command{Line: "cat"})
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(p.Stdin(), "hello")
	p.Stdin().Close()
	io.Copy(io.Discard, p.Stdout())
	p.Wait()
	if n := s.count() - before; n > 1+2+2+3 {
		t.Errorf("a program with stdin, once connected: %d requests", n)
	}
	t.Logf("a program with stdin, once connected: %d requests", s.count()-before)
}

// A wrong password is tried once, and so is a wrong user.
func TestRefusedSealed(t *testing.T) {
	s := newNTLMServer(t)
	o := s.options()
	o.Password = func() (string, error) { return "hunter2", nil }
	refused(t, o, transport.Auth, "may not log in (NTLM)", "disabled, locked", "once")
	if s.logins != 1 || s.server.requested() != nil {
		t.Errorf("%d logins were tried", s.logins)
	}
	o = s.options()
	o.User = "nobody"
	refused(t, o, transport.Auth, "nobody may not log in")
	o = s.options()
	o.Auth = byNTLM
	dialed(t, o).Close()
}

// A server that forgets who we are, as after a restart, is told once more, and loses nothing.
func TestForgottenSealed(t *testing.T) {
	s := newNTLMServer(t)
	c := dialed(t, s.options())
	for range 3 {
		s.mu.Lock()
		s.forget = 1
		s.mu.Unlock()
		if got := printed(t, c, "echo hello"); got != "hello\n" {
			t.Errorf("got %q", got)
		}
	}
}
