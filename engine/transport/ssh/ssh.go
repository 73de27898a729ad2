// Package ssh is the transport over SSH, on golang.org/x/crypto/ssh.
//
//	t, err := ssh.Dial(ctx, ssh.Options{Device: "lt-042", Address: "10.0.3.42", User: "admin", KnownHosts: file})
//	defer t.Close()
//	p, err := t.Start(ctx, transport.Command{Line: "uname -sm"})
//
// Dial follows ~/.ssh/config (Host, Match, Include, HostName, User, Port, IdentityFile, CertificateFile, IdentitiesOnly,
// IdentityAgent, ProxyJump, HostKeyAlias, UserKnownHostsFile, GlobalKnownHostsFile), the agent and known_hosts as OpenSSH
// does; `Match exec` is never met, and ProxyCommand is refused. ScanHostKey and Trust are what `fitout trust` is made of.
//
// It promises: a host key that isn't known, or has changed, is always refused; a password goes to the device it is for and
// nowhere else; a dead peer is noticed within 15 seconds; many devices behind one jump host share one connection to it,
// and no host has more than eight of our handshakes under way.
package ssh

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	gossh "golang.org/x/crypto/ssh"

	"github.com/fitout-dev/fitout/engine/transport"
	"github.com/fitout-dev/fitout/modules/hint"
)

var (
	_ transport.Transport = (*Transport)(nil)
	_ transport.Uploader  = (*Transport)(nil)
)

// dialer holds what the connections of a process share, and its limits.
type dialer struct {
	caches     caches
	jumps      jumps
	slots      slots
	handshakes int           // at most so many at once with one host, or through one jump host
	heartbeat  time.Duration // silence after which the peer is asked; after three times that it is lost
}

func newDialer() *dialer { return &dialer{handshakes: 8, heartbeat: 5 * time.Second} }

// shared is the dialer of this process.
var shared = newDialer()

// Dial connects and logs in. Cancelling ctx ends it at once.
func Dial(ctx context.Context, o Options) (*Transport, error) { return shared.Dial(ctx, o) }

func (d *dialer) Dial(ctx context.Context, o Options) (*Transport, error) {
	h, err := d.caches.resolve(o)
	if err != nil {
		return nil, &transport.Error{Err: err}
	}
	return d.dial(ctx, h)
}

// Transport is an open connection to one device.
type Transport struct {
	hop    *hop
	client *gossh.Client
	wire   *wire

	release  func() // gives back the jump host; runs once
	isClosed atomic.Bool
	silent   atomic.Bool // the peer gave no sign of life
	pinging  atomic.Bool
	done     chan struct{} // the connection has ended
	via      *Transport

	mu      sync.Mutex
	running map[*process]bool
}

func newTransport(h *hop, client *gossh.Client, w *wire, via *jump, heartbeat time.Duration) *Transport {
	t := &Transport{hop: h, client: client, wire: w, release: func() {}, done: make(chan struct{}), running: map[*process]bool{}}
	if via != nil {
		t.via = via.t
		t.release = sync.OnceFunc(via.release)
	}
	go func() {
		client.Wait()
		close(t.done)
		t.release()
	}()
	go t.watch(heartbeat)
	return t
}

// User is the user that programs run as.
func (t *Transport) User() string { return t.hop.user }

// Address is where the device was reached: host and port.
func (t *Transport) Address() string { return t.hop.address() }

// Close ends the connection and all programs on it.
func (t *Transport) Close() error {
	if t.isClosed.Swap(true) {
		return nil
	}
	t.killAll()
	t.client.Close()
	t.release()
	return nil
}

// killAll ends the running programs, as far as that takes no time: a server that loses the connection does not.
func (t *Transport) killAll() {
	t.mu.Lock()
	running := slices.Collect(maps.Keys(t.running))
	t.mu.Unlock()
	var killing sync.WaitGroup
	for _, p := range running {
		if p.giveUp(t.lost(), t.lost()) {
			killing.Go(p.sendKill)
		}
	}
	sent := make(chan struct{})
	go func() { killing.Wait(); close(sent) }()
	select {
	case <-sent:
	case <-t.done:
	case <-time.After(killGrace):
	}
}

// watch asks a silent peer for a sign of life, and closes the connection where none comes. All that is read counts: on a
// slow line the answer may have to wait behind much else.
func (t *Transport) watch(heartbeat time.Duration) {
	timer := time.NewTimer(heartbeat)
	defer timer.Stop()
	for {
		last := t.wire.lastRead.Load()
		idle := time.Duration(time.Now().UnixNano() - last)
		switch {
		case idle >= 3*heartbeat:
			t.silent.Store(true)
			t.client.Close()
			t.wire.hangUp()
			return
		case idle >= heartbeat:
			if !t.pinging.Swap(true) {
				go func() {
					t.client.SendRequest("keepalive@openssh.com", true, nil)
					t.pinging.Store(false)
				}()
			}
			timer.Reset(3*heartbeat - idle)
		default:
			timer.Reset(heartbeat - idle)
		}
		select {
		case <-timer.C:
		case <-t.done:
			return
		}
	}
}

// alive asks the peer for a sign of life, and waits for it.
func (t *Transport) alive() bool {
	if t.broken() {
		return false
	}
	_, _, err := t.client.SendRequest("keepalive@openssh.com", true, nil)
	return err == nil
}

// broken says whether the connection is known to have ended.
func (t *Transport) broken() bool {
	if t.wire.ended.Load() || t.silent.Load() || t.isClosed.Load() {
		return true
	}
	select {
	case <-t.done:
		return true
	default:
		return false
	}
}

// lost is the error of a connection that has ended.
func (t *Transport) lost() error {
	err := fmt.Errorf("the connection to %s was lost", t.hop.label)
	remedy := "see whether the device is switched on and in the network, then run the same command again"
	switch {
	case t.isClosed.Load():
		return &transport.Error{Kind: transport.Lost, Err: fmt.Errorf("the connection to %s was closed", t.hop.label)}
	case t.silent.Load():
		err = fmt.Errorf("%w: no sign of life", err)
	case t.via != nil && t.via.broken():
		err = fmt.Errorf("%w: %w", err, t.via.lost())
	}
	return &transport.Error{Kind: transport.Lost, Err: hint.New(err, "%s", remedy)}
}

// OS is "windows" where the server says that it is Windows' own, and "" where it may be anything.
func (t *Transport) OS() string {
	if bytes.Contains(t.client.ServerVersion(), []byte("OpenSSH_for_Windows")) {
		return "windows"
	}
	return ""
}
