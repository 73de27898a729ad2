package lab

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// echoServer answers each line with itself.
func echoServer(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().String()
}

type client struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, p *Proxy) *client {
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &client{t, c, bufio.NewReader(c)}
}

func (c *client) ask(timeout time.Duration) error {
	_ = c.SetDeadline(time.Now().Add(timeout))
	if _, err := io.WriteString(c, "hello\n"); err != nil {
		return err
	}
	return c.hear()
}

func (c *client) hear() error {
	line, err := c.r.ReadString('\n')
	if err == nil && line != "hello\n" {
		c.t.Errorf("heard %q", line)
	}
	return err
}

func TestProxyCountsAndDelays(t *testing.T) {
	p := NewProxy(t, echoServer(t))
	c := dial(t, p)
	for range 3 {
		Must(t, c.ask(10*time.Second))
	}
	if diff := cmp.Diff(Stats{Connections: 1, ToTarget: 18, FromTarget: 18, Turns: 5}, p.Stats()); diff != "" {
		t.Error(diff)
	}
	p.ResetStats()
	if p.Stats() != (Stats{}) {
		t.Error("stats are left after ResetStats")
	}
	p.Delay(50 * time.Millisecond)
	start := time.Now()
	Must(t, c.ask(10*time.Second))
	if d := time.Since(start); d < 100*time.Millisecond {
		t.Errorf("a round trip with a delay of 50 ms each way took %s", d)
	}
}

func TestProxyStallsAndCuts(t *testing.T) {
	p := NewProxy(t, echoServer(t))
	c := dial(t, p)
	Must(t, c.ask(10*time.Second))
	p.Stall()
	if err := c.ask(100 * time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("through a stalled proxy: %v", err)
	}
	p.Resume()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	Must(t, c.hear())

	p.Cut()
	if err := c.ask(10 * time.Second); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("through a cut proxy: %v", err)
	}
	if conn, err := net.Dial("tcp", p.Addr()); err == nil { // else the reset came before Dial returned
		defer conn.Close()
		err := (&client{t, conn, bufio.NewReader(conn)}).ask(10 * time.Second)
		if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a new connection through a cut proxy: %v", err)
		}
	}
	p.Resume()
	Must(t, dial(t, p).ask(10*time.Second))
	p.Stall()
	c = dial(t, p)
	_ = c.ask(50 * time.Millisecond) // Close must not wait for it
}
