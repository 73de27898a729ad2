package ssh

import (
	"fmt"
	"testing"

	"github.com/fitout-dev/fitout/engine/transport"
	"github.com/fitout-dev/fitout/engine/transport/transporttest"
	"github.com/fitout-dev/fitout/integration/lab"
)

// Windows over SSH: OpenSSH hands lines to cmd.exe or PowerShell, and SFTP's paths begin with a drive.
func TestContractWindows(t *testing.T) {
	m := lab.New(t).Machine(t, lab.Wine)
	for _, test := range []struct {
		name  string
		port  int
		lines transporttest.Lines
	}{{"cmd", lab.CmdPort, transporttest.Windows}, {"powershell", lab.PowerShellPort, transporttest.PowerShell}} {
		t.Run(test.name, func(t *testing.T) {
			p := lab.NewProxy(t, fmt.Sprintf("%s:%d", m.Addr, test.port))
			transporttest.Run(t, transporttest.Target{
				Open: func(t *testing.T) transport.Transport {
					return dial(t, Options{Address: p.Addr(), User: lab.WindowsUser, IdentityFile: m.KeyFile, HostKey: m.HostKeys[0], HomeDir: t.TempDir(), ConfigFile: "none"})
				},
				Cut:   func(*testing.T) { p.Drop() },
				Dir:   "/C:/windows/temp",
				Lines: test.lines,
			})
		})
	}
	dial(t, Options{Address: fmt.Sprintf("%s:%d", m.Addr, lab.CmdPort), User: lab.WindowsUser, IdentityFile: m.KeyFile, KnownHosts: m.KnownHosts, HomeDir: t.TempDir(), ConfigFile: "none"})
}
