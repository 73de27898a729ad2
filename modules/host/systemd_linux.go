package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/godbus/dbus/v5"
)

// Systemd opens a conversation with the service manager of the running system: with systemd itself where we are root, and
// over the system bus otherwise. It ends with Close, or with ctx.
func (h *Host) Systemd(ctx context.Context) (*dbus.Conn, error) {
	if !h.Living() {
		return nil, ErrNeedsSystem
	}
	if _, err := os.Lstat("/run/systemd/system"); errors.Is(err, fs.ErrNotExist) {
		first, _ := os.ReadFile("/proc/1/comm")
		return nil, hint.New(fmt.Errorf("needs systemd, and the first process of this machine is %q", strings.TrimSpace(string(first))),
			"services are managed on machines that systemd runs")
	}
	uid := os.Geteuid()
	if uid == 0 {
		if c, err := dial(ctx, "/run/systemd/private", uid); err == nil {
			return c, nil
		}
	}
	c, err := dial(ctx, "/run/dbus/system_bus_socket", uid)
	if err == nil {
		if err = c.Hello(); err == nil {
			return c, nil
		}
		c.Close()
	}
	return nil, hint.New(fmt.Errorf("ask systemd: %w", err), "is systemd overloaded, or dbus not running? root doesn't need the latter")
}

func dial(ctx context.Context, socket string, uid int) (*dbus.Conn, error) {
	c, err := dbus.Dial("unix:path="+socket, dbus.WithContext(ctx), dbus.WithSignalHandler(dbus.NewSequentialSignalHandler()))
	if err != nil {
		return nil, err
	}
	if err := c.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(uid))}); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}
