//go:build unix

package winrm

import (
	"crypto/sha256"
	"encoding/hex"
	"net"
	"strconv"
	"testing"

	"github.com/fitout-dev/fitout/engine/transport"
	"github.com/fitout-dev/fitout/engine/transport/transporttest"
	"github.com/fitout-dev/fitout/integration/lab"
	labwinrm "github.com/fitout-dev/fitout/integration/lab/winrm"
)

// labServer is the lab's server in this process, over /bin/sh: it shares no code with this package.
func labServer(t testing.TB, c labwinrm.Config) *labwinrm.Server {
	t.Helper()
	if c.Users == nil {
		c.Users = map[string]labwinrm.User{testUser: {Password: testPassword}}
	}
	s, err := labwinrm.New(c)
	if err == nil {
		err = s.Listen("127.0.0.1:0", "127.0.0.1:0")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// way is how a test reaches a server.
func way(s *labwinrm.Server, auth string, tls bool) Options {
	o := Options{User: testUser, Password: func() (string, error) { return testPassword, nil }, Auth: auth, TLS: &tls}
	o.Address = s.HTTPAddr
	if tls {
		o.Address = s.HTTPSAddr
		sum := sha256.Sum256(s.Certificate())
		o.Fingerprint = "SHA256:" + hex.EncodeToString(sum[:])
	}
	host, port, _ := net.SplitHostPort(o.Address)
	o.Address = host
	o.Port, _ = strconv.Atoi(port)
	return o
}

func TestContractWithTheLabsServer(t *testing.T) {
	for _, c := range []struct {
		name, auth string
		tls        bool
	}{{"basic, HTTPS", "basic", true}, {"NTLM, sealed", "ntlm", false}, {"NTLM, HTTPS", "ntlm", true}} {
		t.Run(c.name, func(t *testing.T) {
			s := labServer(t, labwinrm.Config{})
			o := way(s, c.auth, c.tls)
			p := lab.NewProxy(t, net.JoinHostPort(o.Address, strconv.Itoa(o.Port)))
			host, port, _ := net.SplitHostPort(p.Addr())
			o.Address = host
			o.Port, _ = strconv.Atoi(port)
			transporttest.Run(t, transporttest.Target{
				Open: func(t *testing.T) transport.Transport { return dialed(t, o) },
				Cut:  func(t *testing.T) { p.Cut(); t.Cleanup(p.Resume) },
				Dir:  t.TempDir(),
			})
			for _, r := range s.Requests() {
				if r.Clear || !c.tls && r.Action != "" && !r.Sealed {
					t.Fatalf("a body came in the clear: %+v", r)
				}
			}
		})
	}
}

// TestContractOnWindows is the same against programs of Windows.
func TestContractOnWindows(t *testing.T) {
	m := lab.New(t).Machine(t, lab.Wine)
	w := m.WinRMServer(t, labwinrm.Config{})
	for _, c := range []struct {
		name, auth string
		tls        bool
	}{{"basic, HTTPS", "basic", true}, {"NTLM, sealed", "ntlm", false}} {
		t.Run(c.name, func(t *testing.T) {
			port := map[bool]int{false: 5985, true: 5986}[c.tls]
			o := Options{Address: m.Addr, Port: port, TLS: &c.tls, Auth: c.auth, User: w.User, Password: func() (string, error) { return w.Password, nil }, Fingerprint: w.Fingerprint}
			transporttest.Run(t, transporttest.Target{
				Open:  func(t *testing.T) transport.Transport { return dialed(t, o) },
				Cut:   func(t *testing.T) { lab.Must(t, m.Cut()); t.Cleanup(func() { lab.Must(t, m.Restore()) }) },
				Dir:   `C:\windows\temp`,
				Lines: transporttest.Windows,
			})
		})
	}
}
