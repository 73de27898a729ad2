package winrm

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// quiet takes what net/http says of clients that hang up.
var quiet = log.New(io.Discard, "", 0)

// Kinds of injections.
const (
	Cut          = "cut"          // the connection is cut after After bytes of the answer
	CutBefore    = "cutBefore"    // the connection is cut before the request is carried out
	Answer       = "fault"        // Fault is answered, the request isn't carried out
	Unauthorized = "unauthorized" // 401, and the connection's authentication is forgotten
	Stall        = "stall"        // the answer waits for Wait, or for ever (until the client hangs up)
	Drop         = "drop"         // all shells are gone before the request is carried out
)

// An Injection is trouble on demand.
type Injection struct {
	Kind  string
	On    string        // the action it waits for, such as Receive; "" is any request, before anything of it is looked at
	Skip  int           // how many matching requests pass first
	Times int           // how many are hit; 0 means one, -1 all
	After int           // Cut: bytes of the answer that still go out
	Wait  time.Duration // Stall
	Fault *Fault        // Answer
}

// Inject adds trouble for requests to come.
func (s *Server) Inject(i Injection) {
	if i.Times == 0 {
		i.Times = 1
	}
	s.mu.Lock()
	s.injections = append(s.injections, &i)
	s.mu.Unlock()
}

// injected takes the injection that a request with an action has coming, if any.
func (s *Server) injected(action string) *Injection {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.injections {
		if i.On != action || i.Times == 0 {
			continue
		}
		if i.Skip > 0 {
			i.Skip--
			continue
		}
		if i.Times > 0 {
			i.Times--
		}
		return i
	}
	return nil
}

// interfere does what is injected, and reports whether that was the answer.
func (s *Server) interfere(a *reply, action string) bool {
	i := s.injected(action)
	if i == nil {
		return false
	}
	switch i.Kind {
	case Cut:
		a.conn.wire.cutAfter(i.After)
		return false
	case CutBefore:
		a.conn.wire.Close()
		return true
	case Answer:
		f := *i.Fault
		if f.Status == 0 {
			f.Status = http.StatusInternalServerError
		}
		a.req.Fault = f.Code
		a.send(f.Status, f.answer(&message{}, s.cfg.Hostname))
		return true
	case Unauthorized:
		s.unauthorized(a, nil)
		return true
	case Stall:
		var after <-chan time.Time
		if i.Wait > 0 {
			t := time.NewTimer(i.Wait)
			defer t.Stop()
			after = t.C
		}
		select {
		case <-after:
		case <-s.closed:
			return true
		case <-a.conn.wire.gone:
			return true
		}
		return false
	case Drop:
		s.DropShells()
		return false
	}
	panic(fmt.Sprintf("no such injection: %q", i.Kind))
}

// note leaves word of what went wrong, for whoever debugs a client.
func (s *Server) note(r *Request, err error) {
	if err != nil && os.Getenv("FITOUT_LAB_WINRM_DEBUG") != "" {
		fmt.Fprintf(os.Stderr, "winrm: connection %d: %v\n", r.Conn, err)
	}
}

// wireListener and wire number connections and cut them.
type wireListener struct {
	net.Listener
	s *Server
}

func (l *wireListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	w := &wire{Conn: c, number: l.s.conns.Add(1), gone: make(chan struct{})}
	w.left.Store(-1)
	return w, nil
}

type wire struct {
	net.Conn
	number int64
	left   atomic.Int64 // bytes that may still go out; -1: all
	closed atomic.Bool
	gone   chan struct{}
}

func (w *wire) cutAfter(n int) { w.left.Store(int64(n)) }

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if err != nil && !strings.Contains(err.Error(), "timeout") {
		w.end()
	}
	return n, err
}

func (w *wire) Write(p []byte) (int, error) {
	left := w.left.Load()
	if left < 0 || left >= int64(len(p)) {
		if left >= 0 {
			w.left.Add(-int64(len(p)))
		}
		return w.Conn.Write(p)
	}
	n, _ := w.Conn.Write(p[:left])
	w.Close()
	return n, net.ErrClosed
}

func (w *wire) end() {
	if w.closed.CompareAndSwap(false, true) {
		close(w.gone)
	}
}

func (w *wire) Close() error {
	w.end()
	return w.Conn.Close()
}
