package facts

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/windows"
)

// network asks for the adapters that are up: https://learn.microsoft.com/windows/win32/api/iphlpapi
func network(f map[string]any) {
	const skip = windows.GAA_FLAG_SKIP_ANYCAST | windows.GAA_FLAG_SKIP_MULTICAST | windows.GAA_FLAG_SKIP_DNS_SERVER | 0x80 // no prefixes of other routes
	size := uint32(15000)
	var buffer []byte
	for {
		buffer = make([]byte, size)
		err := windows.GetAdaptersAddresses(windows.AF_UNSPEC, skip, 0, (*windows.IpAdapterAddresses)(unsafe.Pointer(&buffer[0])), &size)
		if err == nil {
			break
		}
		if err != windows.ERROR_BUFFER_OVERFLOW || size > 1<<20 {
			return
		}
	}
	var interfaces []any
	var addresses []netip.Addr
	for a := (*windows.IpAdapterAddresses)(unsafe.Pointer(&buffer[0])); a != nil; a = a.Next {
		if a.IfType == windows.IF_TYPE_SOFTWARE_LOOPBACK || a.OperStatus != windows.IfOperStatusUp {
			continue
		}
		i := map[string]any{"name": windows.UTF16PtrToString(a.FriendlyName)}
		set(i, "mac", mac(a.PhysicalAddress[:min(int(a.PhysicalAddressLength), len(a.PhysicalAddress))]))
		var own []string
		for u := a.FirstUnicastAddress; u != nil; u = u.Next {
			ip, ok := netip.AddrFromSlice(u.Address.IP())
			if !ok || ip.IsLinkLocalUnicast() {
				continue
			}
			ip = ip.Unmap()
			own, addresses = append(own, netip.PrefixFrom(ip, int(u.OnLinkPrefixLength)).String()), append(addresses, ip)
		}
		if len(own) > 0 {
			i["addresses"] = own
		}
		if interfaces = append(interfaces, i); len(interfaces) == maxInterfaces {
			break
		}
	}
	connections(f, interfaces, addresses)
}
