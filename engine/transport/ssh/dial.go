package ssh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	gossh "golang.org/x/crypto/ssh"
)

var errTimeout = errors.New("no answer in time")

// dial connects to a hop, through those before it.
func (d *dialer) dial(ctx context.Context, h *hop) (*Transport, error) {
	db, err := h.hostKeyDB()
	if err != nil {
		return nil, explain(h, &attempt{}, err)
	}
	keys, authorities := db.known(h.hostKeyName)
	offer := algorithms(keys, authorities)
	if h.hostKey != "" {
		offer = pinAlgorithms(h.hostKey)
	}
	name, _ := splitAddress(h.hostKeyName)
	var t *Transport
	err = d.handshake(ctx, h, offer, func(key gossh.PublicKey) error { return db.check(name, h.hostKeyName, h.hostKey, key) },
		func(client *gossh.Client, w *wire, via *jump) { t = newTransport(h, client, w, via, d.heartbeat) })
	return t, err
}

// attempt is how far a handshake came, for the error.
type attempt struct {
	wire    *wire
	hostKey error // why the host key was refused
	auth    *auth
}

// handshake does all that comes before a program can be started. keep takes over the connection.
func (d *dialer) handshake(ctx context.Context, h *hop, offer []string, check func(gossh.PublicKey) error, keep func(*gossh.Client, *wire, *jump)) (err error) {
	a := &attempt{}
	defer func() {
		if err != nil {
			err = explain(h, a, err)
		}
	}()
	var via *jump
	if h.via != nil {
		if via, err = d.jumps.acquire(ctx, h.via, d); err != nil {
			return err
		}
		defer func() {
			if err != nil {
				via.release()
			}
		}()
	}
	slot, err := d.slots.acquire(ctx, h.chain(), d.handshakes)
	if err != nil {
		return err
	}
	free, crowded := slot.release, slot.shared()
	defer func() { free() }()
	if h.via != nil {
		slot, err := d.slots.acquire(ctx, "via "+h.via.chain(), d.handshakes)
		if err != nil {
			return err
		}
		defer slot.release()
	}

	conn, err := connect(ctx, h, via)
	if err != nil {
		return err
	}
	w := newWire(conn)
	a.wire = w

	// The clock: each step may take h.timeout; it stands still while a person is asked. It, or ctx, cuts the connection.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	clock := time.AfterFunc(h.timeout, func() { cancel(errTimeout) })
	defer clock.Stop()
	stop := context.AfterFunc(ctx, w.hangUp)

	live := attempt{wire: w} // in use by the handshake until that has finished
	live.auth = newAuth(ctx, h, func() func() {
		clock.Stop()
		return func() { clock.Reset(h.timeout) }
	})
	finished := make(chan error, 1)
	var client *gossh.Client
	go func() {
		c, chans, reqs, err := gossh.NewClientConn(w, h.address(), &gossh.ClientConfig{
			ClientVersion:     "SSH-2.0-fitout",
			User:              h.user,
			HostKeyAlgorithms: offer,
			HostKeyCallback: func(_ string, _ net.Addr, key gossh.PublicKey) error {
				clock.Reset(h.timeout)
				live.hostKey = check(key)
				return live.hostKey
			},
			AuthCallback: func(c *gossh.ClientAuthContext) (gossh.AuthMethod, error) {
				clock.Reset(h.timeout)
				return live.auth.next(c)
			},
		})
		live.auth.agent.close()
		if err == nil {
			client = gossh.NewClient(c, chans, reqs)
		}
		finished <- err
	}()
	select {
	case err = <-finished:
		*a = live
	case <-ctx.Done():
		// The connection was cut, so this is quick, unless a person is being asked at this moment.
		go func() {
			<-finished
			w.Close()
		}()
		return context.Cause(ctx)
	}
	if err == nil && !stop() {
		client.Close()
		return context.Cause(ctx)
	}
	if err != nil {
		w.Close()
		return err
	}
	if crowded || slot.shared() {
		// sshd counts the connection as one that isn't logged in until a moment after it has said that it is.
		free = func() {}
		go func() {
			client.SendRequest("keepalive@openssh.com", true, nil)
			slot.release()
		}()
	}
	keep(client, w, via)
	return nil
}

// connect opens the connection below SSH.
func connect(ctx context.Context, h *hop, via *jump) (net.Conn, error) {
	dialCtx, cancel := context.WithTimeoutCause(ctx, h.timeout, errTimeout)
	defer cancel()
	var conn net.Conn
	var err error
	if via != nil {
		conn, err = via.t.client.DialContext(dialCtx, "tcp", h.address())
		if err != nil && via.t.broken() {
			err = via.t.lost()
		}
	} else {
		conn, err = (&net.Dialer{}).DialContext(dialCtx, "tcp", h.address())
	}
	if err != nil && dialCtx.Err() != nil {
		err = context.Cause(dialCtx)
	}
	return conn, err
}

// chain names a host by all that leads to it.
func (h *hop) chain() string {
	if h.via == nil {
		return h.address()
	}
	return h.via.chain() + " " + h.address()
}

// slots bounds how many handshakes are under way with one host, since sshd drops connections beyond MaxStartups.
type slots struct {
	mu  sync.Mutex
	all map[string]slot
}

type slot chan struct{}

func (s slot) release() { <-s }

// shared says whether another handshake with the host is under way.
func (s slot) shared() bool { return len(s) > 1 }

func (s *slots) acquire(ctx context.Context, key string, limit int) (slot, error) {
	s.mu.Lock()
	c := s.all[key]
	if c == nil {
		c = make(slot, limit)
		if s.all == nil {
			s.all = map[string]slot{}
		}
		s.all[key] = c
	}
	s.mu.Unlock()
	select {
	case c <- struct{}{}:
		return c, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// jumps are the open connections to jump hosts.
type jumps struct {
	mu   sync.Mutex
	open map[string]*jump
}

// jump is one of them, with the number of its users. The last one closes it.
type jump struct {
	pool   *jumps
	key    string
	users  int
	cancel context.CancelFunc
	ready  chan struct{}
	t      *Transport // once ready
	err    error
}

// acquire returns the connection to a jump host, which exists already, is being made, or is made now. It isn't the
// context of its first user that ends the attempt, but the leaving of the last.
func (js *jumps) acquire(ctx context.Context, h *hop, d *dialer) (*jump, error) {
	key := fmt.Sprint(h.user, "@", h.chain(), h.identities, h.defaultIdentities, h.agent, h.hostKeyName, h.knownHosts)
	js.mu.Lock()
	j := js.open[key]
	if j == nil || j.over() {
		dialCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		j = &jump{pool: js, key: key, cancel: cancel, ready: make(chan struct{})}
		if js.open == nil {
			js.open = map[string]*jump{}
		}
		js.open[key] = j
		go func() {
			j.t, j.err = d.dial(dialCtx, h)
			close(j.ready)
		}()
	}
	j.users++
	js.mu.Unlock()
	select {
	case <-j.ready:
		if j.err != nil {
			j.release()
			return nil, j.err
		}
		return j, nil
	case <-ctx.Done():
		j.release()
		return nil, context.Cause(ctx)
	}
}

func (j *jump) over() bool {
	select {
	case <-j.ready:
		return j.err != nil || j.t.broken()
	default:
		return false
	}
}

func (j *jump) release() {
	j.pool.mu.Lock()
	j.users--
	last := j.users == 0
	if last && j.pool.open[j.key] == j {
		delete(j.pool.open, j.key)
	}
	j.pool.mu.Unlock()
	if !last {
		return
	}
	j.cancel()
	go func() {
		<-j.ready
		if j.t != nil {
			j.t.Close()
		}
	}()
}

// quoted shortens what a stranger said.
func quoted(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return fmt.Sprintf("%.60q", strings.TrimSpace(s))
}
