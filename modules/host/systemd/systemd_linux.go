// Package systemd is the conversation with the service manager of a running Linux.
//
//	c, err := systemd.Open(ctx, h)
//	defer c.Close()
//	err = c.Job(ctx, "restart", "RestartUnit", "ssh.service")                       // it runs, and still does a moment later
//	state, _ := c.Property(ctx, "ssh.service", systemd.UnitFace, "ActiveState").(string)
package systemd

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

// What a unit's properties belong to.
const (
	UnitFace    = "org.freedesktop.systemd1.Unit"
	ServiceFace = "org.freedesktop.systemd1.Service"
)

const (
	busName = "org.freedesktop.systemd1"
	manager = "org.freedesktop.systemd1.Manager."
)

// settle is how long a service that doesn't say when it is ready is watched after its start: many that can't work end at once.
const settle = 200 * time.Millisecond

// Conn is a conversation. It ends with Close, or with the context that it was opened with.
type Conn struct {
	*dbus.Conn
	h *host.Host
}

// Open begins a conversation.
func Open(ctx context.Context, h *host.Host) (Conn, error) {
	c, err := h.Systemd(ctx)
	return Conn{c, h}, err
}

// Manager calls a method of the manager itself.
func (c Conn) Manager(ctx context.Context, method string, args ...any) *dbus.Call {
	return c.Object(busName, "/org/freedesktop/systemd1").CallWithContext(ctx, manager+method, 0, args...)
}

// Enable has a unit start with the machine, once Reload has made that known. One without an [Install] section isn't installable.
func (c Conn) Enable(ctx context.Context, id string) (installable bool, err error) {
	var links [][]any
	if err := c.Manager(ctx, "EnableUnitFiles", []string{id}, false, false).Store(&installable, &links); err != nil {
		return false, c.Failed(ctx, "enable "+id, err)
	}
	return installable, nil
}

// Disable is the contrary: for good, and until the next start.
func (c Conn) Disable(ctx context.Context, id string) error {
	for _, runtime := range []bool{false, true} {
		if err := c.Manager(ctx, "DisableUnitFiles", []string{id}, runtime).Err; err != nil {
			return c.Failed(ctx, "disable "+id, err)
		}
	}
	return nil
}

// Reload makes systemd read the files of units again.
func (c Conn) Reload(ctx context.Context) error {
	c.h.Forget()
	if err := c.Manager(ctx, "Reload").Err; err != nil {
		return c.Failed(ctx, "make systemd read its files again", err)
	}
	return nil
}

// Started is when a service's process began, or zero where none runs. The clock may have been set since then: it is the later of
// the time that it showed and of the one that it would have shown had it been as it is now.
func (c Conn) Started(ctx context.Context, service string) time.Time {
	shown, _ := c.Property(ctx, service, ServiceFace, "ExecMainStartTimestamp").(uint64)
	ticks, _ := c.Property(ctx, service, ServiceFace, "ExecMainStartTimestampMonotonic").(uint64)
	var now unix.Timespec
	if pid, _ := c.Property(ctx, service, ServiceFace, "MainPID").(uint32); pid == 0 || unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) != nil {
		return time.Time{}
	}
	began, measured := time.UnixMicro(int64(shown)), time.Now().Add(time.Duration(ticks)*time.Microsecond-time.Duration(now.Nano()))
	if began.After(measured) {
		return began
	}
	return measured
}

// Job has systemd do something to a unit, waits for the end, and has a look at how the unit is then.
func (c Conn) Job(ctx context.Context, verb, method, id string) error {
	signals := make(chan *dbus.Signal, 64)
	c.Signal(signals)
	defer c.RemoveSignal(signals)
	if slices.Max(c.Names()) != "" { // over the bus: systemd itself tells its own clients without being asked
		if err := errors.Join(c.AddMatchSignalContext(ctx, dbus.WithMatchInterface("org.freedesktop.systemd1.Manager"), dbus.WithMatchMember("JobRemoved")),
			c.Manager(ctx, "Subscribe").Err); err != nil {
			return c.Failed(ctx, verb+" "+id, err)
		}
	}
	begin := time.Now()
	var job dbus.ObjectPath
	if err := c.Manager(ctx, method, id, "replace").Store(&job); err != nil {
		return c.Failed(ctx, verb+" "+id, err)
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
func (c Conn) settled(ctx context.Context, verb, id string, begin time.Time) error {
	kind, _ := c.Property(ctx, id, ServiceFace, "Type").(string)
	deadline := time.Now()
	if kind == "simple" || kind == "exec" || kind == "idle" {
		deadline = deadline.Add(settle)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		active, _ := c.Property(ctx, id, UnitFace, "ActiveState").(string)
		switch {
		case active == "failed", active == "activating" && kind != "":
			return c.explain(ctx, verb, id, "ended at once", begin)
		case active == "inactive":
			asked, _ := c.Property(ctx, id, UnitFace, "ConditionTimestampMonotonic").(uint64) // 0 once systemd has forgotten the unit
			switch {
			case asked > 0 && c.Property(ctx, id, UnitFace, "ConditionResult") == false:
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

// Property is one of a unit's properties, or nil.
func (c Conn) Property(ctx context.Context, unit, face, name string) any {
	var v dbus.Variant
	o := c.Object(busName, objectPath(unit))
	if err := o.CallWithContext(ctx, "org.freedesktop.DBus.Properties.Get", 0, face, name).Store(&v); err != nil {
		return nil
	}
	return v.Value()
}

// explain is the error for a job that failed: what systemd says of it, and the end of the unit's journal.
func (c Conn) explain(ctx context.Context, verb, id, result string, begin time.Time) error {
	detail := result
	if why, _ := c.Property(ctx, id, ServiceFace, "Result").(string); why != "" && why != "success" {
		detail = why
	}
	if status, _ := c.Property(ctx, id, ServiceFace, "ExecMainStatus").(int32); status != 0 {
		detail += fmt.Sprintf(", status %d", status)
	}
	err := fmt.Errorf("%s %s: %s", verb, id, detail)
	if tail := c.journal(ctx, id, begin); tail != "" {
		err = fmt.Errorf("%w: %s", err, tail)
	}
	return hint.New(err, "`systemctl status %s` and `journalctl -u %s` on the device say more", id, id)
}

func (c Conn) journal(ctx context.Context, id string, since time.Time) string {
	_, _ = c.h.Run(ctx, host.Cmd{Args: []string{"journalctl", "--sync"}})
	// What the unit said, and what systemd said of it: also in its process before the program took over, which --unit misses.
	res, err := c.h.Run(ctx, host.Cmd{Args: []string{"journalctl", "--no-pager", "--quiet", "--output=cat", "--lines=8",
		fmt.Sprintf("--since=@%d", since.Unix()), "_SYSTEMD_UNIT=" + id, "+", "_UID=0", "UNIT=" + id}})
	if err != nil || res.Code != 0 {
		return ""
	}
	return host.LastLines(string(res.Stdout), 8)
}

// Failed makes an error of D-Bus's one for people.
func (c Conn) Failed(ctx context.Context, what string, err error) error {
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
