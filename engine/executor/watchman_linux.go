package executor

import (
	"context"
	"os"
	"time"

	"github.com/fitout-dev/fitout/modules/host"
	"github.com/fitout-dev/fitout/modules/host/systemd"
	"github.com/godbus/dbus/v5"
)

func watchmanName(run string) string { return "fitout-watch-" + run }

// startWatchman has the run go on every so often, should its process have been killed: by a timer of systemd, where there is
// one and we may, by a shell that sleeps elsewhere. While the process lives it finds the device locked and does nothing.
func startWatchman(o Options, run string, every time.Duration) (end func(), err error) {
	exe, err := executorOf(o, run)
	if err != nil {
		return nil, err
	}
	args := runnerArgs(exe, o, run)
	h := host.New(o.Root)
	if os.Geteuid() == 0 && h.Living() {
		if err := startTimer(h, watchmanName(run), args, every); err == nil {
			return func() { stopUnit(h, watchmanName(run)+".timer") }, nil
		}
	}
	return startSleeper(args, every)
}

func startTimer(h *host.Host, name string, args []string, every time.Duration) error {
	stopUnit(h, name+".timer") // of a process that was killed
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := systemd.Open(ctx, h)
	if err != nil {
		return err
	}
	defer c.Close()
	type property struct {
		Name  string
		Value dbus.Variant
	}
	type base struct {
		Name string
		USec uint64
	}
	type execStart struct {
		Path   string
		Args   []string
		Ignore bool
	}
	type auxiliary struct {
		Name       string
		Properties []property
	}
	usec := uint64(every.Microseconds())
	timer := []property{
		{"Description", dbus.MakeVariant("fitout: see that a change of how this machine is reached is confirmed or taken back")},
		{"TimersMonotonic", dbus.MakeVariant([]base{{"OnActiveSec", usec}, {"OnUnitInactiveSec", usec}})},
		{"AccuracyUSec", dbus.MakeVariant(uint64(time.Second.Microseconds()))},
		{"RemainAfterElapse", dbus.MakeVariant(false)},
	}
	service := []property{
		{"Description", dbus.MakeVariant("fitout: go on with a run that was killed")},
		{"ExecStart", dbus.MakeVariant([]execStart{{args[0], args, false}})},
		{"KillMode", dbus.MakeVariant("mixed")},
		{"CollectMode", dbus.MakeVariant("inactive-or-failed")},
	}
	var job dbus.ObjectPath
	return c.Manager(ctx, "StartTransientUnit", name+".timer", "replace", timer, []auxiliary{{name + ".service", service}}).Store(&job)
}

func stopUnit(h *host.Host, name string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := systemd.Open(ctx, h)
	if err != nil {
		return
	}
	defer c.Close()
	var job dbus.ObjectPath
	c.Manager(ctx, "StopUnit", name, "replace").Store(&job)
}

// endWatchman is for a run whose own process was killed.
func endWatchman(o Options, run string) {
	if _, err := os.Lstat("/run/systemd/transient/" + watchmanName(run) + ".timer"); err == nil {
		stopUnit(host.New(o.Root), watchmanName(run)+".timer")
	}
}
