package executor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/disk"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/fitout-dev/fitout/modules/host/systemd"
	"github.com/godbus/dbus/v5"
)

// socketPath is where a runner listens. A socket's path may have no more than 107 bytes: a longer one goes over the folder's
// descriptor.
func socketPath(dir, run string) (path string, done func()) {
	path = filepath.Join(runDir(dir, run), "socket")
	if len(path) < 100 {
		return path, func() {}
	}
	f, err := os.Open(runDir(dir, run))
	if err != nil {
		return path, func() {}
	}
	return fmt.Sprintf("/proc/self/fd/%d/socket", f.Fd()), func() { f.Close() }
}

func runnerArgs(exe string, o Options, run string) []string {
	return []string{exe, "-dir", o.Dir, "-root", o.Root, "-run", run}
}

// Detach starts a runner that outlives the session: a transient unit of systemd where there is one and we may, a process in a
// session of its own elsewhere.
func Detach(ctx context.Context, o Options, run string) error {
	exe, err := executorOf(o, run)
	if err != nil {
		return err
	}
	h := host.New(o.Root)
	if os.Geteuid() == 0 && h.Living() {
		if _, err := os.Lstat(filepath.Join(unitDir, unitName(run))); err == nil { // the run goes on after a restart, maybe
			bury(o, run)
		}
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			err := startUnit(ctx, h, runUnit(run), runnerArgs(exe, o, run))
			if err == nil {
				return nil
			}
			if e, ok := errors.AsType[dbus.Error](err); !ok || e.Name != "org.freedesktop.systemd1.UnitExists" || time.Now().After(deadline) {
				break
			}
			bury(o, run)
		}
	}
	return spawnRunner(runnerArgs(exe, o, run))
}

func startUnit(ctx context.Context, h *host.Host, name string, args []string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c, err := systemd.Open(ctx, h)
	if err != nil {
		return err
	}
	defer c.Close()
	type execStart struct {
		Path   string
		Args   []string
		Ignore bool
	}
	properties := []struct {
		Name  string
		Value dbus.Variant
	}{
		{"Description", dbus.MakeVariant("fitout: a run that was begun from elsewhere")},
		{"ExecStart", dbus.MakeVariant([]execStart{{args[0], args, false}})},
		{"KillMode", dbus.MakeVariant("process")}, // what it runs gets to its end, and what a command leaves running stays
		{"CollectMode", dbus.MakeVariant("inactive-or-failed")},
	}
	var job dbus.ObjectPath
	return c.Manager(ctx, "StartTransientUnit", name, "fail", properties, []struct {
		Name       string
		Properties []struct {
			Name  string
			Value dbus.Variant
		}
	}{}).Store(&job)
}

func runUnit(run string) string { return "fitout-run-" + run + ".service" }

// bury ends what a runner that died has left at work: it would be done twice, side by side.
func bury(o Options, run string) {
	if os.Geteuid() != 0 || o.Root != "/" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if c, err := systemd.Open(ctx, host.New(o.Root)); err == nil {
		defer c.Close()
		for _, unit := range []string{runUnit(run), unitName(run)} {
			c.Manager(ctx, "KillUnit", unit, "all", int32(syscall.SIGKILL))
		}
	}
}

// stopping says whether the machine goes down.
func stopping(o Options) bool {
	if o.Root != "/" {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := host.New(o.Root).Systemd(ctx)
	if err != nil {
		return false
	}
	defer c.Close()
	v, err := c.Object("org.freedesktop.systemd1", "/org/freedesktop/systemd1").GetProperty("org.freedesktop.systemd1.Manager.SystemState")
	return err == nil && v.Value() == "stopping"
}

// unit starts a run again after the machine has: a unit file with a link to it, both gone when the run is.
type unit struct{}

var bootUnit unit

const unitDir = "/etc/systemd/system"

func unitName(run string) string { return "fitout-boot-" + run + ".service" }

// install puts the unit there, and says whether anything will start the run again.
func (unit) install(o Options, run string) bool {
	if o.Root != "/" || os.Geteuid() != 0 || !o.Detached {
		return false
	}
	if _, err := os.Lstat("/run/systemd/system"); err != nil {
		return false
	}
	exe, err := executorOf(o, run)
	if err != nil {
		return false
	}
	var args []string
	for _, a := range runnerArgs(exe, o, run) {
		args = append(args, strings.ReplaceAll(strconv.Quote(a), "%", "%%"))
	}
	text := fmt.Sprintf(`# Made by fitout, and removed when the run has ended.
[Unit]
Description=fitout: go on with run %s
ConditionPathExists=%s
After=network.target network-online.target

[Service]
ExecStart=%s -boot
KillMode=process

[Install]
WantedBy=multi-user.target
`, run, journalFile(o.Dir, run), strings.Join(args, " "))
	file := filepath.Join(unitDir, unitName(run))
	if old, err := os.ReadFile(file); err == nil && string(old) == text {
		return true
	}
	wants := filepath.Join(unitDir, "multi-user.target.wants")
	if os.MkdirAll(wants, 0o755) != nil {
		return false
	}
	if disk.Replace(disk.OS, file, []byte(text), 0o644) != nil {
		return false
	}
	link := filepath.Join(wants, unitName(run))
	os.Remove(link)
	if os.Symlink(file, link) != nil {
		return false
	}
	if d, err := os.Open(wants); err == nil {
		d.Sync()
		d.Close()
	}
	return true
}

func (unit) remove(o Options, run string) {
	if o.Root != "/" || os.Geteuid() != 0 {
		return
	}
	os.Remove(filepath.Join(unitDir, "multi-user.target.wants", unitName(run)))
	file := filepath.Join(unitDir, unitName(run))
	os.Remove(disk.HalfWritten(file))
	if os.Remove(file) == nil {
		forget(unitName(run))
	}
	endWatchman(o, run)
}

// forget has systemd drop a unit whose file is gone, where it has read it: at boot, or when something reloaded it.
func forget(unit string) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := systemd.Open(ctx, host.New("/"))
	if err != nil {
		return
	}
	defer c.Close()
	if c.Manager(ctx, "GetUnit", unit).Err == nil {
		c.Manager(ctx, "Reload")
		c.Manager(ctx, "ResetFailedUnit", unit) // its process may have been killed
	}
}

// sweep removes the units of runs that are no more: somebody has removed the executor's folder.
func (u unit) sweep(o Options) {
	if o.Root != "/" || os.Geteuid() != 0 {
		return
	}
	for _, run := range runsOf(filepath.Join(unitDir, unitName("*"))) {
		if st, err := readState(o.Dir, run); err != nil || st.ended {
			u.remove(o, run)
		}
	}
}
