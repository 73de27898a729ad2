package cli

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/fitout-dev/fitout/engine/run"
	"github.com/fitout-dev/fitout/engine/store"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/spf13/cobra"
)

type attachOptions struct {
	fleetOptions
	reconnect time.Duration
}

func newAttachCommand(a *app) *cobra.Command {
	var o attachOptions
	c := &cobra.Command{
		Use:   "attach [RUN] [DEVICE...]",
		Short: "Follow a run that goes on without us",
		Long: `Follow a run to its end on the devices where it was begun and of which nothing more was heard. What happened
meanwhile is told and recorded. A run that stopped half-way, since the machine or the executor was ended, goes on from
where it is: nothing that was completed is repeated.

RUN is its id, the beginning or end of it, or "last"; default: the newest that isn't known to have ended.

Exit status as of apply.`,
		Example: `  fitout attach
  fitout attach 20261122-101500-4f2a1c lt-042`,
		RunE: func(c *cobra.Command, args []string) error { return runAttach(c.Context(), a, &o, args) },
	}
	o.again(c)
	c.Flags().DurationVar(&o.reconnect, "reconnect", 3*time.Minute, "how long to try to reach a device again whose connection broke (`TIME`)")
	return c
}

// again are the flags of a command that works on the devices of an earlier run.
func (o *fleetOptions) again(c *cobra.Command) {
	c.Flags().StringVarP(&o.inventory, "inventory", "i", "", "the inventory `file`; default: the one that the run was begun with")
	c.Flags().IntVar(&o.parallel, "parallel", 50, "how many devices to work on at once (`N`)")
	o.noProfile = true
}

func runAttach(ctx context.Context, a *app, o *attachOptions, args []string) error {
	s, err := openStore()
	if err != nil {
		return err
	}
	defer s.Close()
	open, err := s.Unsettled()
	if err != nil {
		return err
	}
	var r store.Run
	if len(args) > 0 {
		if r, err = s.Find(args[0]); err != nil {
			return err
		}
		args = args[1:]
	} else {
		newest := ""
		for _, us := range open {
			newest = max(newest, us[len(us)-1].Run)
		}
		if newest == "" {
			a.say("every run that was begun here is known to have ended: see `fitout runs`")
			return nil
		}
		if r, err = s.Find(newest); err != nil {
			return err
		}
	}
	var names []string
	for _, d := range r.Devices {
		if slices.ContainsFunc(open[d.Name], func(u store.Unsettled) bool { return u.Run == r.ID }) && (len(args) == 0 || slices.Contains(args, d.Name)) {
			names = append(names, d.Name)
		}
	}
	if len(names) == 0 {
		a.say("run %s is known to have ended: see `fitout runs show %s`", r.ID, r.ID)
		return nil
	}
	f, err := a.sameFleet(&o.fleetOptions, r, names)
	if err != nil {
		return err
	}
	defer f.close()
	if err := f.unsettle(r.ID); err != nil {
		return err
	}
	runner := &run.Runner{ID: r.ID, Parallel: o.parallel, Patience: o.reconnect}
	return a.conduct(ctx, runner, f.devices, goOnRecording(a, s, r.ID), func(ctx, _ context.Context, _ *progress) []run.Result {
		return runner.Attach(ctx, f.devices)
	})
}

// sameFleet is the devices of an earlier run, reached as they were then.
func (a *app) sameFleet(o *fleetOptions, r store.Run, names []string) (*fleet, error) {
	if o.inventory == "" {
		o.inventory, o.device = r.Source.Inventory, r.Source.OneOff
	}
	if o.inventory == "" && len(o.device) == 0 {
		return nil, hint.New(fmt.Errorf("how the devices of run %s are reached isn't known", r.ID), "add -i INVENTORY")
	}
	if len(o.device) > 0 { // they have no names of their own: all of them, and what isn't asked for is left out
		f, err := a.fleet(o, nil)
		if err == nil {
			f.devices = slices.DeleteFunc(f.devices, func(d run.Device) bool { return !slices.Contains(names, d.Name) })
		}
		return f, err
	}
	return a.fleet(o, names)
}
