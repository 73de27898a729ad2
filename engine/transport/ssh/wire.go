package ssh

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// wire is the connection below SSH. It remembers when something was last read, whether it has ended, and how the peer
// began to speak.
type wire struct {
	net.Conn
	lastRead atomic.Int64 // Unix time in ns
	ended    atomic.Bool

	mu       sync.Mutex
	greeting []byte // at most 256 bytes
	greeted  atomic.Bool
}

func newWire(c net.Conn) *wire {
	w := &wire{Conn: c}
	w.lastRead.Store(time.Now().UnixNano())
	return w
}

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if n > 0 {
		w.lastRead.Store(time.Now().UnixNano())
		if !w.greeted.Load() {
			w.mu.Lock()
			w.greeting = append(w.greeting, p[:n]...)
			w.greeted.Store(len(w.greeting) >= 256)
			w.mu.Unlock()
		}
	}
	if err != nil {
		w.ended.Store(true)
	}
	return n, err
}

// hello is what the peer said first.
func (w *wire) hello() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.greeting)
}

// hangUp makes TCP forget what a dead peer would never take.
func (w *wire) hangUp() {
	if tcp, ok := w.Conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	w.Close()
}
