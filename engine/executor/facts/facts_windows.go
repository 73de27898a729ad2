package facts

import (
	"fmt"
	"os"
	"strings"

	"github.com/fitout-dev/fitout/modules/host"
	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

func gather(h *host.Host, f map[string]any) {
	if !h.Living() {
		return
	}
	name, _ := os.Hostname()
	set(f, "hostname", name)
	system(f)
	domain(f)
	set(f, "timezone", text(`SYSTEM\CurrentControlSet\Control\TimeZoneInformation`, "TimeZoneKeyName"))
	hardware(f)
	network(f)
	if on := loggedOn(); len(on) > 0 {
		f["loggedOn"] = on
	}
	if all := applications(); len(all) > 0 {
		f["applications"] = all
	}
}

// windows11 is the first build of Windows 11, which still calls itself Windows 10 in the registry.
const windows11 = 22000

func system(f map[string]any) {
	const current = `SOFTWARE\Microsoft\Windows NT\CurrentVersion`
	v := windows.RtlGetVersion()
	version := fmt.Sprintf("%d.%d.%d", v.MajorVersion, v.MinorVersion, v.BuildNumber)
	f["distribution"], f["version"], f["kernel"] = "windows", version, version
	if revision, ok := number(current, "UBR"); ok {
		f["kernel"] = fmt.Sprintf("%s.%d", version, revision)
	}
	name := text(current, "ProductName")
	if v.BuildNumber >= windows11 && v.ProductType == 1 { // VER_NT_WORKSTATION
		name = strings.Replace(name, "Windows 10", "Windows 11", 1)
	}
	set(f, "prettyName", name)
	set(f, "edition", text(current, "EditionID"))
	set(f, "codename", text(current, "DisplayVersion")) // 22H2
}

// domain is the DNS domain that the machine has joined or, without one, none.
func domain(f map[string]any) {
	var name *uint16
	var status uint32
	if windows.NetGetJoinInformation(nil, &name, &status) != nil {
		return
	}
	defer windows.NetApiBufferFree((*byte)(ptr(name)))
	switch joined := windows.UTF16PtrToString(name); status {
	case windows.NetSetupDomainName:
		f["domain"] = joined
		if dns := text(`SYSTEM\CurrentControlSet\Services\Tcpip\Parameters`, "Domain"); dns != "" {
			f["domain"] = dns
		}
	case windows.NetSetupWorkgroupName:
		set(f, "workgroup", joined)
	}
}

// maxApplications bounds what a machine tells of what is installed on it.
const maxApplications = 500

// applications are what Windows lists as installed, for all users: [{name, version}]. Updates and parts of others aren't
// among them, as in the list that users see.
func applications() (all []any) {
	const uninstall = `SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall`
	seen := map[string]bool{}
	for _, view := range []uint32{registry.WOW64_64KEY, registry.WOW64_32KEY} {
		k, err := registry.OpenKey(registry.LOCAL_MACHINE, uninstall, registry.ENUMERATE_SUB_KEYS|view)
		if err != nil {
			continue
		}
		names, _ := k.ReadSubKeyNames(-1)
		for _, name := range names {
			if len(all) == maxApplications {
				break
			}
			if a := application(k, name, view); a != nil && !seen[fmt.Sprint(a)] {
				seen[fmt.Sprint(a)] = true
				all = append(all, a)
			}
		}
		k.Close()
	}
	return all
}

func application(parent registry.Key, name string, view uint32) map[string]any {
	k, err := registry.OpenKey(parent, name, registry.QUERY_VALUE|view)
	if err != nil {
		return nil
	}
	defer k.Close()
	title, _, _ := k.GetStringValue("DisplayName")
	hidden, _, _ := k.GetIntegerValue("SystemComponent")
	part, _, _ := k.GetStringValue("ParentKeyName")
	if title == "" || hidden == 1 || part != "" {
		return nil
	}
	a := map[string]any{"name": title}
	version, _, _ := k.GetStringValue("DisplayVersion")
	set(a, "version", version)
	return a
}

// text is a value of the machine's registry, "" where there is none.
func text(key, name string) string {
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, key, registry.QUERY_VALUE|registry.WOW64_64KEY)
	if err != nil {
		return ""
	}
	defer k.Close()
	s, _, _ := k.GetStringValue(name)
	return strings.TrimSpace(s)
}

func number(key, name string) (uint64, bool) {
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, key, registry.QUERY_VALUE|registry.WOW64_64KEY)
	if err != nil {
		return 0, false
	}
	defer k.Close()
	n, _, err := k.GetIntegerValue(name)
	return n, err == nil
}
