// Package offer lets devices fetch contents from the controller, where the transport to them is slow.
//
//	s := offer.New()
//	defer s.Close()
//	pull, withdraw, err := s.Offer(conn.Here(), blob, open)
//	defer withdraw()
//	... the device is told pull, and answers ...
//
// It promises: nothing listens before the first offer, and nothing after Close; only on the address by which the controller
// reaches the device; each offer is for whoever knows its token, 256 bits of chance, and for the first of them alone; nothing
// else is served. A content is sealed with a key of its own, which passes through the session as the token does: so what is on
// the network between the two can neither read nor change it, and no certificate is needed. Strangers can hold up offers, but
// not for long, since contents are sent through the session where they can't be fetched.
package offer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"github.com/fitout-dev/fitout/engine/executor/wire"
)

const (
	// most is how many connections there may be at once.
	most = 1024
	// tries is how many requests may name no offer: nobody who knows what to ask for makes even one of them.
	tries = 100
	// hurry is how long a request may take to come whole.
	hurry = 5 * time.Second
)

// stalling is how long a device may take none of what is sent to it. Its disk may be busy. Tests shorten it.
var stalling = time.Minute

// Server offers contents to devices, on one port of each address by which they are reached. It is safe for concurrent use.
type Server struct {
	http *http.Server

	mu        sync.Mutex
	listeners map[netip.Addr]net.Listener
	offers    map[string]*offer
	wrong     int   // requests
	closed    error // why nothing is offered any more
	busy      sync.WaitGroup
}

// offer is one content, for one device, once.
type offer struct {
	blob wire.Blob
	key  []byte
	open func() (io.ReadCloser, error)
	ctx  context.Context // until it is withdrawn
}

// New returns a server that doesn't listen yet.
func New() *Server {
	s := &Server{listeners: map[netip.Addr]net.Listener{}, offers: map[string]*offer{}}
	s.http = &http.Server{Handler: http.HandlerFunc(s.serve), ReadHeaderTimeout: hurry, MaxHeaderBytes: 1 << 10, ErrorLog: log.New(io.Discard, "", 0)}
	s.http.SetKeepAlivesEnabled(false)
	return s
}

// Offer makes a content ready to be fetched by a device that reaches here. Withdraw ends that, and a transfer under way.
func (s *Server) Offer(here netip.Addr, blob wire.Blob, open func() (io.ReadCloser, error)) (p wire.Pull, withdraw func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed != nil {
		return p, nil, s.closed
	}
	port, err := s.listen(here)
	if err != nil {
		return p, nil, err
	}
	token := rand.Text() + rand.Text() // 130 bits each
	key := make([]byte, wire.KeySize)
	rand.Read(key)
	ctx, cancel := context.WithCancel(context.Background())
	s.offers[token] = &offer{blob, key, open, ctx}
	withdraw = func() {
		s.mu.Lock()
		delete(s.offers, token)
		s.mu.Unlock()
		cancel()
	}
	return wire.Pull{Blob: blob, Address: net.JoinHostPort(here.String(), strconv.Itoa(port)), Token: token, Key: key}, withdraw, nil
}

// listen needs s.mu.
func (s *Server) listen(here netip.Addr) (port int, err error) {
	l := s.listeners[here]
	if l == nil {
		if l, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(here, 0))); err != nil {
			return 0, err
		}
		s.listeners[here] = l
		s.busy.Go(func() { s.http.Serve(netutil.LimitListener(l, most)) })
	}
	return l.Addr().(*net.TCPAddr).Port, nil
}

// take finds the offer that a request names, for good.
func (s *Server) take(r *http.Request) *offer {
	s.mu.Lock()
	defer s.mu.Unlock()
	token := strings.TrimPrefix(r.URL.Path, "/")
	o := s.offers[token]
	if o == nil || r.Method != http.MethodGet || s.closed != nil {
		if s.wrong++; s.wrong == tries && s.closed == nil {
			s.closed = fmt.Errorf("somebody has asked %d times for what isn't offered", tries)
			for _, l := range s.listeners {
				l.Close()
			}
		}
		return nil
	}
	delete(s.offers, token)
	s.busy.Add(1)
	return o
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	o := s.take(r)
	if o == nil {
		http.NotFound(w, r)
		return
	}
	defer s.busy.Done()
	f, err := o.open()
	if err != nil { // the device says so, and whoever sends it then finds the same
		http.Error(w, "it can't be opened", http.StatusInternalServerError)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Cache-Control", "no-store")
	conn := http.NewResponseController(w)
	stop := context.AfterFunc(o.ctx, func() { conn.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	sealed, err := wire.Seal(&steady{o.ctx, conn, w}, o.key)
	if err == nil {
		err = wire.NewConn(nil, sealed).SendBlob(o.blob, f)
	}
	if err != nil {
		panic(http.ErrAbortHandler) // so that the end of the answer isn't taken for the end of the content
	}
}

// steady bounds each write, not all of them.
type steady struct {
	ctx  context.Context
	conn *http.ResponseController
	w    io.Writer
}

func (s *steady) Write(p []byte) (int, error) {
	s.conn.SetWriteDeadline(time.Now().Add(stalling))
	if s.ctx.Err() != nil { // asked after the deadline was set, which may have hidden the one that ends it
		return 0, s.ctx.Err()
	}
	return s.w.Write(p)
}

var errClosed = errors.New("nothing is offered any more")

// Close ends all offers and transfers, and returns when nobody is served any more.
func (s *Server) Close() {
	s.mu.Lock()
	if s.closed == nil {
		s.closed = errClosed
	}
	clear(s.offers)
	s.mu.Unlock()
	s.http.Close()
	s.busy.Wait()
}
