package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/fitout-dev/fitout/engine/transport/ssh"
	"github.com/fitout-dev/fitout/engine/transport/winrm"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

type trustOptions struct {
	fleetOptions
	replace, yes bool
}

func newTrustCommand(a *app) *cobra.Command {
	var o trustOptions
	c := &cobra.Command{
		Use:   "trust [DEVICE|GROUP...]",
		Short: "Show the host keys or certificates of devices and keep them as trusted",
		Long: `Ask devices for their host keys, or over WinRM for their certificates, show the fingerprints, and keep them as trusted.
Compare each with what the device itself shows: ` + "`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`" + `, or what the script of
` + "`fitout bootstrap windows`" + ` has printed.

A device that was re-imaged has a new one: --replace keeps it instead of the old one.`,
		Example: `  fitout trust -i inventory.yaml lt-042
  fitout trust -i inventory.yaml laptops --yes
  fitout trust --device ssh://root@10.0.3.42 --replace
  fitout trust --device winrm://Administrator@10.0.3.43`,
		RunE: func(c *cobra.Command, args []string) error { return runTrust(c.Context(), a, &o, args) },
	}
	c.ValidArgsFunction = o.complete
	o.connection(c.Flags())
	c.Flags().BoolVar(&o.replace, "replace", false, "keep the keys or certificates instead of those that were trusted before")
	c.Flags().BoolVarP(&o.yes, "yes", "y", false, "don't ask")
	return c
}

// knownHosts is fitout's own file of host keys.
func knownHosts() (string, error) {
	dir, err := folder("config")
	return filepath.Join(dir, "known_hosts"), err
}

// knownCertificates is fitout's own file of certificates.
func knownCertificates() (string, error) {
	dir, err := folder("config")
	return filepath.Join(dir, "known_certificates"), err
}

// shown is what vouches for a device: a host key, or a certificate.
type shown struct {
	fingerprint string
	err         error // why it isn't trusted yet
	changed     bool
	key         *ssh.HostKey
	cert        *winrm.Certificate
}

// scan asks a device for it.
func (f *fleet) scan(ctx context.Context, device string) (shown, error) {
	if o, ok := f.ssh[device]; ok {
		k, err := ssh.ScanHostKey(ctx, o)
		if err != nil {
			return shown{}, err
		}
		return shown{fingerprint: k.Fingerprint(), err: k.Err, changed: k.Changed, key: &k}, nil
	}
	if o, ok := f.winrm[device]; ok {
		c, err := winrm.ScanCertificate(ctx, o)
		if err != nil {
			return shown{}, err
		}
		return shown{fingerprint: c.Fingerprint(), err: c.Err, changed: c.Changed, cert: &c}, nil
	}
	return shown{}, hint.New(fmt.Errorf("%s is reached neither by ssh nor by winrm", device), "only those have host keys or certificates to trust")
}

func runTrust(ctx context.Context, a *app, o *trustOptions, args []string) error {
	o.noProfile = true
	f, err := a.fleet(&o.fleetOptions, args)
	if err != nil {
		return err
	}
	defer f.close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer interrupts(cancel, cancel)()
	found := make([]shown, len(f.devices))
	errs := make([]error, len(f.devices))
	var g errgroup.Group
	g.SetLimit(max(o.parallel, 1))
	for i := range f.devices {
		g.Go(func() error {
			found[i], errs[i] = f.scan(ctx, f.devices[i].Name)
			if errs[i] == nil && found[i].changed && !o.replace {
				errs[i] = found[i].err
			}
			return nil
		})
	}
	g.Wait()
	var keys []ssh.HostKey
	var certs []winrm.Certificate
	code := exitDone
	for i, d := range f.devices {
		if errors.Is(errs[i], winrm.ErrNoCertificate) && len(f.devices) > 1 { // one of a fleet, which is fine
			a.say("%s: %v: nothing to trust", d.Name, winrm.ErrNoCertificate)
			continue
		}
		if errs[i] != nil {
			code = exitFailed
			a.showOf(d.Name, errs[i])
			continue
		}
		s, known := found[i], "new"
		switch {
		case s.err == nil:
			known = "trusted already"
		case s.changed:
			known = "changed"
		}
		switch {
		case s.err == nil:
		case s.key != nil:
			keys = append(keys, *s.key)
		default:
			certs = append(certs, *s.cert)
		}
		if a.json {
			a.printJSON(map[string]string{"device": d.Name, "address": d.Address, "fingerprint": s.fingerprint, "status": known})
		} else {
			fmt.Fprintf(a.out, "%s  %s  %s  %s\n", d.Name, d.Address, s.fingerprint, known)
		}
	}
	if len(keys)+len(certs) == 0 {
		return status(code)
	}
	if !o.yes {
		if _, ok := terminal(a.in); !ok {
			return hint.New(fmt.Errorf("there is no terminal to ask on"), "compare the fingerprints, then add --yes")
		}
		answer, err := a.ask(ctx, fmt.Sprintf("Trust %s? [y/N] ", these(keys, certs)), true)
		if err != nil || answer != "y" && answer != "yes" {
			return exit(exitStopped)
		}
	}
	if err := a.keep(o.replace, keys, certs); err != nil {
		return err
	}
	return status(code)
}

// keep writes down what is trusted.
func (a *app) keep(replace bool, keys []ssh.HostKey, certs []winrm.Certificate) error {
	if len(keys) > 0 {
		file, err := knownHosts()
		if err == nil {
			err = ssh.Trust(file, replace, keys...)
		}
		if err != nil {
			return err
		}
		a.say("trusted: %s, kept in %s", these(keys, nil), file)
	}
	if len(certs) > 0 {
		file, err := knownCertificates()
		if err == nil {
			err = winrm.Trust(file, replace, certs...)
		}
		if err != nil {
			return err
		}
		a.say("trusted: %s, kept in %s", these(nil, certs), file)
	}
	return nil
}

func these(keys []ssh.HostKey, certs []winrm.Certificate) string {
	one, many := "key", "keys"
	switch {
	case len(keys) == 0:
		one, many = "certificate", "certificates"
	case len(certs) > 0:
		many = "keys and certificates"
	}
	if n := len(keys) + len(certs); n > 1 {
		return fmt.Sprintf("these %d %s", n, many)
	}
	return "this " + one
}
