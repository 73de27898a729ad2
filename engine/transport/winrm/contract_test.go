//go:build unix

package winrm

import (
	"context"
	"os"
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

// Programs for Windows, on a machine of the lab: what their pipes and exit codes are like.
func TestContractWine(t *testing.T) {
	m := lab.New(t).Machine(t, lab.Wine)
	s := newServer(t)
	s.run = func(line string) (*serverCommand, error) {
		ctx, cancel := context.WithCancel(context.Background())
		read, write, err := os.Pipe()
		if err != nil {
			cancel()
			return nil, err
		}
		c := &serverCommand{news: make(chan struct{}, 1), stdin: write, kill: cancel}
		cmd := m.Windows(ctx)
		cmd.Line = `cmd.exe /s /c "` + line + `"`
		cmd.Stdin, cmd.Stdout, cmd.Stderr = read, commandWriter{c, &c.out}, commandWriter{c, &c.err}
		go func() {
			code, err := cmd.Run()
			if err != nil { // killed, as a rule
				code = 255
			}
			read.Close()
			c.end(code)
		}()
		return c, nil
	}
	p := lab.NewProxy(t, s.address())
	transporttest.Run(t, transporttest.Target{
		Open: func(t *testing.T) transport.Transport {
			o := s.options()
			o.Address = p.Addr()
			return dialed(t, o)
		},
		Cut:   func(t *testing.T) { p.Cut(); t.Cleanup(p.Resume) },
		Lines: transporttest.Windows,
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
