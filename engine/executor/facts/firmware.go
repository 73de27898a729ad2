package facts

import "strings"

// firmware is a table of SMBIOS structures, as DMTF's DSP0134 lays it out: each has a type, its length and a handle, then
// its fields, then its texts, which end with an empty one.
type firmware []byte

// facts adds vendor, model, serial and biosVersion.
func (t firmware) facts(f map[string]any) {
	type field struct {
		name string
		at   int
	}
	fields := map[byte][]field{
		0: {{"biosVersion", 5}},
		1: {{"vendor", 4}, {"model", 5}, {"serial", 7}}, // in this order: a hypervisor is known by both
	}
	maker := ""
	for len(t) >= 4 {
		kind, length := t[0], int(t[1])
		if length < 4 || length > len(t) {
			return
		}
		body, rest := t[:length], t[length:]
		var texts []string
		for {
			end := strings.IndexByte(string(rest), 0)
			if end < 0 {
				return
			}
			s := string(rest[:end])
			rest = rest[end+1:]
			if s == "" {
				break
			}
			texts = append(texts, s)
		}
		if len(texts) == 0 && len(rest) > 0 && rest[0] == 0 { // no texts: two zeros
			rest = rest[1:]
		}
		for _, field := range fields[kind] {
			name, at := field.name, field.at
			if at >= len(body) || body[at] == 0 || int(body[at]) > len(texts) {
				continue
			}
			s := strings.TrimSpace(texts[body[at]-1])
			if kind == 1 && name != "serial" {
				maker += " " + strings.ToLower(s)
			}
			if !placeholder(s) {
				set(f, name, s)
			}
		}
		delete(fields, kind) // the first counts
		t = rest
	}
	f["virtual"] = virtual(maker)
}

// virtual is the hypervisor that a vendor and product belong to, or "".
func virtual(firmware string) string {
	for _, h := range hypervisors {
		if strings.Contains(firmware, h[0]) && !strings.Contains(firmware, ".metal") {
			return h[1]
		}
	}
	return ""
}

// hypervisors are what firmware says of itself, by a part of its vendor and product.
var hypervisors = [][2]string{{"qemu", "qemu"}, {"kvm", "kvm"}, {"vmware", "vmware"}, {"virtualbox", "virtualbox"}, {"innotek", "virtualbox"},
	{"microsoft corporation virtual", "hyper-v"}, {"xen", "xen"}, {"bochs", "bochs"}, {"parallels", "parallels"}, {"amazon ec2", "amazon"},
	{"google compute engine", "google"}, {"apple virtualization", "apple"}, {"openstack", "openstack"}, {"firecracker", "firecracker"}, {"bhyve", "bhyve"}}

// placeholder tells what makers of boards left in a field that nobody filled in.
func placeholder(s string) bool {
	switch strings.ToLower(strings.Trim(s, " .")) {
	case "to be filled by o.e.m", "default string", "system product name", "system serial number", "system manufacturer", "not specified",
		"not applicable", "unknown", "none", "n/a", "0", "123456789", "0123456789", "o.e.m":
		return true
	}
	return false
}
