package facts

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
)

// maxInterfaces bounds what a host of many containers tells.
const maxInterfaces = 64

// connections sets the interfaces, and the addresses of all of them.
func connections(f map[string]any, interfaces []any, addresses []netip.Addr) {
	if len(interfaces) > 0 {
		f["interfaces"] = interfaces
	}
	slices.SortStableFunc(addresses, func(a, b netip.Addr) int { return cmp.Compare(a.BitLen(), b.BitLen()) }) // IPv4 first
	var all []string
	for _, a := range addresses {
		all = append(all, a.String())
	}
	if len(all) > 0 {
		f["addresses"] = all
	}
}

// mac is a hardware address as everyone writes it; one of zeros is none.
func mac(b []byte) string {
	if len(b) != 6 || !slices.ContainsFunc(b, func(x byte) bool { return x != 0 }) {
		return ""
	}
	var s []byte
	for i, x := range b {
		if i > 0 {
			s = append(s, ':')
		}
		if x < 0x10 {
			s = append(s, '0')
		}
		s = strconv.AppendUint(s, uint64(x), 16)
	}
	return string(s)
}
