package cli

import (
	"fmt"
	"text/tabwriter"

	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/profiles"
	"github.com/fitout-dev/fitout/schema"
	"github.com/spf13/cobra"
)

func newProfilesCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "profiles [NAME]",
		Short: "List the profiles that ship with fitout, or print one",
		Example: `  fitout profiles
  fitout profiles baseline-linux > my-baseline.yaml`,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 {
				b, err := profiles.Open(args[0])
				if err != nil {
					return hint.New(err, "`fitout profiles` lists them")
				}
				_, err = a.out.Write(b)
				return err
			}
			w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
			for _, name := range profiles.List() {
				b, err := profiles.Open(name)
				if err != nil {
					return err
				}
				d, err := schema.Read(name, b)
				if err != nil {
					return err
				}
				about := ""
				if _, v := schema.Find(d.Root, "description"); v != nil {
					about = v.Value
				}
				if a.json {
					if err := a.printJSON(map[string]string{"name": name, "description": about}); err != nil {
						return err
					}
					continue
				}
				fmt.Fprintf(w, "%s\t%s\n", name, about)
			}
			return w.Flush()
		},
	}
}
