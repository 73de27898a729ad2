package facts

import (
	"os"
	"time"

	"github.com/fitout-dev/fitout/modules/host"
	"golang.org/x/sys/unix"
)

func gather(h *host.Host, f map[string]any) {
	if !h.Living() {
		return
	}
	name, _ := os.Hostname()
	set(f, "hostname", name)
	f["distribution"] = "macos"
	for fact, ctl := range map[string]string{"version": "kern.osproductversion", "kernel": "kern.osrelease", "model": "hw.model", "cpu": "machdep.cpu.brand_string"} {
		if v, err := unix.Sysctl(ctl); err == nil {
			set(f, fact, v)
		}
	}
	if n, err := unix.SysctlUint64("hw.memsize"); err == nil {
		f["memory"] = n
	}
	if tv, err := unix.SysctlTimeval("kern.boottime"); err == nil {
		f["bootTime"] = time.Unix(tv.Unix()).UTC().Format(time.RFC3339)
	}
}

// RebootPending says why the device wants to be restarted, or "".
func RebootPending(*host.Host) string { return "" }
