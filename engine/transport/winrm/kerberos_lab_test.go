//go:build unix

package winrm

import (
	"net"
	"os"
	"testing"

	"github.com/fitout-dev/fitout/engine/transport"
	"github.com/fitout-dev/fitout/engine/transport/transporttest"
	"github.com/fitout-dev/fitout/integration/lab"
	labwinrm "github.com/fitout-dev/fitout/integration/lab/winrm"
)

// TestContractByKerberos: with a ticket of a real KDC's, for a password over HTTP, where all is sealed, and by a keytab over
// HTTPS.
func TestContractByKerberos(t *testing.T) {
	k := lab.NewKDC(t, t.TempDir(), map[string]string{"alice": testPassword})
	file, err := k.Keytab(t.Context(), "HTTP/localhost")
	lab.Must(t, err)
	keys, err := os.ReadFile(file)
	lab.Must(t, err)
	user, err := k.Keytab(t.Context(), "alice")
	lab.Must(t, err)
	t.Setenv("KRB5_CONFIG", k.Config)
	s := labServer(t, labwinrm.Config{Keytab: keys, Auth: []string{labwinrm.Kerberos}, Users: map[string]labwinrm.User{"alice": {}}})
	for _, c := range []struct {
		name  string
		https bool
		key   string
	}{{"password, HTTP", false, ""}, {"keytab, HTTPS", true, user}} {
		t.Run(c.name, func(t *testing.T) {
			o := labOptions(t, s, byKerberos, c.https)
			_, port, _ := net.SplitHostPort(o.Address)
			o.Address, o.User, o.Realm, o.Keytab = net.JoinHostPort("localhost", port), "alice", k.Realm, c.key // a ticket is for a name
			transporttest.Run(t, transporttest.Target{Open: func(t *testing.T) transport.Transport { return dialed(t, o) }, Dir: t.TempDir()})
		})
	}
	for _, r := range s.Requests() {
		if !r.TLS && r.Action != "" && (!r.Sealed || r.Auth != labwinrm.Kerberos) {
			t.Fatalf("not sealed by Kerberos: %+v", r)
		}
	}
}
