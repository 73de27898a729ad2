package host

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

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
	h.loose.Store(true)
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
	var d net.Dialer
	raw, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	c, err := authenticate(raw, uid)
	if err != nil {
		raw.Close()
		return nil, err
	}
	bus, err := dbus.NewConn(c, dbus.WithContext(ctx), dbus.WithSignalHandler(dbus.NewSequentialSignalHandler()))
	if err != nil {
		raw.Close()
		return nil, err
	}
	if err := bus.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(uid))}); err != nil {
		bus.Close()
		return nil, err
	}
	return bus, nil
}

// authenticated is a conversation that systemd has already let us into; godbus asks for that once more, and is told yes.
//
// Left to itself, godbus sends its first message right behind the end of the authentication. Where systemd, busy, reads both
// at once, it never looks at the message (252): the call hangs. So all of the authentication goes out at once, and no
// message before its answer, as systemctl does.
type authenticated struct {
	net.Conn
	in    io.Reader
	begun bool
}

func authenticate(raw net.Conn, uid int) (*authenticated, error) {
	_ = raw.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := fmt.Fprintf(raw, "\x00AUTH EXTERNAL %x\r\nBEGIN\r\n", strconv.Itoa(uid)); err != nil {
		return nil, err
	}
	in := bufio.NewReader(raw)
	line, err := in.ReadString('\n')
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(line, "OK ") {
		return nil, fmt.Errorf("authentication refused: %s", strings.TrimSpace(line))
	}
	_ = raw.SetDeadline(time.Time{})
	return &authenticated{Conn: raw, in: io.MultiReader(strings.NewReader("REJECTED EXTERNAL\r\n"+line), in)}, nil
}

func (c *authenticated) Read(p []byte) (int, error) { return c.in.Read(p) }

func (c *authenticated) Write(p []byte) (int, error) {
	if !c.begun {
		c.begun = string(p) == "BEGIN\r\n"
		return len(p), nil
	}
	return c.Conn.Write(p)
}
