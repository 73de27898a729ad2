// Package services has the resource type for what systemd runs: services, and likewise timers, sockets and other units; and
// for the services of Windows.
//
// On the running system all is asked of systemd itself over D-Bus, in one conversation for all services. In any other root
// the links are read and made that `systemctl --root` would. On Windows it is asked of the service control manager.
package services

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

// Service is a systemd unit: whether it starts with the machine, runs now, and may run at all. See systemctl(1). On Windows
// it is a service, which may be made, configured and removed, too.
type Service struct {
	// The unit's name. Without a suffix it is a .service; others, such as .timer and .socket, are named in full, and an
	// instance of a template as in getty@tty2. On Windows it is the service's own name, not the one that is shown: `sc query`
	// has both.
	Name string `json:"name" fit:"key" title:"Name" pattern:"^[A-Za-z0-9:_.@\\\\ $()&+,-]+$" example:"ssh"`
	// Whether it starts with the machine. A unit without an [Install] section can't be enabled: others start it. On Windows
	// an enabled service has the start type automatic, delayed or not; false makes it manual.
	Enabled *bool `json:"enabled,omitzero" fit:"managed" title:"Starts with the machine"`
	// Whether it runs now. A service that doesn't tell systemd when it is ready (Type=simple) is watched for 200 ms after
	// its start; if it ends later, the next plan shows it. On Windows those that depend on a service are stopped before it.
	Running *bool `json:"running,omitzero" fit:"managed,living" title:"Runs now"`
	// Whether it is masked: then nothing can start it, not even by hand or for another unit. On Windows its start type is
	// disabled then; false makes it manual.
	Masked *bool `json:"masked,omitzero" fit:"managed" title:"Masked"`
	// What a notification does to it while it runs. A service that doesn't run isn't started by one.
	OnNotify string `json:"onNotify,omitzero" fit:"behaviour" title:"When notified" enum:"restart,reload,reloadOrRestart" default:"restart"`
	// Windows: how it starts: auto with the machine, delayed some time after that, manual when it is asked for, disabled
	// not at all. It says more than enabled and masked, and stands instead of them.
	Start *string `json:"start,omitzero" fit:"managed" on:"windows" title:"Start" enum:"auto,delayed,manual,disabled"`
	// Windows: its program with arguments, as one command line; a path with blanks stands in double quotation marks. A service
	// that isn't there is made with it, with a process of its own.
	Program *string `json:"program,omitzero" fit:"managed,argv" on:"windows" title:"Program" example:"\"C:\\Program Files\\Example\\agent.exe\" --service"`
	// Windows: the name that is shown.
	DisplayName *string `json:"displayName,omitzero" fit:"managed" on:"windows" title:"Shown name" example:"Example agent"`
	// Windows: what it is for.
	Description *string `json:"description,omitzero" fit:"managed" on:"windows" title:"Description" example:"Reports to Example S.A."`
	// Windows: the account that it runs as: LocalSystem, LocalService, NetworkService, DOMAIN\name, .\name, NT SERVICE\name, or
	// a managed account's name with a $ at its end. It needs the right to log on as a service.
	Account *string `json:"account,omitzero" fit:"managed" on:"windows" title:"Account" example:"NT AUTHORITY\\LocalService"`
	// Windows: the account's password. It can't be read back: it is set when the service is made and when its account is
	// another, and a changed password alone is not noticed.
	Password *string `json:"password,omitzero" fit:"behaviour,secret" on:"windows" title:"Password"`
	// Windows: the services that must run before it, and no others; a + before it stands for a group of them.
	Dependencies []string `json:"dependencies,omitzero" fit:"managed" on:"windows" title:"Dependencies" example:"Tcpip"`
	// Windows: what is done when it has failed for the first, second and any further time within a day: none, or restart or
	// reboot with the time until then.
	Recovery []string `json:"recovery,omitzero" fit:"managed" on:"windows" experimental:"windows" title:"Recovery" pattern:"^(none|(restart|reboot)( after ([0-9]+(\\.[0-9]+)?(h|m|s|ms))+)?)$" example:"restart after 1m"`
	// Windows: absent stops and removes the service.
	State string `json:"state,omitzero" fit:"state" on:"windows" enum:"present,absent" title:"State"`
	// The unit that the name leads to.
	Unit string `json:"unit,omitzero" fit:"observed" title:"Unit"`
	// What systemctl is-enabled says: enabled, disabled, static, masked and so on; not-found where there is no such unit.
	Enablement string `json:"enablement,omitzero" fit:"observed" title:"Enablement"`
	// What systemctl is-active says, with the details: active (running), failed (failed) and so on.
	Active string `json:"active,omitzero" fit:"observed" title:"State"`
	// The links that enable it, name it otherwise or mask it, with what they point to.
	Links map[string]string `json:"links,omitzero" fit:"observed,undo" title:"Links"`
	// Folders that such links would be in, and that are missing.
	NoFolders []string `json:"noFolders,omitzero" fit:"observed" title:"Missing folders of links"`
	// Why undo couldn't make the service of Windows again.
	Lost string `json:"lost,omitzero" fit:"observed" title:"Why it can't be made again"`
}

// Services implements Service.
type Services struct{}

var (
	_ modules.Resource[Service]      = Services{}
	_ modules.BatchObserver[Service] = Services{}
	_ modules.Checker[Service]       = Services{}
	_ modules.Notified[Service]      = Services{}
	_ modules.Referrer[Service]      = Services{}
)

// Platforms are where the type exists.
func (Services) Platforms() []string { return []string{"linux", "windows"} }

// Refs names what usually brings a unit: its package, its file or link, its drop-ins.
func (Services) Refs(want Service) []string {
	unit := unitName(want.Name)
	base := strings.TrimSuffix(unit, path.Ext(unit))
	refs := []string{"packages/" + base, "files//etc/init.d/" + base}
	for _, p := range packagesOf(base) {
		refs = append(refs, "packages/"+p)
	}
	units := []string{unit}
	if prefix, instance, ok := strings.Cut(base, "@"); ok && instance != "" {
		units = append(units, prefix+"@"+path.Ext(unit))
		refs = append(refs, "packages/"+prefix)
	}
	for _, u := range units {
		for _, dir := range []string{"/etc/systemd/system/", "/usr/local/lib/systemd/system/"} {
			refs = append(refs, "files/"+dir+u, "links/"+dir+u, "files/"+dir+u+".d/", "links/"+dir+u+".d/")
		}
	}
	if path.Ext(unit) != ".service" { // a timer or socket starts the service of its name
		refs = append(refs, "files//etc/systemd/system/"+base+".service")
	}
	return refs
}

// packagesOf are the packages of well-known services that have another name.
func packagesOf(service string) []string {
	switch service {
	case "ssh", "sshd":
		return []string{"openssh-server"}
	case "docker":
		return []string{"docker.io", "docker-ce"}
	case "mariadb", "mysql":
		return []string{"mariadb-server", "mysql-server", "default-mysql-server"}
	case "named", "bind9":
		return []string{"bind9"}
	case "smbd", "nmbd", "winbind":
		return []string{"samba", "winbind"}
	case "NetworkManager":
		return []string{"network-manager"}
	case "ModemManager":
		return []string{"modemmanager"}
	case "bluetooth":
		return []string{"bluez"}
	case "cups", "cups-browsed":
		return []string{"cups-daemon", "cups-browsed"}
	case "nfs-server":
		return []string{"nfs-kernel-server"}
	case "smartd":
		return []string{"smartmontools"}
	case "chronyd":
		return []string{"chrony"}
	case "atd":
		return []string{"at"}
	case "redis":
		return []string{"redis-server"}
	case "polkit":
		return []string{"polkitd"}
	case "apt-daily", "apt-daily-upgrade":
		return []string{"apt"}
	case "libvirtd":
		return []string{"libvirt-daemon-system"}
	}
	return nil
}

// Check refuses what contradicts itself.
func (Services) Check(want Service) error {
	unit := unitName(want.Name)
	if !isUnitName(unit) && !isWindowsName(want.Name) {
		return fmt.Errorf("name: %q is not a unit's name", want.Name)
	}
	if is(want.Masked, true) && is(want.Enabled, true) {
		return errors.New("masked: a masked service can't be enabled")
	}
	if is(want.Masked, true) && is(want.Running, true) {
		return errors.New("masked: a masked service can't be running")
	}
	if base := strings.TrimSuffix(unit, path.Ext(unit)); strings.HasSuffix(base, "@") && want.Running != nil {
		return fmt.Errorf("running: %s is a template; only an instance of it, as in %sname, can run", want.Name, base)
	}
	return checkWindows(want)
}

// Observe observes one service.
func (s Services) Observe(ctx context.Context, h *host.Host, want Service) (Service, error) {
	o := s.ObserveAll(ctx, h, []Service{want})[0]
	return o.Have, o.Err
}

// ObserveAll observes services with one conversation, or by their files where no system runs.
func (s Services) ObserveAll(ctx context.Context, h *host.Host, wants []Service) []modules.Observation[Service] {
	return observeAll(ctx, h, wants)
}

// observeUnits observes the units of systemd.
func observeUnits(ctx context.Context, h *host.Host, wants []Service) []modules.Observation[Service] {
	out := make([]modules.Observation[Service], len(wants))
	var names []string
	for i, want := range wants {
		if out[i].Err = errors.Join(Services{}.Check(want), windowsAlone(want)); out[i].Err == nil {
			names = append(names, unitName(want.Name))
		}
	}
	if names == nil {
		return out
	}
	units, err := unitsOf(ctx, h, names)
	for i, want := range wants {
		switch {
		case out[i].Err != nil:
			continue
		case err != nil:
			out[i].Err = err
			continue
		case units[0].err != nil:
			out[i].Err = units[0].err
		default:
			out[i].Have = units[0].service(want)
			if want.Links == nil { // undo takes a mask away first
				out[i].Err = units[0].possible(h, want)
			}
			if out[i].Err == nil && (want.Enabled != nil || want.Masked != nil || want.Links != nil) {
				out[i].Have.Links, out[i].Err = linksAbout(h, units[0].name)
				out[i].Have.NoFolders = missingFolders(h, units[0].name)
			}
		}
		units = units[1:]
	}
	return out
}

func unitsOf(ctx context.Context, h *host.Host, names []string) ([]unit, error) {
	if h.Living() {
		return living(ctx, h, names)
	}
	out := make([]unit, len(names))
	for i, name := range names {
		out[i] = unitOf(h, name)
	}
	return out, nil
}

// Apply brings a service to its state.
func (s Services) Apply(ctx context.Context, h *host.Host, want, _ Service) (modules.Outcome, error) {
	if err := s.Check(want); err != nil {
		return modules.Outcome{}, err
	}
	if h.Living() {
		return modules.Outcome{}, apply(ctx, h, want)
	}
	return modules.Outcome{}, applyFiles(h, want)
}

// Notified restarts or reloads a service that runs.
func (s Services) Notified(ctx context.Context, h *host.Host, want Service) error {
	if !h.Living() {
		return nil // it reads its configuration when the machine starts
	}
	return notified(ctx, h, want)
}

// unit is what is known of a unit.
type unit struct {
	name, id    string // as asked for, and what that leads to
	load        string // of the running system: loaded, not-found, masked, bad-setting, ...
	loadError   string
	active      string
	sub         string
	files       string // as systemctl is-enabled says; "" for none
	halfEnabled bool   // some of the links that enable it are missing
	initScript  bool   // run by a script in /etc/init.d
	needReload  bool   // its files have changed since systemd read them; not observed
	err         error
}

func (u unit) missing() bool {
	return u.files == "" && (u.load == "" || u.load == "not-found")
}

// service is the unit as the resource type tells it. What is half of one and half of the other, such as enabled until the
// next start, is neither.
func (u unit) service(want Service) Service {
	have := Service{Name: want.Name, Unit: u.id, Enablement: u.files}
	if u.missing() {
		have.Unit, have.Enablement = "", "not-found"
	}
	if u.active != "" {
		have.Active = u.active + " (" + u.sub + ")"
	}
	switch u.files {
	case "enabled":
		if u.halfEnabled {
			break
		}
		have.Enabled = modules.Ptr(true)
	case "enabled-runtime":
	default:
		have.Enabled = modules.Ptr(false)
	}
	switch u.files {
	case "masked":
		have.Masked = modules.Ptr(true)
	case "masked-runtime":
	default:
		have.Masked = modules.Ptr(false)
	}
	switch u.active {
	case "active", "reloading", "refreshing", "maintenance":
		have.Running = modules.Ptr(true)
	case "activating", "deactivating":
	default:
		have.Running = modules.Ptr(false)
	}
	return have
}

// possible says why the unit can't be what is wanted.
func (u unit) possible(h *host.Host, want Service) error {
	needed := is(want.Enabled, true) || is(want.Running, true)
	if u.missing() {
		if !needed && (want.Enabled != nil || want.Running != nil || want.Masked != nil) {
			return nil // what isn't there doesn't run; and what isn't there yet can be masked
		}
		return unknownUnit(h, u.name)
	}
	masked := strings.HasPrefix(u.files, "masked")
	switch {
	case masked && needed && !is(want.Masked, false):
		return hint.New(fmt.Errorf("%s is masked", u.id), "add `masked: false` if it may run after all")
	case needed && !masked && (u.load == "error" || u.load == "bad-setting"):
		return hint.New(fmt.Errorf("systemd can't read %s: %s", u.id, u.loadError), "`systemd-analyze verify %s` on the device says more", u.id)
	case is(want.Enabled, true) && (u.files == "static" || u.files == "generated" || u.files == "transient"):
		why := "its unit has no [Install] section: others start it"
		if u.files != "static" {
			why = "its unit is " + u.files
		}
		return hint.New(fmt.Errorf("%s can't be enabled: %s", u.id, why), "leave `enabled` out")
	}
	return nil
}

func unknownUnit(h *host.Host, name string) error {
	err := fmt.Errorf("no unit %s on this device", name)
	short := strings.TrimSuffix(name, ".service")
	var names []string
	for _, dir := range append(slices.Clone(unitDirs), "/etc/init.d") {
		entries, _ := h.ReadDir(dir)
		for _, e := range entries {
			names = append(names, strings.TrimSuffix(e, ".service"))
		}
	}
	if near := hint.Near(short, names); near != "" {
		return hint.New(err, "did you mean %s?", near)
	}
	return hint.New(err, "correct the name, or declare what brings it: its package under packages, or its file under files; "+
		"where the names differ, name that entry under `after`")
}

// unitName completes a name as systemctl does.
func unitName(name string) string {
	switch path.Ext(name) {
	case ".service", ".socket", ".timer", ".path", ".mount", ".automount", ".swap", ".target", ".device", ".slice", ".scope":
		return name
	}
	return name + ".service"
}

// isUnitName says whether systemd would take it for one.
func isUnitName(name string) bool {
	for i := range len(name) {
		c := name[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(":-_.\\@", c) >= 0) {
			return false
		}
	}
	return len(name) < 256 && name[0] != '@' && name[0] != '.'
}

func is(b *bool, v bool) bool { return b != nil && *b == v }
