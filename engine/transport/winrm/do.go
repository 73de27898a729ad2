package winrm

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// do sends a message and reads the reply. A fault is an error. A connection that breaks takes all with it: nobody knows what
// the server made of the request, and output that was on its way is lost.
func (c *Conn) do(ctx context.Context, message string, patience time.Duration) (*reply, error) {
	if c.ready.Load() {
		if err := c.over(); err != nil {
			return nil, err
		}
	}
	r, err := c.send(ctx, message, patience)
	if err != nil && isBroken(ctx, err) && c.ready.Load() {
		err = c.lose(err)
	}
	return r, err
}

// isBroken tells failures of the connection from what the server said on it, and from what we ended ourselves.
func isBroken(ctx context.Context, err error) bool {
	if _, ok := errors.AsType[*fault](err); ok || ctx.Err() != nil {
		return false
	}
	return true
}

// send is do for one that cleans up.
func (c *Conn) send(ctx context.Context, message string, patience time.Duration) (*reply, error) {
	for again := false; ; again = true {
		w, err := c.acquire(ctx, again)
		if err != nil {
			return nil, err
		}
		a, err := c.post(ctx, w, message, patience)
		if err != nil {
			w.close()
			return nil, err
		}
		if a.status == http.StatusUnauthorized {
			w.close()
			// The server has forgotten who we are, and did nothing: tell it once more. A connection that logs in by itself, not
			// with each request, has been accepted before its first.
			if (w.used || w.basic == "") && !again {
				continue
			}
			_, offers := a.challenge()
			return nil, c.refuse(&refusal{method: c.login.method, offers: offers})
		}
		w.used = true
		r, err := c.read(w, a)
		if err != nil {
			if _, ok := errors.AsType[*fault](err); !ok {
				w.close()
				return nil, err
			}
		}
		c.release(w)
		return r, err
	}
}

func (c *Conn) refuse(err error) error {
	c.login.mu.Lock()
	defer c.login.mu.Unlock()
	c.login.refused = err
	return err
}

// acquire takes an idle connection, or makes one and logs it in.
func (c *Conn) acquire(ctx context.Context, fresh bool) (*wire, error) {
	for !fresh {
		c.mu.Lock()
		n := len(c.wires)
		if n == 0 {
			c.mu.Unlock()
			break
		}
		w := c.wires[n-1]
		c.wires = c.wires[:n-1]
		c.mu.Unlock()
		if w.alive() {
			return w, nil
		}
		w.close()
	}
	w, err := c.connect(ctx, c.endpoint)
	if err != nil {
		return nil, err
	}
	if err := c.authenticate(ctx, w); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (c *Conn) release(w *wire) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dropped || w.broken() {
		w.close()
		return
	}
	c.wires = append(c.wires, w)
}

// post sends a message, sealed where there is no TLS.
func (c *Conn) post(ctx context.Context, w *wire, message string, patience time.Duration) (*answer, error) {
	header, body := http.Header{"Content-Type": {soapType}}, []byte(message)
	switch {
	case w.seal != nil:
		sealed, err := sealMessage(w.seal, body)
		if err != nil {
			return nil, err
		}
		header.Set("Content-Type", sealedType)
		body = sealed
	case !w.tls:
		return nil, errClear
	}
	if w.basic != "" {
		header.Set("Authorization", w.basic)
	}
	c.Requests.Add(1)
	return w.roundTrip(ctx, header, body, patience)
}

// errUnsealed is a server, or somebody in between, that answers a sealed message with an open one.
var errUnsealed = errors.New("the answer is not sealed: somebody may be in between")

func (c *Conn) read(w *wire, a *answer) (*reply, error) {
	if a.status == http.StatusOK && len(a.body) == 0 && w.seal == nil {
		return &reply{}, nil // to a Signal or Delete some say no more; what is sealed can't be answered so, by anybody
	}
	if a.status != http.StatusOK && a.status != http.StatusInternalServerError || len(a.body) == 0 {
		return nil, &statusError{a.status}
	}
	body := a.body
	if w.seal != nil {
		if !isSealed(a.header.Get("Content-Type")) {
			return nil, errUnsealed
		}
		var err error
		if body, err = unsealMessage(w.seal, body); err != nil {
			return nil, err
		}
	}
	r, err := parseReply(body)
	switch {
	case err != nil:
		return nil, err
	case r.fault != nil:
		return nil, r.fault
	case a.status != http.StatusOK:
		return nil, fmt.Errorf("%w: HTTP status %d without a fault", errReply, a.status)
	}
	return r, nil
}
