package facts

import (
	"path"
	"strings"

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
	release := assignments(text("/etc/os-release"))
	set(f, "distribution", release["ID"])
	set(f, "version", release["VERSION_ID"])
	set(f, "codename", release["VERSION_CODENAME"])
	set(f, "prettyName", release["PRETTY_NAME"])
	name := text("/etc/hostname")
	if h.Living() {
		if now := read("/proc/sys/kernel/hostname"); now != "" {
			name = now
		}
	}
	short, domain, _ := strings.Cut(name, ".")
	set(f, "hostname", name)
	if domain == "" {
		domain = domainOf(short, text("/etc/hosts"))
	}
	set(f, "domain", domain)
	set(f, "timezone", timezone(h, text))
	if !h.Living() {
		return
	}
	machine{"/"}.gather(f)
	network(f)
}

// domainOf is what hosts(5) gives a name besides itself: "127.0.1.1 pc.example.lan pc".
func domainOf(name, hosts string) string {
	for line := range strings.SplitSeq(hosts, "\n") {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		for _, w := range words[1:] {
			if domain, ok := strings.CutPrefix(w, name+"."); ok && name != "" {
				return domain
			}
		}
	}
	return ""
}

func timezone(h *host.Host, text func(string) string) string {
	if i, err := h.Lstat("/etc/localtime"); err == nil && i.Kind == host.KindLink {
		if _, zone, ok := strings.Cut(path.Clean(i.Target), "zoneinfo/"); ok {
			return zone
		}
	}
	return text("/etc/timezone")
}

// assignments reads NAME=value lines, as os-release(5) has them.
func assignments(s string) map[string]string {
	m := map[string]string{}
	for line := range strings.SplitSeq(s, "\n") {
		if k, v, ok := strings.Cut(line, "="); ok {
			m[strings.TrimSpace(k)] = strings.Trim(strings.TrimSpace(v), `"'`)
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
