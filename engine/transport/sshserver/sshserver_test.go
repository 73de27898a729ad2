package sshserver_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	gossh "golang.org/x/crypto/ssh"

	"github.com/fitout-dev/fitout/engine/transport/sshserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func signer(t *testing.T) gossh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := gossh.NewSignerFromSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func dial(t *testing.T, s *sshserver.Server, key gossh.Signer) (*gossh.Client, error) {
	t.Helper()
	host, _, _, _, err := gossh.ParseAuthorizedKey([]byte(s.HostKey()))
	if err != nil {
		t.Fatal(err)
	}
	return gossh.Dial("tcp", s.Address(), &gossh.ClientConfig{User: "anyone", Auth: []gossh.AuthMethod{gossh.PublicKeys(key)}, HostKeyCallback: gossh.FixedHostKey(host)})
}

// The contract suite runs against it in package ssh; here is what that doesn't see.
func TestServer(t *testing.T) {
	key, dir := signer(t), t.TempDir()
	s, err := sshserver.Start(sshserver.Options{AuthorizedKey: key.PublicKey(), Dir: dir, Env: []string{"FITOUT_TEST=here"}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if host, _, _ := net.SplitHostPort(s.Address()); host != "127.0.0.1" {
		t.Errorf("it listens on %s", host)
	}
	if c, err := dial(t, s, signer(t)); err == nil {
		c.Close()
		t.Error("a stranger's key may log in")
	}
	c, err := dial(t, s, key)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	session, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	out, err := session.Output(`echo "$FITOUT_TEST"; pwd -P`)
	real, _ := filepath.EvalSymlinks(dir)
	if got := strings.Fields(string(out)); err != nil || len(got) != 2 || got[0] != "here" || got[1] != real {
		t.Errorf("%q, %v; want here %s", out, err, real)
	}
	session, err = c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := session.RequestSubsystem("sftp"); err == nil {
		t.Error("there is SFTP, though it wasn't asked for")
	}
	session.Close()

	// Close ends running programs, and doesn't wait for clients to go.
	session, err = c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	stdout, _ := session.StdoutPipe()
	if err := session.Start("sleep 600"); err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	select {
	case <-closed:
	case <-time.After(5 * time.Second):
		t.Fatal("Close waits for a program")
	}
	io.Copy(io.Discard, stdout)
	if err := session.Wait(); err == nil {
		t.Error("the program has ended by itself")
	}
}
