package cli

import (
	"context"
	"path/filepath"
	"slices"
	"time"

	"github.com/fitout-dev/fitout/engine/plan"
	"github.com/fitout-dev/fitout/engine/run"
	"github.com/fitout-dev/fitout/profiles"
	"github.com/spf13/cobra"
)

type planOptions struct {
	fleetOptions
	out string
	all bool
}

func newPlanCommand(a *app) *cobra.Command {
	var o planOptions
	c := &cobra.Command{
		Use:   "plan [DEVICE|GROUP...]",
		Short: "Show what apply would do; nothing is changed",
		Long: `Show what apply would do to each device, property by property. Nothing is changed on a device but fitout's own folder.

Exit status: 0 nothing to do, 2 changes are pending, 3 a device could not be planned.`,
		Example: `  fitout plan -i inventory.yaml
  fitout plan -p sales-laptop.yaml --device ssh://root@10.0.3.42
  fitout plan -i inventory.yaml laptops --out plan.json && fitout apply --plan plan.json`,
		RunE: func(c *cobra.Command, args []string) error { return runPlan(c.Context(), a, &o, args) },
	}
	c.ValidArgsFunction = o.complete
	o.fleetOptions.flags(c.Flags())
	c.Flags().StringVar(&o.out, "out", "", "write the plan to this `file`, for apply --plan")
	c.Flags().BoolVar(&o.all, "all", false, "show also what is in the desired state")
	return c
}

func runPlan(ctx context.Context, a *app, o *planOptions, args []string) error {
	f, err := a.fleet(&o.fleetOptions, args)
	if err != nil {
		return err
	}
	defer f.close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := newProgress(a, f.devices)
	if err := f.doubt(); err != nil {
		a.say("warning: what is owed since earlier runs isn't known: %v", err)
	}
	r := &run.Runner{Parallel: o.parallel, Only: o.only, Skip: o.skip}
	r.Report = func(e run.Event) { p.report(e); f.learn(e) }
	defer interrupts(func() { r.Stop(); cancel() }, cancel)()
	results := r.Plan(ctx, f.devices)
	p.close()
	devices := plans(results)
	if !a.json {
		plan.Render(a.out, devices, a.style(o.all))
	}
	code := p.summarize(r, results, true)
	if o.out != "" {
		saved := &plan.Plan{Format: plan.Format, Created: time.Now().UTC(), OneOff: o.device, Only: o.only, Skip: o.skip,
			Reboot: o.reboot, Devices: devices}
		if saved.Inventory, err = absolute(o.inventory); err != nil {
			return err
		}
		if saved.Profile = o.profile; !slices.Contains(profiles.List(), o.profile) {
			if saved.Profile, err = absolute(o.profile); err != nil {
				return err
			}
		}
		if err := plan.Save(o.out, saved); err != nil {
			return err
		}
		a.say("the plan is in %s: apply it with `fitout apply --plan %s`", o.out, o.out)
	}
	return status(code)
}

// absolute is a path that holds wherever the plan is applied; none stays none.
func absolute(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	return filepath.Abs(path)
}

func plans(results []run.Result) []plan.Device {
	var out []plan.Device
	for _, r := range results {
		if r.Plan == nil {
			out = append(out, plan.Device{Name: r.Device, Error: "not planned: interrupted"})
			continue
		}
		out = append(out, *r.Plan)
	}
	return out
}

// style is how a plan is shown on stdout.
func (a *app) style(all bool) plan.Style {
	width, _ := terminal(a.out)
	return plan.Style{Color: a.color(a.out), Width: width, All: all}
}

// status is nil for 0: cobra's error otherwise.
func status(code int) error {
	if code == exitDone {
		return nil
	}
	return exit(code)
}
