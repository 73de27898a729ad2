// Package facts finds out what a device is: facts.Gather(h). It reads files and asks the kernel, starts no process, and
// takes well under a millisecond.
//
// The names are those that profiles use as device.NAME; more of them are under device.facts:
//
//	os arch cpus cpu                      linux, amd64, 8, the processor's name
//	distribution version codename prettyName kernel
//	hostname domain timezone              what is set; the domain is that of /etc/hosts or of the host name
//	memory bootTime                       bytes; RFC 3339 in UTC
//	vendor model serial biosVersion       of the machine itself; not in a container, where it would be the host's
//	virtual                               a container's or hypervisor's name, "" on hardware
//	disks                                 [{name, size, model, rotational}], size in bytes
//	interfaces addresses                  [{name, mac, addresses}] without loopback; the addresses of all of them
//	battery tpm secureBoot                {percent, mains}; "2.0" or "1.2"; whether only signed systems start
//	loggedOn                              the users who have a session
//	edition workgroup applications        Windows alone: Professional; what is joined instead of a domain; [{name, version}]
//
// What can't be found is left out, never guessed. Nothing among them is random or secret (no machine ID).
package facts

import (
	"runtime"

	"github.com/fitout-dev/fitout/modules/host"
)

// Gather returns the device's facts. In a root that no system runs in there are only those that its files tell.
func Gather(h *host.Host) map[string]any {
	f := map[string]any{"os": runtime.GOOS, "arch": runtime.GOARCH, "cpus": runtime.NumCPU()}
	gather(h, f)
	return f
}

func set(f map[string]any, name, value string) {
	if value != "" {
		f[name] = value
	}
}
