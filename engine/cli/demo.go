package cli

import (
	"context"
	"crypto/ed25519"
	_ "embed"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/fitout-dev/fitout/engine/plan"
	"github.com/fitout-dev/fitout/engine/profile"
	"github.com/fitout-dev/fitout/engine/run"
	"github.com/fitout-dev/fitout/engine/transport"
	"github.com/fitout-dev/fitout/engine/transport/ssh"
	"github.com/fitout-dev/fitout/engine/transport/sshserver"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/spf13/cobra"
	gossh "golang.org/x/crypto/ssh"
)

//go:embed demo.yaml
var demoProfile []byte

// DemoMachine is a throw-away machine for `fitout demo --machines`.
type DemoMachine struct {
	Name, Address, User, IdentityFile, KnownHosts string
	// Run runs a shell script on the machine, without fitout.
	Run func(ctx context.Context, script string) (string, error)
}

// DemoMachines boots n of them. The program's main sets it where there is something that can; close ends them.
var DemoMachines func(ctx context.Context, n int) (machines []DemoMachine, close func(), err error)

func newDemoCommand(a *app) *cobra.Command {
	n := 0
	c := &cobra.Command{
		Use:   "demo",
		Short: "See fitout work on a throw-away device",
		Long: `See fitout work: a plan, an apply, nothing left to do, damage, repair.

The device is a folder behind an SSH server that this command starts on 127.0.0.1 with a fresh host key; no root, container
or network is needed. With --machines it is real Debian machines, which takes root on Linux.`,
		Example: `  fitout demo
  sudo fitout demo --machines 4`,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, cancel := context.WithCancel(c.Context())
			defer cancel()
			defer interrupts(cancel, cancel)()
			return runDemo(ctx, a, n)
		},
	}
	c.Flags().IntVar(&n, "machines", 0, "use `N` real Debian machines")
	return c
}

func runDemo(ctx context.Context, a *app, n int) error {
	dir, err := os.MkdirTemp("", "fitout-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "demo.yaml")
	if err := os.WriteFile(file, demoProfile, 0o644); err != nil {
		return err
	}
	p, err := (&profile.Loader{}).Load(file)
	if err != nil {
		return err
	}
	d := &demo{a: a, profile: p, start: time.Now()}
	if n > 0 {
		err = d.machines(ctx, n)
	} else {
		err = d.folder(dir)
	}
	if err != nil {
		return err
	}
	defer d.close()
	return d.show(ctx)
}

// demo is the show: some devices, and how to damage one of them.
type demo struct {
	a       *app
	profile *profile.Profile
	devices []run.Device
	damage  func(context.Context) error
	close   func()
	start   time.Time
}

func (d *demo) device(name, address string, dial func(context.Context) (transport.Transport, error)) run.Device {
	return run.Device{Name: name, Address: address, Profile: "demo.yaml", Dial: dial,
		Compile: func(facts map[string]any) (*profile.Compiled, error) {
			return d.profile.Compile(profile.Device{Name: name, Facts: facts})
		}}
}

// folder makes a device of a folder, behind an SSH server in this process.
func (d *demo) folder(dir string) error {
	root := filepath.Join(dir, "device")
	for path, text := range map[string]string{
		"etc/os-release":      "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"a folder that plays a device\"\n",
		"etc/passwd":          "root:x:0:0:root:/root:/bin/sh\n",
		"etc/group":           "root:x:0:\n",
		"etc/hosts":           "127.0.0.1 localhost\n",
		"etc/environment":     "",
		"etc/motd":            "Welcome.\n",
		"usr/bin/nano":        "",
		"usr/local/bin/.keep": "",
		"srv/.keep":           "",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, path)), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(root, path), []byte(text), 0o644); err != nil {
			return err
		}
	}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	signer, err := gossh.NewSignerFromKey(key)
	if err != nil {
		return err
	}
	block, err := gossh.MarshalPrivateKey(key, "")
	if err != nil {
		return err
	}
	identity := filepath.Join(dir, "id_ed25519")
	if err := os.WriteFile(identity, pem.EncodeToMemory(block), 0o600); err != nil {
		return err
	}
	server, err := sshserver.Start(sshserver.Options{AuthorizedKey: signer.PublicKey(), SFTP: true})
	if err != nil {
		return err
	}
	d.close = func() { server.Close() }
	d.a.say("The device is the folder %s behind an SSH server of our own at %s.", root, server.Address())
	dev := d.device("demo", server.Address(), func(ctx context.Context) (transport.Transport, error) {
		return ssh.Dial(ctx, ssh.Options{Device: "demo", Address: server.Address(), User: "demo", IdentityFile: identity, HostKey: server.HostKey(), ConfigFile: "none", HomeDir: dir})
	})
	dev.Target = run.Target{Root: root, Dir: filepath.Join(dir, "kept")}
	d.devices = []run.Device{dev}
	d.damage = func(context.Context) error {
		if err := os.Remove(filepath.Join(root, "etc/motd")); err != nil {
			return err
		}
		return os.Chmod(filepath.Join(root, "srv/sales"), 0o777)
	}
	return nil
}

// machines boots real ones.
func (d *demo) machines(ctx context.Context, n int) error {
	if DemoMachines == nil {
		return hint.New(fmt.Errorf("this fitout can't boot machines"), "run `go run . demo --machines %d` in fitout's source, as root on Linux", n)
	}
	d.a.say("Booting %d Debian machines; the first time, their file system is made, which takes a minute.", n)
	machines, end, err := DemoMachines(ctx, n)
	if err != nil {
		return err
	}
	d.close = end
	for _, m := range machines {
		dev := d.device(m.Name, m.Address, func(ctx context.Context) (transport.Transport, error) {
			return ssh.Dial(ctx, ssh.Options{Device: m.Name, Address: m.Address, User: m.User, IdentityFile: m.IdentityFile, KnownHosts: m.KnownHosts, ConfigFile: "none"})
		})
		dev.Target = run.Target{Privileged: true}
		d.devices = append(d.devices, dev)
	}
	d.damage = func(ctx context.Context) error {
		_, err := machines[0].Run(ctx, "rm /etc/motd && chmod 777 /srv/sales")
		return err
	}
	return nil
}

func (d *demo) show(ctx context.Context) error {
	d.title("The profile")
	fmt.Fprintf(d.a.out, "%s", demoProfile)
	steps := []struct {
		title  string
		apply  bool
		before func(context.Context) error
		want   run.Status
	}{
		{"fitout plan: what would change", false, nil, run.Pending},
		{"fitout apply: it is done, and each change is proven by observing again", true, nil, run.Changed},
		{"fitout apply, again: nothing is left to do", true, nil, run.Converged},
		{"Somebody removes /etc/motd and opens /srv/sales to everyone; fitout plan finds it", false, d.damage, run.Pending},
		{"fitout apply: repaired", true, nil, run.Changed},
	}
	for _, s := range steps {
		if s.before != nil {
			if err := s.before(ctx); err != nil {
				return err
			}
		}
		d.title(s.title)
		start := time.Now()
		var results []run.Result
		r := &run.Runner{}
		if s.apply {
			results = r.Apply(ctx, d.devices, nil)
		} else {
			results = r.Plan(ctx, d.devices)
			plan.Render(d.a.out, plans(results), d.a.style(false))
		}
		ok := results[0].Status == s.want // damage was done to the first
		for _, r := range results {
			ok = ok && r.Err == nil
		}
		if s.apply || !ok {
			(&progress{a: d.a, start: start}).outcome("", results)
		}
		d.a.say("(%d ms)", time.Since(start).Milliseconds())
		if ctx.Err() != nil {
			return exit(exitStopped)
		}
		if !ok {
			return exit(exitFailed)
		}
	}
	d.a.say("\nThat was all, in %.1f s. Nothing is left behind. For a real device: fitout plan --help", time.Since(d.start).Seconds())
	return nil
}

func (d *demo) title(text string) {
	fmt.Fprintf(d.a.out, "\n%s\n", d.a.paint(d.a.out, "1;36", "── "+text+" "))
}
