package apt

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

// Action is what a Change wants of a package.
type Action int

const (
	Install Action = iota
	Remove
	Purge // Remove, and its configuration too
)

// Change is what is wanted of one package.
type Change struct {
	Name       string // or name:architecture
	Action     Action
	Version    Constraint // of Install
	Recommends *bool      // install what the package recommends; nil is the system's own default
	Others     bool       // other packages may be removed for it
}

// Met says whether d has what c wants. For the latest version, newest is that.
func (c Change) Met(d *Database, newest string) bool {
	p := d.Find(c.Name)
	switch c.Action {
	case Remove:
		return !p.Present()
	case Purge:
		return !p.Present() && !p.ConfigFiles()
	}
	if !p.Present() {
		return !c.Version.Latest() && d.Provider(c.Name, c.Version) != ""
	}
	return !p.Broken() && c.Version.Match(p.Version) && (newest == "" || Compare(p.Version, newest) >= 0)
}

type item struct {
	Change
	version string // chosen; "" leaves it to apt
	err     error
}

// work is one call of Apply.
type work struct {
	h         *host.Host
	db        *Database
	keep      []string // packages that nothing may remove on the way
	refreshed bool
	repaired  bool
	relisted  int // times that a lock was found taken
}

// Apply makes all changes in one transaction of apt's, as far as that is possible; errors match changes one by one. What
// fails is left out, and the rest is done without it. The package lists are fetched anew at most once, and only when
// something that is wanted isn't in them. What would remove a package of keep is refused, Others or not.
func Apply(ctx context.Context, h *host.Host, changes []Change, keep ...string) []error {
	items := make([]*item, len(changes))
	for i, c := range changes {
		items[i] = &item{Change: c}
	}
	w := &work{h: h, keep: keep}
	if err := w.do(ctx, items); err != nil {
		for _, it := range items {
			if it.err == nil {
				it.err = err
			}
		}
	}
	errs := make([]error, len(items))
	for i, it := range items {
		errs[i] = it.err
	}
	return errs
}

func (w *work) do(ctx context.Context, items []*item) (err error) {
	if err := Available(w.h); err != nil {
		return err
	}
	if err := Wait(ctx, w.h); err != nil {
		return err
	}
	if w.db, err = read(w.h); err != nil {
		return err
	}
	if w.db.Interrupted {
		// A script that fails again is told of below, where its package is wanted.
		if err := Repair(ctx, w.h); err != nil {
			w.h.Log().Warn("dpkg", "error", err)
		}
		if w.db, err = read(w.h); err != nil {
			return err
		}
		if err := w.salvage(ctx, items); err != nil {
			return err
		}
	}
	for _, group := range groups(items) {
		if err := w.transaction(ctx, group); err != nil {
			return err
		}
	}
	return w.purge(ctx, items)
}

// groups parts items by what apt takes one option for.
func groups(items []*item) [][]*item {
	var system, with, without []*item
	for _, it := range items {
		switch {
		case it.Recommends == nil:
			system = append(system, it)
		case *it.Recommends:
			with = append(with, it)
		default:
			without = append(without, it)
		}
	}
	return [][]*item{system, with, without}
}

func (w *work) transaction(ctx context.Context, items []*item) error {
	ready, err := w.prepare(ctx, items)
	for err == nil && len(ready) > 0 {
		ready, err = w.run(ctx, ready)
	}
	return err
}

// run does the transaction. What dpkg's database then shows as done has succeeded, whatever apt-get said. It returns what
// is worth another try.
func (w *work) run(ctx context.Context, items []*item) ([]*item, error) {
	out, ok, err := run(ctx, w.h, "", append([]string{aptGet}, w.args(items)...)...)
	if err != nil {
		return nil, err
	}
	if w.db, err = read(w.h); err != nil {
		return nil, err
	}
	left := slices.DeleteFunc(slices.Clone(items), func(it *item) bool { return it.done(w.db) })
	if len(left) == 0 {
		return nil, nil
	}
	if ok {
		for _, it := range left {
			it.err = fmt.Errorf("apt-get has done its work, but %s is not as wanted: %s", it.Name, host.LastLines(out, 4))
		}
		return nil, nil
	}
	d := diagnose(out)
	switch d.cause {
	case locked:
		if w.relisted++; w.relisted < 20 {
			return left, Wait(ctx, w.h)
		}
	case interrupted:
		if !w.repaired {
			w.repaired = true
			if err := Repair(ctx, w.h); err != nil {
				w.h.Log().Warn("dpkg", "error", err)
			}
			return left, nil
		}
	case outdated:
		if !w.refreshed {
			w.refreshed = true
			if err := Refresh(ctx, w.h); err != nil {
				return nil, err
			}
			return w.prepare(ctx, left)
		}
	}
	general := d.error("apt-get " + verb(items))
	if d.cause == noSpace || d.cause == noNetwork || d.cause == untrusted {
		return nil, general // for all that is left
	}
	var rest []*item
	for _, it := range left {
		if reason := d.failed[w.nameOf(it)]; reason != "" {
			it.err = failedScript(it.Name, reason)
		} else {
			rest = append(rest, it)
		}
	}
	if len(rest) < len(items) {
		return rest, nil
	}
	if len(rest) == 1 {
		rest[0].err = general
		return nil, nil
	}
	// Nobody is named and nothing was done: one by one.
	for _, it := range rest {
		if err := w.transaction(ctx, []*item{it}); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// nameOf is how dpkg calls the package in its messages.
func (w *work) nameOf(it *item) string {
	name, arch, _ := strings.Cut(it.Name, ":")
	if arch != "" && arch != w.db.native {
		return it.Name
	}
	return name
}

func failedScript(name, reason string) error {
	return hint.New(fmt.Errorf("package %s: %s", name, reason), "a script of the package itself failed: mend what it complains of on the device, then apply again")
}

func verb(items []*item) string {
	if slices.ContainsFunc(items, func(it *item) bool { return it.Action == Install }) {
		return "install"
	}
	return "remove"
}

// purge removes the configuration that removed packages have left.
func (w *work) purge(ctx context.Context, items []*item) error {
	var names []string
	todo := map[string]*item{}
	for _, it := range items {
		if it.Action == Purge && it.err == nil && w.db.Find(it.Name).ConfigFiles() {
			names = append(names, it.Name)
			todo[w.nameOf(it)] = it
		}
	}
	if len(names) == 0 {
		return nil
	}
	if err := Wait(ctx, w.h); err != nil {
		return err
	}
	out, ok, err := run(ctx, w.h, "", append([]string{"/usr/bin/dpkg", "--purge"}, names...)...)
	if err != nil {
		return err
	}
	if w.db, err = read(w.h); err != nil || ok {
		return err
	}
	d := diagnose(out)
	for name, it := range todo {
		if it.Met(w.db, "") {
			continue
		}
		if reason := d.failed[name]; reason != "" {
			it.err = failedScript(it.Name, reason)
		} else {
			it.err = d.error("dpkg --purge")
		}
	}
	return nil
}
