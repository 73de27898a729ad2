//go:build !windows

package applications

import (
	"context"
	"errors"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/host"
)

// Observe implements modules.Resource.
func (Installers) Observe(context.Context, *host.Host, Installer) (Installer, error) {
	return Installer{}, errors.ErrUnsupported
}

// Apply implements modules.Resource.
func (Installers) Apply(context.Context, *host.Host, Installer, Installer) (modules.Outcome, error) {
	return modules.Outcome{}, errors.ErrUnsupported
}
