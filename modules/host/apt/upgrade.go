package apt

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/fitout-dev/fitout/modules/host"
)

// upgrade installs new versions, and what these need in addition; it removes nothing.
var upgrade = []string{"--with-new-pkgs", "upgrade"}

// preferSecurity makes the version in a security archive the candidate, where a newer one is elsewhere.
var preferSecurity = []string{"-t", "/[-]security$/"}

// Upgradable lists the packages that have a newer version in the lists. With security, only those from a security archive.
func Upgradable(ctx context.Context, h *host.Host, security bool) ([]Step, error) {
	simulate := func(more []string) (string, host.Result, error) {
		res, err := look(ctx, h, slices.Concat([]string{aptGet, "-s"}, options, more, upgrade)...)
		return string(res.Stdout), res, err
	}
	var more []string
	if security {
		more = preferSecurity
	}
	out, res, err := simulate(more)
	if err == nil && res.Code != 0 && security && strings.Contains(string(res.Stderr), "APT::Default-Release") {
		// There is no security archive, or this apt takes no pattern; then the candidates must do.
		out, res, err = simulate(nil)
	}
	if err != nil {
		return nil, err
	}
	if res.Code != 0 {
		return nil, diagnose(string(res.Stderr)).error("look for updates")
	}
	var steps []Step
	for _, s := range ParseSimulation(out).Install {
		if !security || s.Old != "" && s.Security() {
			steps = append(steps, s)
		}
	}
	return steps, nil
}

// Upgrade installs what Upgradable lists.
func Upgrade(ctx context.Context, h *host.Host, security bool) error {
	if err := Available(h); err != nil {
		return err
	}
	if err := Wait(ctx, h); err != nil {
		return err
	}
	db, err := read(h)
	if err != nil {
		return err
	}
	var repair error
	if db.Interrupted {
		repair = Repair(ctx, h)
	}
	steps, err := Upgradable(ctx, h, security)
	if err != nil || len(steps) == 0 {
		return errors.Join(repair, err)
	}
	if !security {
		return upgradeAll(ctx, h)
	}
	changes := make([]Change, len(steps))
	for i, s := range steps {
		changes[i].Name = s.Name
		if changes[i].Version, err = ParseConstraint(s.New); err != nil {
			return err
		}
	}
	return errors.Join(slices.Compact(Apply(ctx, h, changes))...)
}

func upgradeAll(ctx context.Context, h *host.Host) error {
	refreshed, repaired := false, false
	for range 20 {
		out, ok, err := run(ctx, h, "", slices.Concat([]string{aptGet}, options, upgrade)...)
		if err != nil || ok {
			return err
		}
		d := diagnose(out)
		switch {
		case d.cause == locked:
			err = Wait(ctx, h)
		case d.cause == interrupted && !repaired:
			repaired = true
			err = Repair(ctx, h)
		case d.cause == outdated && !refreshed:
			refreshed = true
			err = Refresh(ctx, h)
		default:
			return d.error("apt-get upgrade")
		}
		if err != nil {
			return err
		}
	}
	return errors.New("apt-get upgrade: another program takes the lock again and again")
}
