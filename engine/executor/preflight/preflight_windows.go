package preflight

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"github.com/fitout-dev/fitout/engine/executor/facts"
	"github.com/fitout-dev/fitout/engine/executor/wire"
	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

func (d device) looks() []func(Options) []wire.Finding {
	if !d.living {
		return nil
	}
	return []func(Options) []wire.Finding{d.disks, d.battery, d.packages, d.memory, d.reboot, d.managed}
}

// disks compares what is free on each volume with what will be written to it, and with what has to stay free where Windows or
// our folder is.
func (d device) disks(o Options) []wire.Finding {
	var order []string
	need, watched := map[string]int64{}, map[string]bool{}
	at := func(path string) string {
		v := volumeOf(path)
		if _, known := need[v]; !known && v != "" {
			need[v] = 0
			order = append(order, v)
		}
		return v
	}
	system, _ := windows.GetSystemWindowsDirectory()
	for _, dir := range []string{system, o.Dir} {
		if dir != "" {
			watched[at(dir)] = true
		}
	}
	for _, w := range o.Writes {
		const cluster = 4096
		need[at(w.Path)] += (w.Bytes + cluster - 1) / cluster * cluster
	}
	var found []wire.Finding
	for _, v := range order {
		margin := int64(0)
		if watched[v] {
			margin = o.Settings.MinDisk
		}
		found = append(found, room(v, need[v], margin)...)
	}
	return found
}

// volumeOf is where the volume is mounted that a path is on, or will be on once its folders are made; "" if that can't be seen.
func volumeOf(path string) string {
	path = filepath.Clean(path)
	for {
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) || filepath.Dir(path) == path {
			break
		}
		path = filepath.Dir(path)
	}
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return ""
	}
	root := make([]uint16, windows.MAX_LONG_PATH)
	if windows.GetVolumePathName(name, &root[0], uint32(len(root))) != nil {
		return ""
	}
	return windows.UTF16ToString(root)
}

func room(volume string, need, margin int64) []wire.Finding {
	name, err := windows.UTF16PtrFromString(volume)
	if err != nil || volume == "" {
		return nil
	}
	var flags uint32
	const readOnlyVolume = 0x80000
	if windows.GetVolumeInformation(name, nil, 0, nil, nil, &flags, nil, 0) == nil && flags&readOnlyVolume != 0 {
		return []wire.Finding{{Check: ReadOnly, Fatal: true, Text: fmt.Sprintf("the volume %s can only be read", volume),
			Remedy: "is it write protected, or under a write filter (`uwfmgr get-config`)? End that for the run"}}
	}
	var free, total, all uint64
	if windows.GetDiskFreeSpaceEx(name, &free, &total, &all) != nil || total == 0 {
		return nil
	}
	left := int64(free) - need
	const remedy = "make room: Settings, System, Storage shows what takes it, `cleanmgr` removes what Windows needs no more"
	switch {
	case left < 0:
		return []wire.Finding{{Check: Disk, Fatal: true, Text: fmt.Sprintf("%s will be written to %s, which has room for %s", size(need), volume, size(int64(free))), Remedy: remedy}}
	case left < margin:
		text := fmt.Sprintf("%s has %s free of %s", volume, size(int64(free)), size(int64(total)))
		if need > 0 {
			text += fmt.Sprintf(", and %s will be written", size(need))
		}
		return []wire.Finding{{Check: Disk, Text: text + fmt.Sprintf("; %s should stay free", size(margin)), Remedy: remedy}}
	}
	return nil
}

var (
	kernel32             = windows.NewLazySystemDLL("kernel32.dll")
	getSystemPowerStatus = kernel32.NewProc("GetSystemPowerStatus")
	globalMemoryStatusEx = kernel32.NewProc("GlobalMemoryStatusEx")
)

// powerStatus is SYSTEM_POWER_STATUS.
type powerStatus struct {
	mains, flags, percent, system byte
	lifeTime, fullLifeTime        uint32
}

func (d device) battery(o Options) []wire.Finding {
	var p powerStatus
	if ok, _, _ := getSystemPowerStatus.Call(uintptr(unsafe.Pointer(&p))); ok == 0 {
		return nil
	}
	return p.findings(o.Settings.MinBattery)
}

func (p powerStatus) findings(least int) []wire.Finding {
	const noBattery, unknown, offline = 128, 255, 0
	if p.mains != offline || p.flags == unknown || p.flags&noBattery != 0 || p.percent > 100 || int(p.percent) >= least {
		return nil
	}
	return []wire.Finding{{Check: Battery, Fatal: true, Text: fmt.Sprintf("the battery is at %d %%, below %d %%, and no mains are connected", p.percent, least),
		Remedy: "plug it in, or allow less with minBattery under run in the profile"}}
}

// packages tells whether Windows Installer is at work: it takes one installation at a time.
func (d device) packages(o Options) []wire.Finding {
	name, err := windows.UTF16PtrFromString(`Global\_MSIExecute`)
	if err != nil {
		return nil
	}
	h, err := windows.OpenMutex(windows.SYNCHRONIZE, false, name)
	if err != nil {
		return nil
	}
	defer windows.CloseHandle(h)
	// It exists as long as an installation does; who may wait for it for no time at all sees whether it is held.
	if e, err := windows.WaitForSingleObject(h, 0); err != nil || e != uint32(windows.WAIT_TIMEOUT) {
		if err == nil {
			windows.ReleaseMutex(h)
		}
		return nil
	}
	return []wire.Finding{{Check: Packages, Text: "Windows Installer is at work for somebody else",
		Remedy: "wait for its end; the run itself waits, too, where it comes to an installation"}}
}

// minMemory is what Windows Installer and its custom actions take at most, as a rule.
const minMemory = 256_000_000

// memoryStatus is MEMORYSTATUSEX.
type memoryStatus struct {
	length, load                                                uint32
	total, free, totalPage, freePage, totalVirtual, freeVirtual uint64
	extended                                                    uint64
}

func (d device) memory(o Options) []wire.Finding {
	m := memoryStatus{length: uint32(unsafe.Sizeof(memoryStatus{}))}
	if ok, _, _ := globalMemoryStatusEx.Call(uintptr(unsafe.Pointer(&m))); ok == 0 || m.freePage == 0 || m.freePage >= minMemory {
		return nil
	}
	return []wire.Finding{{Check: Memory, Text: fmt.Sprintf("only %s of memory can still be had, the page file included; installers may fail", size(int64(m.freePage))),
		Remedy: "end what takes it (Task Manager, Memory), or enlarge the page file"}}
}

func (d device) reboot(o Options) []wire.Finding {
	why := facts.RebootPending(d.Host)
	if why == "" {
		return nil
	}
	return []wire.Finding{{Check: Reboot, Text: "a reboot is pending from before: " + why, Remedy: "reboot the device before the run, or when its user can spare it"}}
}

// managers are other configuration tools, and the services by which they manage a machine.
var managers = []struct {
	name     string
	services []string
	remedy   string
}{
	{"Puppet", []string{"puppet", "pe-puppet"}, "`puppet agent --disable` before the run and `puppet agent --enable` after it keep them apart"},
	{"Chef", []string{"chef-client", "cinc-client"}, "`sc stop chef-client` before the run and `sc start chef-client` after it keep them apart"},
	{"Salt", []string{"salt-minion"}, "`sc stop salt-minion` before the run and `sc start salt-minion` after it keep them apart"},
	{"CFEngine", []string{"CfengineNovaExec", "cfengine"}, "stop its service before the run and start it afterwards"},
	{"Microsoft Intune", []string{"IntuneManagementExtension"}, "see in Intune's policies that they ask for nothing else than the profile"},
	{"Configuration Manager", []string{"CcmExec"}, "see in its deployments that they ask for nothing else than the profile"},
	{"DSC's Local Configuration Manager", nil, "`Stop-DscConfiguration` and a ConfigurationMode of ApplyOnly keep them apart"},
}

// managed names the other tools that manage this machine, by what the registry says of services: a service that is disabled
// manages nothing.
func (d device) managed(o Options) []wire.Finding {
	var found []wire.Finding
	for _, m := range managers {
		for _, s := range m.services {
			if !starts(s) {
				continue
			}
			found = append(found, wire.Finding{Check: Managed, Text: fmt.Sprintf("%s manages this machine, too: its service %s is there", m.name, s),
				Remedy: "declare each thing in one of the two only; " + m.remedy})
			break
		}
		if m.services == nil && consistent() {
			found = append(found, wire.Finding{Check: Managed, Text: m.name + " manages this machine, too: it has a configuration",
				Remedy: "declare each thing in one of the two only; " + m.remedy})
		}
	}
	return found
}

// starts says whether a service is there, and isn't disabled.
func starts(service string) bool {
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, `SYSTEM\CurrentControlSet\Services\`+service, registry.QUERY_VALUE)
	if err != nil {
		return false
	}
	defer k.Close()
	start, _, err := k.GetIntegerValue("Start")
	return err == nil && start != windows.SERVICE_DISABLED
}

// consistent says whether DSC applies a configuration of its own.
func consistent() bool {
	system, err := windows.GetSystemDirectory()
	if err != nil {
		return false
	}
	_, err = os.Stat(strings.Join([]string{system, "Configuration", "Current.mof"}, `\`))
	return err == nil
}
