//go:build !windows

package settings

import (
	"errors"

	"github.com/fitout-dev/fitout/modules/host"
)

func observeWindowsZone(*host.Host, Timezone) (Timezone, error) {
	return Timezone{}, errors.ErrUnsupported
}

func setWindowsZone(*host.Host, Timezone) error { return errors.ErrUnsupported }
