//go:build unix

package winrm

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/engine/transport"
	"github.com/fitout-dev/fitout/engine/transport/transporttest"
	"github.com/fitout-dev/fitout/modules/hint"
)

// refused dials, and expects an error of a kind whose words and hint hold these.
func refused(t *testing.T, o Options, kind transport.Kind, words ...string) {
	t.Helper()
	c, err := Dial(t.Context(), o)
	if err == nil {
		c.Close()
		t.Fatal("Dial: no error")
	}
	if got := transporttest.KindOf(err); got != kind {
		t.Errorf("kind %d, want %d: %v", got, kind, err)
	}
	text := err.Error() + "\n" + hint.Of(err)
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%q is not in:\n%s", w, text)
		}
	}
	if strings.Contains(text, testPassword) || strings.Contains(text, "hunter2") {
		t.Errorf("the password is in %s", text)
	}
}

// printed runs a line whose stdin isn't used.
func printed(t *testing.T, c *Conn, line string) string {
	t.Helper()
	p, err := c.Start(t.Context(), transport.Command{Line: line})
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(p.Stdout())
	if err != nil {
		t.Fatal(err)
	}
	if exit, err := p.Wait(); err != nil || exit.Code != 0 {
		t.Fatalf("%s: %+v, %v", line, exit, err)
	}
	return string(out)
}

// How often the device is asked is what a slow line makes felt: no more than this.
func TestRequests(t *testing.T) {
	s := newServer(t)
	c := dialed(t, s.options())
	printed(t, c, "echo one")
	if got := s.requested(); !slices.Equal(got, []string{"Create", "Command", "Receive"}) && !slices.Equal(got, []string{"Create", "Command", "Receive", "Receive"}) {
		t.Errorf("to dial and run a program: %v", got)
	}
	printed(t, c, "echo two")
	if got := s.requested(); len(got) > 4 || got[0] != "Signal" || got[1] != "Command" {
		t.Errorf("to run another: %v", got)
	}
	c.Close()
	if got := s.requested(); !slices.Equal(got, []string{"Delete"}) {
		t.Errorf("to close: %v", got)
	}
	if n := len(s.shells); n != 0 {
		t.Errorf("%d shells are left", n)
	}
	if here := c.Here().String(); here != "127.0.0.1" {
		t.Errorf("the device is told to find us at %s", here)
	}
}

// Many small writes, and the end, cost few requests.
func TestWritesAreCollected(t *testing.T) {
	s := newServer(t)
	c := dialed(t, s.options())
	p, err := c.Start(t.Context(), transport.Command{Line: "cat"})
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if _, err := io.WriteString(p.Stdin(), "0123456789"); err != nil {
			t.Fatal(err)
		}
	}
	p.Stdin().Close()
	out, _ := io.ReadAll(p.Stdout())
	if _, err := p.Wait(); err != nil || len(out) != 10_000 {
		t.Errorf("%d bytes came back, %v", len(out), err)
	}
	sends := 0
	for _, a := range s.requested() {
		if a == "Send" {
			sends++
		}
	}
	if sends > 100 {
		t.Errorf("%d requests for 1000 writes", sends)
	}
}

// Envelopes fit, and grow to what the server says that it takes.
func TestEnvelopes(t *testing.T) {
	for _, size := range []int{maxEnvelope, 512000} {
		s := newServer(t)
		s.envelope = size
		c := dialed(t, s.options())
		p, err := c.Start(t.Context(), transport.Command{Line: "wc -c"})
		if err != nil {
			t.Fatal(err)
		}
		want := 8 << 20
		go func() {
			p.Stdin().Write(make([]byte, want))
			p.Stdin().Close()
		}()
		out, err := io.ReadAll(p.Stdout())
		if err != nil || strings.TrimSpace(string(out)) != "8388608" {
			t.Errorf("MaxEnvelopeSize %d: %q, %v", size, out, err)
		}
		p.Wait()
		sends := 0
		for _, a := range s.requested() {
			if a == "Send" {
				sends++
			}
		}
		if most := want/sendRoom(size) + 14; sends > most {
			t.Errorf("MaxEnvelopeSize %d: %d sends, want at most %d", size, sends, most)
		}
	}
}

// What doesn't arrive is no end of the input: the program must not take it for one.
func TestLostSend(t *testing.T) {
	s := newServer(t)
	c := dialed(t, s.options())
	s.hook = func(action string, w http.ResponseWriter) bool {
		if action == "Send" {
			s.fault(w, envelopeTooLarge, "too large")
			return true
		}
		return false
	}
	p, err := c.Start(t.Context(), transport.Command{Line: "cat"})
	if err != nil {
		t.Fatal(err)
	}
	p.Stdin().Write([]byte("x"))
	if err := p.Stdin().Close(); err == nil {
		t.Error("Close: no error")
	}
	io.Copy(io.Discard, p.Stdout())
	if _, err := p.Wait(); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("Wait: %v", err)
	}
}

// A shell that the server drops is a loss to the program in it; the next gets another.
func TestDroppedShell(t *testing.T) {
	s := newServer(t)
	c := dialed(t, s.options())
	printed(t, c, "echo")
	s.drop()
	printed(t, c, "echo") // the idle shell was gone: nothing is lost
	p, err := c.Start(t.Context(), transport.Command{Line: "sleep 600"})
	if err != nil {
		t.Fatal(err)
	}
	s.drop()
	if _, err := io.Copy(io.Discard, p.Stdout()); transporttest.KindOf(err) != transport.Lost {
		t.Errorf("reading: %v, want kind Lost", err)
	}
	if _, err := p.Wait(); transporttest.KindOf(err) != transport.Lost || !strings.Contains(err.Error(), "dropped the shell") {
		t.Errorf("Wait: %v, want kind Lost", err)
	}
	printed(t, c, "echo")
}

// drop ends all shells, as a restart of the service does.
func (s *server) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, sh := range s.shells {
		sh.end()
		sh.commands = map[string]*serverCommand{}
		delete(s.shells, id)
	}
}

// A server that stops answering is noticed within 15 seconds.
func TestStalledReceive(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := dialed(t, s.options())
	hang := make(chan bool)
	defer close(hang)
	s.hook = func(action string, w http.ResponseWriter) bool {
		if action == "Receive" {
			<-hang
		}
		return false
	}
	start := time.Now()
	p, err := c.Start(t.Context(), transport.Command{Line: "sleep 600"})
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, p.Stdout())
	if _, err := p.Wait(); transporttest.KindOf(err) != transport.Lost || !strings.Contains(err.Error(), "no sign of life") {
		t.Errorf("Wait: %v, want kind Lost", err)
	}
	if d := time.Since(start); d > 15*time.Second {
		t.Errorf("noticed after %v", d)
	}
	if _, err := c.Start(t.Context(), transport.Command{Line: "echo"}); transporttest.KindOf(err) != transport.Lost {
		t.Errorf("Start: %v, want kind Lost", err)
	}
}

// A server that has forgotten us is told once more; one that means it is believed.
func TestUnauthorizedLater(t *testing.T) {
	s := newServer(t)
	c := dialed(t, s.options())
	printed(t, c, "echo")
	n := 0
	s.hook = func(_ string, w http.ResponseWriter) bool {
		if n++; n == 1 {
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		return false
	}
	printed(t, c, "echo")
	s.hook = func(_ string, w http.ResponseWriter) bool {
		n++
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	n = 0
	for range 3 {
		if _, err := c.Start(t.Context(), transport.Command{Line: "echo"}); err == nil {
			t.Error("Start: no error")
		}
	}
	if n > 2 {
		t.Errorf("%d attempts", n)
	}
}

func TestWrongPasswordIsTriedOnce(t *testing.T) {
	s := newServer(t)
	attempts := 0
	o := s.options()
	o.Password = func() (string, error) { attempts++; return "hunter2", nil }
	refused(t, o, transport.Auth, "Administrator may not log in", "locked", "once")
	if attempts != 1 || s.refused != 1 {
		t.Errorf("the password was asked for %d times, and tried %d times", attempts, s.refused)
	}
	o.Password = nil
	refused(t, o, transport.Auth, "no password", "${secrets.NAME}")
	o.Auth = "magic"
	refused(t, o, transport.Unknown, `"magic"`, "negotiate, kerberos, ntlm")
}

func TestCertificates(t *testing.T) {
	s := newServer(t)
	known := filepath.Join(t.TempDir(), "config", "known_certificates")
	o := s.options()
	o.Device, o.Known, o.Fingerprint = "lt-043", known, ""
	print := fingerprint(s.Certificate())

	refused(t, o, transport.HostKey, "not known: "+print, "self-signed by O=Acme Co", "fitout trust lt-043")
	if n := len(s.requested()); n != 0 {
		t.Errorf("%d requests went to a stranger", n)
	}
	c, err := ScanCertificate(t.Context(), o)
	if err != nil || c.Err == nil || c.Changed || c.Fingerprint() != print {
		t.Fatalf("scan: %+v, %v", c, err)
	}
	if err := Trust(known, false, c); err != nil {
		t.Fatal(err)
	}
	dialed(t, o).Close()
	if c, err = ScanCertificate(t.Context(), o); err != nil || c.Err != nil {
		t.Errorf("scan of a trusted one: %+v, %v", c.Err, err)
	}

	other := strings.Repeat("ab", 32)
	writeFile(t, known, "# ours\n\n"+s.address()+" SHA256:"+other+"\nelsewhere:5986 SHA256:"+other+"\n")
	refused(t, o, transport.HostKey, "CHANGED", print, known+":3 has SHA256:"+other, "fitout trust --replace lt-043")
	if c, err = ScanCertificate(t.Context(), o); err != nil || !c.Changed {
		t.Errorf("scan of a changed one: %+v, %v", c, err)
	}
	before, _ := os.ReadFile(known)
	if err := Trust(known, false, c); err == nil || hint.Of(err) == "" {
		t.Errorf("Trust without replace: %v", err)
	}
	if after, _ := os.ReadFile(known); !bytes.Equal(before, after) {
		t.Error("it was written nevertheless")
	}
	if err := Trust(known, true, c); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(known); string(b) != "# ours\n\nelsewhere:5986 SHA256:"+other+"\n"+s.address()+" "+print+"\n" {
		t.Errorf("the file is now\n%s", b)
	}
	dialed(t, o).Close()

	o.Fingerprint = other
	refused(t, o, transport.HostKey, "not the pinned", "correct `fingerprint`")
	upper := strings.ToUpper(strings.TrimPrefix(print, "SHA256:"))
	o.Fingerprint = upper[:2] + ":" + upper[2:] // as openssl prints it
	dialed(t, o).Close()

	o.Fingerprint, o.Known = "", ""
	o.CAFile = filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, o.CAFile, pemOf(s.Certificate()))
	dialed(t, o).Close()
	_, port, _ := net.SplitHostPort(s.address())
	o.Address = "localhost:" + port
	refused(t, o, transport.HostKey, "it is for example.com", "not localhost")
	writeFile(t, o.CAFile, "nothing")
	refused(t, o, transport.Unknown, "there is no certificate in it")
}

// Nobody in between may lead us from HTTPS to HTTP, and what has no encryption of its own never goes over HTTP.
func TestNothingInTheClear(t *testing.T) {
	var got bytes.Buffer
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	answer := "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Negotiate\r\nWWW-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n"
	server := make(chan bool)
	go func() {
		defer close(server)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			b := make([]byte, 64<<10)
			for {
				n, err := conn.Read(b)
				got.Write(b[:n])
				if err != nil {
					break
				}
				io.WriteString(conn, answer)
			}
			conn.Close()
		}
	}()
	no := false
	o := Options{Address: l.Addr().String(), User: "bob", Password: func() (string, error) { return "hunter2", nil }, TLS: &no}
	refused(t, o, transport.Auth, "may not log in", "the device accepts Negotiate, Basic")
	for _, auth := range []string{basic, certificate} {
		o.Auth = auth
		if auth == certificate {
			o.CertFile = filepath.Join(t.TempDir(), "client.pem")
			writeFile(t, o.CertFile, clientPEM(t))
		}
		refused(t, o, transport.Auth, "only used over HTTPS", "5986")
	}
	// A server that says yes to anything gets no message either: it has proven nothing.
	answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
	o.Auth = negotiate
	refused(t, o, transport.Protocol)
	l.Close()
	<-server
	for _, secret := range []string{"hunter2", "Envelope", "Ym9iOmh1bnRlcjI"} {
		if strings.Contains(got.String(), secret) {
			t.Errorf("%s went over HTTP:\n%s", secret, got.String())
		}
	}
}

// A sealed question must not get an open answer.
func TestUnsealedAnswer(t *testing.T) {
	c := &Conn{}
	_, err := c.read(&wire{seal: nullSealer{}}, &answer{status: 200, header: http.Header{"Content-Type": {soapType}}, body: []byte("<x/>")})
	if !errors.Is(err, errUnsealed) {
		t.Errorf("got %v", err)
	}
}

// A server that says nothing at all, again and again, is asked with patience.
func TestNothingToTell(t *testing.T) {
	s := newServer(t)
	c := dialed(t, s.options())
	n := 0
	s.hook = func(action string, w http.ResponseWriter) bool {
		if n++; action == "Receive" && n < 5 {
			w.WriteHeader(http.StatusOK)
			return true
		}
		return false
	}
	start := time.Now()
	if got := printed(t, c, "echo hello"); got != "hello\n" || time.Since(start) < 3*hurry {
		t.Errorf("got %q after %v", got, time.Since(start))
	}
	w := &wire{seal: nullSealer{}}
	if _, err := c.read(w, &answer{status: http.StatusOK}); err == nil {
		t.Error("an empty answer to a sealed message was accepted")
	}
}

func TestPorts(t *testing.T) {
	yes, no := true, false
	known := filepath.Join(t.TempDir(), "known")
	writeFile(t, known, "kept:5986 SHA256:00\nkept:1234 SHA256:00\n")
	for _, test := range []struct {
		o    Options
		host string
		port int
		want string
	}{
		{Options{}, "x", 0, "https://x:5986/wsman http://x:5985/wsman"},
		{Options{}, "fe80::1", 0, "https://[fe80::1]:5986/wsman http://[fe80::1]:5985/wsman"},
		{Options{}, "x", 5985, "http://x:5985/wsman"},
		{Options{}, "x", 5986, "https://x:5986/wsman"},
		{Options{}, "x", 443, "https://x:443/wsman"},
		{Options{}, "x", 1234, "https://x:1234/wsman http://x:1234/wsman"},
		{Options{TLS: &yes}, "x", 0, "https://x:5986/wsman"},
		{Options{TLS: &no}, "x", 0, "http://x:5985/wsman"},
		{Options{TLS: &yes}, "x", 5985, "https://x:5985/wsman"},
		{Options{Fingerprint: "00"}, "x", 0, "https://x:5986/wsman"},
		{Options{CAFile: "ca"}, "x", 1234, "https://x:1234/wsman"},
		{Options{Auth: basic}, "x", 0, "https://x:5986/wsman"},
		{Options{Known: known}, "kept", 0, "https://kept:5986/wsman"},
		{Options{Known: known}, "kept", 1234, "https://kept:1234/wsman"},
		{Options{Known: known}, "x", 0, "https://x:5986/wsman http://x:5985/wsman"},
	} {
		var got []string
		for _, e := range test.o.candidates(test.host, test.port) {
			got = append(got, e.url.String())
		}
		if s := strings.Join(got, " "); s != test.want {
			t.Errorf("%+v %s:%d: %s, want %s", test.o, test.host, test.port, s, test.want)
		}
	}
}

func TestNobodyThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	o := Options{Address: address, Password: func() (string, error) { return "", nil }}
	refused(t, o, transport.Refused, "the connection is refused", "winrm quickconfig")
	o.Address = "nobody.invalid"
	refused(t, o, transport.NameNotFound, "nobody.invalid", "check the address")
}

func TestWrongPort(t *testing.T) {
	s := newServer(t)
	o := s.options()
	no := false
	o.Auth, o.TLS, o.Fingerprint = negotiate, &no, ""
	refused(t, o, transport.Protocol, "HTTP status 400", "5986 with TLS")

	web := &http.Server{Handler: http.NotFoundHandler()}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go web.Serve(l)
	defer web.Close()
	yes := true
	o.Address = l.Addr().String()
	refused(t, o, transport.Protocol, "a web server, but no WinRM", "check the port")
	o.TLS = &yes
	refused(t, o, transport.Protocol, "no TLS is spoken there", "tls: false")
	o.TLS = nil // found out by itself
	refused(t, o, transport.Protocol, "a web server, but no WinRM")
}

func TestProxy(t *testing.T) {
	s := newServer(t)
	through := make(chan string, 16)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	proxy := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		through <- r.Method + " " + r.Host
		if r.Host == "device.example:5986" {
			conn, err := net.Dial("tcp", s.address())
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			client, rw, _ := w.(http.Hijacker).Hijack()
			defer client.Close()
			io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n")
			go io.Copy(conn, rw)
			io.Copy(client, conn)
			return
		}
		w.WriteHeader(http.StatusForbidden)
	})}
	go proxy.Serve(l)
	defer proxy.Close()
	t.Setenv("HTTPS_PROXY", "http://"+l.Addr().String())
	t.Setenv("HTTP_PROXY", "http://"+l.Addr().String())
	t.Setenv("NO_PROXY", "spared.invalid")
	o := s.options()
	o.Address = "device.example"
	c := dialed(t, o)
	if got := printed(t, c, "echo through"); got != "through\n" {
		t.Errorf("got %q", got)
	}
	if c.Here().IsValid() {
		t.Errorf("the device is told to find us at %s, past the proxy", c.Here())
	}
	c.Close()
	if got := <-through; got != "CONNECT device.example:5986" {
		t.Errorf("the proxy was asked for %s", got)
	}
	o.Address = "forbidden.example"
	refused(t, o, transport.Refused, "it refuses to connect to forbidden.example:5986: 403", "NO_PROXY")
	o.Address = "spared.invalid"
	refused(t, o, transport.NameNotFound)
}

func TestFaults(t *testing.T) {
	for _, test := range []struct {
		code  uint32
		kind  transport.Kind
		words string
	}{
		{accessDenied, transport.Auth, "LocalAccountTokenFilterPolicy"},
		{quotaMaxShells, transport.Refused, "MaxShellsPerUser"},
		{serverEnvelopeLimit, transport.Protocol, "MaxEnvelopeSizekb"},
		{remoteShellsForbidden, transport.Auth, "AllowRemoteShellAccess"},
		{123456, transport.Unknown, "(123456)"},
	} {
		s := newServer(t)
		s.hook = func(_ string, w http.ResponseWriter) bool {
			s.fault(w, test.code, "the device's own words")
			return true
		}
		refused(t, s.options(), test.kind, test.words, "the device's own words")
	}
}

func TestDialIsCancelled(t *testing.T) {
	s := newServer(t)
	ctx, cancel := context.WithCancel(t.Context())
	hang := make(chan bool)
	defer close(hang)
	s.hook = func(string, http.ResponseWriter) bool { cancel(); <-hang; return true }
	if _, err := Dial(ctx, s.options()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func TestLineTooLong(t *testing.T) {
	c := dialed(t, newServer(t).options())
	if _, err := c.Start(t.Context(), transport.Command{Line: strings.Repeat("x", maxLine+1)}); err == nil || !strings.Contains(err.Error(), "cmd.exe takes") {
		t.Errorf("got %v", err)
	}
}
