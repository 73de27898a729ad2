package settings

import (
	"errors"
	"fmt"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/fitout-dev/fitout/modules/host/registry"
)

// eachHive calls do for each hive that a path is about.
func eachHive(h *host.Host, path, user string, do func(root registry.Root, key string) error) (err error) {
	hive, key, err := registry.Split(path)
	if err != nil {
		return err
	}
	roots, release, err := registry.Open(h, hive, user)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	for _, r := range roots {
		if err := do(r, key); err != nil {
			if r.Name != "" {
				return fmt.Errorf("hive of %s: %w", r.Name, err)
			}
			return err
		}
	}
	return nil
}

func viewOf(v int) registry.View {
	if v == 32 {
		return registry.View32
	}
	return registry.View64
}

func readValues(h *host.Host, want RegistryValue) (kept []KeptValue, err error) {
	err = eachHive(h, want.Path, want.User, func(root registry.Root, key string) error {
		k := KeptValue{Hive: root.Name}
		var err error
		if k.Stored, err = root.Get(key, want.Name, viewOf(want.View)); err == nil && k.Stored == nil {
			k.Missing, err = root.Missing(key, viewOf(want.View))
		}
		kept = append(kept, k)
		return err
	})
	return kept, err
}

func writeValues(h *host.Host, want RegistryValue) error {
	was := map[string]KeptValue{}
	for _, k := range want.Kept {
		was[k.Hive] = k
	}
	view := viewOf(want.View)
	return eachHive(h, want.Path, want.User, func(root registry.Root, key string) error {
		if want.Kept != nil {
			k, ok := was[root.Name]
			switch {
			case !ok: // somebody who came since
				return nil
			case k.Stored != nil:
				return root.Set(h, key, want.Name, view, *k.Stored)
			}
			if err := root.Delete(h, key, want.Name, view); err != nil || k.Missing == "" {
				return err
			}
			return root.Prune(h, key, k.Missing, view)
		}
		if want.State == modules.Absent {
			return root.Delete(h, key, want.Name, view)
		}
		v, err := want.stored()
		if err != nil {
			return err
		}
		if old, err := root.Get(key, want.Name, view); err != nil || old != nil && sameValue(*old, v) {
			return err
		}
		return root.Set(h, key, want.Name, view, v)
	})
}
