// Package facts finds out what a device is: facts.Gather(h). It reads files only, and takes well under a millisecond.
//
// The names are those that profiles use as device.NAME; more of them are under device.facts. What can't be found is left
// out, never guessed.
package facts

import (
	"runtime"

	"github.com/fitout-dev/fitout/modules/host"
)

// Gather returns the device's facts.
func Gather(h *host.Host) map[string]any {
	f := map[string]any{"os": runtime.GOOS, "arch": runtime.GOARCH, "cpus": runtime.NumCPU()}
	gather(h, f)
	return f
}
