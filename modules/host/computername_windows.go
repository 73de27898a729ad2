package host

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

// Where Windows keeps its name: https://learn.microsoft.com/windows/win32/api/sysinfoapi/nf-sysinfoapi-setcomputernameexw
const (
	tcpip        = `SYSTEM\CurrentControlSet\Services\Tcpip\Parameters`
	computerName = `SYSTEM\CurrentControlSet\Control\ComputerName\ComputerName`
)

var setComputerNameEx = windows.NewLazySystemDLL("kernel32.dll").NewProc("SetComputerNameExW")

// ComputerName is the name of a Windows machine: the one it has now, and the one from its next start on.
func (h *Host) ComputerName() (now, next string, err error) {
	if !h.Living() {
		return "", "", ErrNeedsSystem
	}
	var buf [256]uint16
	n := uint32(len(buf))
	if err := windows.GetComputerNameEx(windows.ComputerNamePhysicalDnsHostname, &buf[0], &n); err != nil {
		return "", "", fmt.Errorf("read the computer's name: %w", err)
	}
	now = windows.UTF16ToString(buf[:])
	short, err := machineValue(computerName, "ComputerName")
	if err != nil {
		return "", "", err
	}
	long, err := machineValue(tcpip, "NV Hostname")
	if err != nil {
		return "", "", err
	}
	// The short one is what counts, and has neither lower case nor more than 15 characters.
	if next = short; next == "" || strings.EqualFold(short, long[:min(len(long), 15)]) {
		next = long
	}
	return now, next, nil
}

func machineValue(key, name string) (string, error) {
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, key, registry.QUERY_VALUE)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the computer's name from %s: %w", key, err)
	}
	defer k.Close()
	s, _, err := k.GetStringValue(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return s, err
}

// SetComputerName sets the name that a Windows machine has from its next start on.
func (h *Host) SetComputerName(name string) error {
	if !h.Living() {
		return ErrNeedsSystem
	}
	p, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return err
	}
	h.steps.before("name the computer", name)
	if ok, _, err := setComputerNameEx.Call(windows.ComputerNamePhysicalDnsHostname, uintptr(unsafe.Pointer(p))); ok == 0 {
		return fmt.Errorf("name the computer %s: %w", name, err)
	}
	return nil
}

// SystemFolder is where Windows has its own files, as C:\Windows\System32.
func (h *Host) SystemFolder() string {
	dir, err := windows.GetSystemDirectory()
	if err != nil {
		return `C:\Windows\System32`
	}
	return dir
}
