//go:build !windows

package settings

import (
	"context"
	"errors"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/host"
)

// Observe implements modules.Resource.
func (Printers) Observe(context.Context, *host.Host, Printer) (Printer, error) {
	return Printer{}, errors.ErrUnsupported
}

// Apply implements modules.Resource.
func (Printers) Apply(context.Context, *host.Host, Printer, Printer) (modules.Outcome, error) {
	return modules.Outcome{}, errors.ErrUnsupported
}
