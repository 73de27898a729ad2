package ssh

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"io"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
	gossh "golang.org/x/crypto/ssh"

	"github.com/fitout-dev/fitout/engine/transport"
	"github.com/fitout-dev/fitout/engine/transport/sshserver"
	"github.com/fitout-dev/fitout/engine/transport/transporttest"
	"github.com/fitout-dev/fitout/integration/lab"
)

func TestMain(m *testing.M) {
	os.Unsetenv("SSH_AUTH_SOCK")
	goleak.VerifyTestMain(m)
}

func TestContractInProcess(t *testing.T) {
	key := newKey(t, "")
	s := startServer(t, sshserver.Options{AuthorizedKey: key.public, SFTP: true})
	p := lab.NewProxy(t, s.Address())
	transporttest.Run(t, transporttest.Target{
		Open: func(t *testing.T) transport.Transport {
			return dial(t, Options{Address: p.Addr(), IdentityFile: key.path, HostKey: s.HostKey(), HomeDir: t.TempDir()})
		},
		Cut: func(*testing.T) { p.Drop() },
		Dir: t.TempDir(),
	})
}

func TestContractOpenSSH(t *testing.T) {
	s := startSSHD(t, "")
	p := lab.NewProxy(t, s.address)
	transporttest.Run(t, transporttest.Target{
		Open: func(t *testing.T) transport.Transport {
			o := s.options(t)
			o.Address = p.Addr()
			return dial(t, o)
		},
		Cut: func(*testing.T) { p.Drop() },
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
