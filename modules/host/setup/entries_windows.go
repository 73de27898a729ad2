package setup

import (
	"errors"
	"fmt"
	"io/fs"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

// Entry is one of those that Windows lists as installed applications:
// https://learn.microsoft.com/windows/win32/msi/uninstall-registry-key
type Entry struct {
	Key            string // its own name: a product code, or what the installer chose
	Name, Version  string
	Quiet, Command string // the command lines that remove it, without questions and with them
	MSI            bool   // Windows Installer removes it
	View           int    // 32 or 64
	User           bool   // only for the user whom fitout runs as
}

const uninstall = `SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall`

// Entries lists what is installed for the machine, of 64 and of 32 bits, and for the user whom fitout runs as.
func Entries() ([]Entry, error) {
	var all []Entry
	for _, place := range []struct {
		root registry.Key
		view int
		user bool
	}{{registry.LOCAL_MACHINE, 64, false}, {registry.LOCAL_MACHINE, 32, false}, {registry.CURRENT_USER, 64, true}} {
		access := uint32(registry.WOW64_64KEY)
		if place.view == 32 {
			access = registry.WOW64_32KEY
		}
		list, err := registry.OpenKey(place.root, uninstall, registry.ENUMERATE_SUB_KEYS|access)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list installed applications: %w", err)
		}
		names, err := list.ReadSubKeyNames(-1)
		if err != nil {
			list.Close()
			return nil, fmt.Errorf("list installed applications: %w", err)
		}
		for _, name := range names {
			k, err := registry.OpenKey(list, name, registry.QUERY_VALUE|access)
			if err != nil {
				continue // gone since, or nothing that we may see
			}
			get := func(value string) string { s, _, _ := k.GetStringValue(value); return s }
			msi, _, _ := k.GetIntegerValue("WindowsInstaller")
			e := Entry{Key: name, Name: get("DisplayName"), Version: get("DisplayVersion"), Quiet: get("QuietUninstallString"),
				Command: get("UninstallString"), MSI: msi == 1, View: place.view, User: place.user}
			k.Close()
			all = append(all, e)
		}
		list.Close()
	}
	return all, nil
}

// FileVersion reads the version in a program's resources, or "" where it has none.
func FileVersion(path string) (string, error) {
	var zero windows.Handle
	size, err := windows.GetFileVersionInfoSize(path, &zero)
	if errors.Is(err, windows.ERROR_RESOURCE_TYPE_NOT_FOUND) || errors.Is(err, windows.ERROR_RESOURCE_DATA_NOT_FOUND) || err == nil && size == 0 {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("version of %s: %w", path, err)
	}
	info := make([]byte, size)
	if err := windows.GetFileVersionInfo(path, 0, size, unsafe.Pointer(&info[0])); err != nil {
		return "", fmt.Errorf("version of %s: %w", path, err)
	}
	var fixed *windows.VS_FIXEDFILEINFO
	var n uint32
	if err := windows.VerQueryValue(unsafe.Pointer(&info[0]), `\`, unsafe.Pointer(&fixed), &n); err != nil || n == 0 {
		return "", nil
	}
	return fmt.Sprintf("%d.%d.%d.%d", fixed.FileVersionMS>>16, fixed.FileVersionMS&0xffff, fixed.FileVersionLS>>16, fixed.FileVersionLS&0xffff), nil
}
