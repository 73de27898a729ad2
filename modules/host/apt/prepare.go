package apt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fitout-dev/fitout/modules/hint"
)

// prepare chooses versions and simulates; it returns what can be done together. The others have their error.
func (w *work) prepare(ctx context.Context, items []*item) ([]*item, error) {
	for {
		var todo []*item
		for _, it := range items {
			if it.err == nil && !it.done(w.db) {
				todo = append(todo, it)
			}
		}
		if err := w.resolve(ctx, todo); err != nil {
			return nil, err
		}
		todo = slices.DeleteFunc(todo, func(it *item) bool { return it.err != nil || it.done(w.db) })
		ready, err := w.admit(ctx, todo)
		if err != nil {
			return nil, err
		}
		// Old lists may be why.
		again := false
		for _, it := range items {
			var stale *staleError
			if errors.As(it.err, &stale) && !w.refreshed {
				it.err, again = nil, true
			}
		}
		if !again {
			return ready, nil
		}
		w.refreshed = true
		if err := Refresh(ctx, w.h); err != nil {
			if ctx.Err() != nil {
				return nil, err
			}
			// Whatever could be fetched may do; if not, this is the reason.
			w.h.Log().Warn("refresh of the package lists", "error", err)
			ready, prepareErr := w.prepare(ctx, items)
			for _, it := range items {
				if it.err != nil && !errors.Is(it.err, err) {
					it.err = hint.New(fmt.Errorf("%w; %w", it.err, err), "%s", hint.Of(err))
				}
			}
			return ready, prepareErr
		}
	}
}

// done says whether apt has nothing to do for it; configuration files are removed afterwards.
func (it *item) done(d *Database) bool {
	if it.Action == Purge {
		return !d.Find(it.Name).Present()
	}
	newest := ""
	if it.Version.Latest() {
		if it.version == "" {
			return false
		}
		newest = it.version
	}
	return it.Met(d, newest)
}

// staleError is a failure that newer package lists may mend.
type staleError struct{ error }

func (e *staleError) Unwrap() error { return e.error }

// resolve chooses each item's version. A name that apt does not know goes no further: apt-get would take it for a pattern.
func (w *work) resolve(ctx context.Context, items []*item) error {
	var names []string
	for _, it := range items {
		if it.Action == Install {
			names = append(names, it.Name)
		}
	}
	policies, err := Policies(ctx, w.h, names)
	if err != nil {
		return err
	}
	for _, it := range items {
		if it.Action != Install {
			if p := w.db.Find(it.Name); p.Essential {
				it.err = fmt.Errorf("refused: %s is essential, the system would break without it", it.Name)
			}
			continue
		}
		it.version = ""
		pol, known := w.db.Policy(policies, it.Name)
		installed := w.db.Find(it.Name)
		switch {
		case !known:
			err := fmt.Errorf("no package %s in the package lists", it.Name)
			it.err = &staleError{hint.New(err, "correct the name, or add the source that has it to /etc/apt/sources.list.d")}
		case it.Version.Latest():
			if it.version = pol.Candidate; it.version == "" {
				it.err = &staleError{fmt.Errorf("no version of %s in the package lists", it.Name)}
			}
		case it.Version.Any():
		case installed.Present() && it.Version.Match(installed.Version):
			it.version = installed.Version
		case pol.Candidate != "" && it.Version.Match(pol.Candidate):
			it.version = pol.Candidate
		default:
			i := slices.IndexFunc(pol.Versions, it.Version.Match)
			if i < 0 {
				it.err = &staleError{noVersion(it.Name, it.Version, pol.Versions)}
				continue
			}
			it.version = pol.Versions[i]
		}
	}
	return nil
}

func noVersion(name string, c Constraint, available []string) error {
	if len(available) == 0 {
		return fmt.Errorf("no version of %s in the package lists: %s is wanted", name, c)
	}
	return hint.New(fmt.Errorf("no version of %s meets %q; available: %s", name, c, strings.Join(available, ", ")),
		"declare one of these, or add the source that has the version to /etc/apt/sources.list.d")
}

// admit finds what can be done together. Where apt's answer doesn't tell who is in the way, each is tried with those
// that went before, until no further one can be added.
func (w *work) admit(ctx context.Context, items []*item) ([]*item, error) {
	if len(items) == 0 {
		return nil, nil
	}
	no, err := w.check(ctx, items)
	if err != nil || no == nil {
		return items, err
	}
	if len(items) == 1 {
		items[0].err = no
		return nil, nil
	}
	var good []*item
	for rest := items; ; {
		var refused []*item
		for _, it := range rest {
			it.err = nil
			no, err := w.check(ctx, append(slices.Clone(good), it))
			if err != nil {
				return nil, err
			}
			if it.err = no; no == nil {
				good = append(good, it)
			} else {
				refused = append(refused, it)
			}
		}
		if len(refused) == 0 || len(refused) == len(rest) {
			return good, nil
		}
		rest = refused
	}
}

// check simulates and says why items can't be done together.
func (w *work) check(ctx context.Context, items []*item) (no, err error) {
	out, ok, err := run(ctx, w.h, "", append([]string{aptGet, "-s"}, w.args(items)...)...)
	if err != nil {
		return nil, err
	}
	if !ok {
		d := diagnose(out)
		no := d.error("apt can't do it")
		if d.cause == unmet {
			if held := w.db.heldIn(d.text); len(held) > 0 {
				no = hint.New(no, "%s is held: declare it with hold: false, or with the version that is wanted", strings.Join(held, ", "))
			}
		}
		if d.cause == missing || d.cause == unmet || d.cause == wrecked {
			no = &staleError{no}
		}
		return no, nil
	}
	sim := ParseSimulation(out)
	declared := func(name string) *item {
		i := slices.IndexFunc(items, func(it *item) bool { return sameName(it.Name, name) })
		if i < 0 {
			return nil
		}
		return items[i]
	}
	var essential, kept, others, held []string
	for _, s := range sim.Remove {
		it := declared(s.Name)
		if p := w.db.Find(s.Name); p != nil && p.Essential {
			essential = append(essential, s.Name)
		} else if (it == nil || it.Action == Install) && slices.ContainsFunc(w.keep, func(k string) bool { return sameName(k, s.Name) }) {
			kept = append(kept, s.Name)
		} else if p != nil && (p.Want == "deinstall" || p.Want == "purge") { // somebody wanted that before
		} else if it == nil || it.Action == Install {
			others = append(others, s.Name)
		}
	}
	for _, s := range slices.Concat(sim.Install, sim.Remove) {
		if s.Old != "" && declared(s.Name) == nil && w.db.Find(s.Name).Held() {
			held = append(held, s.Name)
		}
	}
	slices.Sort(kept)
	slices.Sort(others)
	slices.Sort(held)
	if len(essential) > 0 {
		return fmt.Errorf("refused: it would remove %s, which the system can't do without", strings.Join(essential, ", ")), nil
	}
	if len(kept) > 0 {
		return hint.New(fmt.Errorf("refused: it would remove %s, declared as present", strings.Join(kept, ", ")), "declare as absent what may go, or leave both as they are"), nil
	}
	if len(held) > 0 {
		return hint.New(fmt.Errorf("refused: it would change %s, which is held", strings.Join(held, ", ")), "declare it with hold: false, or with the version that is wanted"), nil
	}
	if len(others) == 0 {
		return nil, nil
	}
	strict := slices.DeleteFunc(slices.Clone(items), func(it *item) bool { return it.Others })
	switch len(strict) {
	case 0:
		return nil, nil
	case len(items):
		return hint.New(fmt.Errorf("refused: it would also remove %s", strings.Join(others, ", ")),
			"declare what may go as absent, or set removeDependents: true"), nil
	}
	return w.check(ctx, strict) // the removals must be due to those that may cause them
}

func sameName(a, b string) bool {
	a, archA, _ := strings.Cut(a, ":")
	b, archB, _ := strings.Cut(b, ":")
	return a == b && (archA == "" || archB == "" || archA == archB)
}

// args are apt-get's for a transaction of these items.
func (w *work) args(items []*item) []string {
	args := slices.Clone(options)
	var down, held, install, wreck bool
	var names []string
	for _, it := range items {
		p := w.db.Find(it.Name)
		held = held || p.Held()
		switch {
		case it.Action != Install:
			wreck = wreck || p.Wrecked()
			names = append(names, it.Name+"-")
			continue
		case it.version != "":
			names = append(names, it.Name+"="+it.version)
		default:
			names = append(names, it.Name)
		}
		install = true
		down = down || it.version != "" && p.Present() && Compare(it.version, p.Version) < 0
	}
	if wreck {
		args = append(args, removeWrecks...)
	}
	if down {
		args = append(args, "--allow-downgrades")
	}
	if held { // what is held and not among the items is refused by check
		args = append(args, "--allow-change-held-packages")
	}
	if r := items[0].Recommends; r != nil && *r {
		args = append(args, "--install-recommends")
	} else if r != nil {
		args = append(args, "--no-install-recommends")
	}
	if !install { // "install" would look for something to take a removed package's place
		for i := range names {
			names[i] = strings.TrimSuffix(names[i], "-")
		}
		return append(append(args, "remove"), names...)
	}
	return append(append(args, "install"), names...)
}
