package lab

import (
	"fmt"
	"net"
	"sync"
	"time"
)

// Proxy forwards TCP connections from an address on 127.0.0.1 to a target and makes the line bad: it delays, stalls,
// cuts, and counts. Its methods may be used concurrently.
type Proxy struct {
	target   string
	listener net.Listener
	wg       sync.WaitGroup

	mu      sync.Mutex
	changed *sync.Cond
	conns   map[net.Conn]bool
	delay   time.Duration
	stalled bool
	refuse  bool
	closed  bool
	last    direction
	stats   Stats
}

// Stats is what a proxy has carried, over all connections.
type Stats struct {
	Connections int
	ToTarget    int64 // bytes
	FromTarget  int64 // bytes
	Turns       int   // how often the direction of the bytes has changed; a request and its answer are two
}

type direction int

const (
	toTarget direction = iota + 1
	fromTarget
)

// NewProxy starts a proxy to target, "host:port", for the time of a test.
func NewProxy(t TB, target string) *Proxy {
	t.Helper()
	p, err := StartProxy(target)
	if err != nil {
		t.Fatalf("proxy to %s: %v", target, err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// StartProxy starts a proxy to target, "host:port". Close it.
func StartProxy(target string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{target: target, listener: l, conns: map[net.Conn]bool{}}
	p.changed = sync.NewCond(&p.mu)
	p.wg.Go(p.accept)
	return p, nil
}

// Addr is where the proxy listens, "127.0.0.1:port".
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Port is Addr's port.
func (p *Proxy) Port() int { return p.listener.Addr().(*net.TCPAddr).Port }

// Stats returns what was carried since the start or the last ResetStats.
func (p *Proxy) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stats
}

// ResetStats begins to count anew.
func (p *Proxy) ResetStats() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stats, p.last = Stats{}, 0
}

// Delay holds every byte back for d, in each direction: a round trip takes 2d longer. What is on its way already keeps its delay.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Cut resets all connections and those that come, until Resume.
func (p *Proxy) Cut() {
	p.mu.Lock()
	p.refuse = true
	p.mu.Unlock()
	p.Drop()
}

// Drop resets all connections; new ones are welcome.
func (p *Proxy) Drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		reset(c)
	}
	p.changed.Broadcast()
}

// Stall carries nothing more but keeps all connections, as a peer that vanished does, until Resume.
func (p *Proxy) Stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stalled = true
}

// Resume ends Cut and Stall; what was stalled arrives.
func (p *Proxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stalled, p.refuse = false, false
	p.changed.Broadcast()
}

// Close ends all connections and returns when nothing of the proxy runs any more.
func (p *Proxy) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	err := p.listener.Close()
	p.Drop()
	p.wg.Wait()
	return err
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	if !p.add(client) {
		return
	}
	defer p.remove(client)
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return // the client sees a connection that ends at once
	}
	if !p.add(server) {
		return
	}
	defer p.remove(server)
	p.mu.Lock()
	p.stats.Connections++
	p.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() { p.carry(server, client, toTarget) })
	wg.Go(func() { p.carry(client, server, fromTarget) })
	wg.Wait()
}

func (p *Proxy) add(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuse || p.closed {
		reset(c)
		return false
	}
	p.conns[c] = true
	return true
}

func (p *Proxy) remove(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	c.Close()
}

// reset closes c with a RST, as a peer does that knows nothing of the connection.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	c.Close()
}

type parcel struct {
	data []byte
	due  time.Time
}

// carry copies one direction. Reading and writing are apart, so that a delay costs no throughput.
func (p *Proxy) carry(dst, src net.Conn, d direction) {
	parcels := make(chan parcel, 1024)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(parcels)
		for {
			buf := make([]byte, 32<<10)
			n, err := src.Read(buf)
			if n > 0 {
				p.mu.Lock()
				due := time.Now().Add(p.delay)
				p.mu.Unlock()
				parcels <- parcel{buf[:n], due}
			}
			if err != nil {
				return
			}
		}
	})
	for parcel := range parcels {
		if wait := time.Until(parcel.due); wait > 0 {
			time.Sleep(wait)
		}
		if !p.pass(dst) {
			continue // drained
		}
		p.count(d, len(parcel.data))
		if _, err := dst.Write(parcel.data); err != nil {
			reset(src)
		}
	}
	if tcp, ok := dst.(*net.TCPConn); ok && p.pass(dst) {
		_ = tcp.CloseWrite()
	}
	wg.Wait()
}

// pass waits while the proxy is stalled and reports whether the connection still is there.
func (p *Proxy) pass(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.stalled && !p.refuse && !p.closed {
		p.changed.Wait()
	}
	return p.conns[c] && !p.refuse && !p.closed
}

func (p *Proxy) count(d direction, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d == toTarget {
		p.stats.ToTarget += int64(n)
	} else {
		p.stats.FromTarget += int64(n)
	}
	if p.last != 0 && p.last != d {
		p.stats.Turns++
	}
	p.last = d
}

// String describes the proxy.
func (p *Proxy) String() string { return fmt.Sprintf("proxy %s to %s", p.Addr(), p.target) }
