package run

import (
	"context"
	"io"
	"path/filepath"
	"sync"
	"testing"

	"github.com/fitout-dev/fitout/engine/transport"
)

// counted counts, over all programs of a connection, how often this side waited for the other: it began a program or
// wrote to one, and then read.
type counted struct {
	transport.Transport
	mu              sync.Mutex
	programs, trips int
	asked           bool
}

func (c *counted) Start(ctx context.Context, cmd transport.Command) (transport.Process, error) {
	c.mu.Lock()
	c.programs++
	c.mu.Unlock()
	p, err := c.Transport.Start(ctx, cmd)
	if err != nil {
		return nil, err
	}
	return &countedProcess{p, c}, nil
}

type countedProcess struct {
	transport.Process
	c *counted
}

func (p *countedProcess) Stdin() io.WriteCloser {
	return struct {
		io.Writer
		io.Closer
	}{writer(func(b []byte) (int, error) {
		p.c.mu.Lock()
		p.c.asked = true
		p.c.mu.Unlock()
		return p.Process.Stdin().Write(b)
	}), p.Process.Stdin()}
}

func (p *countedProcess) Stdout() io.Reader {
	return reader(func(b []byte) (int, error) {
		n, err := p.Process.Stdout().Read(b)
		p.c.mu.Lock()
		if n > 0 && p.c.asked {
			p.c.asked = false
			p.c.trips++
		}
		p.c.mu.Unlock()
		return n, err
	})
}

type writer func([]byte) (int, error)

func (f writer) Write(b []byte) (int, error) { return f(b) }

type reader func([]byte) (int, error)

func (f reader) Read(b []byte) (int, error) { return f(b) }

func TestANoOpCostsFewRoundTrips(t *testing.T) {
	p := filepath.Join(t.TempDir(), "site.yaml")
	write(t, p, `profile: site
directories: [{path: /srv/data}]
files:
  - {path: /etc/motd, content: "hello\n"}
  - {path: "/srv/data/${item}", content: "${item}", forEach: [a, b, c, d]}
lines: [{path: /etc/environment, line: "A=1"}]
groups: [sales]
`)
	d, _ := folderDevice(t, "lt-1", p)
	if res := new(Runner).Apply(t.Context(), []Device{d}, nil)[0]; res.Status != Changed {
		t.Fatalf("apply: %s %v", res.Status, res.Err)
	}
	dial := d.Dial
	var c *counted
	d.Dial = func(ctx context.Context) (transport.Transport, error) {
		inner, err := dial(ctx)
		c = &counted{Transport: inner}
		return c, err
	}
	for what, do := range map[string]func() Result{
		"plan":  func() Result { return new(Runner).Plan(t.Context(), []Device{d})[0] },
		"apply": func() Result { return new(Runner).Apply(t.Context(), []Device{d}, nil)[0] },
	} {
		if res := do(); res.Status != Converged || res.Err != nil {
			t.Fatalf("%s: %s %v", what, res.Status, res.Err)
		}
		if c.programs != 1 || c.trips < 1 || c.trips > 3 {
			t.Errorf("%s of a converged device: %d programs, %d round trips after the start; 1 and at most 3 are promised", what, c.programs, c.trips)
		}
		t.Logf("%s: %d round trips", what, c.trips)
	}
}
