package settings

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/fitout-dev/fitout/modules/host/systemd"
)

func observeWindowsTime(*host.Host, Time) (Time, error) { return Time{}, errors.ErrUnsupported }

func applyWindowsTime(context.Context, *host.Host, Time) error { return errors.ErrUnsupported }

func observeTime(ctx context.Context, h *host.Host, want Time) (Time, error) {
	if !h.Living() && want.Servers == nil && want.File == nil {
		return Time{}, host.ErrNeedsSystem
	}
	k, err := findKeeper(h)
	if errors.Is(err, errNoKeeper) && want.Servers == nil && want.File == nil && want.Automatic != nil && !*want.Automatic {
		return Time{Automatic: want.Automatic}, nil // what isn't there keeps no clock
	}
	if err != nil {
		return Time{}, err
	}
	have, err := k.observeFiles(h, want)
	if err != nil || !h.Living() {
		return have, err
	}
	u, err := k.ask(ctx, h)
	if err != nil {
		return have, err
	}
	defer u.Close()
	have.Start, have.Running, have.Automatic = &u.start, &u.running, keeps(u.start == "enabled", u.running)
	if u.running {
		have.Current = modules.Ptr(!k.changedSince(h, u.since))
		if !*have.Current {
			have.Servers = nil
		}
	}
	if want.Start == nil && want.Automatic != nil && *want.Automatic && u.masked() {
		return have, u.maskedError()
	}
	return have, nil
}

func applyTime(ctx context.Context, h *host.Host, want Time) error {
	k, err := findKeeper(h)
	if err != nil {
		return err
	}
	if err := k.write(h, want); err != nil {
		return err
	}
	if h.Living() {
		if k, err = findKeeper(h); err != nil { // with the file that is there now
			return err
		}
		u, err := k.ask(ctx, h)
		if err != nil {
			return err
		}
		defer u.Close()
		if err := u.bring(ctx, h, want); err != nil {
			return err
		}
	}
	return forgetFolder(h, want)
}

// keeperUnit is a keeper's unit on the running system.
type keeperUnit struct {
	systemd.Conn
	k       *keeper
	start   string // as systemctl is-enabled says
	running bool
	since   time.Time
}

// answerTime is how long systemd may take to say what it knows.
const answerTime = 30 * time.Second

// ask opens a conversation about the service; who asks closes it.
func (k *keeper) ask(ctx context.Context, h *host.Host) (*keeperUnit, error) {
	c, err := systemd.Open(ctx, h)
	if err != nil {
		return nil, err
	}
	u := &keeperUnit{Conn: c, k: k}
	soon, cancel := context.WithTimeoutCause(ctx, answerTime, fmt.Errorf("no answer from systemd within %s", answerTime))
	defer cancel()
	if err := c.Manager(soon, "GetUnitFileState", k.unit).Store(&u.start); err != nil {
		c.Close()
		return nil, c.Failed(soon, "ask systemd for "+k.unit, err)
	}
	active, _ := c.Property(soon, k.unit, systemd.UnitFace, "ActiveState").(string)
	u.running = active == "active" || active == "reloading"
	u.since = c.Started(soon, k.unit)
	return u, nil
}

func (u *keeperUnit) masked() bool { return u.start == "masked" || u.start == "masked-runtime" }

func (u *keeperUnit) maskedError() error {
	return hint.New(fmt.Errorf("%s is masked: it may not keep the clock", u.k.unit), "declare it under services with `masked: false` if it may after all, and name that entry under `after`")
}

// bring starts, restarts or stops the service. Undo says how it was, piece by piece.
func (u *keeperUnit) bring(ctx context.Context, h *host.Host, want Time) error {
	enable, run := want.Automatic, want.Automatic
	switch value(want.Start) {
	case "enabled":
		enable = modules.Ptr(true)
	case "disabled":
		enable = modules.Ptr(false)
	case "":
	default:
		enable = nil
	}
	if want.Running != nil {
		run = want.Running
	}
	if enable != nil && *enable != (u.start == "enabled") && !(u.masked() && !*enable) {
		if err := u.enable(ctx, *enable); err != nil {
			return err
		}
	}
	var err error
	switch {
	case run != nil && !*run && u.running:
		err = u.Job(ctx, "stop", "StopUnit", u.k.unit)
	case run != nil && *run && !u.running:
		err = u.Job(ctx, "start", "StartUnit", u.k.unit)
	case u.running && u.k.changedSince(h, u.since):
		err = u.Job(ctx, "restart", "RestartUnit", u.k.unit)
	}
	if err != nil && h.Exists("/run/systemd/container") {
		err = hint.New(err, "this is a container: as a rule the machine that it runs on keeps the clock of both, and `automatic: false` suits it")
	}
	return err
}

func (u *keeperUnit) enable(ctx context.Context, on bool) error {
	if on && u.masked() {
		return u.maskedError()
	}
	var err error
	if on {
		_, err = u.Enable(ctx, u.k.unit)
	} else {
		err = u.Disable(ctx, u.k.unit)
	}
	if err != nil {
		return err
	}
	return u.Reload(ctx)
}
