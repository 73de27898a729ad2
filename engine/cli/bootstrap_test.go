package cli

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	gossh "golang.org/x/crypto/ssh"

	"github.com/fitout-dev/fitout/engine/transport/ssh"
	"github.com/fitout-dev/fitout/integration/lab"
)

// The script makes a machine that our key doesn't open one that it does, may run again, and shows the true fingerprints.
func TestBootstrapLinux(t *testing.T) {
	m := lab.New(t).Machine(t, lab.Debian)
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := gossh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	block, err := gossh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "id")
	for path, text := range map[string][]byte{file: pem.EncodeToMemory(block), file + ".pub": gossh.MarshalAuthorizedKey(key)} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var script, complaints bytes.Buffer
	if code := Run(context.Background(), []string{"bootstrap", "linux", "--key", file + ".pub", "--user", "technician"}, strings.NewReader(""), &script, &complaints); code != exitDone {
		t.Fatalf("exit status %d: %s", code, complaints.String())
	}
	o := ssh.Options{Address: m.Addr, User: "technician", IdentityFile: file, KnownHosts: m.KnownHosts, HomeDir: t.TempDir(), ConfigFile: "none"}
	if c, err := ssh.Dial(t.Context(), o); err == nil {
		c.Close()
		t.Fatal("the machine knows the key already")
	}
	for range 2 {
		out := m.Run(t, "sh -c '"+strings.ReplaceAll(script.String(), "'", `'\''`)+"'")
		host, _, _, _, err := gossh.ParseAuthorizedKey([]byte(m.HostKeys[0]))
		if err != nil {
			t.Fatal(err)
		}
		if print := gossh.FingerprintSHA256(host); !strings.Contains(out, print) {
			t.Errorf("%s is not in\n%s", print, out)
		}
		if want := "fitout trust --device ssh://technician@" + m.Addr; !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	c, err := ssh.Dial(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if out := m.Run(t, "cat ~technician/.ssh/authorized_keys; stat -c '%U %a' ~technician/.ssh/authorized_keys; su technician -c 'sudo -n id -u'"); !regexp.MustCompile(`^ssh-ed25519 \S+\ntechnician 600\n0\n?$`).MatchString(out) {
		t.Errorf("got %q", out)
	}
}
