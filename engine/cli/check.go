package cli

import (
	"fmt"

	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/schema"
	"github.com/hashicorp/go-multierror"
	"github.com/spf13/cobra"
)

func newCheckCommand(a *app) *cobra.Command {
	var o fleetOptions
	c := &cobra.Command{
		Use:   "check FILE...",
		Short: "Find mistakes in profiles and inventories; no device is needed",
		Long: `Find mistakes in profiles and inventories. Everything that can be found without a device is told at once: unknown keys,
wrong values, bad expressions, missing files, references to nowhere, loops.

A profile that uses secrets or variables of an inventory is best checked through that inventory.`,
		Example: `  fitout check sales-laptop.yaml
  fitout check inventory.yaml`,
		RunE: func(_ *cobra.Command, args []string) error { return runCheck(a, &o, args) },
	}
	c.Flags().StringVarP(&o.inventory, "inventory", "i", "", "`file` whose secrets and variables the profiles use")
	return c
}

func runCheck(a *app, o *fleetOptions, files []string) error {
	var faults *multierror.Error
	good := 0
	for _, f := range files {
		if err := a.checkFile(o, f); err != nil {
			faults = multierror.Append(faults, err)
			continue
		}
		good++
		if !a.json {
			fmt.Fprintf(a.out, "%s: fine\n", f)
		}
	}
	if a.json {
		return a.checkJSON(files, faults)
	}
	if faults != nil {
		return schema.Sort(faults)
	}
	return nil
}

// checkJSON prints each problem as a line, with its place apart.
func (a *app) checkJSON(files []string, faults *multierror.Error) error {
	n := 0
	if faults != nil {
		for _, err := range faults.Errors {
			n++
			line := map[string]any{"type": "problem", "error": err.Error(), "hint": hint.Of(err)}
			if p, ok := err.(*schema.Problem); ok {
				line = map[string]any{"type": "problem", "file": p.File, "line": p.Line, "column": p.Col, "path": p.Path, "error": p.Msg, "hint": p.Hint}
			}
			a.printJSON(line)
		}
	}
	a.printJSON(map[string]any{"type": "summary", "files": len(files), "problems": n})
	if n > 0 {
		return exit(exitUsage)
	}
	return nil
}
