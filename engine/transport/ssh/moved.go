package ssh

import (
	"context"

	"github.com/fitout-dev/fitout/engine/transport"
)

// Moved says that the machine of o is reached as to from now on: what is known of its host keys holds there, too.
func Moved(o, to Options) (Options, error) {
	h, err := shared.caches.resolve(o)
	if err != nil {
		return to, &transport.Error{Err: err}
	}
	to.knownAs = h.hostKeyName
	return to, nil
}

// Adopt keeps the host key of a machine that has moved (to is of Moved) as that of its new name, address and port. It is kept
// only if it is the one that was known before, or one that Options.HostKey wants.
func Adopt(ctx context.Context, to Options) error {
	k, err := ScanHostKey(ctx, to)
	if err == nil {
		err = k.Err
	}
	if err != nil {
		return err
	}
	to.knownAs = ""
	h, err := shared.caches.resolve(to)
	if err != nil {
		return &transport.Error{Err: err}
	}
	k.Address = h.hostKeyName
	return Trust(to.KnownHosts, true, k)
}
