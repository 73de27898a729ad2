//go:build unix

package winrm_test

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/integration/lab"
	"github.com/fitout-dev/fitout/integration/lab/winrm"
)

// Clients that nobody here wrote show that the server is what they take for Windows: pywinrm, and Ansible with its winrm
// connection. Both come from Debian; each authentication is tried, and over plain HTTP nothing may come in the clear. Debian 12's pywinrm seals with NTLM alone:
// Kerberos over HTTP is our own transport's matter (its test is TestContractByKerberos), and here it is refused.

const password = "Correct horse 1"

// legacy lets OpenSSL 3 hash with MD4, of which NTLM is made.
const legacy = `openssl_conf = a
[a]
providers = b
[b]
default = on
legacy = on
[on]
activate = 1
`

// powershell stands in for PowerShell, in which Ansible wraps every command: it takes a script apart as -EncodedCommand has it
// and hands it to the shell.
const powershell = `#!/bin/sh
for last; do :; done
printf %s "$last" | base64 -d | iconv -f UTF-16LE -t UTF-8 | exec sh
`

type site struct {
	*winrm.Server
	t    *testing.T
	dir  string
	kdc  *lab.KDC
	cert string // the client's, and its key
	key  string
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir()}
	s.kdc = lab.NewKDC(t, t.TempDir(), map[string]string{"alice": password})
	file, err := s.kdc.Keytab(t.Context(), "HTTP/localhost")
	lab.Must(t, err)
	keys, err := os.ReadFile(file)
	lab.Must(t, err)
	pair, err := winrm.SelfSigned("alice@lab.test")
	lab.Must(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	lab.Must(t, err)
	s.cert = s.write("client.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})))
	s.key = s.write("client.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	s.write("openssl.cnf", legacy)
	lab.Must(t, os.Chmod(s.write("PowerShell", powershell), 0o755))
	t.Setenv("PATH", s.dir+":"+os.Getenv("PATH"))
	s.Server, err = winrm.New(winrm.Config{Keytab: keys, Names: []string{"localhost"},
		Users: map[string]winrm.User{"alice": {Password: password, Certificates: []string{"alice@lab.test"}}}})
	lab.Must(t, err)
	lab.Must(t, s.Listen("127.0.0.1:0", "127.0.0.1:0"))
	t.Cleanup(func() { s.Close() })
	kinit := s.command("kinit", "alice@"+s.kdc.Realm)
	kinit.Stdin = strings.NewReader(password + "\n")
	if out, err := kinit.CombinedOutput(); err != nil {
		t.Fatalf("kinit: %v\n%s", err, out)
	}
	return s
}

func (s *site) write(name, text string) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	lab.Must(s.t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func (s *site) command(name string, args ...string) *exec.Cmd {
	if _, err := exec.LookPath(name); err != nil {
		s.t.Fatalf("%v: install python3-winrm, python3-requests-kerberos, ansible and krb5-user", err)
	}
	c := exec.CommandContext(s.t.Context(), name, args...)
	c.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + s.dir, "LANG=C.UTF-8", "OPENSSL_CONF=" + filepath.Join(s.dir, "openssl.cnf"),
		"KRB5_CONFIG=" + s.kdc.Config, "KRB5CCNAME=FILE:" + filepath.Join(s.dir, "cc"), "PYTHONWARNINGS=ignore"}
	return c
}

// url has a name, since tickets are for names.
func (s *site) url(tls bool) string {
	if tls {
		return "https://localhost:" + port(s.HTTPSAddr) + "/wsman"
	}
	return "http://localhost:" + port(s.HTTPAddr) + "/wsman"
}

func port(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }

// clear fails the test where a body came unsealed over HTTP, or by another authentication.
func (s *site) clear(from int, auth string, tls bool) {
	s.t.Helper()
	all := s.Requests()[from:]
	carried := 0
	for _, r := range all {
		if r.Action == "" {
			continue
		}
		carried++
		if r.Clear || !tls && !r.Sealed || r.Auth != auth || r.TLS != tls {
			s.t.Errorf("by %s, over TLS %v: %+v", auth, tls, r)
		}
	}
	if carried < 5 {
		s.t.Errorf("only %d requests: %+v", carried, all)
	}
}

func TestClients(t *testing.T) {
	if err := lab.Available(); err != nil && os.Getenv("FITOUT_LAB") != "required" {
		t.Skipf("no lab: %v", err)
	}
	s := newSite(t)
	t.Run("a body in the clear", func(t *testing.T) {
		p := s.command("/usr/bin/python3", "testdata/pywinrm.py", s.url(false), "kerberos", "alice@"+s.kdc.Realm)
		out, err := p.CombinedOutput()
		if all := s.Requests(); err == nil || !strings.Contains(string(out), "Code 500") || !all[len(all)-1].Clear || all[len(all)-1].Action != "" {
			t.Errorf("%v\n%s", err, out)
		}
	})
	for _, c := range []struct {
		transport, auth string
		tls             bool
	}{{"basic", winrm.Basic, true}, {"ntlm", winrm.NTLM, false}, {"ntlm", winrm.NTLM, true}, {"kerberos", winrm.Kerberos, true}, {"certificate", winrm.Certificate, true}} {
		user := "alice"
		if c.transport == "kerberos" {
			user = "alice@" + s.kdc.Realm
		}
		t.Run(fmt.Sprintf("pywinrm, %s, TLS %v", c.transport, c.tls), func(t *testing.T) {
			from := len(s.Requests())
			args := []string{"testdata/pywinrm.py", s.url(c.tls), c.transport, user}
			if c.transport == "certificate" {
				args = append(args, s.cert, s.key)
			}
			p := s.command("/usr/bin/python3", args...)
			p.Stdin = strings.NewReader(password)
			out, err := p.CombinedOutput()
			if want := "4 out err 7\n20000 x  0\n"; err != nil || string(out) != want {
				t.Errorf("%v\n%s", err, out)
			}
			s.clear(from, c.auth, c.tls)
		})
		t.Run(fmt.Sprintf("Ansible, %s, TLS %v", c.transport, c.tls), func(t *testing.T) {
			from := len(s.Requests())
			variables := map[bool]string{false: "http", true: "https"}[c.tls]
			address := port(map[bool]string{false: s.HTTPAddr, true: s.HTTPSAddr}[c.tls])
			inventory := s.write("inventory.yaml", fmt.Sprintf(`all: {hosts: {localhost: {ansible_connection: winrm, ansible_port: %s, ansible_winrm_scheme: %s, ansible_winrm_transport: %s, ansible_user: %q, ansible_password: %q,
  ansible_winrm_server_cert_validation: ignore, ansible_winrm_kinit_mode: manual, ansible_winrm_cert_pem: %s, ansible_winrm_cert_key_pem: %s, ansible_shell_type: cmd}}}
`, address, variables, c.transport, user, password, s.cert, s.key))
			out, err := s.command("ansible", "-i", inventory, "localhost", "-m", "ansible.builtin.raw", "-a", "echo by Ansible; exit 3").CombinedOutput()
			if !strings.Contains(string(out), "rc=3") || !strings.Contains(string(out), "by Ansible") {
				t.Errorf("%v\n%s", err, out)
			}
			s.clear(from, c.auth, c.tls)
		})
	}
}
