package ssh

import (
	"testing"

	"github.com/fitout-dev/fitout/engine/transport"
	"github.com/fitout-dev/fitout/engine/transport/transporttest"
	"github.com/fitout-dev/fitout/integration/lab"
)

// Nothing may hang on OpenSSH: dropbear has no SFTP and other habits, busybox other tools.
func TestContractDropbear(t *testing.T) {
	m := lab.New(t).Machine(t, lab.Dropbear)
	p := lab.NewProxy(t, m.Addr+":22")
	transporttest.Run(t, transporttest.Target{
		Open: func(t *testing.T) transport.Transport {
			return dial(t, Options{Address: p.Addr(), User: m.User, IdentityFile: m.KeyFile, HostKey: m.HostKeys[0], HomeDir: t.TempDir(), ConfigFile: "none"})
		},
		Cut: func(*testing.T) { p.Drop() },
	})
	dial(t, Options{Address: m.Addr, User: m.User, IdentityFile: m.KeyFile, KnownHosts: m.KnownHosts, HomeDir: t.TempDir(), ConfigFile: "none"})
}
