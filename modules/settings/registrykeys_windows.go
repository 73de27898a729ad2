package settings

import (
	"errors"
	"fmt"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/fitout-dev/fitout/modules/host/registry"
)

func readKeys(h *host.Host, want RegistryKey) (kept []KeptKey, err error) {
	err = eachHive(h, want.Path, want.User, func(root registry.Root, key string) error {
		k := KeptKey{Hive: root.Name}
		var err error
		if k.Missing, err = root.Missing(key, viewOf(want.View)); err != nil {
			return err
		}
		if k.Missing == "" && (want.State == modules.Absent || want.Kept != nil) {
			k.Tree, err = root.Tree(key, viewOf(want.View), maxTree)
			if errors.Is(err, registry.ErrTooLarge) {
				k.Lost, err = fmt.Sprintf("it holds more than the %d KiB that are kept", maxTree>>10), nil
			}
		}
		kept = append(kept, k)
		return err
	})
	return kept, err
}

func writeKeys(h *host.Host, want RegistryKey) error {
	was := map[string]KeptKey{}
	for _, k := range want.Kept {
		was[k.Hive] = k
	}
	view := viewOf(want.View)
	return eachHive(h, want.Path, want.User, func(root registry.Root, key string) error {
		if want.Kept != nil {
			k, ok := was[root.Name]
			switch {
			case !ok:
				return nil
			case k.Missing != "":
				if err := root.Remove(h, key, view); err != nil {
					return err
				}
				return root.Prune(h, key, k.Missing, view)
			case k.Tree != nil:
				return root.Restore(h, key, view, k.Tree)
			}
			return root.Make(h, key, view)
		}
		if want.State == modules.Absent {
			return root.Remove(h, key, view)
		}
		return root.Make(h, key, view)
	})
}
