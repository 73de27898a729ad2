package cli

import (
	"context"
	"sync"

	"github.com/fitout-dev/fitout/engine/run"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

func newCleanCommand(a *app) *cobra.Command {
	var o fleetOptions
	c := &cobra.Command{
		Use:   "clean [DEVICE|GROUP...]",
		Short: "Remove what fitout keeps on devices: its executor, contents and records",
		Long: `Remove what fitout keeps on devices: its executor, contents and records of runs. What profiles brought about stays.
A device on which a run is under way is left alone.`,
		Example: "  fitout clean -i inventory.yaml retired",
		RunE:    func(c *cobra.Command, args []string) error { return runClean(c.Context(), a, &o, args) },
	}
	c.ValidArgsFunction = o.complete
	o.connection(c.Flags())
	return c
}

func runClean(ctx context.Context, a *app, o *fleetOptions, args []string) error {
	o.noProfile = true
	f, err := a.fleet(o, args)
	if err != nil {
		return err
	}
	defer f.close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer interrupts(cancel, cancel)()
	var mu sync.Mutex
	failed := false
	var g errgroup.Group
	g.SetLimit(max(o.parallel, 1))
	for _, d := range f.devices {
		g.Go(func() error {
			err := run.Clean(ctx, d)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case a.json:
				line := map[string]any{"device": d.Name, "status": "cleaned"}
				if err != nil {
					line["status"], line["error"], line["hint"] = "failed", err.Error(), hint.Of(err)
				}
				a.printJSON(line)
			case err != nil:
				a.showOf(d.Name, err)
			default:
				a.say("%s: cleaned", d.Name)
			}
			failed = failed || err != nil
			return nil
		})
	}
	g.Wait()
	if failed {
		return exit(exitFailed)
	}
	return nil
}
