package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fitout-dev/fitout/modules/hint"
)

// LockAccounts takes the lock of the account databases, the one that lckpwdf(3), passwd and useradd take. It waits for
// at most 15 seconds, as they do.
func (h *Host) LockAccounts(ctx context.Context) (unlock func(), err error) {
	return h.lockAccounts(ctx, 15*time.Second)
}

const accountLock = "/etc/.pwd.lock"

func (h *Host) lockAccounts(ctx context.Context, patience time.Duration) (unlock func(), err error) {
	p, err := h.path(accountLock)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(p, os.O_CREATE|os.O_WRONLY|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, clean(err, "lock", accountLock)
	}
	deadline := time.Now().Add(patience)
	for {
		// A lock of the open file, unlike one of the process, also holds against other goroutines; both kinds meet.
		err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", accountLock, err)
		}
		if time.Now().After(deadline) {
			holder := h.lockHolder(f)
			f.Close()
			return nil, hint.New(fmt.Errorf("lock %s: held by %s for more than %v", accountLock, holder, patience),
				"somebody else changes users or groups on this device; try again when that has ended")
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (h *Host) lockHolder(f *os.File) string {
	l := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &l); err != nil || l.Pid <= 0 {
		return "another process"
	}
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", l.Pid))
	if err != nil {
		return fmt.Sprintf("process %d", l.Pid)
	}
	return fmt.Sprintf("%s (process %d)", strings.TrimSpace(string(name)), l.Pid)
}
