//go:build !linux && !windows

package services

import (
	"context"
	"errors"

	"github.com/fitout-dev/fitout/modules/host"
)

func living(context.Context, *host.Host, []string) ([]unit, error) {
	return nil, errors.ErrUnsupported
}

func apply(context.Context, *host.Host, Service) error { return errors.ErrUnsupported }

func notified(context.Context, *host.Host, Service) error { return errors.ErrUnsupported }
