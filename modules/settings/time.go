package settings

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

// Time is what keeps the machine's clock right: the servers that tell the time, and whether they are asked. On Linux that is the
// business of systemd-timesyncd, see timesyncd.conf(5), or of chrony where that is installed, see chrony.conf(5); one of the two
// packages has to be there. On Windows it is the service W32Time, see
// https://learn.microsoft.com/windows-server/networking/windows-time-service/windows-time-service-tools-and-settings.
type Time struct {
	// The time servers, by name or address, and no others. systemd-timesyncd asks them in this order, the others weigh them against
	// each other. On Linux they are written to a file of fitout's own; where other files of chrony's name servers that aren't among
	// them, that is an error. Servers that the network names (DHCP) come beside them. A computer of a Windows domain asks the domain's
	// controllers; with servers of its own it asks these instead.
	Servers []string `json:"servers,omitzero" fit:"managed" title:"Servers" example:"ntp.example.lan"`
	// Whether the clock is kept by them: the service starts with the machine and runs. false stops it, and it won't start again; on
	// Windows it leaves the clock alone, as with the switch "Set time automatically".
	Automatic *bool `json:"automatic,omitzero" fit:"managed,living" title:"Keep the clock right"`
	// The service that keeps the clock.
	Service string `json:"service,omitzero" fit:"observed" title:"Service"`
	// How the service starts: what systemctl is-enabled says, or the start type on Windows.
	Start *string `json:"start,omitzero" fit:"observed,undo" title:"Start of the service"`
	// Whether the service runs now.
	Running *bool `json:"running,omitzero" fit:"observed,undo" title:"Service runs"`
	// Whether the service, as it runs, has read its configuration since that was changed. If not, no servers are told.
	Current *bool `json:"current,omitzero" fit:"observed,undo" title:"Configuration was read"`
	// What fitout's own file for the service holds.
	File *Part `json:"file,omitzero" fit:"observed,undo" on:"linux" title:"Content of fitout's file"`
	// The folder that file would be in, where it is missing.
	NoFolder string `json:"noFolder,omitzero" fit:"observed" on:"linux" title:"Missing folder"`
	// Where Windows has the time from: NTP, its servers; NT5DS, the domain; AllSync, both; NoSync, nowhere.
	Source *string `json:"source,omitzero" fit:"observed,undo" on:"windows" title:"Source"`
	// The servers with their flags, as Windows keeps them.
	Peers *string `json:"peers,omitzero" fit:"observed,undo" on:"windows" title:"Servers with flags"`
}

// Times implements Time.
type Times struct{}

var (
	_ modules.Resource[Time] = Times{}
	_ modules.Checker[Time]  = Times{}
	_ modules.Referrer[Time] = Times{}
	_ modules.Comparer[Time] = Times{}
	_ modules.Inverter[Time] = Times{}
	_ modules.Experimenter   = Times{}
)

// Platforms are where the type exists.
func (Times) Platforms() []string { return []string{"linux", "windows"} }

// Experimental is Windows, whose own W32Time nothing here could run.
func (Times) Experimental() []string { return []string{"windows"} }

// Refs names the packages that bring a service, or get in its way, and the files that it reads.
func (Times) Refs(Time) []string {
	refs := []string{"files/" + timesyncdConf, "lines/" + timesyncdConf + "/"}
	for _, p := range []string{"systemd-timesyncd", "chrony", "ntpsec", "ntp", "openntpd"} {
		refs = append(refs, "packages/"+p)
	}
	for _, conf := range chronyConfs {
		refs = append(refs, "files/"+conf, "lines/"+conf+"/")
	}
	for _, dir := range []string{timesyncdDropIns[0], "/etc/chrony/conf.d", "/etc/chrony/sources.d"} {
		refs = append(refs, "files/"+dir+"/")
	}
	return refs
}

// hostLabel is a part of a host's name; an underscore is against the rules, and met.
var hostLabel = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$`)

// Check refuses what can't be a server, or would be taken for something else in a service's configuration.
func (Times) Check(want Time) error {
	if want.Servers != nil && len(want.Servers) == 0 {
		return hint.New(errors.New("servers: empty"), "leave it out, or say `automatic: false` if nothing should keep the clock")
	}
	for i, s := range want.Servers {
		if err := checkServer(s); err != nil {
			return fmt.Errorf("servers: %w", err)
		}
		for _, t := range want.Servers[:i] {
			if strings.EqualFold(s, t) {
				return fmt.Errorf("servers: %s is there twice", s)
			}
		}
	}
	return nil
}

func checkServer(s string) error {
	if strings.ContainsAny(s, ", \t\n") && strings.Trim(s, ", \t\n") != "" {
		return hint.New(fmt.Errorf("%q is more than one server's name", s), "make each an entry of the list: [a.example.lan, b.example.lan]; flags and options aren't for here")
	}
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return nil
	}
	valid := len(s) <= 253
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		valid = valid && hostLabel.MatchString(label)
	}
	// Digits and dots alone are an address, which this isn't.
	if !valid || strings.Trim(s, "0123456789.") == "" {
		return hint.New(fmt.Errorf("%q is no host's name or address", s), "write it as in ntp.example.lan, 192.0.2.1 or 2001:db8::1")
	}
	return nil
}

// Observe tells the servers that are in effect.
func (t Times) Observe(ctx context.Context, h *host.Host, want Time) (Time, error) {
	if err := t.Check(want); err != nil {
		return Time{}, err
	}
	if h.OS() == "windows" {
		return observeWindowsTime(h, want)
	}
	return observeTime(ctx, h, want)
}

// Apply configures the service, and sees that it reads that.
func (t Times) Apply(ctx context.Context, h *host.Host, want, have Time) (modules.Outcome, error) {
	if err := t.Check(want); err != nil {
		return modules.Outcome{}, err
	}
	if h.OS() == "windows" {
		return modules.Outcome{}, applyWindowsTime(ctx, h, want)
	}
	return modules.Outcome{}, applyTime(ctx, h, want)
}

// Compare takes what is in the file for itself. A service that doesn't run has nothing old in mind.
func (Times) Compare(property string, want, have Time) (met, ok bool) {
	switch property {
	case "file":
		return want.File.met(have.File), true
	case "current":
		return have.Current == nil || *have.Current == *want.Current, true
	}
	return false, false
}

// Inverse puts back what want has changed.
func (Times) Inverse(want, have Time) (Time, error) {
	var back Time
	if want.Servers != nil || want.File != nil || want.Source != nil {
		back.File, back.NoFolder, back.Current = have.File, have.NoFolder, have.Current
		back.Source, back.Peers = have.Source, have.Peers
		if len(have.Servers) > 0 {
			back.Servers = have.Servers
		}
	}
	if want.Automatic != nil || want.Start != nil || want.Running != nil {
		back.Start, back.Running, back.Source, back.Automatic = have.Start, have.Running, have.Source, have.Automatic
	}
	if back.Current != nil && !*back.Current {
		back.Current = nil // that it hadn't been read is nothing to come back to
	}
	if s := value(back.Start); have.Source == nil && s != "" && s != "enabled" && s != "disabled" && s != "masked" {
		return back, fmt.Errorf("%s is %s, which can't be made again", have.Service, s)
	}
	if back.File != nil {
		return back, back.File.kept("fitout's own file of " + have.Service)
	}
	return back, nil
}
