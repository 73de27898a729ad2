package run

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/engine/profile"
	"github.com/fitout-dev/fitout/engine/transport"
)

// worthPulling is how large a content is that a device is asked to fetch itself, where its transport is slow. A smaller one is
// there before it could find out whether it reaches us.
const worthPulling = 1 << 20

// bring sees that a device gets a content: it fetches it, or it is sent.
func (w *worker) bring(ctx context.Context, hash string) error {
	c, ok := w.compiled.Blobs[hash]
	if !ok {
		return fmt.Errorf("the device asks for content %.12s, which no resource has", hash)
	}
	b := wire.Blob{Hash: hash, Size: c.Size, Secret: c.Secret}
	if here, ok := w.pullable(b); ok {
		if pulled, err := w.offer(ctx, here, b, c); pulled || err != nil {
			return err
		}
	}
	f, err := c.Open()
	if err != nil {
		return err
	}
	defer f.Close()
	err = w.session.conn.SendBlob(b, f)
	if source, ok := errors.AsType[*wire.SourceError](err); ok {
		return source.Unwrap()
	}
	if err != nil {
		return w.session.lost()
	}
	return nil
}

// pullable says by which address of ours the device may fetch a content. One with a secret in it goes through the session
// alone: the fewer ways it takes, the fewer have to be right.
func (w *worker) pullable(b wire.Blob) (here netip.Addr, ok bool) {
	narrow, ok := w.transport.(transport.Narrow)
	if !ok || w.d.NoPull || w.noPull || b.Secret || b.Size < worthPulling {
		return here, false
	}
	here = narrow.Here()
	return here, here.IsValid()
}

// offer has the device fetch a content. When it can't, all that it still needs is sent: a firewall costs its time-out once.
func (w *worker) offer(ctx context.Context, here netip.Addr, b wire.Blob, c profile.Content) (pulled bool, err error) {
	p, withdraw, err := w.r.offers.Offer(here, b, c.Open)
	if err != nil {
		w.cantPull(fmt.Errorf("on %s: %w", here, err))
		return false, nil
	}
	defer withdraw()
	m, err := w.ask(ctx, wire.Message{Pull: &p}, func(m wire.Message) bool { return m.Pulled != nil && m.Pulled.Hash == b.Hash })
	if err == nil && m.Pulled.Error != "" {
		w.cantPull(fmt.Errorf("from %s: %s", p.Address, m.Pulled.Error))
		return false, nil
	}
	if err == nil {
		w.log("DEBUG", "", fmt.Sprintf("the device has fetched content %.12s, %d bytes, from %s", b.Hash, b.Size, p.Address))
	}
	return err == nil, err
}

func (w *worker) cantPull(err error) {
	w.noPull = true
	w.warn("", "the device can't fetch large contents itself, so they are sent, which takes longer: "+err.Error()+
		"\nhint: let it reach this machine, or set `pull: false` under connect in the inventory")
}
