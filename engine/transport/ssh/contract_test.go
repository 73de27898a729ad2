package ssh

import (
	"crypto/ed25519"
	"crypto/rand"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	gossh "golang.org/x/crypto/ssh"

	"encoding/pem"

	"github.com/fitout-dev/fitout/engine/transport"
	"github.com/fitout-dev/fitout/engine/transport/sshserver"
	"github.com/fitout-dev/fitout/engine/transport/transporttest"
)

func TestMain(m *testing.M) {
	os.Unsetenv("SSH_AUTH_SOCK")
	goleak.VerifyTestMain(m)
}

func TestContractInProcess(t *testing.T) {
	key := newKey(t, "")
	s := startServer(t, sshserver.Options{AuthorizedKey: key.public, SFTP: true})
	p := startProxy(t, s.Address())
	transporttest.Run(t, transporttest.Target{
		Open: func(t *testing.T) transport.Transport {
			return dial(t, Options{Address: p.address(), IdentityFile: key.path, HostKey: s.HostKey(), HomeDir: t.TempDir()})
		},
		Cut: func(*testing.T) { p.cut() },
		Dir: t.TempDir(),
	})
}

func TestContractOpenSSH(t *testing.T) {
	s := startSSHD(t, "")
	p := startProxy(t, s.address)
	transporttest.Run(t, transporttest.Target{
		Open: func(t *testing.T) transport.Transport {
			o := s.options(t)
			o.Address = p.address()
			return dial(t, o)
		},
		Cut: func(*testing.T) { p.cut() },
		Dir: t.TempDir(),
	})
}

// A device without SFTP must say so, in a way that the caller can act upon.
func TestUploadWithoutSFTP(t *testing.T) {
	key := newKey(t, "")
	s := startServer(t, sshserver.Options{AuthorizedKey: key.public})
	tr := dial(t, Options{Address: s.Address(), IdentityFile: key.path, HostKey: s.HostKey(), HomeDir: t.TempDir()})
	if err := tr.Upload(t.Context(), "/nowhere", nil); transporttest.KindOf(err) != transport.NoUpload {
		t.Errorf("got %v, want kind NoUpload", err)
	}
	sshd := startSSHD(t, "Subsystem sftp /nonexistent/sftp-server")
	tr = dial(t, sshd.options(t))
	if err := tr.Upload(t.Context(), "/nowhere", nil); transporttest.KindOf(err) != transport.NoUpload {
		t.Errorf("OpenSSH without the program: got %v, want kind NoUpload", err)
	}
}

func dial(t testing.TB, o Options) *Transport {
	t.Helper()
	return dialWith(t, newDialer(), o)
}

func dialWith(t testing.TB, d *dialer, o Options) *Transport {
	t.Helper()
	tr, err := d.Dial(t.Context(), o)
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	t.Cleanup(func() { tr.Close(); <-tr.done })
	return tr
}

func startServer(t testing.TB, o sshserver.Options) *sshserver.Server {
	t.Helper()
	s, err := sshserver.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// key is a key pair in a file of its own.
type key struct {
	path   string
	public gossh.PublicKey
	signer gossh.Signer
	raw    ed25519.PrivateKey
}

func (k key) line() string { return string(gossh.MarshalAuthorizedKey(k.public)) }

func newKey(t testing.TB, passphrase string) key {
	t.Helper()
	_, raw, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := gossh.NewSignerFromSigner(raw)
	if err != nil {
		t.Fatal(err)
	}
	var block *pem.Block
	if passphrase == "" {
		block, err = gossh.MarshalPrivateKey(raw, "")
	} else {
		block, err = gossh.MarshalPrivateKeyWithPassphrase(raw, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	k := key{path: filepath.Join(t.TempDir(), "key"), public: signer.PublicKey(), signer: signer, raw: raw}
	writeFile(t, k.path, string(pem.EncodeToMemory(block)))
	writeFile(t, k.path+".pub", k.line())
	return k
}

func writeFile(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// proxy is a TCP forwarder that can be cut, or stall as a dead peer does.
type proxy struct {
	listener net.Listener
	target   string
	mu       sync.Mutex
	conns    []net.Conn
	stalled  atomic.Bool
	accepted atomic.Int32
	wg       sync.WaitGroup
}

func startProxy(t testing.TB, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, target: target}
	p.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.accepted.Add(1)
			p.wg.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() { l.Close(); p.cut(); p.wg.Wait() })
	return p
}

func (p *proxy) address() string { return p.listener.Addr().String() }

func (p *proxy) serve(c net.Conn) {
	defer c.Close()
	up, err := net.DialTimeout("tcp", p.target, 5*time.Second)
	if err != nil {
		return
	}
	defer up.Close()
	p.mu.Lock()
	p.conns = append(p.conns, c, up)
	p.mu.Unlock()
	var both sync.WaitGroup
	pass := func(to, from net.Conn) {
		defer to.Close()
		defer from.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := from.Read(buf)
			if err != nil {
				return
			}
			if p.stalled.Load() {
				continue // swallowed; the connection stays open
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
	}
	both.Go(func() { pass(up, c) })
	both.Go(func() { pass(c, up) })
	both.Wait()
}

// cut resets all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
	p.conns = nil
}

func output(t testing.TB, tr *Transport, line string) string {
	t.Helper()
	p, err := tr.Start(t.Context(), transport.Command{Line: line})
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
