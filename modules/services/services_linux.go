package services

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

const (
	busName     = "org.freedesktop.systemd1"
	manager     = "org.freedesktop.systemd1.Manager."
	unitFace    = "org.freedesktop.systemd1.Unit"
	getProperty = "org.freedesktop.DBus.Properties.Get"
)

// settle is how long a service that doesn't say when it is ready is watched after its start: many that can't work end at once.
const settle = 200 * time.Millisecond

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
	*dbus.Conn
	h *host.Host
}

func connect(ctx context.Context, h *host.Host) (conn, error) {
	c, err := h.Systemd(ctx)
	return conn{c, h}, err
}

func (c conn) manager(ctx context.Context, method string, args ...any) *dbus.Call {
	return c.Object(busName, "/org/freedesktop/systemd1").CallWithContext(ctx, manager+method, 0, args...)
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
			if e, ok := property(ctx, c.Object(busName, a.Path), unitFace, "LoadError").([]any); ok && len(e) == 2 {
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
	if err := c.manager(ctx, "ListUnitsByNames", ask).Store(&answers); err != nil {
		return nil, c.failed(ctx, "ask systemd for "+strings.Join(ask, ", "), err)
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
		u.needReload = property(ctx, c.Object(busName, objectPath(u.id)), unitFace, "NeedDaemonReload") == true
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
			if err := c.manager(ctx, "UnmaskUnitFiles", []string{u.id}, runtime).Err; err != nil {
				return c.failed(ctx, "unmask "+u.id, err)
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
		if err := c.manager(ctx, "MaskUnitFiles", []string{u.id}, false, false).Err; err != nil {
			return hint.New(c.failed(ctx, "mask "+u.id, err), "a unit whose own file is in /etc/systemd/system can't be masked: remove the file instead")
		}
		_, err = c.reload(ctx, name)
	}
	return err
}

func (c conn) reload(ctx context.Context, name string) (unit, error) {
	c.h.Forget()
	if err := c.manager(ctx, "Reload").Err; err != nil {
		return unit{}, c.failed(ctx, "make systemd read its files again", err)
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
		var installable bool
		var links [][]any
		err := c.manager(ctx, "EnableUnitFiles", []string{u.id}, false, false).Store(&installable, &links)
		if err != nil {
			return u, c.failed(ctx, "enable "+u.id, err)
		}
		if !installable {
			return u, hint.New(fmt.Errorf("%s can't be enabled: its unit has no [Install] section", u.id), "leave `enabled` out")
		}
	} else {
		for _, runtime := range []bool{false, true} {
			if err := c.manager(ctx, "DisableUnitFiles", []string{u.id}, runtime).Err; err != nil {
				return u, c.failed(ctx, "disable "+u.id, err)
			}
		}
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
		return c.job(ctx, "stop", "StopUnit", u.id)
	}
	if u.active == "active" || u.active == "reloading" {
		return nil
	}
	if u.active == "failed" {
		_ = c.manager(ctx, "ResetFailedUnit", u.id).Err // it may have started too often; this start is meant
	}
	return c.job(ctx, "start", "StartUnit", u.id)
}

// job has systemd do something to a unit, waits for the end, and has a look at how the unit is then.
func (c conn) job(ctx context.Context, verb, method, id string) error {
	signals := make(chan *dbus.Signal, 64)
	c.Signal(signals)
	defer c.RemoveSignal(signals)
	if slices.Max(c.Names()) != "" { // over the bus: systemd itself tells its own clients without being asked
		if err := errors.Join(c.AddMatchSignalContext(ctx, dbus.WithMatchInterface("org.freedesktop.systemd1.Manager"), dbus.WithMatchMember("JobRemoved")),
			c.manager(ctx, "Subscribe").Err); err != nil {
			return c.failed(ctx, verb+" "+id, err)
		}
	}
	begin := time.Now()
	var job dbus.ObjectPath
	if err := c.manager(ctx, method, id, "replace").Store(&job); err != nil {
		return c.failed(ctx, verb+" "+id, err)
	}
	result, err := await(ctx, signals, job)
	if err != nil {
		return fmt.Errorf("%s %s: %w", verb, id, err)
	}
	if result != "done" {
		return c.explain(ctx, verb, id, result, begin)
	}
	if verb == "stop" {
		return nil
	}
	return c.settled(ctx, verb, id, begin)
}

func await(ctx context.Context, signals <-chan *dbus.Signal, job dbus.ObjectPath) (result string, err error) {
	for {
		select {
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case s, ok := <-signals:
			if !ok {
				return "", errors.New("systemd ended the conversation")
			}
			if s.Name == manager+"JobRemoved" && len(s.Body) == 4 && s.Body[1] == job {
				result, _ := s.Body[3].(string)
				return result, nil
			}
		}
	}
}

// settled makes sure that what was started is still there a moment later.
func (c conn) settled(ctx context.Context, verb, id string, begin time.Time) error {
	o := c.Object(busName, objectPath(id))
	kind, _ := property(ctx, o, "org.freedesktop.systemd1.Service", "Type").(string)
	deadline := time.Now()
	if kind == "simple" || kind == "exec" || kind == "idle" {
		deadline = deadline.Add(settle)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		active, _ := property(ctx, o, unitFace, "ActiveState").(string)
		switch {
		case active == "failed", active == "activating" && kind != "":
			return c.explain(ctx, verb, id, "ended at once", begin)
		case active == "inactive":
			asked, _ := property(ctx, o, unitFace, "ConditionTimestampMonotonic").(uint64) // 0 once systemd has forgotten the unit
			switch {
			case asked > 0 && property(ctx, o, unitFace, "ConditionResult") == false:
				return hint.New(fmt.Errorf("%s %s: systemd skipped it: a condition in its unit isn't met", verb, id), "`systemctl status %s` on the device says which", id)
			case kind == "oneshot":
				return hint.New(fmt.Errorf("%s %s: it did its work and ended, so that it can't be found running", verb, id),
					"leave `running` out: use `enabled`, or its timer; or add RemainAfterExit=yes to its unit")
			}
			return c.explain(ctx, verb, id, "ended at once", begin)
		}
		if !time.Now().Before(deadline) {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

func property(ctx context.Context, o dbus.BusObject, face, name string) any {
	var v dbus.Variant
	if err := o.CallWithContext(ctx, getProperty, 0, face, name).Store(&v); err != nil {
		return nil
	}
	return v.Value()
}

// explain is the error for a job that failed: what systemd says of it, and the end of the unit's journal.
func (c conn) explain(ctx context.Context, verb, id, result string, begin time.Time) error {
	o := c.Object(busName, objectPath(id))
	detail := result
	if why, _ := property(ctx, o, "org.freedesktop.systemd1.Service", "Result").(string); why != "" && why != "success" {
		detail = why
	}
	if status, _ := property(ctx, o, "org.freedesktop.systemd1.Service", "ExecMainStatus").(int32); status != 0 {
		detail += fmt.Sprintf(", status %d", status)
	}
	err := fmt.Errorf("%s %s: %s", verb, id, detail)
	if tail := c.journal(ctx, id, begin); tail != "" {
		err = fmt.Errorf("%w: %s", err, tail)
	}
	return hint.New(err, "`systemctl status %s` and `journalctl -u %s` on the device say more", id, id)
}

func (c conn) journal(ctx context.Context, id string, since time.Time) string {
	_, _ = c.h.Run(ctx, host.Cmd{Args: []string{"journalctl", "--sync"}})
	// What the unit said, and what systemd said of it: also in its process before the program took over, which --unit misses.
	res, err := c.h.Run(ctx, host.Cmd{Args: []string{"journalctl", "--no-pager", "--quiet", "--output=cat", "--lines=8",
		fmt.Sprintf("--since=@%d", since.Unix()), "_SYSTEMD_UNIT=" + id, "+", "_UID=0", "UNIT=" + id}})
	if err != nil || res.Code != 0 {
		return ""
	}
	return host.LastLines(string(res.Stdout), 8)
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
	case want.OnNotify == "reload" && property(ctx, c.Object(busName, objectPath(u.id)), unitFace, "CanReload") != true:
		return hint.New(fmt.Errorf("%s can't reload its configuration", u.id), "use `onNotify: restart` or `reloadOrRestart`")
	case want.OnNotify == "reload":
		return c.job(ctx, "reload", "ReloadUnit", u.id)
	case want.OnNotify == "reloadOrRestart":
		return c.job(ctx, "reload or restart", "ReloadOrRestartUnit", u.id)
	}
	return c.job(ctx, "restart", "RestartUnit", u.id)
}

// failed makes an error of D-Bus's one for people.
func (c conn) failed(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	err = fmt.Errorf("%s: %w", what, err)
	if isName(err, "AccessDenied", "InteractiveAuthorizationRequired") {
		return hint.New(err, "root's rights are needed: connect as root, or with sudo")
	}
	return err
}

func isName(err error, names ...string) bool {
	e, ok := errors.AsType[dbus.Error](err)
	if !ok {
		return false
	}
	for _, n := range names {
		if e.Name == n || e.Name == "org.freedesktop.DBus.Error."+n {
			return true
		}
	}
	return false
}

// objectPath is a unit's address on D-Bus: what isn't a letter or a digit is written as its code.
func objectPath(unit string) dbus.ObjectPath {
	var b strings.Builder
	for i := range len(unit) {
		c := unit[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || i > 0 && c >= '0' && c <= '9' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "_%02x", c)
		}
	}
	return dbus.ObjectPath(path.Join("/org/freedesktop/systemd1/unit", b.String()))
}
