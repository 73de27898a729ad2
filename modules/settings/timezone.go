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

// Timezone is the machine's time zone: /etc/localtime, and on Debian /etc/timezone as well, see localtime(5); on Windows the zone
// of its own that the Unicode CLDR gives for the name.
type Timezone struct {
	// The zone's name in the IANA database, as `timedatectl list-timezones` shows them.
	Name *string `json:"name,omitzero" fit:"managed,short" title:"Name" pattern:"^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$" example:"Europe/Luxembourg"`
	// Windows' own name of the zone.
	Windows *string `json:"windows,omitzero" fit:"observed,undo" on:"windows" title:"Name on Windows"`
	// The zone that /etc/localtime is: a name, or what stands in its way.
	Localtime string `json:"localtime,omitzero" fit:"observed" title:"/etc/localtime"`
	// What /etc/timezone says, where it exists.
	Timezone string `json:"timezone,omitzero" fit:"observed" title:"/etc/timezone"`
	// Where the link /etc/localtime points to; empty where there is none.
	Link *string `json:"link,omitzero" fit:"observed,undo" title:"Link /etc/localtime"`
	// The copy of a zone that /etc/localtime is instead of a link.
	Copy *host.Blob `json:"copy,omitzero" fit:"observed,undo" title:"Copy in /etc/localtime"`
	// What is in /etc/timezone.
	File *Part `json:"file,omitzero" fit:"observed,undo" title:"Content of /etc/timezone"`
}

// Timezones implements Timezone.
type Timezones struct{}

var (
	_ modules.Resource[Timezone] = Timezones{}
	_ modules.Referrer[Timezone] = Timezones{}
	_ modules.Comparer[Timezone] = Timezones{}
	_ modules.Inverter[Timezone] = Timezones{}
	_ modules.Keeper[Timezone]   = Timezones{}
	_ modules.Experimenter       = Timezones{}
)

const (
	localtimeLink = "/etc/localtime"
	timezoneFile  = "/etc/timezone"
	zoneinfo      = "/usr/share/zoneinfo"
)

// Platforms are where the type exists.
func (Timezones) Platforms() []string { return []string{"linux", "windows"} }

// Experimental is Windows, whose zone nothing here could set.
func (Timezones) Experimental() []string { return []string{"windows"} }

// Refs names the package that brings the zones.
func (Timezones) Refs(Timezone) []string { return []string{"packages/tzdata"} }

// Observe tells the zone: the wanted name for it, if it may be called so.
func (Timezones) Observe(_ context.Context, h *host.Host, want Timezone) (Timezone, error) {
	if h.OS() == "windows" {
		return observeWindowsZone(h, want)
	}
	return observeLocaltime(h, want)
}

// observeLocaltime reads the link, and /etc/timezone where it is there. Name is the wanted one only where both agree.
func observeLocaltime(h *host.Host, want Timezone) (Timezone, error) {
	var have Timezone
	i, err := h.Lstat(localtimeLink)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		have.Localtime = "UTC" // localtime(5): the default
		have.Name, have.Link = modules.Ptr("UTC"), modules.Ptr("")
	case err != nil:
		return have, err
	case i.Kind == host.KindLink:
		have.Localtime, have.Link = i.Target, &i.Target
		if _, zone, ok := strings.Cut(i.Target, "/zoneinfo/"); ok {
			have.Localtime = zone
			if zone == "UTC" || h.Exists(zoneinfo+"/"+zone) { // libc falls back to UTC
				have.Name = modules.Ptr(zone)
			}
		}
	default:
		have.Localtime = "(a " + i.Kind + ")"
		if i.Kind == host.KindFile {
			b, err := h.HashFile(localtimeLink)
			if err != nil {
				return have, err
			}
			have.Copy = &b
		}
	}
	if have.File, err = readPart(h, timezoneFile, all); err != nil {
		return have, err
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
	if h.OS() == "windows" {
		return none, setWindowsZone(h, want)
	}
	if want.File != nil {
		return none, want.restore(h)
	}
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

// restore brings link and file to what they were.
func (z Timezone) restore(h *host.Host) error {
	if err := z.File.write(h, timezoneFile, all); err != nil {
		return err
	}
	switch {
	case z.Copy != nil:
		b, err := h.OpenBlob(*z.Copy)
		if err != nil {
			return fmt.Errorf("content of %s: %w", localtimeLink, err)
		}
		defer b.Close()
		return h.Write(localtimeLink, b, host.Attr{})
	case z.Link == nil:
		return nil
	}
	i, err := h.Lstat(localtimeLink)
	if err == nil && i.Target == *z.Link && i.Kind == host.KindLink {
		return nil
	}
	if *z.Link == "" || err == nil && i.Kind == host.KindFile {
		if err := h.Remove(localtimeLink); err != nil || *z.Link == "" {
			return err
		}
	}
	return h.Symlink(*z.Link, localtimeLink)
}

// Compare takes what is in the file for itself.
func (Timezones) Compare(property string, want, have Timezone) (met, ok bool) {
	if property == "file" {
		return want.File.met(have.File), true
	}
	return false, false
}

// Inverse names the old zone where both places agreed, and each as it was.
func (Timezones) Inverse(_, have Timezone) (Timezone, error) {
	if have.Windows != nil {
		return Timezone{Windows: have.Windows}, nil
	}
	back := Timezone{Link: have.Link, Copy: have.Copy, File: have.File}
	if have.Link == nil && have.Copy == nil {
		return back, fmt.Errorf("%s is %s, which would be lost", localtimeLink, have.Localtime)
	}
	if have.Name != nil && *have.Name == have.Localtime && *have.Link != "" && (have.Timezone == "" || have.Timezone == *have.Name) {
		back.Name = have.Name
	}
	return back, have.File.kept(timezoneFile)
}

// Contents is the copy that a link replaces.
func (Timezones) Contents(want, have Timezone) []modules.Content {
	if have.Copy == nil || want.Copy != nil && *want.Copy == *have.Copy {
		return nil
	}
	return []modules.Content{{Property: "copy", Path: localtimeLink, Blob: *have.Copy}}
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
