//go:build !windows

package settings

import (
	"errors"
	"fmt"

	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

func observeEnvironment(h *host.Host, want Environment) (Environment, error) {
	if err := windowsAlone(want); err != nil {
		return Environment{}, err
	}
	return observeEnvironmentFile(h, want)
}

func applyEnvironment(h *host.Host, want Environment) error {
	if err := windowsAlone(want); err != nil {
		return err
	}
	return applyEnvironmentFile(h, want)
}

// windowsAlone refuses what would make something else here than was meant.
func windowsAlone(want Environment) error {
	const remedy = "add `when: device.os == \"windows\"` to the entry"
	switch {
	case want.User != "":
		return hint.New(errors.New("user: only Windows has variables of one user"), remedy)
	case want.Value == nil && (want.Add != nil || want.Remove != nil):
		return hint.New(fmt.Errorf("%s: only on Windows can entries be added or removed", want.Name), remedy)
	}
	return nil
}
