package settings

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

// Timezone is the machine's time zone: /etc/localtime, and on Debian /etc/timezone as well. See localtime(5).
type Timezone struct {
	// The zone's name in the IANA database, as `timedatectl list-timezones` shows them.
	Name *string `json:"name,omitzero" fit:"managed,short" title:"Name" pattern:"^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$" example:"Europe/Luxembourg"`
	// The zone that /etc/localtime is: a name, or what stands in its way.
	Localtime string `json:"localtime,omitzero" fit:"observed" title:"/etc/localtime"`
	// What /etc/timezone says, where it exists.
	Timezone string `json:"timezone,omitzero" fit:"observed" title:"/etc/timezone"`
}

// Timezones implements Timezone.
type Timezones struct{}

var (
	_ modules.Resource[Timezone] = Timezones{}
	_ modules.Referrer[Timezone] = Timezones{}
)

const (
	localtimeLink = "/etc/localtime"
	timezoneFile  = "/etc/timezone"
	zoneinfo      = "/usr/share/zoneinfo"
)

// Platforms are where the type exists.
func (Timezones) Platforms() []string { return []string{"linux"} }

// Refs names the package that brings the zones.
func (Timezones) Refs(Timezone) []string { return []string{"packages/tzdata"} }

// Observe reads the link, and /etc/timezone where it is there. Name is the wanted one only where both agree.
func (Timezones) Observe(_ context.Context, h *host.Host, want Timezone) (Timezone, error) {
	var have Timezone
	i, err := h.Lstat(localtimeLink)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		have.Localtime = "UTC" // localtime(5): the default
		have.Name = modules.Ptr("UTC")
	case err != nil:
		return have, err
	case i.Kind == host.KindLink:
		have.Localtime = i.Target
		if _, zone, ok := strings.Cut(i.Target, "/zoneinfo/"); ok {
			have.Localtime = zone
			if zone == "UTC" || h.Exists(zoneinfo+"/"+zone) { // libc falls back to UTC
				have.Name = modules.Ptr(zone)
			}
		}
	default:
		have.Localtime = "(a " + i.Kind + ")"
	}
	text, err := readOptional(h, timezoneFile)
	if err != nil {
		return have, err
	}
	have.Timezone = strings.TrimSpace(text)
	if want.Name == nil {
		return have, nil
	}
	if have.Timezone != "" && have.Timezone != *want.Name && have.Name != nil && *have.Name == *want.Name {
		have.Name = modules.Ptr(have.Timezone)
	}
	if have.Name == nil || *have.Name != *want.Name {
		return have, isZone(h, *want.Name)
	}
	return have, nil
}

// Apply points the link at the zone.
func (Timezones) Apply(_ context.Context, h *host.Host, want, have Timezone) (modules.Outcome, error) {
	var none modules.Outcome
	if want.Name == nil {
		return none, nil
	}
	if err := isZone(h, *want.Name); err != nil {
		return none, err
	}
	// First the file that need not exist: without it an interrupted change would count as done.
	if h.Exists(timezoneFile) || h.Exists("/etc/debian_version") {
		if err := writeThrough(h, timezoneFile, *want.Name+"\n"); err != nil {
			return none, err
		}
	}
	if have.Localtime == *want.Name {
		return none, nil
	}
	err := h.Symlink(zoneinfo+"/"+*want.Name, localtimeLink)
	if errors.Is(err, fs.ErrExist) { // a copy of a zone, as images have it
		if err = h.Remove(localtimeLink); err == nil {
			err = h.Symlink(zoneinfo+"/"+*want.Name, localtimeLink)
		}
	}
	return none, err
}

// isZone says why a name can't be used as a zone on this device.
func isZone(h *host.Host, name string) error {
	if name == "UTC" && !h.Exists(zoneinfo) {
		return nil
	}
	f, err := h.Open(zoneinfo + "/" + name)
	if err == nil {
		defer f.Close()
		magic := make([]byte, 4)
		if _, err = io.ReadFull(f, magic); err == nil && string(magic) == "TZif" {
			return nil
		}
	}
	if !h.Exists(zoneinfo) {
		return hint.New(fmt.Errorf("no time zones on this device: %s is missing", zoneinfo), "install the package tzdata: declare it under packages")
	}
	err = fmt.Errorf("no time zone %q in %s", name, zoneinfo)
	if near := hint.Near(name, zones(h, zoneinfo, "", 3)); near != "" {
		return hint.New(err, "did you mean %q?", near)
	}
	return hint.New(err, "`timedatectl list-timezones` on the device lists them; some are in the package tzdata-legacy")
}

func zones(h *host.Host, dir, prefix string, depth int) []string {
	var out []string
	names, _ := h.ReadDir(dir)
	for _, n := range names {
		if n == "posix" || n == "right" || strings.Contains(n, ".") {
			continue
		}
		if i, err := h.Stat(dir + "/" + n); err == nil && i.Kind == host.KindDirectory {
			if depth > 1 {
				out = append(out, zones(h, dir+"/"+n, prefix+n+"/", depth-1)...)
			}
			continue
		}
		out = append(out, prefix+n)
	}
	return out
}
