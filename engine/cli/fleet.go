package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/engine/inventory"
	"github.com/fitout-dev/fitout/engine/profile"
	"github.com/fitout-dev/fitout/engine/run"
	"github.com/fitout-dev/fitout/engine/secret"
	"github.com/fitout-dev/fitout/engine/store"
	"github.com/fitout-dev/fitout/engine/transport"
	"github.com/fitout-dev/fitout/engine/transport/elevate"
	"github.com/fitout-dev/fitout/engine/transport/local"
	"github.com/fitout-dev/fitout/engine/transport/ssh"
	"github.com/fitout-dev/fitout/engine/transport/winrm"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/profiles"
	"github.com/fitout-dev/fitout/schema"
	"github.com/hashicorp/go-multierror"
	"github.com/spf13/pflag"
)

// fleetOptions say which devices to work on, and how.
type fleetOptions struct {
	inventory, profile string
	device             []string
	only, skip         []string
	parallel           int
	reboot             string // "" leaves it to the profile
	noProfile          bool   // the command needs none
}

// connection adds the flags that say which devices.
func (o *fleetOptions) connection(f *pflag.FlagSet) {
	f.StringVarP(&o.inventory, "inventory", "i", "", "the inventory `file`; default: inventory.yaml where there is one")
	f.StringArrayVar(&o.device, "device", nil, "a device that is in no inventory, as a `URL`: ssh://USER@ADDRESS[:PORT], winrm://USER@ADDRESS[:PORT], or local; may be repeated")
	f.IntVar(&o.parallel, "parallel", 50, "how many devices to work on at once (`N`)")
}

func (o *fleetOptions) flags(f *pflag.FlagSet) {
	o.connection(f)
	o.profileFlag(f)
	f.StringSliceVar(&o.only, "only", nil, "only these `resources`: types or addresses, such as packages or users/alice")
	f.StringSliceVar(&o.skip, "skip", nil, "all but these `resources`")
	f.StringVar(&o.reboot, "reboot", "", "whether devices may be rebooted where a change needs it, `POLICY`: never or ifNeeded, whatever their profiles say")
}

func (o *fleetOptions) profileFlag(f *pflag.FlagSet) {
	f.StringVarP(&o.profile, "profile", "p", "", "this profile (a `file`, or the name of a shipped one) for all devices")
}

// fleet is the devices to work on, ready to run.
type fleet struct {
	devices []run.Device
	ssh     map[string]ssh.Options // of those that are reached so
	winrm   map[string]winrm.Options

	opening sync.Once
	kept    *store.Store
	known   map[string]platform       // of last time
	learnt  map[string]map[string]any // facts of devices that have another platform now
	mu      sync.Mutex
}

const defaultInventory = "inventory.yaml"

type platform struct{ os, arch string }

func platformOf(facts map[string]any) (p platform) {
	p.os, _ = facts["os"].(string)
	p.arch, _ = facts["arch"].(string)
	return p
}

// namesFolder is where the names of large files are remembered; without a home they aren't.
func namesFolder() string {
	state, err := folder("state")
	if err != nil {
		return ""
	}
	return filepath.Join(state, "names")
}

func (o *fleetOptions) checkReboot() error {
	if policies := []string{"", wire.RebootNever, wire.RebootIfNeeded}; !slices.Contains(policies, o.reboot) {
		return hint.New(fmt.Errorf("--reboot %s: no such policy", o.reboot), "there are %s and %s", wire.RebootNever, wire.RebootIfNeeded)
	}
	return nil
}

// fleet finds the devices that the flags and arguments name, and compiles nothing yet. All mistakes are told at once.
func (a *app) fleet(o *fleetOptions, args []string) (*fleet, error) {
	if o.parallel < 1 {
		return nil, fmt.Errorf("--parallel %d: at least one device at a time", o.parallel)
	}
	if err := o.checkReboot(); err != nil {
		return nil, err
	}
	loader := &profile.Loader{Secrets: secret.Env{}, Names: namesFolder()}
	devices, err := a.find(o, args, loader)
	if err != nil {
		return nil, err
	}
	f := &fleet{ssh: map[string]ssh.Options{}, winrm: map[string]winrm.Options{}, learnt: map[string]map[string]any{}}
	var faults *multierror.Error
	seen := map[string]bool{}
	for _, d := range devices {
		r, err := a.device(f, d, len(o.device) > 0)
		if err == nil && !o.noProfile {
			err = o.compiled(loader, d, &r)
		}
		if err != nil && !seen[err.Error()] { // many devices may have one bad profile
			seen[err.Error()] = true
			faults = multierror.Append(faults, err)
		}
		f.devices = append(f.devices, r)
	}
	if faults != nil {
		if len(faults.Errors) == 1 {
			return nil, faults.Errors[0]
		}
		return nil, faults
	}
	go f.store() // opening the store takes as long as connecting: do both at once
	return f, nil
}

func (a *app) find(o *fleetOptions, args []string, loader *profile.Loader) ([]inventory.Device, error) {
	if len(o.device) > 0 {
		if o.inventory != "" || len(args) > 0 {
			return nil, hint.New(errors.New("--device goes with no inventory and no names"), "put the device into the inventory to use both")
		}
		if o.profile == "" && !o.noProfile {
			return nil, hint.New(errors.New("no profile is given"), "add -p PROFILE; `fitout profiles` lists those that ship with fitout")
		}
		var out []inventory.Device
		names := map[string]int{}
		for _, text := range o.device {
			d, err := inventory.OneOff(text)
			if err != nil {
				return nil, err
			}
			if names[d.Name]++; names[d.Name] > 1 {
				d.Name = fmt.Sprintf("%s:%d", d.Name, d.Connect.Port)
			}
			out = append(out, d)
		}
		loader.Secrets = a.secretsNear(o.profile)
		return out, nil
	}
	if o.inventory == "" {
		if _, err := os.Stat(defaultInventory); err != nil {
			return nil, hint.New(errors.New("no device is given"), "add -i INVENTORY, or --device ssh://USER@ADDRESS; `fitout demo` needs neither")
		}
		o.inventory = defaultInventory
	}
	inv, err := inventory.Load(o.inventory, inventory.Options{Keys: a.keys(context.Background())})
	if err != nil {
		return nil, err
	}
	loader.Secrets, loader.Variables = inv.Secrets, inv.Variables
	devices, err := inv.Select(args...)
	if err == nil && len(devices) == 0 {
		err = hint.New(fmt.Errorf("%s: no devices", o.inventory), "list some under devices:")
	}
	return devices, err
}

// secretsNear is where a profile without an inventory takes secrets from: the file that `fitout secret` makes, beside the
// profile or here, and FITOUT_SECRET_NAME.
func (a *app) secretsNear(profile string) secret.Source {
	for _, dir := range []string{filepath.Dir(profile), "."} {
		path := filepath.Join(dir, defaultSecrets)
		if _, err := os.Stat(path); err == nil {
			return secret.Env{Else: a.secrets(context.Background(), path)}
		}
	}
	return secret.Env{}
}

// compiled gives a device its profile.
func (o *fleetOptions) compiled(loader *profile.Loader, d inventory.Device, r *run.Device) error {
	name := d.Profile
	if o.profile != "" {
		name = o.profile
	}
	if name == "" {
		return hint.New(fmt.Errorf("%s: no profile", d.Name), "name one in the inventory (profile: NAME), or with -p")
	}
	p, err := loader.Load(name)
	if err != nil {
		return err
	}
	r.Profile = p.Name
	r.Compile = func(facts map[string]any) (*profile.Compiled, error) {
		c, err := d.Compile(p, facts)
		if err == nil && o.reboot != "" {
			c.RebootPolicy(o.reboot)
		}
		return c, err
	}
	return nil
}

// retarget is where tests put folders in the place of devices' roots.
var retarget = func(device string, t run.Target) run.Target { return t }

// device says how a device is reached. One that is in no inventory has no name of its own in messages and hints.
func (a *app) device(f *fleet, d inventory.Device, oneOff bool) (run.Device, error) {
	c := d.Connect
	r := run.Device{Name: d.Name, Address: d.Address, NoPull: c.NoPull}
	var dial func(ctx context.Context) (elevate.Inner, error)
	user, guess := "", platform{}
	switch c.Transport {
	case "ssh":
		o, err := a.sshOptions(d)
		if err != nil {
			return r, err
		}
		if oneOff {
			o.Device = ""
		}
		f.ssh[d.Name] = o
		user = o.User
		dial = func(ctx context.Context) (elevate.Inner, error) { return ssh.Dial(ctx, o) }
	case "local":
		if os.Geteuid() == 0 {
			user = "root"
		}
		dial = func(context.Context) (elevate.Inner, error) { return local.New(), nil }
	case "winrm":
		o, err := a.winrmOptions(d)
		if err != nil {
			return r, err
		}
		if oneOff {
			o.Device = ""
		}
		f.winrm[d.Name] = o
		guess = platform{"windows", "amd64"}
		r.Dial = func(ctx context.Context) (transport.Transport, error) { return winrm.Dial(ctx, o) }
	default:
		return r, fmt.Errorf("%s: there is no transport %q", d.Name, c.Transport)
	}
	// A remote logon of an administrator has all rights from the start, and WinRM lets hardly anybody else in.
	r.Target = retarget(d.Name, run.Target{Elevate: c.Sudo, Privileged: user == "root" || c.Transport == "winrm"})
	r.Target.Platform = func() (string, string) {
		goos, arch := f.platform(d.Name)
		if goos == "" {
			return guess.os, guess.arch
		}
		return goos, arch
	}
	if r.Dial == nil {
		r.Dial = elevated(d.Name, c.Sudo, c.SudoPassword, dial)
	}
	if o, ok := f.ssh[d.Name]; ok {
		r.Redial = redial(d, o, r.Target)
	} else {
		way := run.Way{Dial: r.Dial, Target: r.Target} // it is no other one
		way.Redial = func(map[string]any) (run.Way, error) { return way, nil }
		r.Redial = way.Redial
	}
	return r, nil
}

func elevated(device string, sudo bool, password secret.Value, dial func(context.Context) (elevate.Inner, error)) func(context.Context) (transport.Transport, error) {
	return func(ctx context.Context) (transport.Transport, error) {
		t, err := dial(ctx)
		if err != nil || !sudo {
			return t, err
		}
		return elevate.New(t, elevate.Options{Device: device, Password: revealed(password)}), nil
	}
}

func (a *app) sshOptions(d inventory.Device) (ssh.Options, error) {
	known, err := knownHosts()
	if err != nil {
		return ssh.Options{}, err
	}
	c := d.Connect
	o := ssh.Options{Device: d.Name, Address: d.Address, Port: c.Port, User: d.User, Password: revealed(c.Password),
		IdentityFile: c.IdentityFile, Jump: c.Jump, HostKey: c.HostKey, KnownHosts: known, Timeout: c.Timeout}
	if _, ok := terminal(a.in); ok {
		o.Prompt = a.ask
	}
	return o, nil
}

func (a *app) winrmOptions(d inventory.Device) (winrm.Options, error) {
	c := d.Connect
	if c.Sudo {
		return winrm.Options{}, hint.New(fmt.Errorf("%s: sudo goes with ssh only", d.Name), "over WinRM an administrator has all rights at once: leave `sudo` out")
	}
	if c.Jump != "" {
		return winrm.Options{}, hint.New(fmt.Errorf("%s: jump goes with ssh only", d.Name), "set HTTPS_PROXY where WinRM has to go through another machine")
	}
	known, err := knownCertificates()
	if err != nil {
		return winrm.Options{}, err
	}
	o := winrm.Options{Device: d.Name, Address: d.Address, Port: c.Port, User: d.User, Password: revealed(c.Password), Auth: c.Auth, TLS: c.TLS,
		Fingerprint: c.Fingerprint, CAFile: c.CAFile, Known: known, Realm: c.Realm, Keytab: c.Keytab, CertFile: c.IdentityFile, Timeout: c.Timeout}
	if _, ok := terminal(a.in); ok {
		o.Prompt = a.ask
	}
	return o, nil
}

// revealed hands a password to a transport, which gives it to the device it is for.
func revealed(v secret.Value) func() (string, error) {
	if v == (secret.Value{}) {
		return nil
	}
	return func() (string, error) { return v.Reveal(), nil }
}

// checkFile checks a profile or an inventory with all its profiles.
func (a *app) checkFile(o *fleetOptions, file string) error {
	if file == o.profile { // a name will do, too
		return a.checkProfile(o, file)
	}
	isInventory, err := looksLikeInventory(file)
	if err != nil {
		return err
	}
	if isInventory {
		_, err := a.fleet(&fleetOptions{inventory: file, profile: o.profile, parallel: 1}, nil)
		return err
	}
	return a.checkProfile(o, file)
}

func (a *app) checkProfile(o *fleetOptions, name string) error {
	loader := &profile.Loader{Secrets: a.secretsNear(name), Names: namesFolder()}
	if o.inventory != "" {
		inv, err := inventory.Load(o.inventory, inventory.Options{Keys: a.keys(context.Background())})
		if err != nil {
			return err
		}
		loader.Secrets, loader.Variables = inv.Secrets, inv.Variables
	}
	_, err := loader.Load(name)
	return err
}

// looksLikeInventory tells the two kinds of files apart by their keys. What is broken counts as a profile: it is read
// again, and its errors told.
func looksLikeInventory(file string) (bool, error) {
	if _, shipped := strings.CutPrefix(file, profiles.Shipped); shipped || slices.Contains(profiles.List(), file) {
		return false, nil
	}
	fi, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, hint.New(fmt.Errorf("no file %s", file), "check the path; `fitout profiles` lists what ships with fitout")
	case err != nil:
		return false, err
	case fi.IsDir():
		return false, hint.New(fmt.Errorf("%s is a folder", file), "name the files in it: %s", filepath.Join(file, "*.yaml"))
	}
	if err := profile.Exists(file); err != nil {
		return false, err
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return false, err
	}
	d, _ := schema.Read(file, b)
	if d == nil {
		return false, nil
	}
	k, _ := schema.Find(d.Root, "devices")
	return k != nil, nil
}

// store opens the store of runs once. A store that can't be opened must not keep anybody from working.
func (f *fleet) store() *store.Store {
	f.opening.Do(func() {
		s, err := openStore()
		if err != nil {
			return
		}
		f.kept = s
		f.known = map[string]platform{}
		facts, _ := s.Facts()
		for device := range facts {
			f.known[device] = platformOf(facts[device])
		}
	})
	return f.kept
}

// platform is what a device was last time; "" where it isn't known.
func (f *fleet) platform(device string) (goos, arch string) {
	f.store()
	p := f.known[device]
	return p.os, p.arch
}

// learn keeps a device's facts for next time, where its platform is news.
func (f *fleet) learn(e run.Event) {
	f.store()
	if e.Facts == nil || f.known[e.Device] == platformOf(e.Facts) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.learnt[e.Device] = e.Facts
}

// unsettle tells the devices which runs were begun on them and not followed to their end: all, or one alone.
func (f *fleet) unsettle(only string) error {
	s := f.store()
	if s == nil {
		return nil
	}
	open, err := s.Unsettled()
	if err != nil {
		return err
	}
	for i := range f.devices {
		for _, u := range open[f.devices[i].Name] {
			if only == "" || u.Run == only {
				f.devices[i].Unsettled = append(f.devices[i].Unsettled, run.Unsettled(u))
			}
		}
	}
	if only != "" {
		return nil
	}
	return f.doubt()
}

// doubt tells the devices since which runs they may owe notifications.
func (f *fleet) doubt() error {
	s := f.store()
	if s == nil {
		return nil
	}
	doubts, err := s.Doubts()
	if err != nil {
		return err
	}
	for i := range f.devices {
		d := &f.devices[i]
		for _, doubt := range doubts[d.Name] {
			d.Doubts = append(d.Doubts, run.Doubt{Memory: doubt.Memory, Events: func() ([]wire.Event, error) { return s.Events(doubt.Run, d.Name) }})
		}
	}
	return nil
}

func (f *fleet) close() {
	if s := f.store(); s != nil {
		if len(f.learnt) > 0 {
			s.SetFacts(f.learnt)
		}
		s.Close()
	}
}
