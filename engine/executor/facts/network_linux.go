package facts

import (
	"net/netip"
	"slices"
	"syscall"
	"unsafe"
)

// network asks the kernel for the interfaces and their addresses: two questions, however many there are.
func network(f map[string]any) {
	links, err := netlink(syscall.RTM_GETLINK)
	if err != nil {
		return
	}
	addrs, err := netlink(syscall.RTM_GETADDR)
	if err != nil {
		return
	}
	of := map[uint32][]netip.Prefix{}
	for _, m := range addrs {
		if m.Header.Type != syscall.RTM_NEWADDR || len(m.Data) < syscall.SizeofIfAddrmsg {
			continue
		}
		head := (*syscall.IfAddrmsg)(unsafe.Pointer(&m.Data[0]))
		attrs, err := syscall.ParseNetlinkRouteAttr(&m)
		if err != nil || head.Scope == syscall.RT_SCOPE_LINK || head.Scope == syscall.RT_SCOPE_HOST {
			continue
		}
		var address netip.Addr
		for _, a := range attrs {
			if a.Attr.Type == syscall.IFA_LOCAL || a.Attr.Type == syscall.IFA_ADDRESS && !address.IsValid() {
				if x, ok := netip.AddrFromSlice(a.Value); ok {
					address = x // of a point-to-point link, IFA_ADDRESS is the other end's
				}
			}
		}
		if address.IsValid() {
			of[head.Index] = append(of[head.Index], netip.PrefixFrom(address, int(head.Prefixlen)))
		}
	}
	var interfaces []any
	var addresses []netip.Addr
	for _, m := range links {
		if m.Header.Type != syscall.RTM_NEWLINK || len(m.Data) < syscall.SizeofIfInfomsg {
			continue
		}
		head := (*syscall.IfInfomsg)(unsafe.Pointer(&m.Data[0]))
		attrs, err := syscall.ParseNetlinkRouteAttr(&m)
		if err != nil || head.Flags&syscall.IFF_LOOPBACK != 0 || len(interfaces) == maxInterfaces {
			continue
		}
		i := map[string]any{}
		for _, a := range attrs {
			switch a.Attr.Type {
			case syscall.IFLA_IFNAME:
				i["name"] = text(a.Value)
			case syscall.IFLA_ADDRESS:
				set(i, "mac", mac(a.Value))
			}
		}
		var own []string
		for _, p := range of[uint32(head.Index)] {
			own, addresses = append(own, p.String()), append(addresses, p.Addr())
		}
		if len(own) > 0 {
			i["addresses"] = own
		}
		interfaces = append(interfaces, i)
	}
	connections(f, interfaces, addresses)
}

func netlink(question int) ([]syscall.NetlinkMessage, error) {
	b, err := syscall.NetlinkRIB(question, syscall.AF_UNSPEC)
	if err != nil {
		return nil, err
	}
	return syscall.ParseNetlinkMessage(b)
}

// text is a string of C's.
func text(b []byte) string {
	if i := slices.Index(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}
