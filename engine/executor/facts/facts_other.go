//go:build !linux

package facts

import (
	"os"

	"github.com/fitout-dev/fitout/modules/host"
)

func gather(h *host.Host, f map[string]any) {
	if name, err := os.Hostname(); err == nil {
		f["hostname"] = name
	}
}

// RebootPending says why the device wants to be restarted, or "".
func RebootPending(*host.Host) string { return "" }
