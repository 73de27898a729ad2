// Command fitout brings machines to the state that a profile declares. See README.md.
package main

import (
	"os"

	"github.com/fitout-dev/fitout/engine/cli"
	"github.com/fitout-dev/fitout/integration/demo"
)

func main() {
	cli.DemoMachines = demo.Machines
	os.Exit(cli.Main())
}
