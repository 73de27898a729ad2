//go:build !windows

package security

import (
	"context"
	"errors"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/host"
)

// Observe implements modules.Resource.
func (Certificates) Observe(context.Context, *host.Host, Certificate) (Certificate, error) {
	return Certificate{}, errors.ErrUnsupported
}

// Apply implements modules.Resource.
func (Certificates) Apply(context.Context, *host.Host, Certificate, Certificate) (modules.Outcome, error) {
	return modules.Outcome{}, errors.ErrUnsupported
}
