package facts

import (
	"fmt"
	"os"

	"github.com/fitout-dev/fitout/modules/host"
	"golang.org/x/sys/windows"
)

func gather(h *host.Host, f map[string]any) {
	if !h.Living() {
		return
	}
	name, _ := os.Hostname()
	set(f, "hostname", name)
	v := windows.RtlGetVersion()
	f["distribution"] = "windows"
	f["version"] = fmt.Sprintf("%d.%d.%d", v.MajorVersion, v.MinorVersion, v.BuildNumber)
	f["kernel"] = f["version"]
}

// RebootPending says why the device wants to be restarted, or "".
func RebootPending(*host.Host) string { return "" }
