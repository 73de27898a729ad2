package host

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf16"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

// What the next start does to files is a value of this key: pairs of what is moved and where to, which is empty where it is
// removed. https://learn.microsoft.com/windows/win32/api/winbase/nf-winbase-movefileexw
const (
	sessionManager = `SYSTEM\CurrentControlSet\Control\Session Manager`
	pendingRenames = "PendingFileRenameOperations"
)

var regSetValueEx = windows.NewLazySystemDLL("advapi32.dll").NewProc("RegSetValueExW")

type renaming struct{ from, to string } // as they stand there: \??\C:\x, and an optional ! before what is replaced

// Pending is what the next start makes of a file that is in use: it moves from there, or removes it where from is "".
func (h *Host) Pending(name string) (from string, planned bool) {
	p, err := h.path(name)
	if err != nil || !h.Living() {
		return "", false
	}
	all, err := readRenamings()
	if err != nil {
		return "", false
	}
	for _, r := range all { // the last one of a file decides
		switch {
		case r.to != "" && samePath(plainPath(r.to), p):
			from, planned = plainPath(r.from), true
		case r.to == "" && samePath(plainPath(r.from), p):
			from, planned = "", true
		}
	}
	if from != "" {
		if _, err := os.Lstat(from); errors.Is(err, fs.ErrNotExist) { // somebody has cleaned up
			return "", false
		}
	}
	return from, planned
}

// atRestart plans that from moves to p, or where from is "" that p is removed.
func (s steps) atRestart(from, p string) error {
	if err := s.forgetRenamings(p); err != nil {
		return err
	}
	f, err := windows.UTF16PtrFromString(long(p))
	if err != nil {
		return err
	}
	var t *uint16
	flags := uint32(windows.MOVEFILE_DELAY_UNTIL_REBOOT)
	if from != "" {
		t, flags = f, flags|windows.MOVEFILE_REPLACE_EXISTING
		if f, err = windows.UTF16PtrFromString(long(from)); err != nil {
			return err
		}
	}
	s.before("plan for the next start:", p)
	return windows.MoveFileEx(f, t, flags)
}

// forgetRenamings takes out what an earlier change has planned for a file: it would undo this one.
func (s steps) forgetRenamings(p string) error {
	all, err := readRenamings()
	if err != nil {
		return err
	}
	var kept []renaming
	for _, r := range all {
		ours := samePath(plainPath(r.from), tempName(p)) && samePath(plainPath(r.to), p) || r.to == "" && samePath(plainPath(r.from), p)
		if !ours {
			kept = append(kept, r)
		}
	}
	if len(kept) == len(all) {
		return nil
	}
	s.before("forget what was planned for the next start:", p)
	return writeRenamings(kept)
}

func readRenamings() ([]renaming, error) {
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, sessionManager, registry.QUERY_VALUE)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer k.Close()
	buf := make([]byte, 4096)
	for {
		n, _, err := k.GetValue(pendingRenames, buf)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, nil
		case errors.Is(err, registry.ErrShortBuffer) || n > len(buf):
			buf = make([]byte, max(n, 2*len(buf)))
		case err != nil:
			return nil, err
		default:
			return parseRenamings(buf[:n]), nil
		}
	}
}

// parseRenamings reads pairs of texts that each end with a NUL. An empty one is a text too, unlike in other lists.
func parseRenamings(b []byte) []renaming {
	u := make([]uint16, len(b)/2)
	for i := range u {
		u[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	var texts []string
	for start, i := 0, 0; i < len(u); i++ {
		if u[i] == 0 {
			texts = append(texts, string(utf16.Decode(u[start:i])))
			start = i + 1
		}
	}
	var out []renaming
	for i := 0; i+1 < len(texts) && texts[i] != ""; i += 2 {
		out = append(out, renaming{texts[i], texts[i+1]})
	}
	return out
}

func writeRenamings(all []renaming) error {
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, sessionManager, registry.SET_VALUE)
	if err != nil {
		return err
	}
	defer k.Close()
	if len(all) == 0 {
		return k.DeleteValue(pendingRenames)
	}
	var u []uint16
	for _, r := range all {
		u = append(append(u, utf16.Encode([]rune(r.from))...), 0)
		u = append(append(u, utf16.Encode([]rune(r.to))...), 0)
	}
	u = append(u, 0)
	name, err := windows.UTF16PtrFromString(pendingRenames)
	if err != nil {
		return err
	}
	code, _, _ := regSetValueEx.Call(uintptr(k), uintptr(unsafe.Pointer(name)), 0, registry.MULTI_SZ, uintptr(unsafe.Pointer(&u[0])), uintptr(2*len(u)))
	if code != 0 {
		return windows.Errno(code)
	}
	return nil
}

// plainPath is a path as it stands in the registry, without its marks.
func plainPath(p string) string {
	p = strings.TrimPrefix(p, "!")
	return strings.TrimPrefix(strings.TrimPrefix(p, `\??\`), `\\?\`)
}

func samePath(a, b string) bool {
	return a != "" && strings.EqualFold(filepath.Clean(a), filepath.Clean(strings.TrimPrefix(b, `\\?\`)))
}

// long is a path as calls take it that would refuse one of more than 260 characters.
func long(p string) string {
	p = filepath.Clean(p)
	if len(p) < 248 || strings.HasPrefix(p, `\\`) {
		return p
	}
	return `\\?\` + p
}
