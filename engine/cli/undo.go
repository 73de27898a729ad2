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

type undoOptions struct {
	fleetOptions
	on    []string
	yes   bool
	force bool
}

func newUndoCommand(a *app) *cobra.Command {
	var o undoOptions
	c := &cobra.Command{
		Use:   "undo RUN",
		Short: "Take a run back: plan the way back, show it, and go it",
		Long: `Bring the devices of a run back to how they were before it. Each device has kept that in its journal: old contents,
versions, accounts. The way back is planned, shown and applied like any other run, and can itself be undone. What can't be
taken back, a command for example, is named; the plan of the run itself had said so.

A device on which others have changed something since is refused, unless --force.

RUN is its id, the beginning or end of it, or "last".`,
		Example: `  fitout undo last
  fitout undo 20261122-101500-4f2a1c --on lt-042 --only packages`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return runUndo(c.Context(), a, &o, args[0]) },
	}
	o.again(c)
	c.Flags().StringSliceVar(&o.on, "on", nil, "only on these `devices`")
	c.Flags().StringSliceVar(&o.only, "only", nil, "only these `resources`: types or addresses, such as packages or users/alice")
	c.Flags().BoolVarP(&o.yes, "yes", "y", false, "don't ask")
	c.Flags().BoolVar(&o.force, "force", false, "take back what others have changed since, too")
	return c
}

func runUndo(ctx context.Context, a *app, o *undoOptions, id string) error {
	_, canAsk := terminal(a.in)
	if !o.yes && !canAsk {
		return hint.New(fmt.Errorf("there is no terminal to ask on"), "add --yes to undo without being asked")
	}
	s, err := openStore()
	if err != nil {
		return err
	}
	defer s.Close()
	undone, err := s.Find(id)
	if err != nil {
		return err
	}
	var names []string
	keys := map[string][]byte{}
	for _, d := range undone.Devices {
		if len(o.on) > 0 && !slices.Contains(o.on, d.Name) {
			continue
		}
		if d.Counts.Changed == 0 && d.Counts.Failed == 0 && d.Status != store.NotEnded {
			continue // nothing was done there
		}
		names = append(names, d.Name)
		if keys[d.Name], err = s.Key(undone.ID, d.Name); err != nil {
			return err
		}
	}
	if len(names) == 0 {
		a.say("run %s has changed nothing there", undone.ID)
		return nil
	}
	f, err := a.sameFleet(&o.fleetOptions, undone, names)
	if err != nil {
		return err
	}
	defer f.close()
	for i := range f.devices {
		f.devices[i].Profile = "undo of " + undone.ID
	}
	if err := f.unsettle(""); err != nil {
		a.say("warning: what became of earlier runs isn't known: %v", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &run.Runner{ID: run.NewID(), Parallel: o.parallel, Undo: undone.ID, Undone: keys, Force: o.force, Only: o.only, Patience: 3 * time.Minute}
	source := undone.Source
	source.Undoes = undone.ID
	if o.inventory != "" {
		if source.Inventory, err = absolute(o.inventory); err != nil {
			return err
		}
	}
	return a.carryOut(ctx, cancel, f, r, "undo", source, !o.yes)
}
