//go:build !windows

package services

import (
	"context"
	"errors"
	"fmt"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

func observeAll(ctx context.Context, h *host.Host, wants []Service) []modules.Observation[Service] {
	return observeUnits(ctx, h, wants)
}

// windowsAlone refuses what only services of Windows can be.
func windowsAlone(want Service) error {
	switch {
	case !isUnitName(unitName(want.Name)):
		return fmt.Errorf("name: %q is not a unit's name", want.Name)
	case want.State == modules.Absent:
		return hint.New(errors.New("state: only services of Windows can be removed"), "a unit goes with its package or its file; `enabled: false` and `running: false` keep it from running")
	}
	return nil
}
