//go:build !windows

package settings

import (
	"errors"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/host"
)

func observeComputerName(*host.Host) (Hostname, error) {
	return Hostname{}, errors.ErrUnsupported
}

func setComputerName(*host.Host, Hostname, Hostname) (modules.Outcome, error) {
	return modules.Outcome{}, errors.ErrUnsupported
}
