package run

import (
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"github.com/fitout-dev/fitout/engine/profile"
	"github.com/fitout-dev/fitout/engine/transport"
	"github.com/fitout-dev/fitout/engine/transport/ssh"
	"github.com/fitout-dev/fitout/engine/transport/sshserver"
	gossh "golang.org/x/crypto/ssh"
)

// folderDevice is a device whose root is a folder, behind a real SSH server in this process.
func folderDevice(t *testing.T, name, profilePath string) (Device, string) {
	t.Helper()
	root := t.TempDir()
	for _, d := range []string{"etc", "var/lib"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(root, "etc/os-release"), "ID=debian\nVERSION_ID=\"12\"\n")
	write(t, filepath.Join(root, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")
	write(t, filepath.Join(root, "etc/group"), "root:x:0:\n")
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	block, err := gossh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	identity := filepath.Join(t.TempDir(), "id")
	write(t, identity, string(pem.EncodeToMemory(block)))
	signer, err := gossh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	server, err := sshserver.Start(sshserver.Options{AuthorizedKey: signer.PublicKey(), SFTP: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	l := &profile.Loader{}
	return Device{
		Name: name, Address: server.Address(), Profile: filepath.Base(profilePath),
		Target: Target{Root: root, Dir: filepath.Join(t.TempDir(), "fitout")},
		Compile: func(facts map[string]any) (*profile.Compiled, error) {
			p, err := l.Load(profilePath)
			if err != nil {
				return nil, err
			}
			return p.Compile(profile.Device{Name: name, Facts: facts})
		},
		Dial: func(ctx context.Context) (transport.Transport, error) {
			return ssh.Dial(ctx, ssh.Options{Device: name, Address: server.Address(), User: "tester", IdentityFile: identity, HostKey: server.HostKey(), ConfigFile: "none", HomeDir: t.TempDir()})
		},
	}, root
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestAProfileBringsADeviceToItsState(t *testing.T) {
	p := filepath.Join(t.TempDir(), "site.yaml")
	write(t, p, `profile: site
variables: {company: Example S.A.}
directories:
  - {path: /srv/data, mode: "0750"}
files:
  - {path: /etc/motd, content: "Property of ${vars.company}\n", mode: "0644"}
  - {path: /srv/data/readme, content: "hello\n"}
lines:
  - {path: /etc/environment, line: "A=1"}
groups:
  - name: sales
`)
	d, root := folderDevice(t, "lt-1", p)
	r := &Runner{Report: func(e Event) {
		if e.Log != nil || e.Event != nil {
			t.Logf("%s %+v %+v", e.Device, e.Log, e.Event)
		}
	}}
	res := r.Plan(context.Background(), []Device{d})[0]
	if res.Status != Pending || res.Err != nil {
		t.Fatalf("plan: %s %v %+v", res.Status, res.Err, res.Plan)
	}
	if _, err := os.Stat(filepath.Join(root, "etc/motd")); err == nil {
		t.Error("plan wrote a file")
	}
	res = r.Apply(context.Background(), []Device{d}, nil)[0]
	if res.Status != Changed || res.Err != nil {
		t.Fatalf("apply: %s %v", res.Status, res.Err)
	}
	if b, _ := os.ReadFile(filepath.Join(root, "etc/motd")); string(b) != "Property of Example S.A.\n" {
		t.Errorf("motd is %q", b)
	}
	r.ID = ""
	res = r.Apply(context.Background(), []Device{d}, nil)[0]
	if res.Status != Converged || res.Err != nil {
		t.Fatalf("again: %s %v %+v", res.Status, res.Err, res.Plan)
	}
}
