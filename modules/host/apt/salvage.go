package apt

import (
	"context"
	"slices"
)

// removeWrecks has dpkg remove what it would rather have reinstalled first.
var removeWrecks = []string{"-o", "Dpkg::Options::=--force-remove-reinstreq"}

// salvage unpacks anew what a crash, or a full disk, has left half unpacked or half removed: apt-get takes its version for
// installed, and dpkg neither configures nor removes it. What is to go anyhow is removed. A wreck that can't be helped is
// told of where its package is wanted; who is wanted without it goes on.
func (w *work) salvage(ctx context.Context, items []*item) (err error) {
	wrecks := w.db.wrecks()
	if len(wrecks) == 0 {
		return nil
	}
	var again, gone []string
	for _, p := range wrecks {
		unwanted := slices.ContainsFunc(items, func(it *item) bool { return it.Action != Install && w.db.Find(it.Name) == p })
		if unwanted && !p.Essential {
			gone = append(gone, p.name(w.db))
		} else {
			again = append(again, p.name(w.db))
		}
	}
	policies, err := Policies(ctx, w.h, again)
	if err != nil {
		return err
	}
	// A version that is in no list can't be had again: the transaction takes another.
	var names []string
	for _, name := range again {
		policy, _ := w.db.Policy(policies, name)
		if p := w.db.Find(name); slices.Contains(policy.Versions, p.Version) {
			names = append(names, name+"="+p.Version)
		}
	}
	if len(names) > 0 {
		args := append(slices.Clone(options), "--reinstall", "--no-remove", "--allow-change-held-packages", "install")
		if err := w.try(ctx, append(append([]string{aptGet}, args...), names...)); err != nil {
			return err
		}
	}
	if len(gone) > 0 {
		if err := w.try(ctx, append([]string{"/usr/bin/dpkg", "--force-remove-reinstreq", "--remove"}, gone...)); err != nil {
			return err
		}
	}
	w.db, err = read(w.h)
	return err
}

// try runs a tool that may fail: what comes of it is seen in dpkg's database.
func (w *work) try(ctx context.Context, args []string) error {
	out, ok, err := run(ctx, w.h, "", args...)
	if err == nil && !ok {
		w.h.Log().Warn("dpkg", "error", diagnose(out).error("mend what was left half unpacked"))
	}
	return err
}
