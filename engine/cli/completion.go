package cli

import (
	"github.com/fitout-dev/fitout/engine/inventory"
	"github.com/spf13/cobra"
)

func newCompletionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print what makes a shell complete fitout's commands, flags and devices",
		Example: `  fitout completion bash > /etc/bash_completion.d/fitout
  fitout completion zsh > "${fpath[1]}/_fitout"
  fitout completion fish > ~/.config/fish/completions/fitout.fish
  fitout completion powershell | Out-String | Invoke-Expression`,
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		RunE: func(c *cobra.Command, args []string) error {
			switch root := c.Root(); args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.out, true)
			case "zsh":
				return root.GenZshCompletion(a.out)
			case "fish":
				return root.GenFishCompletion(a.out, true)
			default:
				return root.GenPowerShellCompletionWithDesc(a.out)
			}
		},
	}
}

// complete offers the inventory's devices and groups.
func (o *fleetOptions) complete(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	file := o.inventory
	if file == "" {
		file = defaultInventory
	}
	inv, err := inventory.Load(file, inventory.Options{})
	if err != nil || len(o.device) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, d := range inv.Devices {
		names = append(names, d.Name)
	}
	return append(names, inv.Groups...), cobra.ShellCompDirectiveNoFileComp
}
