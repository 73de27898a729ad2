package files

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fitout-dev/fitout/modules/hint"
)

// isDrive says whether a path begins with a drive's letter.
func isDrive(p string) bool {
	return len(p) > 1 && p[1] == ':' && (p[0]|0x20) >= 'a' && (p[0]|0x20) <= 'z'
}

// isWindows says whether a path can only be one of Windows.
func isWindows(p string) bool { return isDrive(p) || strings.HasPrefix(p, `\\`) }

// checkPathOn finds what is wrong with a path on one platform.
func checkPathOn(os, p string) error {
	switch {
	case os == "windows" && !isWindows(p):
		return hint.New(fmt.Errorf(`path: %s is not a path of Windows, which begins with a drive as in C:\Sales`, p), `if it is for other machines, add: when: device.os != "windows"`)
	case os != "windows" && os != "" && isWindows(p):
		return hint.New(fmt.Errorf("path: %s is a path of Windows", p), `add: when: device.os == "windows"`)
	}
	return nil
}

// devices are names that mean a device in every folder, whatever comes behind a dot.
// https://learn.microsoft.com/windows/win32/fileio/naming-a-file
var devices = []string{"con", "prn", "aux", "nul", "conin$", "conout$"}

func isDevice(part string) bool {
	name, _, _ := strings.Cut(strings.ToLower(part), ".")
	name = strings.TrimRight(name, " ")
	if slices.Contains(devices, name) {
		return true
	}
	for _, port := range []string{"com", "lpt"} {
		if n, ok := strings.CutPrefix(name, port); ok && (len(n) == 1 && n[0] >= '1' && n[0] <= '9' || n == "¹" || n == "²" || n == "³") {
			return true
		}
	}
	return false
}

// checkWindows finds what Windows would understand as something else than it looks like.
func checkWindows(p string) error {
	switch {
	case strings.HasPrefix(p, `\\?\`), strings.HasPrefix(p, `\\.\`):
		return hint.New(fmt.Errorf("path: %s goes round Windows' own rules for names", p), `write it as C:\...: a path of any length will do`)
	case strings.HasPrefix(p, `\\`):
		return hint.New(fmt.Errorf("path: %s is on another machine", p), "declare it for that machine: a remote session has no rights on a third one")
	case len(p) == 2 || p[2] != '\\' && p[2] != '/':
		return hint.New(fmt.Errorf("path: %s depends on the current folder of drive %s", p, p[:2]), `write %s\%s`, p[:2], p[2:])
	}
	for part := range strings.SplitSeq(strings.ReplaceAll(p[3:], `\`, "/"), "/") {
		if i := strings.IndexFunc(part, func(r rune) bool { return r < ' ' || strings.ContainsRune(`<>:"|?*`, r) }); i >= 0 {
			if part[i] == ':' {
				return fmt.Errorf("path: %q in %s names a stream of a file, not a file", part, p)
			}
			return fmt.Errorf("path: %q can't be in a name of Windows, as in %s", part[i:i+1], p)
		}
		switch {
		case isDevice(part):
			return fmt.Errorf("path: %q in %s is a device's name on Windows, in every folder", part, p)
		case part != "." && part != ".." && strings.TrimRight(part, " .") != part:
			return fmt.Errorf("path: %q in %s ends with a dot or blank, which Windows takes away", part, p)
		}
	}
	return nil
}

// windowsKept are folders that Windows needs, below any drive.
var windowsKept = []string{"", "windows", "windows/system32", "windows/syswow64", "users", "users/public", "users/default", "program files", "program files (x86)", "programdata"}

// isKept says whether a machine doesn't start without a directory, or its users have lost everything.
func isKept(p string) bool {
	if isDrive(p) {
		rest := strings.Trim(strings.ToLower(strings.ReplaceAll(p[2:], `\`, "/")), "/")
		return slices.Contains(windowsKept, rest)
	}
	return slices.Contains(kept, p)
}
