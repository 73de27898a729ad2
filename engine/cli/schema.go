package cli

import (
	"fmt"

	"github.com/fitout-dev/fitout/schema"
	"github.com/spf13/cobra"
)

func newSchemaCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "schema profile|inventory",
		Short: "Print the JSON Schema of profiles or inventories, for editors",
		Long: `Print the JSON Schema of profiles or inventories. An editor that knows the YAML language server completes and checks
a profile that begins with:

  # yaml-language-server: $schema=profile.schema.json`,
		Example:   "  fitout schema profile > profile.schema.json",
		ValidArgs: []string{"profile", "inventory"},
		RunE: func(_ *cobra.Command, args []string) error {
			b := schema.Profile()
			if args[0] == "inventory" {
				b = schema.Inventory()
			}
			_, err := fmt.Fprintf(a.out, "%s", b)
			return err
		},
	}
}
