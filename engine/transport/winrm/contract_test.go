//go:build unix

package winrm

import (
	"testing"

	"github.com/fitout-dev/fitout/engine/transport"
	"github.com/fitout-dev/fitout/engine/transport/transporttest"
	"github.com/fitout-dev/fitout/integration/lab"
)

func TestContractInProcess(t *testing.T) {
	s := newServer(t)
	p := lab.NewProxy(t, s.address())
	transporttest.Run(t, transporttest.Target{
		Open: func(t *testing.T) transport.Transport {
			o := s.options()
			o.Address = p.Addr()
			return dialed(t, o)
		},
		// Not Drop: a connection that is lost while nothing is under way on it is replaced, and nothing was lost.
		Cut: func(t *testing.T) { p.Cut(); t.Cleanup(p.Resume) },
		Dir: t.TempDir(),
	})
}

func dialed(t testing.TB, o Options) *Conn {
	t.Helper()
	c, err := Dial(t.Context(), o)
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
