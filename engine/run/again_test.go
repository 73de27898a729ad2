package run

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/fitout-dev/fitout/engine/transport"
)

// breaking is a connection that breaks, as often as breaks says, once so many bytes were sent on it.
type breaking struct {
	transport.Transport
	after  int64
	breaks *atomic.Int64
}

func (b *breaking) Start(ctx context.Context, cmd transport.Command) (transport.Process, error) {
	p, err := b.Transport.Start(ctx, cmd)
	return &brokenProcess{Process: p, b: b}, err
}

type brokenProcess struct {
	transport.Process
	b    *breaking
	sent int64
}

func (p *brokenProcess) Stdin() io.WriteCloser {
	return struct {
		io.Writer
		io.Closer
	}{writer(func(b []byte) (int, error) {
		if p.sent += int64(len(b)); p.sent > p.b.after && p.b.breaks.Add(-1) >= 0 {
			p.b.Transport.Close()
		}
		return p.Process.Stdin().Write(b)
	}), p.Process.Stdin()}
}

// A connection that breaks before the run document was sent costs a try of its own, and no more than three.
func TestABrokenConnectionIsTriedAgain(t *testing.T) {
	content := make([]byte, 3<<20)
	rand.Read(content)
	p := profileFile(t, "profile: p\nfiles:\n  - {path: /etc/large, source: large}\n")
	write(t, filepath.Join(filepath.Dir(p), "large"), string(content))
	for _, c := range []struct {
		name   string
		there  bool // the executor is on the device
		after  int64
		breaks int64
		gone   bool // nothing can be connected to any more, once it has broken
		dials  int
		fails  bool
	}{
		{"while the executor is pushed, twice", false, 100_000, 2, false, 3, false},
		{"while the device is asked", true, 10, 2, false, 3, false},
		{"while contents are sent", true, 1 << 20, 2, false, 3, false},
		{"each time", false, 100_000, 1 << 30, false, 3, true},
		{"for good", false, 100_000, 1, true, 2, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, root := folderDevice(t, "lt-1", p)
			if c.there {
				new(Runner).Plan(t.Context(), []Device{d})
			}
			dial, dials := d.Dial, 0
			var breaks atomic.Int64
			breaks.Store(c.breaks)
			d.Dial = func(ctx context.Context) (transport.Transport, error) {
				if dials++; c.gone && dials > 1 {
					return nil, &transport.Error{Kind: transport.Refused, Err: os.ErrClosed}
				}
				inner, err := dial(ctx)
				return &breaking{inner, c.after, &breaks}, err
			}
			var said []string
			r := &Runner{Report: func(e Event) {
				if e.Event != nil && e.Event.Level == "WARN" {
					said = append(said, e.Event.Text)
				}
			}}
			res := r.Apply(t.Context(), []Device{d}, nil)[0]
			t.Logf("%d dials, %v, %s", dials, res.Err, strings.Join(said, "\n"))
			if dials != c.dials {
				t.Errorf("connected to %d times, not %d", dials, c.dials)
			}
			if len(said) != dials-1 || strings.Count(strings.Join(said, ""), "trying again") != len(said) {
				t.Errorf("it warns of %q", said)
			}
			got, _ := os.ReadFile(filepath.Join(root, "etc/large"))
			if c.fails {
				if res.Status != Unreachable || got != nil {
					t.Errorf("%s, %v", res.Status, res.Err)
				}
				return
			}
			if res.Status != Changed || res.Err != nil || !bytes.Equal(got, content) {
				t.Errorf("%s, %v; %d bytes", res.Status, res.Err, len(got))
			}
		})
	}
}
