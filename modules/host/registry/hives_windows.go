package registry

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/fitout-dev/fitout/modules/host/privilege"
	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

const profileList = `SOFTWARE\Microsoft\Windows NT\CurrentVersion\ProfileList`

// Open gives the hives that hive is for a user, AllUsers or DefaultUser; a user is a name or a SID. All hives but
// CurrentUser are the machine's and have no user. release unloads what was loaded; it is to be called always.
func Open(h *host.Host, hive, user string) (roots []Root, release func() error, err error) {
	none := func() error { return nil }
	if !h.Living() {
		return nil, none, host.ErrNeedsSystem
	}
	switch hive {
	case LocalMachine:
		return []Root{{key: registry.LOCAL_MACHINE}}, none, nil
	case Users:
		return []Root{{key: registry.USERS}}, none, nil
	case ClassesRoot: // of the machine: what HKCR shows is mixed with those of the user whom fitout runs as
		return []Root{{key: registry.LOCAL_MACHINE, path: `SOFTWARE\Classes`}}, none, nil
	}
	wanted, err := profiles(user)
	if err != nil {
		return nil, none, err
	}
	var loaded []string
	release = func() error {
		var errs []error
		for _, name := range loaded {
			errs = append(errs, unload(name))
		}
		return errors.Join(errs...)
	}
	for _, p := range wanted {
		name, isOurs, err := p.hive()
		if errors.Is(err, fs.ErrNotExist) && user == AllUsers {
			continue // an entry whose folder is gone
		}
		if err != nil {
			return nil, none, errors.Join(fmt.Errorf("hive of %s: %w", p.name, err), release())
		}
		if isOurs {
			loaded = append(loaded, name)
		}
		roots = append(roots, Root{Name: p.name, key: registry.USERS, path: name})
	}
	return roots, release, nil
}

// profile is a user's folder.
type profile struct{ name, folder string } // name is a SID, or DefaultUser

// profiles finds the folders of users.
func profiles(user string) ([]profile, error) {
	list, err := registry.OpenKey(registry.LOCAL_MACHINE, profileList, registry.QUERY_VALUE|registry.ENUMERATE_SUB_KEYS|registry.WOW64_64KEY)
	if err != nil {
		return nil, fmt.Errorf("list users' profiles: %w", err)
	}
	defer list.Close()
	switch {
	case user == "":
		return nil, errors.New("HKCU: of no user")
	case strings.EqualFold(user, DefaultUser):
		folder, err := expanded(list, "Default")
		if errors.Is(err, fs.ErrNotExist) {
			folder, err = registry.ExpandString(`%SystemDrive%\Users\Default`)
		}
		return []profile{{DefaultUser, folder}}, err
	case strings.EqualFold(user, AllUsers):
		names, err := list.ReadSubKeyNames(-1)
		if err != nil {
			return nil, fmt.Errorf("list users' profiles: %w", err)
		}
		var out []profile
		for _, sid := range names {
			if !isPerson(sid) {
				continue
			}
			folder, err := folderOf(list, sid)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			out = append(out, profile{sid, folder})
		}
		return out, nil
	}
	sid, err := SID(user)
	if err != nil {
		return nil, err
	}
	folder, err := folderOf(list, sid)
	if errors.Is(err, fs.ErrNotExist) {
		if exists(registry.USERS, sid) { // logged on, with no profile to keep
			return []profile{{sid, ""}}, nil
		}
		return nil, hint.New(fmt.Errorf("%s has no profile on this machine", user), "Windows makes it when the user logs on for the first time; `user: default` is for all who will")
	}
	return []profile{{sid, folder}}, err
}

// isPerson tells people's accounts (of machines, domains and Entra ID) from those of services.
func isPerson(sid string) bool {
	return (strings.HasPrefix(sid, "S-1-5-21-") || strings.HasPrefix(sid, "S-1-12-1-")) && !strings.HasSuffix(sid, ".bak")
}

// SID is a user's SID, as text.
func SID(user string) (string, error) {
	if strings.HasPrefix(strings.ToUpper(user), "S-1-") {
		sid, err := windows.StringToSid(user)
		if err != nil {
			return "", fmt.Errorf("%s is no SID: %w", user, err)
		}
		return sid.String(), nil
	}
	sid, _, _, err := windows.LookupSID("", user)
	if err != nil {
		return "", fmt.Errorf("no user %q on this machine: %w", user, err)
	}
	return sid.String(), nil
}

func folderOf(list registry.Key, sid string) (string, error) {
	k, err := registry.OpenKey(list, sid, registry.QUERY_VALUE)
	if err != nil {
		return "", err
	}
	defer k.Close()
	return expanded(k, "ProfileImagePath")
}

func expanded(k registry.Key, name string) (string, error) {
	s, _, err := k.GetStringValue(name)
	if err != nil {
		return "", err
	}
	return registry.ExpandString(s)
}

func exists(root registry.Key, path string) bool {
	k, err := registry.OpenKey(root, path, registry.QUERY_VALUE)
	if err == nil {
		k.Close()
	}
	return err == nil
}

// hive is the name below HKEY_USERS under which the profile's hive is, and whether it was loaded for that.
func (p profile) hive() (name string, isOurs bool, err error) {
	if p.name != DefaultUser && exists(registry.USERS, p.name) {
		return p.name, false, nil
	}
	if p.folder == "" {
		return "", false, fs.ErrNotExist
	}
	name = loadedPrefix + strings.ToLower(p.name)
	return name, true, load(name, filepath.Join(p.folder, "NTUSER.DAT"))
}

// users counts who uses the hives that this process has loaded: resources are observed at the same time.
var users = struct {
	sync.Mutex
	of map[string]int
}{of: map[string]int{}}

func load(name, file string) error {
	users.Lock()
	defer users.Unlock()
	if users.of[name] > 0 {
		users.of[name]++
		return nil
	}
	if err := mayLoad(); err != nil {
		return err
	}
	if exists(registry.USERS, name) { // left by a process that was killed
		if err := unloadKey(name); err != nil {
			return fmt.Errorf("unload what an earlier run has left: %w", err)
		}
	}
	n, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return err
	}
	f, err := windows.UTF16PtrFromString(file)
	if err != nil {
		return err
	}
	if code, _, _ := regLoadKey.Call(uintptr(registry.USERS), uintptr(unsafe.Pointer(n)), uintptr(unsafe.Pointer(f))); code != 0 {
		err := fmt.Errorf("load %s: %w", file, windows.Errno(code))
		if errors.Is(err, windows.ERROR_SHARING_VIOLATION) {
			return hint.New(err, "something else has it open: the user logs on or off just now, or a backup runs")
		}
		return err
	}
	users.of[name] = 1
	return nil
}

func unload(name string) error {
	users.Lock()
	defer users.Unlock()
	if users.of[name]--; users.of[name] > 0 {
		return nil
	}
	delete(users.of, name)
	return unloadKey(name)
}

func unloadKey(name string) error {
	n, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		code, _, _ := regUnLoadKey.Call(uintptr(registry.USERS), uintptr(unsafe.Pointer(n)))
		if code == 0 {
			return nil
		}
		if err := windows.Errno(code); !errors.Is(err, windows.ERROR_ACCESS_DENIED) || time.Now().After(deadline) {
			return hint.New(fmt.Errorf(`unload HKU\%s: %w`, name, err), "something on the device holds a key of it open; it goes with the next restart")
		}
	}
}

// patience is how long others, such as virus scanners, may hold a key of a hive open that is to be unloaded.
const patience = 2 * time.Second

// mayLoad turns on the two rights that loading a hive needs, and that administrators have.
var mayLoad = sync.OnceValue(func() error {
	if err := privilege.Enable("SeBackupPrivilege", "SeRestorePrivilege"); err != nil {
		return fmt.Errorf("rights to load a hive: %w", err)
	}
	return nil
})
