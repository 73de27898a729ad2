package facts

import (
	"strconv"
	"strings"
	"time"

	"github.com/fitout-dev/fitout/modules/host"
)

func gather(h *host.Host, f map[string]any) {
	text := func(path string) string {
		b, err := h.ReadFile(path)
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(b))
	}
	set := func(name, value string) {
		if value != "" {
			f[name] = value
		}
	}
	release := assignments(text("/etc/os-release"))
	set("distribution", release["ID"])
	set("version", release["VERSION_ID"])
	set("codename", release["VERSION_CODENAME"])
	set("prettyName", release["PRETTY_NAME"])
	set("hostname", text("/etc/hostname"))
	if !h.Living() {
		return
	}
	set("hostname", text("/proc/sys/kernel/hostname"))
	set("kernel", text("/proc/sys/kernel/osrelease"))
	const dmi = "/sys/class/dmi/id/"
	set("model", text(dmi+"product_name"))
	set("vendor", text(dmi+"sys_vendor"))
	set("serial", text(dmi+"product_serial"))
	for line := range strings.SplitSeq(text("/proc/meminfo"), "\n") {
		if kb, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			if n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(kb, "kB")), 10, 64); err == nil {
				f["memory"] = n << 10
			}
		}
	}
	for line := range strings.SplitSeq(text("/proc/stat"), "\n") {
		if s, ok := strings.CutPrefix(line, "btime "); ok {
			if n, err := strconv.ParseInt(s, 10, 64); err == nil {
				f["bootTime"] = time.Unix(n, 0).UTC().Format(time.RFC3339)
			}
		}
	}
	f["virtual"] = virtual(h, text)
}

// virtual is what the machine runs in: "container", a hypervisor's name, or "".
func virtual(h *host.Host, text func(string) string) string {
	if c := text("/run/systemd/container"); c != "" {
		return c
	}
	if h.Exists("/.dockerenv") || h.Exists("/run/.containerenv") {
		return "container"
	}
	vendor := strings.ToLower(text("/sys/class/dmi/id/sys_vendor") + " " + text("/sys/class/dmi/id/product_name"))
	for _, v := range [][2]string{{"qemu", "qemu"}, {"kvm", "kvm"}, {"vmware", "vmware"}, {"virtualbox", "virtualbox"}, {"microsoft corporation virtual", "hyper-v"}, {"xen", "xen"}, {"bochs", "bochs"}} {
		if strings.Contains(vendor, v[0]) {
			return v[1]
		}
	}
	return ""
}

// assignments reads NAME=value lines, as os-release(5) has them.
func assignments(s string) map[string]string {
	m := map[string]string{}
	for line := range strings.SplitSeq(s, "\n") {
		if k, v, ok := strings.Cut(line, "="); ok {
			m[k] = strings.Trim(v, `"'`)
		}
	}
	return m
}

// RebootPending says why the device wants to be restarted, or "".
func RebootPending(h *host.Host) string {
	if !h.Exists("/run/reboot-required") && !h.Exists("/var/run/reboot-required") {
		return ""
	}
	b, _ := h.ReadFile("/run/reboot-required.pkgs")
	if names := strings.Join(strings.Fields(string(b)), ", "); names != "" {
		return "updated: " + names
	}
	return "the system asks for it"
}
