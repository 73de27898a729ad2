// Package clock is the time zone of Windows, by Windows' own names.
//
//	name, err := clock.Zone(h)                     // "W. Europe Standard Time"
//	err = clock.SetZone(h, "GMT Standard Time")
package clock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"unsafe"

	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/fitout-dev/fitout/modules/host/privilege"
	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

const (
	current = `SYSTEM\CurrentControlSet\Control\TimeZoneInformation`
	all     = `SOFTWARE\Microsoft\Windows NT\CurrentVersion\Time Zones`
)

var setZone = windows.NewLazySystemDLL("kernel32.dll").NewProc("SetDynamicTimeZoneInformation")

// dynamicTimeZone is DYNAMIC_TIME_ZONE_INFORMATION.
type dynamicTimeZone struct {
	bias         int32
	standardName [32]uint16
	standardDate windows.Systemtime
	standardBias int32
	daylightName [32]uint16
	daylightDate windows.Systemtime
	daylightBias int32
	keyName      [128]uint16
	noDaylight   byte
}

// Zone is the zone's name.
func Zone(h *host.Host) (string, error) {
	if !h.Living() {
		return "", host.ErrNeedsSystem
	}
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, current, registry.QUERY_VALUE)
	if err != nil {
		return "", fmt.Errorf("read the time zone: %w", err)
	}
	defer k.Close()
	name, _, err := k.GetStringValue("TimeZoneKeyName")
	if err != nil {
		return "", fmt.Errorf("read the time zone: %w", err)
	}
	return name, nil
}

// SetZone makes a zone the machine's.
func SetZone(h *host.Host, name string) error {
	z, err := zone(name)
	if err != nil {
		return err
	}
	if err := setZone.Find(); err != nil {
		return fmt.Errorf("set the time zone: %w", err)
	}
	if err := maySet(); err != nil {
		return hint.New(fmt.Errorf("set the time zone: %w", err), "connect as an administrator")
	}
	h.Step("set the time zone", name)
	if ok, _, err := setZone.Call(uintptr(unsafe.Pointer(&z))); ok == 0 {
		return fmt.Errorf("set the time zone to %s: %w", name, err)
	}
	return nil
}

// zone reads what Windows knows of a zone.
func zone(name string) (dynamicTimeZone, error) {
	var z dynamicTimeZone
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, all+`\`+name, registry.QUERY_VALUE)
	if errors.Is(err, fs.ErrNotExist) {
		return z, hint.New(fmt.Errorf("this Windows has no time zone %q", name), "it came with a later update of Windows")
	}
	if err != nil {
		return z, fmt.Errorf("time zone %s: %w", name, err)
	}
	defer k.Close()
	b, _, err := k.GetBinaryValue("TZI")
	if err != nil || len(b) < 44 {
		return z, fmt.Errorf("time zone %s: its rules can't be read: %w", name, errors.Join(err, errors.ErrUnsupported))
	}
	// REG_TZI_FORMAT: three differences in minutes, and two dates.
	z.bias, z.standardBias, z.daylightBias = int32(binary.LittleEndian.Uint32(b)), int32(binary.LittleEndian.Uint32(b[4:])), int32(binary.LittleEndian.Uint32(b[8:]))
	if _, err := binary.Decode(b[12:], binary.LittleEndian, &z.standardDate); err != nil {
		return z, err
	}
	if _, err := binary.Decode(b[28:], binary.LittleEndian, &z.daylightDate); err != nil {
		return z, err
	}
	for value, to := range map[string][]uint16{"Std": z.standardName[:], "Dlt": z.daylightName[:]} {
		s, _, err := k.GetStringValue(value)
		if err != nil {
			return z, fmt.Errorf("time zone %s: %w", name, err)
		}
		if err := put(to, s); err != nil {
			return z, err
		}
	}
	return z, put(z.keyName[:], name)
}

func put(to []uint16, s string) error {
	u, err := windows.UTF16FromString(s)
	if err != nil {
		return err
	}
	copy(to[:len(to)-1], u)
	return nil
}

// maySet turns on the right to set the zone, which administrators have.
func maySet() error { return privilege.Enable("SeTimeZonePrivilege") }
