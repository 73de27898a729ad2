//go:build !linux && !windows

package settings

import (
	"context"
	"errors"

	"github.com/fitout-dev/fitout/modules/host"
)

func observeTime(context.Context, *host.Host, Time) (Time, error) {
	return Time{}, errors.ErrUnsupported
}

func applyTime(context.Context, *host.Host, Time) error { return errors.ErrUnsupported }

func observeWindowsTime(*host.Host, Time) (Time, error) { return Time{}, errors.ErrUnsupported }

func applyWindowsTime(context.Context, *host.Host, Time) error { return errors.ErrUnsupported }
