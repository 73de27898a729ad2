package cli

import (
	"context"
	"fmt"
	"slices"
	"text/tabwriter"

	"github.com/fitout-dev/fitout/engine/profile"
	"github.com/fitout-dev/fitout/engine/run"
	"github.com/spf13/cobra"
)

func newFactsCommand(a *app) *cobra.Command {
	var o fleetOptions
	c := &cobra.Command{
		Use:   "facts [DEVICE|GROUP...]",
		Short: "Show what devices are: system, version, memory, serial number",
		Long:  "Show what devices are. Every fact NAME can be used in a profile as ${device.NAME}, or ${device.facts.NAME}.",
		Example: `  fitout facts --device ssh://root@10.0.3.42
  fitout facts -i inventory.yaml laptops --json`,
		RunE: func(c *cobra.Command, args []string) error { return runFacts(c.Context(), a, &o, args) },
	}
	c.ValidArgsFunction = o.complete
	o.connection(c.Flags())
	return c
}

func runFacts(ctx context.Context, a *app, o *fleetOptions, args []string) error {
	o.noProfile = true
	f, err := a.fleet(o, args)
	if err != nil {
		return err
	}
	defer f.close()
	for i := range f.devices {
		f.devices[i].Compile = func(map[string]any) (*profile.Compiled, error) { return &profile.Compiled{}, nil }
	}
	facts := map[string]map[string]any{}
	r := &run.Runner{Parallel: o.parallel}
	r.Report = func(e run.Event) {
		f.learn(e)
		if e.Facts != nil {
			facts[e.Device] = e.Facts
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer interrupts(cancel, cancel)()
	code := exitDone
	for _, res := range r.Plan(ctx, f.devices) {
		switch {
		case res.Err != nil:
			code = exitFailed
			if a.json {
				a.printJSON(map[string]any{"device": res.Device, "error": res.Err.Error()})
				continue
			}
			a.showOf(res.Device, res.Err)
		case a.json:
			a.printJSON(map[string]any{"device": res.Device, "facts": facts[res.Device]})
		default:
			printFacts(a, res.Device, facts[res.Device])
		}
	}
	return status(code)
}

func printFacts(a *app, device string, facts map[string]any) {
	fmt.Fprintln(a.out, a.paint(a.out, "1", device))
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	names := make([]string, 0, len(facts))
	for n := range facts {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		text := fmt.Sprint(facts[n])
		switch v := facts[n].(type) {
		case float64:
			text = fmt.Sprintf("%.0f", v)
			if n == "memory" {
				text += fmt.Sprintf(" (%.1f GiB)", v/(1<<30))
			}
		case []any, map[string]any:
			text = jsonText(v)
		}
		if text == "" {
			text = "no"
		}
		fmt.Fprintf(w, "  %s\t%s\n", n, text)
	}
	w.Flush()
}
