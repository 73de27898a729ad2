package lab

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fitout-dev/fitout/integration/lab/winrm"
)

// WinRM is the way into a Windows machine by WinRM: HTTP on port 5985, HTTPS on 5986.
type WinRM struct {
	User, Password string
	CAFile         string // the machine's certificate, in PEM
	Fingerprint    string // its SHA-256, in hex
}

const (
	winrmProgram = system32 + "/winrmd.exe"
	winrmConfig  = winePrefix + "/drive_c/winrm.json"
	winrmUnit    = `[Unit]
Description=WinRM
After=wine.service
Requires=wine.service

[Service]
ExecStart=/usr/local/bin/wine64 C:\\windows\\system32\\winrmd.exe C:\\winrm.json
Restart=on-failure

[Install]
WantedBy=multi-user.target
`
)

// StartWinRM starts a WinRM server on a Wine machine, inside its Windows; it is there again after a reboot. Without users
// in c there is WindowsUser, with a password of chance.
func (m *Machine) StartWinRM(ctx context.Context, c winrm.Config) (*WinRM, error) {
	w := &WinRM{User: WindowsUser, Password: "Pw-" + randomHex(8)}
	if c.Users == nil {
		c.Users = map[string]winrm.User{w.User: {Password: w.Password}}
	} else {
		w.Password = c.Users[w.User].Password
	}
	pair, err := winrm.SelfSigned(append([]string{m.Name, m.Addr}, c.Names...)...)
	if err != nil {
		return nil, err
	}
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		return nil, err
	}
	encode := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	config, err := json.Marshal(struct {
		winrm.Config
		HTTP, HTTPS, Cert, Key string
	}{c, ":5985", ":5986", encode("CERTIFICATE", pair.Certificate[0]), encode("PRIVATE KEY", key)})
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(pair.Certificate[0])
	w.Fingerprint = hex.EncodeToString(sum[:])
	w.CAFile = filepath.Join(m.lab.dir, m.Name+"-winrm.pem")
	if err := build(ctx, m.lab.log, "winrm/serve", "windows", filepath.Join(m.Root(), winrmProgram)); err != nil {
		return nil, fmt.Errorf("build the WinRM server: %w", err)
	}
	for name, text := range map[string]string{w.CAFile: encode("CERTIFICATE", pair.Certificate[0]), filepath.Join(m.Root(), winrmConfig): string(config),
		filepath.Join(m.Root(), "etc/systemd/system/winrm.service"): winrmUnit} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	if out, err := m.Exec(ctx, "systemctl daemon-reload && systemctl enable --now -q winrm.service"); err != nil {
		return nil, fmt.Errorf("start WinRM: %w: %s", err, out)
	}
	return w, m.AwaitWinRM(ctx)
}

// AwaitWinRM returns when the machine's WinRM answers, after a reboot for instance.
func (m *Machine) AwaitWinRM(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, m.Kind.bootTimeout())
	defer cancel()
	return await(ctx, "WinRM on "+m.Name, func() bool {
		for _, port := range []string{"5985", "5986"} {
			c, err := net.DialTimeout("tcp", net.JoinHostPort(m.Addr, port), time.Second)
			if err != nil {
				return false
			}
			c.Close()
		}
		return true
	})
}

// WinRMServer is StartWinRM in a test.
func (m *Machine) WinRMServer(t TB, c winrm.Config) *WinRM {
	t.Helper()
	w, err := m.StartWinRM(t.Context(), c)
	if err != nil {
		out, _ := m.Exec(t.Context(), "journalctl -u winrm --no-pager -n 20")
		t.Fatalf("on %s: %v\n%s", m.Name, err, strings.TrimSpace(out))
	}
	return w
}
