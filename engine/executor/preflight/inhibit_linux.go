package preflight

import (
	"context"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/fitout-dev/fitout/modules/host"
	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

const systemBus = "unix:path=/run/dbus/system_bus_socket"

// Inhibit keeps the device from going to sleep until release is called or this process ends: logind watches a file
// descriptor, which the kernel closes with us. Where nothing answers as logind, nothing suspends the device by itself either,
// and Inhibit does nothing; nor does it for users whom polkit refuses that. Release may be called more than once.
//
// What is blocked: "sleep", which is suspend and hibernation, those after idling included, and "handle-lid-switch", since a
// lid is let pass "sleep" (LidSwitchIgnoreInhibited=yes is logind's default). Not "idle": that is the screen saver. Not
// "shutdown": the run itself may have to reboot, and a run outlives somebody's reboot anyway.
func Inhibit(ctx context.Context, h *host.Host, why string) (release func()) {
	fd, err := -1, host.ErrNeedsSystem
	if h.Living() {
		fd, err = inhibit(ctx, why)
	}
	if err != nil {
		h.Log().Debug("sleep is not inhibited", "error", err)
		return func() {}
	}
	return sync.OnceFunc(func() { unix.Close(fd) })
}

// inhibit returns the file descriptor that is the inhibitor. It isn't inherited by programs that we start: Go receives
// descriptors with O_CLOEXEC.
func inhibit(ctx context.Context, why string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	// Host.Systemd's way in can't hand over file descriptors; what it guards against, systemd's own socket, isn't used here.
	bus, err := dbus.Dial(systemBus, dbus.WithContext(ctx))
	if err != nil {
		return -1, err
	}
	defer bus.Close()
	if err := bus.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Geteuid()))}); err != nil {
		return -1, err
	}
	if err := bus.Hello(); err != nil {
		return -1, err
	}
	var fd dbus.UnixFD
	err = bus.Object("org.freedesktop.login1", "/org/freedesktop/login1").CallWithContext(ctx, "org.freedesktop.login1.Manager.Inhibit", dbus.FlagNoAutoStart,
		"sleep:handle-lid-switch", "fitout", why, "block").Store(&fd)
	return int(fd), err
}
