package winrm_test

import (
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/integration/lab/winrm"
)

// Debian 12's pywinrm needs OpenSSL's legacy provider for MD4.
const opensslConfig = `openssl_conf = init
[init]
providers = providers
[providers]
default = on
legacy = on
[on]
activate = 1
`

const pywinrm = `
import sys, winrm
from winrm.protocol import Protocol
endpoint, transport, ca, password = sys.argv[1:5]
p = Protocol(endpoint, transport=transport, username='Administrator', password=password, ca_trust_path=ca or None)
shell = p.open_shell()
for line in ('echo one; echo two >&2; exit 195', 'head -c 300000 /dev/zero | tr "\\0" x'):
    c = p.run_command(shell, line)
    out, err, code = p.get_command_output(shell, c)
    p.cleanup_command(shell, c)
    print(len(out), out[:3].decode(), err.decode().strip(), code)
p.close_shell(shell)
`

func start(t *testing.T, c winrm.Config) *winrm.Server {
	t.Helper()
	s, err := winrm.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen("127.0.0.1:0", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func python(t *testing.T, script string, args ...string) (string, error) {
	t.Helper()
	if os.Getenv("FITOUT_LAB") == "off" {
		t.Skip("no lab: FITOUT_LAB=off")
	}
	if err := exec.Command("/usr/bin/python3", "-c", "import winrm").Run(); err != nil {
		if os.Getenv("FITOUT_LAB") == "required" {
			t.Fatal("FITOUT_LAB=required, but the package python3-winrm is missing")
		}
		t.Skip("no lab: the package python3-winrm is missing")
	}
	conf := filepath.Join(t.TempDir(), "openssl.cnf")
	if err := os.WriteFile(conf, []byte(opensslConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/usr/bin/python3", append([]string{"-c", script}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "OPENSSL_CONF=" + conf}
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestPywinrm(t *testing.T) {
	for _, c := range []struct {
		transport string
		tls       bool
	}{{"plaintext", true}, {"ntlm", false}, {"ntlm", true}} {
		t.Run(fmt.Sprintf("%s,tls=%v", c.transport, c.tls), func(t *testing.T) {
			password := "s3cret pässword"
			if c.transport == "plaintext" { // requests sends Basic in Latin-1
				password = "s3cret"
			}
			s := start(t, winrm.Config{Names: []string{"127.0.0.1"}, Users: map[string]winrm.User{"Administrator": {Password: password}}})
			endpoint, ca := "http://"+s.HTTPAddr+"/wsman", ""
			if c.tls {
				endpoint = "https://" + s.HTTPSAddr + "/wsman"
				ca = filepath.Join(t.TempDir(), "ca.pem")
				if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate()}), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			out, err := python(t, pywinrm, endpoint, c.transport, ca, password)
			want := "4 one two 195\n300000 xxx  0\n"
			if err != nil || !strings.HasSuffix(strings.ReplaceAll(out, "one\n", "one"), want) {
				t.Fatalf("pywinrm: %v, printed %q, want %q\n%+v", err, out, want, s.Requests())
			}
			if s.Shells() != 0 {
				t.Errorf("%d shells are left", s.Shells())
			}
			for _, r := range s.Requests() {
				if r.Clear || !c.tls && r.Action != "" && !r.Sealed {
					t.Errorf("in the clear: %+v", r)
				}
			}
			if out, err = python(t, pywinrm, endpoint, c.transport, ca, "wrong"); err == nil || !strings.Contains(out, "rejected by the server") {
				t.Errorf("with a wrong password: %v, %q", err, out)
			}
		})
	}
}
