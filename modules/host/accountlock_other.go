//go:build !linux

package host

import (
	"context"
	"errors"
)

// LockAccounts takes the lock of the account databases of a Linux device.
func (h *Host) LockAccounts(context.Context) (unlock func(), err error) {
	return nil, errors.ErrUnsupported
}
