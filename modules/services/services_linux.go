package services

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/fitout-dev/fitout/modules/host/systemd"
)

// answerTime is how long systemd may take to say what it knows.
const answerTime = 30 * time.Second

// living tells of units: their files are read as in any root, systemd is asked what runs.
func living(ctx context.Context, h *host.Host, names []string) ([]unit, error) {
	c, err := connect(ctx, h)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.units(ctx, names)
}

type conn struct {
	systemd.Conn
	h *host.Host
}

func connect(ctx context.Context, h *host.Host) (conn, error) {
	c, err := systemd.Open(ctx, h)
	return conn{c, h}, err
}

// listed is a unit as ListUnitsByNames tells of it.
type listed struct {
	ID, Description, Load, Active, Sub, Following string
	Path                                          dbus.ObjectPath
	JobID                                         uint32
	JobType                                       string
	Job                                           dbus.ObjectPath
}

// units asks for all units at once, and only for what runs: systemd would look through all its folders again for each unit
// to say whether it is enabled.
func (c conn) units(ctx context.Context, names []string) ([]unit, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, answerTime, fmt.Errorf("no answer from systemd within %s", answerTime))
	defer cancel()
	answers, err := c.list(ctx, names)
	if _, refused := errors.AsType[dbus.Error](err); refused && len(names) > 1 { // because of one of them
		var out []unit
		for _, name := range names {
			us, err := c.units(ctx, []string{name})
			if err != nil {
				us = []unit{{name: name, id: name, err: err}}
			}
			out = append(out, us...)
		}
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	out := make([]unit, len(names))
	for i, a := range answers {
		u := unitOf(c.h, names[i])
		u.load, u.active, u.sub = a.Load, a.Active, a.Sub
		if u.id == u.name {
			u.id = a.ID
		}
		if u.err == nil && (u.load == "error" || u.load == "bad-setting") {
			if e, ok := c.Property(ctx, a.ID, systemd.UnitFace, "LoadError").([]any); ok && len(e) == 2 {
				u.loadError = fmt.Sprint(e[1])
			}
		}
		out[i] = u
	}
	return out, nil
}

// list asks what of the units is loaded and runs. Of a template that is nothing.
func (c conn) list(ctx context.Context, names []string) ([]listed, error) {
	var ask []string
	for _, name := range names {
		if !strings.Contains(name, "@.") {
			ask = append(ask, name)
		}
	}
	var answers []listed
	if err := c.Manager(ctx, "ListUnitsByNames", ask).Store(&answers); err != nil {
		return nil, c.Failed(ctx, "ask systemd for "+strings.Join(ask, ", "), err)
	}
	if len(answers) != len(ask) {
		return nil, fmt.Errorf("ask systemd for %s: %d answers", strings.Join(ask, ", "), len(answers))
	}
	out := make([]listed, len(names))
	for i, name := range names {
		if out[i] = (listed{ID: name, Load: "not-found"}); !strings.Contains(name, "@.") {
			out[i], answers = answers[0], answers[1:]
		}
	}
	return out, nil
}

// unit asks for one, and whether its files have changed since systemd read them, which takes systemd longer.
func (c conn) unit(ctx context.Context, name string) (unit, error) {
	us, err := c.units(ctx, []string{name})
	if err != nil {
		return unit{}, err
	}
	u := us[0]
	if u.load != "not-found" {
		u.needReload = c.Property(ctx, u.id, systemd.UnitFace, "NeedDaemonReload") == true
	}
	return u, u.err
}

func apply(ctx context.Context, h *host.Host, want Service) error {
	c, err := connect(ctx, h)
	if err != nil {
		return err
	}
	defer c.Close()
	name := unitName(want.Name)
	u, err := c.unit(ctx, name)
	if err != nil {
		return err
	}
	if u.needReload || u.load == "not-found" && u.files != "" {
		if u, err = c.reload(ctx, name); err != nil {
			return err
		}
	}
	if want.Links != nil {
		if err := restoreLinks(h, want); err != nil {
			return err
		}
		if u, err = c.reload(ctx, name); err != nil {
			return err
		}
		if !u.initScript {
			want.Enabled, want.Masked = nil, nil // the links have it
		}
	}
	if is(want.Masked, false) && strings.HasPrefix(u.files, "masked") {
		for _, runtime := range []bool{false, true} {
			if err := c.Manager(ctx, "UnmaskUnitFiles", []string{u.id}, runtime).Err; err != nil {
				return c.Failed(ctx, "unmask "+u.id, err)
			}
		}
		if u, err = c.reload(ctx, name); err != nil {
			return err
		}
	}
	if err := u.possible(h, want); err != nil {
		return err
	}
	if u.missing() && !is(want.Masked, true) {
		return nil
	}
	if want.Enabled != nil {
		if u, err = c.enable(ctx, u, *want.Enabled); err != nil {
			return err
		}
	}
	if want.Running != nil {
		if err := c.run(ctx, u, *want.Running); err != nil {
			return err
		}
	}
	if is(want.Masked, true) && u.files != "masked" {
		if err := c.Manager(ctx, "MaskUnitFiles", []string{u.id}, false, false).Err; err != nil {
			return hint.New(c.Failed(ctx, "mask "+u.id, err), "a unit whose own file is in /etc/systemd/system can't be masked: remove the file instead")
		}
		_, err = c.reload(ctx, name)
	}
	return err
}

func (c conn) reload(ctx context.Context, name string) (unit, error) {
	if err := c.Reload(ctx); err != nil {
		return unit{}, err
	}
	return c.unit(ctx, name)
}

func (c conn) enable(ctx context.Context, u unit, on bool) (unit, error) {
	if on == (u.files == "enabled") && u.files != "enabled-runtime" {
		return u, nil
	}
	if u.initScript {
		verb := "disable"
		if on {
			verb = "enable"
		}
		// Only Debian's own tools know how to order such scripts; systemctl calls them.
		if _, err := c.h.Must(ctx, host.Cmd{Args: []string{"systemctl", verb, u.id}}); err != nil {
			return u, err
		}
		return c.reload(ctx, u.name)
	}
	if on {
		installable, err := c.Enable(ctx, u.id)
		if err != nil {
			return u, err
		}
		if !installable {
			return u, hint.New(fmt.Errorf("%s can't be enabled: its unit has no [Install] section", u.id), "leave `enabled` out")
		}
	} else if err := c.Disable(ctx, u.id); err != nil {
		return u, err
	}
	after, err := c.reload(ctx, u.id)
	after.name = u.name
	return after, err
}

// run starts or stops a unit and waits until systemd is done with it.
func (c conn) run(ctx context.Context, u unit, on bool) error {
	if !on {
		if u.active == "inactive" || u.active == "failed" {
			return nil
		}
		return c.Job(ctx, "stop", "StopUnit", u.id)
	}
	if u.active == "active" || u.active == "reloading" {
		return nil
	}
	if u.active == "failed" {
		_ = c.Manager(ctx, "ResetFailedUnit", u.id).Err // it may have started too often; this start is meant
	}
	return c.Job(ctx, "start", "StartUnit", u.id)
}

func notified(ctx context.Context, h *host.Host, want Service) error {
	c, err := connect(ctx, h)
	if err != nil {
		return err
	}
	defer c.Close()
	u, err := c.unit(ctx, unitName(want.Name))
	if err != nil {
		return err
	}
	if u.needReload {
		if u, err = c.reload(ctx, u.name); err != nil {
			return err
		}
	}
	running := u.active == "active" || u.active == "reloading" || u.active == "activating"
	switch {
	case is(want.Running, false), !running && !is(want.Running, true):
		return nil
	case !running:
		return c.run(ctx, u, true)
	case want.OnNotify == "reload" && c.Property(ctx, u.id, systemd.UnitFace, "CanReload") != true:
		return hint.New(fmt.Errorf("%s can't reload its configuration", u.id), "use `onNotify: restart` or `reloadOrRestart`")
	case want.OnNotify == "reload":
		return c.Job(ctx, "reload", "ReloadUnit", u.id)
	case want.OnNotify == "reloadOrRestart":
		return c.Job(ctx, "reload or restart", "ReloadOrRestartUnit", u.id)
	}
	return c.Job(ctx, "restart", "RestartUnit", u.id)
}
