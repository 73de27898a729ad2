package cli

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/schema"
	"github.com/hashicorp/go-multierror"
	"github.com/spf13/cobra"
)

func newCheckCommand(a *app) *cobra.Command {
	var o fleetOptions
	c := &cobra.Command{
		Use:   "check [FILE...]",
		Short: "Find mistakes in profiles and inventories; no device is needed",
		Long: `Find mistakes in profiles and inventories. Everything that can be found without a device is told at once: unknown keys,
wrong values, bad expressions, missing files, references to nowhere, loops.

A profile that uses secrets or variables of an inventory is best checked through that inventory. With -p it is taken as plan and
apply take it: for all devices of an inventory that is checked; else by itself, with the secrets and variables of -i or, where no
FILE is named either, of inventory.yaml.`,
		Example: `  fitout check sales-laptop.yaml
  fitout check inventory.yaml
  fitout check -p sales-laptop.yaml -i inventory.yaml`,
		RunE: func(_ *cobra.Command, args []string) error { return runCheck(a, &o, args) },
	}
	o.profileFlag(c.Flags())
	c.Flags().StringVarP(&o.inventory, "inventory", "i", "", "`file` whose secrets and variables the profiles use")
	return c
}

func runCheck(a *app, o *fleetOptions, files []string) error {
	if files = o.checked(files); len(files) == 0 {
		return hint.New(errors.New("FILE is missing"), "see `fitout check --help`")
	}
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

// checked are the files to check: the profile that is to be every device's is among them where no inventory is.
func (o *fleetOptions) checked(files []string) []string {
	isInventory := func(file string) bool { is, err := looksLikeInventory(file); return err == nil && is }
	if o.profile == "" || slices.ContainsFunc(files, isInventory) {
		return files
	}
	if _, err := os.Stat(defaultInventory); err == nil && o.inventory == "" && len(files) == 0 {
		o.inventory = defaultInventory
	}
	return append([]string{o.profile}, files...)
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
