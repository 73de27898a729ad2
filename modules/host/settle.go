package host

import (
	"context"
	"time"
)

// Settle returns when what was changed through h until now outlasts a power cut, that by programs included: nearly none of
// them syncs what it writes. Write and Symlink need no help. Without such changes since the last call it costs nothing.
//
// It waits for the file systems that hold the system and its users' data, not for those on a network or in a removable
// drive. A disk that is busy for longer than a minute isn't waited for any more: the log says so. On Windows nothing is waited for.
func (h *Host) Settle(ctx context.Context) error {
	if !h.loose.Swap(false) {
		return nil
	}
	h.steps.before("settle", h.root)
	if !h.Living() || h.busy.Load() { // who works on an image unmounts it
		return nil
	}
	done := make(chan error, 1)
	go func() { done <- syncAll() }()
	t := time.NewTimer(settling)
	defer t.Stop()
	select {
	case err := <-done:
		return err
	case <-t.C:
		h.busy.Store(true)
		h.log.Warn("the disk is busy: a power cut soon after this may undo what is changed now")
	case <-ctx.Done():
	}
	return nil
}

// changing comes before a change that isn't on the disk when it is done.
func (h *Host) changing(change, name string) {
	h.loose.Store(true)
	h.steps.before(change, name)
}

const settling = time.Minute
