package ssh

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/fitout-dev/fitout/engine/transport"
	"github.com/fitout-dev/fitout/engine/transport/sshserver"
)

// The Floor benchmarks do with x/crypto/ssh alone what those before them do with this package.

func benchServer(b *testing.B) (*sshserver.Server, key, string) {
	k := newKey(b, "")
	s := startServer(b, sshserver.Options{AuthorizedKey: k.public, SFTP: true})
	public, _, _, _, err := gossh.ParseAuthorizedKey([]byte(s.HostKey()))
	if err != nil {
		b.Fatal(err)
	}
	known := filepath.Join(b.TempDir(), "known_hosts")
	writeFile(b, known, knownhosts.Line([]string{s.Address()}, public)+"\n")
	return s, k, known
}

func BenchmarkDialAndExec(b *testing.B) {
	s, k, known := benchServer(b)
	d := newDialer()
	o := Options{Address: s.Address(), User: "root", IdentityFile: k.path, KnownHosts: known, HomeDir: b.TempDir()}
	b.ReportAllocs()
	for b.Loop() {
		t, err := d.Dial(b.Context(), o)
		if err != nil {
			b.Fatal(err)
		}
		execTrue(b, t)
		t.Close()
	}
}

func floor(b *testing.B, s *sshserver.Server, k key, known string) *gossh.Client {
	check, err := knownhosts.New(known)
	if err != nil {
		b.Fatal(err)
	}
	c, err := gossh.Dial("tcp", s.Address(), &gossh.ClientConfig{User: "root", Auth: []gossh.AuthMethod{gossh.PublicKeys(k.signer)}, HostKeyCallback: check, HostKeyAlgorithms: []string{gossh.KeyAlgoED25519}})
	if err != nil {
		b.Fatal(err)
	}
	return c
}

func floorTrue(b *testing.B, c *gossh.Client) {
	session, err := c.NewSession()
	if err != nil {
		b.Fatal(err)
	}
	if err := session.Run("true"); err != nil {
		b.Fatal(err)
	}
	session.Close()
}

func BenchmarkDialAndExecFloor(b *testing.B) {
	s, k, known := benchServer(b)
	b.ReportAllocs()
	for b.Loop() {
		c := floor(b, s, k, known)
		floorTrue(b, c)
		c.Close()
	}
}

func execTrue(b *testing.B, t *Transport) {
	p, err := t.Start(b.Context(), transport.Command{Line: "true"})
	if err != nil {
		b.Fatal(err)
	}
	io.Copy(io.Discard, p.Stdout())
	if _, err := p.Wait(); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkExec(b *testing.B) {
	s, k, known := benchServer(b)
	t := dial(b, Options{Address: s.Address(), User: "root", IdentityFile: k.path, KnownHosts: known, HomeDir: b.TempDir()})
	for b.Loop() {
		execTrue(b, t)
	}
}

func BenchmarkExecFloor(b *testing.B) {
	s, k, known := benchServer(b)
	c := floor(b, s, k, known)
	defer c.Close()
	for b.Loop() {
		floorTrue(b, c)
	}
}

const streamed = 64 << 20

func BenchmarkStream(b *testing.B) {
	s, k, known := benchServer(b)
	t := dial(b, Options{Address: s.Address(), User: "root", IdentityFile: k.path, KnownHosts: known, HomeDir: b.TempDir()})
	b.SetBytes(2 * streamed)
	block := make([]byte, 1<<20)
	for b.Loop() {
		p, err := t.Start(b.Context(), transport.Command{Line: "cat"})
		if err != nil {
			b.Fatal(err)
		}
		go func() {
			for range streamed / len(block) {
				p.Stdin().Write(block)
			}
			p.Stdin().Close()
		}()
		if n, err := io.Copy(io.Discard, p.Stdout()); n != streamed {
			b.Fatal(n, err)
		}
		p.Wait()
	}
}

func BenchmarkStreamFloor(b *testing.B) {
	s, k, known := benchServer(b)
	c := floor(b, s, k, known)
	defer c.Close()
	b.SetBytes(2 * streamed)
	block := make([]byte, 1<<20)
	for b.Loop() {
		session, err := c.NewSession()
		if err != nil {
			b.Fatal(err)
		}
		in, _ := session.StdinPipe()
		out, _ := session.StdoutPipe()
		if err := session.Start("cat"); err != nil {
			b.Fatal(err)
		}
		go func() {
			for range streamed / len(block) {
				in.Write(block)
			}
			in.Close()
		}()
		if n, err := io.Copy(io.Discard, out); n != streamed {
			b.Fatal(n, err)
		}
		session.Wait()
	}
}

// With OpenSSH at the other end: OpenSSH's own sftp client, and this package.
func BenchmarkUpload(b *testing.B) {
	s := startSSHD(b, "")
	t := dial(b, s.options(b))
	src := filepath.Join(b.TempDir(), "src")
	if err := os.WriteFile(src, make([]byte, streamed), 0o600); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(streamed)
	for b.Loop() {
		f, err := os.Open(src)
		if err != nil {
			b.Fatal(err)
		}
		if err := t.Upload(b.Context(), filepath.Join(s.dir, "dst"), f); err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}
