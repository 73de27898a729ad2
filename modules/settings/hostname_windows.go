package settings

import (
	"strings"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/host"
)

// observeComputerName reads what the machine is called from its next start on: until then a new name shows nowhere.
func observeComputerName(h *host.Host) (Hostname, error) {
	now, next, err := h.ComputerName()
	have := Hostname{Static: next}
	if err != nil {
		return have, err
	}
	have.Live = &now
	if next == "" {
		next = now
	}
	have.Name = &next
	return have, nil
}

func setComputerName(h *host.Host, want, have Hostname) (modules.Outcome, error) {
	err := h.SetComputerName(*want.Name)
	if err != nil || have.Live != nil && strings.EqualFold(*have.Live, *want.Name) { // as when undo takes back what has not come yet
		return modules.Outcome{}, err
	}
	return modules.Outcome{Reboot: "the computer is called " + *want.Name + " from its next start on"}, nil
}
