package registry

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"slices"
	"strings"
	"unsafe"

	"github.com/fitout-dev/fitout/modules/host"
	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

var (
	advapi32       = windows.NewLazySystemDLL("advapi32.dll")
	regSetValueEx  = advapi32.NewProc("RegSetValueExW")
	regLoadKey     = advapi32.NewProc("RegLoadKeyW")
	regUnLoadKey   = advapi32.NewProc("RegUnLoadKeyW")
	regDeleteKeyEx = advapi32.NewProc("RegDeleteKeyExW")
)

// Root is a hive, or a user's part of one.
type Root struct {
	Name string // of whom it is: a SID, "default", or "" for the machine's
	key  registry.Key
	// path is what comes before the keys that are asked for.
	path string
}

func (v View) access() uint32 {
	if v == View32 {
		return registry.WOW64_32KEY
	}
	return registry.WOW64_64KEY
}

func (r Root) full(key string) string { return strings.Trim(r.path+`\`+key, `\`) }

func (r Root) open(key string, view View, access uint32) (registry.Key, error) {
	k, err := registry.OpenKey(r.key, r.full(key), access|view.access())
	if errors.Is(err, windows.ERROR_KEY_DELETED) {
		err = fs.ErrNotExist
	}
	if err != nil {
		return 0, fmt.Errorf("open key %s: %w", r.full(key), err)
	}
	return k, nil
}

// Get reads a value, or nil where it or its key isn't there.
func (r Root) Get(key, name string, view View) (*Value, error) {
	k, err := r.open(key, view, registry.QUERY_VALUE)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer k.Close()
	return get(k, r.full(key), name)
}

func get(k registry.Key, path, name string) (*Value, error) {
	buf := make([]byte, 256)
	for {
		n, typ, err := k.GetValue(name, buf)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, nil
		case errors.Is(err, registry.ErrShortBuffer) || n > len(buf):
			buf = make([]byte, max(n, 2*len(buf)))
		case err != nil:
			return nil, fmt.Errorf("read value %q of %s: %w", name, path, err)
		default:
			return &Value{typ, buf[:n:n]}, nil
		}
	}
}

// Missing is the topmost key on the way to key that isn't there, or "".
func (r Root) Missing(key string, view View) (string, error) {
	parts := strings.Split(key, `\`)
	for i := range parts {
		upTo := strings.Join(parts[:i+1], `\`)
		k, err := r.open(upTo, view, registry.QUERY_VALUE)
		if errors.Is(err, fs.ErrNotExist) {
			return upTo, nil
		}
		if err != nil {
			return "", err
		}
		k.Close()
	}
	return "", nil
}

// Make makes a key, with those on the way to it.
func (r Root) Make(h *host.Host, key string, view View) error {
	missing, err := r.Missing(key, view)
	if err != nil || missing == "" {
		return err
	}
	h.Step("make key", r.full(key))
	k, _, err := registry.CreateKey(r.key, r.full(key), registry.QUERY_VALUE|view.access())
	if err != nil {
		return fmt.Errorf("make key %s: %w", r.full(key), err)
	}
	return k.Close()
}

// Set writes a value, and makes its key where that is missing.
func (r Root) Set(h *host.Host, key, name string, view View, v Value) error {
	if err := r.Make(h, key, view); err != nil {
		return err
	}
	k, err := r.open(key, view, registry.SET_VALUE)
	if err != nil {
		return err
	}
	defer k.Close()
	n, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return err
	}
	var data *byte
	if len(v.Data) > 0 {
		data = &v.Data[0]
	}
	h.Step("set value", r.full(key)+`\`+name)
	if code, _, _ := regSetValueEx.Call(uintptr(k), uintptr(unsafe.Pointer(n)), 0, uintptr(v.Type), uintptr(unsafe.Pointer(data)), uintptr(len(v.Data))); code != 0 {
		return fmt.Errorf("set value %q of %s: %w", name, r.full(key), windows.Errno(code))
	}
	return nil
}

// Delete removes a value; that it isn't there is no error.
func (r Root) Delete(h *host.Host, key, name string, view View) error {
	k, err := r.open(key, view, registry.SET_VALUE|registry.QUERY_VALUE)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer k.Close()
	if v, err := get(k, r.full(key), name); v == nil {
		return err
	}
	h.Step("remove value", r.full(key)+`\`+name)
	if err := k.DeleteValue(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove value %q of %s: %w", name, r.full(key), err)
	}
	return nil
}

// Prune removes key and those above it, up to and with top, as far as nothing is in them.
func (r Root) Prune(h *host.Host, key, top string, view View) error {
	for {
		t, err := r.Tree(key, view, 0)
		switch {
		case errors.Is(err, ErrTooLarge):
			return nil
		case err != nil:
			return err
		case t != nil:
			if err := r.deleteKey(h, key, view); err != nil {
				return err
			}
		}
		if strings.EqualFold(key, top) || !strings.Contains(key, `\`) {
			return nil
		}
		key = key[:strings.LastIndexByte(key, '\\')]
	}
}

// Remove removes a key with all that is in it, the deepest first: an interruption leaves the key itself.
func (r Root) Remove(h *host.Host, key string, view View) error {
	k, err := r.open(key, view, registry.ENUMERATE_SUB_KEYS)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	names, err := k.ReadSubKeyNames(-1)
	k.Close()
	if err != nil {
		return fmt.Errorf("list keys of %s: %w", r.full(key), err)
	}
	for _, n := range names {
		if err := r.Remove(h, key+`\`+n, view); err != nil {
			return err
		}
	}
	return r.deleteKey(h, key, view)
}

func (r Root) deleteKey(h *host.Host, key string, view View) error {
	n, err := windows.UTF16PtrFromString(r.full(key))
	if err != nil {
		return err
	}
	h.Step("remove key", r.full(key))
	code, _, _ := regDeleteKeyEx.Call(uintptr(r.key), uintptr(unsafe.Pointer(n)), uintptr(view.access()), 0)
	if err := windows.Errno(code); code != 0 && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove key %s: %w", r.full(key), err)
	}
	return nil
}

// Tree reads a key with all that is in it, or nil where it isn't there. Names and values of more than limit bytes together
// are ErrTooLarge.
func (r Root) Tree(key string, view View, limit int) (Tree, error) {
	t := Tree{}
	err := r.collect(t, key, "", view, &limit)
	if errors.Is(err, fs.ErrNotExist) && len(t) == 0 {
		return nil, nil
	}
	return t, err
}

// collect adds what is at path below key.
func (r Root) collect(t Tree, key, path string, view View, left *int) error {
	full := strings.TrimSuffix(key+`\`+path, `\`)
	k, err := r.open(full, view, registry.QUERY_VALUE|registry.ENUMERATE_SUB_KEYS)
	if err != nil {
		return err
	}
	defer k.Close()
	values, err := k.ReadValueNames(-1)
	if err != nil {
		return fmt.Errorf("list values of %s: %w", r.full(full), err)
	}
	keys, err := k.ReadSubKeyNames(-1)
	if err != nil {
		return fmt.Errorf("list keys of %s: %w", r.full(full), err)
	}
	t[path] = map[string]Value{}
	for _, name := range values {
		v, err := get(k, r.full(full), name)
		if err != nil {
			return err
		}
		if v == nil {
			continue // gone since
		}
		if *left -= 1 + len(name) + len(v.Data); *left < 0 {
			return ErrTooLarge
		}
		t[path][name] = *v
	}
	for _, name := range keys {
		sub := strings.TrimPrefix(path+`\`+name, `\`)
		if *left -= 1 + len(sub); *left < 0 {
			return ErrTooLarge
		}
		if err := r.collect(t, key, sub, view, left); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Restore brings a key to what a tree holds: what isn't in it goes.
func (r Root) Restore(h *host.Host, key string, view View, t Tree) error {
	now, err := r.Tree(key, view, math.MaxInt)
	if err != nil {
		return err
	}
	at := func(path string) string { return strings.TrimSuffix(key+`\`+path, `\`) }
	for path, values := range now {
		wanted, ok := t[path]
		if !ok {
			if err := r.Remove(h, at(path), view); err != nil {
				return err
			}
			continue
		}
		for name := range values {
			if _, ok := wanted[name]; !ok {
				if err := r.Delete(h, at(path), name, view); err != nil {
					return err
				}
			}
		}
	}
	for _, path := range slices.Sorted(maps.Keys(t)) {
		if err := r.Make(h, at(path), view); err != nil {
			return err
		}
		for name, v := range t[path] {
			if old, ok := now[path][name]; ok && old.Equal(v) {
				continue
			}
			if err := r.Set(h, at(path), name, view, v); err != nil {
				return err
			}
		}
	}
	return nil
}
