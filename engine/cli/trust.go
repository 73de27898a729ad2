package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/fitout-dev/fitout/engine/transport/ssh"
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
		Short: "Show the host keys of devices and keep them as trusted",
		Long: `Ask devices for their host keys, show the fingerprints, and keep them as trusted. Compare each with what the device itself
shows: ` + "`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`" + `.

A device that was re-imaged has a new key: --replace keeps it instead of the old one.`,
		Example: `  fitout trust -i inventory.yaml lt-042
  fitout trust -i inventory.yaml laptops --yes
  fitout trust --device ssh://root@10.0.3.42 --replace`,
		RunE: func(c *cobra.Command, args []string) error { return runTrust(c.Context(), a, &o, args) },
	}
	c.ValidArgsFunction = o.complete
	o.connection(c.Flags())
	c.Flags().BoolVar(&o.replace, "replace", false, "keep the keys instead of those that were trusted before")
	c.Flags().BoolVarP(&o.yes, "yes", "y", false, "don't ask")
	return c
}

// knownHosts is fitout's own file of host keys.
func knownHosts() (string, error) {
	dir, err := folder("config")
	return filepath.Join(dir, "known_hosts"), err
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
	file, err := knownHosts()
	if err != nil {
		return err
	}
	keys := make([]*ssh.HostKey, len(f.devices))
	errs := make([]error, len(f.devices))
	var g errgroup.Group
	g.SetLimit(max(o.parallel, 1))
	var mu sync.Mutex
	for i := range f.devices {
		g.Go(func() error {
			options, ok := f.ssh[f.devices[i].Name]
			if !ok {
				errs[i] = hint.New(fmt.Errorf("%s is not reached by ssh", f.devices[i].Name), "only ssh has host keys to trust")
				return nil
			}
			k, err := ssh.ScanHostKey(ctx, options)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				errs[i] = err
			case k.Changed && !o.replace:
				errs[i] = k.Err
			default:
				keys[i] = &k
			}
			return nil
		})
	}
	g.Wait()
	var good []ssh.HostKey
	code := exitDone
	for i, d := range f.devices {
		if errs[i] != nil {
			code = exitFailed
			a.showOf(d.Name, errs[i])
			continue
		}
		known := "new"
		switch {
		case keys[i].Err == nil:
			known = "trusted already"
		case keys[i].Changed:
			known = "changed"
		}
		if keys[i].Err != nil {
			good = append(good, *keys[i])
		}
		if a.json {
			a.printJSON(map[string]string{"device": d.Name, "address": d.Address, "fingerprint": keys[i].Fingerprint(), "status": known})
		} else {
			fmt.Fprintf(a.out, "%s  %s  %s  %s\n", d.Name, d.Address, keys[i].Fingerprint(), known)
		}
	}
	if len(good) == 0 {
		return status(code)
	}
	if !o.yes {
		if _, ok := terminal(a.in); !ok {
			return hint.New(fmt.Errorf("there is no terminal to ask on"), "compare the fingerprints, then add --yes")
		}
		answer, err := a.ask(ctx, fmt.Sprintf("Trust %s? [y/N] ", keysWord(len(good))), true)
		if err != nil || answer != "y" && answer != "yes" {
			return exit(exitStopped)
		}
	}
	if err := ssh.Trust(file, o.replace, good...); err != nil {
		return err
	}
	a.say("trusted: %s, kept in %s", keysWord(len(good)), file)
	return status(code)
}

func keysWord(n int) string {
	if n == 1 {
		return "this key"
	}
	return fmt.Sprintf("these %d keys", n)
}
