package ssh

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/fitout-dev/fitout/engine/transport"
	"github.com/fitout-dev/fitout/engine/transport/transporttest"
	"github.com/fitout-dev/fitout/integration/lab"
	"github.com/fitout-dev/fitout/modules/hint"
)

// refused expects Dial to fail with a kind, with words in the error and in its hint.
func refused(t *testing.T, o Options, kind transport.Kind, words, remedy string) {
	t.Helper()
	tr, err := newDialer().Dial(t.Context(), o)
	if err == nil {
		tr.Close()
	}
	if transporttest.KindOf(err) != kind || err == nil || !strings.Contains(err.Error(), words) || !strings.Contains(hint.Of(err), remedy) {
		t.Errorf("got kind %d: %v\nhint: %s\nwant kind %d, %q\nhint: %q", transporttest.KindOf(err), err, hint.Of(err), kind, words, remedy)
	}
}

func TestKnownHosts(t *testing.T) {
	s := startSSHD(t, "")
	right, other := s.host["ed25519"].public, newKey(t, "").public
	name := s.name()
	_, port, _ := net.SplitHostPort(s.address)
	print := gossh.FingerprintSHA256(right)
	ecdsaKey := ecdsaPublic(t)

	for what, lines := range map[string][]string{
		"plain":                      {keyLine(name, right)},
		"hashed":                     {keyLine(knownhosts.HashHostname(name), right)},
		"several hosts":              {keyLine("gate,"+name, right)},
		"pattern":                    {keyLine("[127.0.*]:"+port, right)},
		"without the port":           {keyLine("127.0.0.1", right)},
		"two keys":                   {keyLine(name, other), keyLine(name, right)},
		"another type is known, too": {keyLine(name, ecdsaKey), keyLine(name, right)},
		"lines nobody understands":   {"nonsense", "@future x y", name + " ssh-new AAAA", keyLine(name, right)},
		"another one is revoked":     {"@revoked " + keyLine("*", other), keyLine(name, right)},
	} {
		t.Run(what, func(t *testing.T) { dial(t, s.known(t, lines...)) })
	}

	o := s.known(t)
	o.Device = "lt-042"
	refused(t, o, transport.HostKey, "lt-042 ("+s.address+"): the host key is not known: ssh-ed25519 "+print, "fitout trust lt-042")
	o.Device = ""
	refused(t, o, transport.HostKey, "not known", "fitout trust --device ssh://"+s.user+"@"+s.address)
	changed := s.known(t, keyLine(name, other))
	changed.Device = "lt-042"
	refused(t, changed, transport.HostKey, "THE HOST KEY HAS CHANGED: it is ssh-ed25519 "+print, "re-imaged, run `fitout trust --replace lt-042`")
	refused(t, s.known(t, keyLine(name, ecdsaKey)), transport.HostKey, "HAS CHANGED", "--replace")
	refused(t, s.known(t, keyLine("[127.0.0.1]:1", right)), transport.HostKey, "not known", "fitout trust")
	refused(t, s.known(t, keyLine("!"+name+",!127.0.0.1,*", right)), transport.HostKey, "not known", "fitout trust")
	refused(t, s.known(t, keyLine(name, right), "@revoked "+keyLine("*", right)), transport.HostKey, "is revoked", "stolen")

	// fitout's own file prevails over the user's.
	o = s.known(t, keyLine(name, right))
	writeFile(t, filepath.Join(o.HomeDir, ".ssh", "known_hosts"), keyLine(name, other)+"\n")
	dial(t, o)
	o.KnownHosts = ""
	refused(t, o, transport.HostKey, "HAS CHANGED", "--replace")
	writeFile(t, filepath.Join(o.HomeDir, ".ssh", "known_hosts"), keyLine(name, right)+"\n")
	dial(t, o)

	// Pins.
	o = s.known(t)
	for _, pin := range []string{print, keyLine(name, right), strings.TrimSpace(string(gossh.MarshalAuthorizedKey(right))) + " root@lt-042"} {
		o.HostKey = pin
		dial(t, o)
	}
	o.HostKey = gossh.FingerprintSHA256(other)
	refused(t, o, transport.HostKey, "not the pinned "+o.HostKey, "hostKey")
}

// A server that has several keys shows the one whose algorithm is offered first: that must be a known one.
func TestOffersKnownAlgorithmsFirst(t *testing.T) {
	ecdsaFile, ecdsaPub := ecdsaKeyFile(t)
	edKey := newKey(t, "")
	s := startSSHD(t, "HostKey "+edKey.path+"\nHostKey "+ecdsaFile)
	dial(t, s.known(t, keyLine(s.name(), ecdsaPub)))
	dial(t, s.known(t, keyLine(s.name(), edKey.public)))
	refused(t, s.known(t, keyLine(s.name(), newKey(t, "").public)), transport.HostKey, "HAS CHANGED", "")
}

func ecdsaKeyFile(t *testing.T) (path string, public gossh.PublicKey) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := gossh.MarshalPrivateKey(k, "")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := gossh.NewSignerFromKey(k)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "ecdsa")
	writeFile(t, path, string(pem.EncodeToMemory(block)))
	return path, signer.PublicKey()
}

func ecdsaPublic(t *testing.T) gossh.PublicKey {
	_, public := ecdsaKeyFile(t)
	return public
}

// keygen runs ssh-keygen, so that certificates are OpenSSH's own.
func keygen(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ssh-keygen", args...).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen %v: %v: %s", args, err, out)
	}
}

func TestHostCertificates(t *testing.T) {
	ca, host := newKey(t, ""), newKey(t, "")
	certified := func(t *testing.T, args ...string) *sshd {
		keygen(t, append([]string{"-q", "-s", ca.path, "-I", "host", "-h"}, append(args, host.path+".pub")...)...)
		return startSSHD(t, "HostKey "+host.path+"\nHostCertificate "+host.path+"-cert.pub")
	}
	s := certified(t, "-n", "127.0.0.1")
	dial(t, s.known(t, "@cert-authority "+keyLine("[127.0.0.1]:*", ca.public)))
	dial(t, s.known(t, "@cert-authority "+keyLine("*", ca.public), keyLine("elsewhere", host.public)))
	dial(t, s.known(t, keyLine(s.name(), host.public))) // without the authority its plain key counts
	refused(t, s.known(t, "@cert-authority "+keyLine("*", newKey(t, "").public)), transport.HostKey, "the host certificate is not accepted", "")
	refused(t, s.known(t, "@cert-authority "+keyLine("elsewhere", ca.public)), transport.HostKey, "not known", "fitout trust")
	refused(t, s.known(t, "@cert-authority "+keyLine("*", ca.public), "@revoked "+keyLine("*", ca.public)), transport.HostKey, "is revoked", "")
	refused(t, s.known(t, "@cert-authority "+keyLine("*", ca.public), "@revoked "+keyLine("*", host.public)), transport.HostKey, "is revoked", "")
	refused(t, certified(t, "-n", "other").known(t, "@cert-authority "+keyLine("*", ca.public)), transport.HostKey, "the host certificate is not accepted", "renewed")
	refused(t, certified(t, "-n", "127.0.0.1", "-V", "20200101:20200102").known(t, "@cert-authority "+keyLine("*", ca.public)), transport.HostKey, "expired", "renewed")
}

func TestJump(t *testing.T) {
	target, gate, inner := startSSHD(t, ""), startSSHD(t, ""), startSSHD(t, "")
	counter := lab.NewProxy(t, gate.address)
	// All are known to the same file, and all accept the same key.
	for _, s := range []*sshd{gate, inner} {
		writeFile(t, filepath.Join(s.dir, "authorized_keys"), target.client.line())
	}
	gateName := strings.Replace("["+counter.Addr(), ":", "]:", 1)
	o := target.known(t, keyLine(target.name(), target.host["ed25519"].public), keyLine(gateName, gate.host["ed25519"].public), keyLine(inner.name(), inner.host["ed25519"].public))
	o.Jump = gate.user + "@" + counter.Addr()
	d := newDialer()

	// Many devices share one connection, and at most eight handshakes are under way.
	var all sync.WaitGroup
	var mu sync.Mutex
	var open []*Transport
	for range 12 {
		all.Go(func() {
			tr, err := d.Dial(t.Context(), o)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			open = append(open, tr)
			mu.Unlock()
			if got := output(t, tr, "echo hello"); got != "hello\n" {
				t.Errorf("got %q", got)
			}
		})
	}
	all.Wait()
	if n := counter.Stats().Connections; n != 1 {
		t.Errorf("%d connections to the jump host, want 1", n)
	}
	for _, tr := range open[1:] {
		tr.Close()
	}
	output(t, open[0], "echo still there")
	// When the jump host is lost, so is the device.
	counter.Drop()
	<-open[0].done
	_, err := open[0].Start(t.Context(), transport.Command{Line: "true"})
	if transporttest.KindOf(err) != transport.Lost || !strings.Contains(err.Error(), "jump host") {
		t.Errorf("after the jump host was lost: %v", err)
	}
	open[0].Close()
	// The next one connects anew.
	dialWith(t, d, o)

	o.Jump = gate.user + "@" + counter.Addr() + "," + inner.user + "@" + inner.address
	tr := dial(t, o)
	if got := output(t, tr, "echo $SSH_CONNECTION"); !strings.HasSuffix(got, strings.Replace(target.address, ":", " ", 1)+"\n") {
		t.Errorf("two jumps led to %q", got)
	}
	// The same from a configuration: the gate is before inner there.
	config := filepath.Join(t.TempDir(), "config")
	innerHost, innerPort, _ := net.SplitHostPort(inner.address)
	writeFile(t, config, fmt.Sprintf("Host inner\n HostName %s\n Port %s\n ProxyJump ssh://%s\nHost *\n User %s\n", innerHost, innerPort, counter.Addr(), gate.user))
	o.ConfigFile, o.Jump, o.User = config, "inner", ""
	dial(t, o)

	o.ConfigFile, o.Jump = "none", gate.user+"@"+counter.Addr()
	o.Address = closedPort(t)
	refused(t, o, transport.Refused, "as seen from the jump host "+counter.Addr(), "")
	o.Address = "no-such-host.invalid"
	tr2, err := newDialer().Dial(t.Context(), o)
	if err == nil {
		tr2.Close()
	}
	if k := transporttest.KindOf(err); k != transport.NameNotFound && k != transport.TimedOut {
		t.Errorf("unknown name behind the jump host: kind %d, %v", k, err)
	}
	o.Jump = gate.user + "@" + closedPort(t)
	refused(t, o, transport.Refused, "jump host 127.0.0.1:", "")
	o.KnownHosts = ""
	o.Jump = gate.user + "@" + gate.address
	refused(t, o, transport.HostKey, "jump host "+gate.address+": the host key is not known", "fitout trust --device ssh://")
	barred := startSSHD(t, "AllowTcpForwarding no")
	o = target.options(t)
	o.IdentityFile = barred.client.path
	o.KnownHosts = barred.known(t, keyLine(barred.name(), barred.host["ed25519"].public)).KnownHosts
	o.Jump = barred.user + "@" + barred.address
	refused(t, o, transport.Refused, "does not allow connections to other hosts", "AllowTcpForwarding")
}

// sshd drops what exceeds MaxStartups. With our bound it never comes to that; without, this test fails.
func TestMaxStartups(t *testing.T) {
	s := startSSHD(t, "MaxStartups 3:100:3")
	d := newDialer()
	d.handshakes = 2
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			tr, err := d.Dial(t.Context(), s.options(t))
			if err != nil {
				t.Error(err)
				return
			}
			output(t, tr, "true")
			tr.Close()
		})
	}
	all.Wait()
}

func TestDeadPeer(t *testing.T) {
	s := startSSHD(t, "")
	p := lab.NewProxy(t, s.address)
	d := newDialer()
	if wait := 3 * d.heartbeat; wait > 15*time.Second {
		t.Errorf("a dead peer is noticed after %v, want 15 s", wait)
	}
	d.heartbeat = 100 * time.Millisecond
	o := s.options(t)
	o.Address = p.Addr()
	tr := dialWith(t, d, o)
	// An idle connection to a living peer stays.
	select {
	case <-tr.done:
		t.Fatal("lost a living peer")
	case <-time.After(10 * d.heartbeat):
	}
	proc, err := tr.Start(t.Context(), transport.Command{Line: "cat"})
	if err != nil {
		t.Fatal(err)
	}
	p.Stall()
	began := time.Now()
	_, err = io.Copy(io.Discard, proc.Stdout())
	if took := time.Since(began); took > 30*d.heartbeat {
		t.Errorf("noticed after %v, want about %v", took, 3*d.heartbeat)
	}
	if transporttest.KindOf(err) != transport.Lost || !strings.Contains(err.Error(), "no sign of life") {
		t.Errorf("got %v", err)
	}
	if _, err := proc.Wait(); transporttest.KindOf(err) != transport.Lost {
		t.Errorf("Wait: %v", err)
	}
	p.Resume()
}

func TestPlainWords(t *testing.T) {
	o := Options{Address: "no-such-host.invalid", HomeDir: t.TempDir(), ConfigFile: "none", Timeout: 300 * time.Millisecond}
	tr, err := newDialer().Dial(t.Context(), o)
	if err == nil {
		tr.Close()
	}
	if k := transporttest.KindOf(err); k != transport.NameNotFound && k != transport.TimedOut { // a machine without a name server
		t.Errorf("kind %d: %v", k, err)
	}
	o.Address = closedPort(t)
	o.Device = "lt-042"
	refused(t, o, transport.Refused, "lt-042 ("+o.Address+"): the connection is refused", "SSH server runs there")

	silent := listen(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	o.Address = silent
	refused(t, o, transport.TimedOut, "no answer to the SSH handshake", "overloaded")
	o.Address = listen(t, func(c net.Conn) {})
	refused(t, o, transport.Refused, "closed before a word is said", "MaxStartups")
	o.Address = listen(t, func(c net.Conn) { io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n"+strings.Repeat("x", 2000)+"\n") })
	refused(t, o, transport.Protocol, `no SSH server, but something that says "HTTP/1.1 400 Bad Request"`, "check the port")
	o.Address = listen(t, func(c net.Conn) { io.WriteString(c, "Exceeded MaxStartups\r\n") })
	refused(t, o, transport.Refused, "too many connections", "MaxStartups")
	o.Address = listen(t, func(c net.Conn) { io.WriteString(c, "SSH-2.0-old\r\n") })
	refused(t, o, transport.Lost, "was lost while logging in", "log")

	s := startSSHD(t, "Ciphers 3des-cbc\nKexAlgorithms curve25519-sha256")
	refused(t, s.options(t), transport.Protocol, "the device offers only 3des-cbc", "update")
	s = startSSHD(t, "MaxSessions 1")
	tr = dial(t, s.options(t))
	p, err := tr.Start(t.Context(), transport.Command{Line: "cat"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tr.Start(t.Context(), transport.Command{Line: "cat"}); transporttest.KindOf(err) != transport.Refused || !strings.Contains(hint.Of(err), "MaxSessions") {
		t.Errorf("got %v", err)
	}
	p.Kill()
	p.Wait()
	for _, bad := range []Options{{}, {Address: "x:y"}, {Address: "x", Port: 70000}} {
		bad.HomeDir = o.HomeDir
		refused(t, bad, transport.Unknown, "address", "")
	}
}

func TestCancelDial(t *testing.T) {
	silent := listen(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		_, err := newDialer().Dial(ctx, Options{Address: silent, HomeDir: t.TempDir(), ConfigFile: "none"})
		result <- err
	}()
	cancel()
	select {
	case err := <-result:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	case <-time.After(time.Second):
		t.Error("Dial goes on after cancelling")
	}
}

// listen serves each connection with f, then closes it.
func listen(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				buf := make([]byte, 64)
				c.SetReadDeadline(time.Now().Add(5 * time.Second))
				c.Read(buf) // the client's version; closing with unread data would be a reset
				c.SetReadDeadline(time.Time{})
				f(c)
			})
		}
	})
	t.Cleanup(func() { l.Close(); serving.Wait() })
	return l.Addr().String()
}

func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
