package facts

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

func ptr[T any](p *T) unsafe.Pointer { return unsafe.Pointer(p) }

var (
	kernel32                = windows.NewLazySystemDLL("kernel32.dll")
	globalMemoryStatusEx    = kernel32.NewProc("GlobalMemoryStatusEx")
	getSystemFirmwareTable  = kernel32.NewProc("GetSystemFirmwareTable")
	getSystemPowerStatus    = kernel32.NewProc("GetSystemPowerStatus")
	wtsQuerySessionInfo     = windows.NewLazySystemDLL("wtsapi32.dll").NewProc("WTSQuerySessionInformationW")
	firmwareSMBIOS          = uintptr('R')<<24 | 'S'<<16 | 'M'<<8 | 'B'
	onBattery, noBattery    = byte(0), byte(128) // ACLineStatus, BatteryFlag
	unknownPercent, unknown = byte(255), byte(255)
)

// hardware asks Windows of the machine: https://learn.microsoft.com/windows/win32/sysinfo/system-information-functions
func hardware(f map[string]any) {
	set(f, "cpu", strings.Join(strings.Fields(text(`HARDWARE\DESCRIPTION\System\CentralProcessor\0`, "ProcessorNameString")), " "))
	memory := struct {
		length, load                                    uint32
		total, free, totalPage, freePage, totalV, freeV uint64
		extended                                        uint64
	}{length: 64}
	if ok, _, _ := globalMemoryStatusEx.Call(uintptr(ptr(&memory))); ok != 0 {
		f["memory"] = memory.total
	}
	var times struct{ boot, now, bias, zone, bootBias, sleepBias int64 } // SYSTEM_TIMEOFDAY_INFORMATION
	if windows.NtQuerySystemInformation(windows.SystemTimeOfDayInformation, ptr(&times), uint32(unsafe.Sizeof(times)), nil) == nil {
		ft := windows.Filetime{LowDateTime: uint32(times.boot), HighDateTime: uint32(times.boot >> 32)}
		f["bootTime"] = time.Unix(0, ft.Nanoseconds()).UTC().Format(time.RFC3339)
	}
	firmware(smbios()).facts(f)
	if d := disks(); len(d) > 0 {
		f["disks"] = d
	}
	if b := battery(); b != nil {
		f["battery"] = b
	}
	if on, ok := number(`SYSTEM\CurrentControlSet\Control\SecureBoot\State`, "UEFISecureBootEnabled"); ok {
		f["secureBoot"] = on == 1
	}
	// The devices by which firmware announces a TPM: TCG ACPI Specification, _HID.
	for id, version := range map[string]string{"MSFT0101": "2.0", "PNP0C31": "1.2"} {
		if k, err := registry.OpenKey(registry.LOCAL_MACHINE, `SYSTEM\CurrentControlSet\Enum\ACPI\`+id, registry.QUERY_VALUE); err == nil {
			k.Close()
			f["tpm"] = version
		}
	}
}

// smbios is the firmware's table of the hardware, without the head that Windows puts before it.
func smbios() []byte {
	n, _, _ := getSystemFirmwareTable.Call(firmwareSMBIOS, 0, 0, 0)
	const head = 8 // RawSMBIOSData
	if n <= head || n > 1<<20 {
		return nil
	}
	b := make([]byte, n)
	got, _, _ := getSystemFirmwareTable.Call(firmwareSMBIOS, 0, uintptr(ptr(&b[0])), n)
	if got <= head || got > n {
		return nil
	}
	return b[head:got]
}

func battery() map[string]any {
	var p struct {
		line, flag, percent, saver byte
		life, full                 uint32
	}
	if ok, _, _ := getSystemPowerStatus.Call(uintptr(ptr(&p))); ok == 0 || p.flag == unknown || p.flag&noBattery != 0 || p.percent == unknownPercent {
		return nil
	}
	return map[string]any{"percent": int(p.percent), "mains": p.line != onBattery}
}

// disks are the physical ones that Windows numbers.
func disks() (all []any) {
	for n := range 32 {
		name := fmt.Sprintf(`PhysicalDrive%d`, n)
		path, _ := windows.UTF16PtrFromString(`\\.\` + name)
		h, err := windows.CreateFile(path, 0, windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE, nil, windows.OPEN_EXISTING, 0, 0)
		if err != nil {
			continue
		}
		if size := diskSize(h); size > 0 {
			d := map[string]any{"name": name, "size": size}
			describe(h, d)
			all = append(all, d)
		}
		windows.CloseHandle(h)
	}
	return all
}

// diskSize asks for the geometry, which needs no administrator.
func diskSize(h windows.Handle) int64 {
	const ioctlDiskGetDriveGeometryEx = 0x700a0
	var geometry struct {
		cylinders                           int64
		media, tracks, sectors, sectorBytes uint32
		size                                int64
		rest                                [512]byte
	}
	var n uint32
	if windows.DeviceIoControl(h, ioctlDiskGetDriveGeometryEx, nil, 0, (*byte)(ptr(&geometry)), uint32(unsafe.Sizeof(geometry)), &n, nil) != nil {
		return 0
	}
	return geometry.size
}

// describe adds a disk's model, and whether it seeks.
func describe(h windows.Handle, d map[string]any) {
	const ioctlStorageQueryProperty = 0x2d1400
	ask := func(property uint32) []byte {
		query := struct{ property, kind, extra uint32 }{property, 0, 0}
		out := make([]byte, 1024)
		var n uint32
		if windows.DeviceIoControl(h, ioctlStorageQueryProperty, (*byte)(ptr(&query)), uint32(unsafe.Sizeof(query)), &out[0], uint32(len(out)), &n, nil) != nil {
			return nil
		}
		return out[:n]
	}
	if b := ask(0); len(b) >= 36 { // STORAGE_DEVICE_DESCRIPTOR: ProductIdOffset at 16
		if at := int(*(*uint32)(ptr(&b[16]))); at > 0 && at < len(b) {
			end := slices.Index(b[at:], 0)
			if end < 0 {
				end = len(b) - at
			}
			set(d, "model", strings.TrimSpace(string(b[at:at+end])))
		}
	}
	if b := ask(7); len(b) >= 9 { // DEVICE_SEEK_PENALTY_DESCRIPTOR
		d["rotational"] = b[8] != 0
	}
}

// loggedOn are the users of sessions, each once.
func loggedOn() (users []string) {
	var list *windows.WTS_SESSION_INFO
	var n uint32
	if windows.WTSEnumerateSessions(0, 0, 1, &list, &n) != nil {
		return nil
	}
	defer windows.WTSFreeMemory(uintptr(ptr(list)))
	for _, s := range unsafe.Slice(list, n) {
		const wtsUserName = 5
		var name *uint16
		var size uint32
		if ok, _, _ := wtsQuerySessionInfo.Call(0, uintptr(s.SessionID), wtsUserName, uintptr(ptr(&name)), uintptr(ptr(&size))); ok == 0 || name == nil {
			continue
		}
		if user := windows.UTF16PtrToString(name); user != "" && !slices.Contains(users, user) {
			users = append(users, user)
		}
		windows.WTSFreeMemory(uintptr(ptr(name)))
	}
	return users
}
