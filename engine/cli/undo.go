package cli

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/engine/inventory"
	"github.com/fitout-dev/fitout/engine/run"
	"github.com/fitout-dev/fitout/engine/store"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/spf13/cobra"
)

type undoOptions struct {
	fleetOptions
	devices []string
	yes     bool
	force   bool
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

RUN is its id, the beginning or end of it, or "last": the last one that changed something. A run that was begun from elsewhere is found by its whole id, -i and
--device; what holds secrets stays as it is then, since only who began the run can open them.

Exit status: 0 all of the run is taken back but for what can't be, 3 a device failed, could not be reached or was refused,
4 declined or interrupted before everything was tried.`,
		Example: `  fitout undo last
  fitout undo 20261122-101500-4f2a1c --device lt-042 --only packages`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return runUndo(c.Context(), a, &o, args[0]) },
	}
	o.again(c)
	c.Flags().StringSliceVar(&o.devices, "device", nil, "only these `devices` of the run, by name; one that is in no inventory by its URL, too")
	c.Flags().StringSliceVar(&o.only, "only", nil, "only these `resources`: types or addresses, such as packages or users/alice")
	c.Flags().BoolVarP(&o.yes, "yes", "y", false, "don't ask")
	c.Flags().StringVar(&o.reboot, "reboot", wire.RebootNever, "whether devices may be rebooted where a change needs it, `POLICY`: never or ifNeeded")
	c.Flags().BoolVar(&o.force, "force", false, "take back what others have changed since, too")
	return c
}

func runUndo(ctx context.Context, a *app, o *undoOptions, id string) error {
	_, canAsk := terminal(a.in)
	if !o.yes && !canAsk {
		return hint.New(fmt.Errorf("there is no terminal to ask on"), "add --yes to undo without being asked")
	}
	if err := o.checkReboot(); err != nil {
		return err
	}
	s, err := openStore()
	if err != nil {
		return err
	}
	defer s.Close()
	undone, err := o.find(s, id)
	if err != nil {
		return err
	}
	names, err := o.touched(undone)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		a.say("run %s has changed nothing there: nothing to do", undone.ID)
		return nil
	}
	keys := map[string][]byte{}
	for _, name := range names {
		if keys[name], err = s.Key(undone.ID, name); err != nil {
			return err
		}
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
	r := &run.Runner{ID: run.NewID(), Parallel: o.parallel, Undo: undone.ID, Undone: keys, Force: o.force, Reboot: o.reboot, Only: o.only, Patience: 3 * time.Minute}
	source := undone.Source
	source.Undoes = undone.ID
	if o.inventory != "" {
		if source.Inventory, err = absolute(o.inventory); err != nil {
			return err
		}
	}
	return a.carryOut(ctx, f, r, "undo", source, !o.yes)
}

var wholeID = regexp.MustCompile(`^\d{8}-\d{6}-[0-9a-f]+$`)

// find is the run to take back. Of one that was begun elsewhere nothing is known here; its devices know it.
func (o *undoOptions) find(s *store.Store, id string) (store.Run, error) {
	if id == "last" {
		runs, err := s.Runs(100)
		if err != nil {
			return store.Run{}, err
		}
		if i := slices.IndexFunc(runs, func(r store.Run) bool { return slices.ContainsFunc(r.Devices, mayHaveChanged) }); i >= 0 {
			return runs[i], nil
		}
	}
	r, err := s.Find(id)
	if err == nil || o.inventory == "" && len(o.devices) == 0 {
		return r, err
	}
	if o.inventory == "" || len(o.devices) == 0 || !wholeID.MatchString(id) {
		return r, hint.New(err, "`fitout runs` lists them; for one that was begun elsewhere give its whole id, -i INVENTORY and --device")
	}
	r = store.Run{ID: id}
	for _, name := range o.devices {
		r.Devices = append(r.Devices, store.Device{Name: name, Status: store.NotEnded})
	}
	return r, nil
}

// touched are the devices that are asked for and on which the run may have done something.
func (o *undoOptions) touched(r store.Run) (names []string, err error) {
	asked := map[string]bool{}
	for _, name := range o.devices {
		if strings.Contains(name, "://") {
			d, err := inventory.OneOff(name)
			if err != nil {
				return nil, err
			}
			name = d.Name
		}
		if !slices.ContainsFunc(r.Devices, func(d store.Device) bool { return d.Name == name }) {
			var all []string
			for _, d := range r.Devices {
				all = append(all, d.Name)
			}
			return nil, hint.New(fmt.Errorf("%s was not part of run %s", name, r.ID), "it was for %s", strings.Join(all, ", "))
		}
		asked[name] = true
	}
	for _, d := range r.Devices {
		if (len(asked) == 0 || asked[d.Name]) && mayHaveChanged(d) {
			names = append(names, d.Name)
		}
	}
	return names, nil
}

func mayHaveChanged(d store.Device) bool {
	return d.Counts.Changed > 0 || d.Counts.Failed > 0 || d.Counts.Cancelled > 0 || d.Status == store.NotEnded
}
