package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fitout-dev/fitout/engine/plan"
	"github.com/fitout-dev/fitout/engine/run"
	"github.com/fitout-dev/fitout/engine/store"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/profiles"
	"github.com/spf13/cobra"
)

type applyOptions struct {
	fleetOptions
	plan      string
	yes       bool
	detach    bool
	reconnect time.Duration
}

func newApplyCommand(a *app) *cobra.Command {
	var o applyOptions
	c := &cobra.Command{
		Use:   "apply [DEVICE|GROUP...]",
		Short: "Bring devices to the state that their profiles declare",
		Long: `Plan all devices, show what will change, ask once, and do it. Every change is proven by observing again.

A run belongs to the device, not to us: it goes on when the connection breaks, this program is killed or the machine
restarts. What was missed is fetched by ` + "`fitout attach`" + `, or by the next apply.

With --plan, exactly the plan that was saved is applied; a device that has drifted since is refused.
Ctrl-C stops each device after its current resource; a second one stops at once.

Exit status: 0 every device is in the desired state, 3 a device failed, could not be reached or has drifted,
4 declined or interrupted before everything was tried.`,
		Example: `  fitout apply -i inventory.yaml
  fitout apply -i inventory.yaml laptops --only packages --yes
  fitout apply -p sales-laptop.yaml --device ssh://root@10.0.3.42
  fitout apply --plan plan.json`,
		RunE: func(c *cobra.Command, args []string) error { return runApply(c.Context(), a, &o, args) },
	}
	c.ValidArgsFunction = o.complete
	o.fleetOptions.flags(c.Flags())
	c.Flags().DurationVar(&o.reconnect, "reconnect", 3*time.Minute, "how long to try to reach a device again whose connection broke in the middle of a run (`TIME`)")
	c.Flags().StringVar(&o.plan, "plan", "", "apply the plan in this `file`")
	c.Flags().BoolVarP(&o.yes, "yes", "y", false, "don't ask")
	c.Flags().BoolVar(&o.detach, "detach", false, "return as soon as the devices have begun; fitout attach follows them")
	return c
}

func runApply(ctx context.Context, a *app, o *applyOptions, args []string) error {
	var expected *plan.Plan
	if o.plan != "" {
		var err error
		if expected, args, err = o.from(o.plan, args); err != nil {
			return err
		}
	}
	_, canAsk := terminal(a.in)
	if !o.yes && !canAsk {
		return hint.New(fmt.Errorf("there is no terminal to ask on"), "add --yes to apply without being asked")
	}
	f, err := a.fleet(&o.fleetOptions, args)
	if err != nil {
		return err
	}
	defer f.close()
	if err := planned(expected, f.devices); err != nil {
		return err
	}
	if err := f.unsettle(""); err != nil {
		a.say("warning: what became of earlier runs isn't known: %v", err)
	}
	r := &run.Runner{ID: run.NewID(), Parallel: o.parallel, Only: o.only, Skip: o.skip, Expected: expected, Detach: o.detach, Patience: o.reconnect}
	source, err := o.source()
	if err != nil {
		return err
	}
	return a.carryOut(ctx, f, r, "apply", source, !o.yes)
}

// source is what a later command needs to reach the same devices.
func (o *fleetOptions) source() (s store.Source, err error) {
	s.OneOff = o.device
	if s.Inventory, err = absolute(o.inventory); err != nil {
		return s, err
	}
	if s.Profile = o.profile; !slices.Contains(profiles.List(), o.profile) {
		s.Profile, err = absolute(o.profile)
	}
	return s, err
}

// carryOut has a runner apply, and asks before that where it is to.
func (a *app) carryOut(ctx context.Context, f *fleet, r *run.Runner, command string, source store.Source, ask bool) error {
	var rec *recorder
	if s := f.store(); s != nil {
		rec = newRecorder(a, s, r.ID, command, source, f.devices)
		rec.all = r.Undo == "" && len(r.Only)+len(r.Skip) == 0
		r.Keep = rec.keep
	}
	return a.conduct(ctx, r, f.devices, rec, func(ctx, asking context.Context, p *progress) []run.Result {
		var confirm func([]run.Result) bool
		if ask {
			confirm = p.confirming(asking)
		}
		return r.Apply(ctx, f.devices, confirm)
	})
}

// planned refuses devices that a plan has nothing for.
func planned(expected *plan.Plan, devices []run.Device) error {
	if expected == nil {
		return nil
	}
	for _, d := range devices {
		if !slices.ContainsFunc(expected.Devices, func(p plan.Device) bool { return p.Name == d.Name }) {
			return hint.New(fmt.Errorf("the plan has nothing for %s", d.Name), "make a plan for it, or leave it out")
		}
	}
	return nil
}

// from takes what to work on from a plan file. Devices given beside it must be in it.
func (o *applyOptions) from(file string, args []string) (*plan.Plan, []string, error) {
	if o.inventory != "" || o.profile != "" || len(o.device) > 0 || len(o.only) > 0 || len(o.skip) > 0 || o.reboot != "" {
		return nil, nil, hint.New(fmt.Errorf("--plan goes with no other choice of what to do"), "a plan holds all of it: use --plan and --yes alone")
	}
	p, err := plan.Load(file)
	if err != nil {
		return nil, nil, err
	}
	o.inventory, o.profile, o.device, o.only, o.skip, o.reboot = p.Inventory, p.Profile, p.OneOff, p.Only, p.Skip, p.Reboot
	if len(p.OneOff) > 0 {
		return p, nil, nil
	}
	if len(args) == 0 {
		for _, d := range p.Devices {
			args = append(args, d.Name)
		}
	}
	return p, args, nil
}

// confirm shows the plan and asks.
func (a *app) confirm(ctx context.Context, results []run.Result) bool {
	devices := plans(results)
	plan.Render(a.err, devices, a.style(false))
	if gone := plan.Deletions(devices); len(gone) > 0 {
		fmt.Fprintf(a.err, "\n%s\n", a.paint(a.err, "31", fmt.Sprintf("%d to delete:", len(gone))))
		for _, g := range gone {
			fmt.Fprintf(a.err, "  %s\n", g)
		}
	}
	answer, err := a.ask(ctx, "Apply this? [y/N] ", true)
	return err == nil && (strings.EqualFold(answer, "y") || strings.EqualFold(answer, "yes"))
}
