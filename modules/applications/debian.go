package applications

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/fitout-dev/fitout/modules/host/apt"
)

// debian is dpkg and apt.
type debian struct{}

func (debian) observe(ctx context.Context, h *host.Host, wants []Package) []modules.Observation[Package] {
	out := make([]modules.Observation[Package], len(wants))
	db, err := apt.Read(h)
	if err != nil {
		for i := range out {
			out[i].Err = err
		}
		return out
	}
	declaredOn(h).add(wants)
	var latest []string
	for _, w := range wants {
		if w.Version != nil && (*w.Version == apt.Latest || missed(db, w)) {
			latest = append(latest, w.Name)
		}
	}
	var policies map[string]apt.Policy
	var policyErr error
	if len(latest) > 0 {
		policies, policyErr = apt.Policies(ctx, h, latest)
	}
	for i, w := range wants {
		out[i].Have = observe(db, w)
		if w.Version != nil && *w.Version == apt.Latest {
			policy, _ := db.Policy(policies, w.Name)
			out[i].Have.Newest = policy.Candidate
			out[i].Err = policyErr
		}
		if missed(db, w) && policyErr == nil {
			if p, _ := db.Policy(policies, w.Name); !slices.Contains(p.Versions, *w.Version) {
				out[i].Err = noLonger(w, p.Versions)
			}
		}
		if w.State == Purged && db.Find(w.Name).Present() {
			if out[i].Have.Edited, err = apt.Edited(h, w.Name); err != nil {
				out[i].Err = err
			}
		}
	}
	return out
}

// missed says whether undo wants a version that isn't installed.
func missed(db *apt.Database, w Package) bool {
	if !w.Back || w.Version == nil {
		return false
	}
	p := db.Find(w.Name)
	return !p.Present() || p.Version != *w.Version
}

func noLonger(w Package, versions []string) error {
	err := fmt.Errorf("version %s of %s, which was there before, is no longer available", *w.Version, w.Name)
	if len(versions) > 0 {
		err = fmt.Errorf("%w; there is %s", err, strings.Join(versions, ", "))
	}
	return hint.New(err, "add a source that has it to /etc/apt/sources.list.d and fetch the lists (apt-get update), or leave this package out of the undo")
}

// doubts asks apt, once, and only where an installed version would be wanted again.
func (debian) doubts(ctx context.Context, h *host.Host, backs []Package) []string {
	out := make([]string, len(backs))
	var names []string
	for _, b := range backs {
		if b.Version != nil {
			names = append(names, b.Name)
		}
	}
	if len(names) == 0 {
		return out
	}
	db, err := apt.Read(h)
	if err != nil {
		return out // whoever observes is told
	}
	policies, err := apt.Policies(ctx, h, names)
	if err != nil {
		return out
	}
	for i, b := range backs {
		if b.Version == nil {
			continue
		}
		if p, _ := db.Policy(policies, b.Name); !slices.Contains(p.Versions, *b.Version) {
			out[i] = fmt.Sprintf("no package source has version %s of %s any more", *b.Version, b.Name)
		}
	}
	return out
}

func observe(db *apt.Database, want Package) Package {
	have := Package{Name: want.Name, State: modules.Present}
	p := db.Find(want.Name)
	switch {
	case p.Present():
		have.Version, have.Hold = modules.Ptr(p.Version), modules.Ptr(p.Held())
		if p.Broken() {
			have.State = p.Status
			if p.Flag != "ok" {
				have.State = p.Flag
			}
		}
	case p.ConfigFiles() && want.State == Purged:
		have.State, have.ConfigFiles = modules.Absent, true
	case want.State == Purged:
		have.State = Purged
	case provided(db, want, &have):
	default:
		have.State, have.ConfigFiles = modules.Absent, p.ConfigFiles()
	}
	return have
}

// provided says whether an installed package is as good as the wanted one. A hold is for a real package only.
func provided(db *apt.Database, want Package, have *Package) bool {
	if want.State == modules.Absent || want.Hold != nil && *want.Hold {
		return false
	}
	if want.Version == nil {
		have.ProvidedBy = db.Provider(want.Name, apt.Constraint{})
		return have.ProvidedBy != ""
	}
	c, err := apt.ParseConstraint(*want.Version)
	if err != nil || c.Latest() {
		return false
	}
	if have.ProvidedBy = db.Provider(want.Name, c); have.ProvidedBy != "" {
		have.Version = want.Version // some version that meets it
	}
	return have.ProvidedBy != ""
}

func (debian) apply(ctx context.Context, h *host.Host, wants, haves []Package) []modules.Result {
	out := make([]modules.Result, len(wants))
	changes := make([]apt.Change, 0, len(wants))
	var index []int
	for i, w := range wants {
		c := apt.Change{Name: w.Name, Recommends: w.Recommends, Others: w.RemoveDependents}
		switch w.State {
		case modules.Absent:
			c.Action = apt.Remove
		case Purged:
			c.Action = apt.Purge
		default:
			if w.Version == nil {
				break
			}
			var err error
			if c.Version, err = apt.ParseConstraint(*w.Version); err != nil {
				out[i].Err = err
				continue
			}
		}
		changes, index = append(changes, c), append(index, i)
	}
	reboot := apt.RebootPending(h)
	unneeded, tidy := before(ctx, h, wants)
	declared := declaredOn(h)
	declared.add(wants)
	for j, err := range apt.Apply(ctx, h, changes, declared.installed(h)...) {
		out[index[j]].Err = err
	}
	h.Forget()
	holds(ctx, h, wants, haves, out)
	if tidy {
		if err := purgeSince(ctx, h, unneeded, declared.installed(h)); err != nil {
			h.Log().Warn("what came along with a package stays", "error", err)
		}
	}
	if err := apt.Keep(ctx, h, declared.installed(h)); err != nil {
		h.Log().Warn("packages", "error", err)
	}
	if now := apt.RebootPending(h); now != reboot {
		for i := range out {
			if out[i].Err == nil {
				out[i].Outcome.Reboot = now
				break
			}
		}
	}
	return out
}

// before lists what nothing needs already, where undo is about to remove packages.
func before(ctx context.Context, h *host.Host, wants []Package) (unneeded []string, tidy bool) {
	if !slices.ContainsFunc(wants, func(w Package) bool { return w.Along && (w.State == modules.Absent || w.State == Purged) }) {
		return nil, false
	}
	unneeded, err := apt.Unneeded(ctx, h)
	return unneeded, err == nil
}

// purgeSince removes what nothing needs any more, but what was so before.
func purgeSince(ctx context.Context, h *host.Host, before, keep []string) error {
	now, err := apt.Unneeded(ctx, h)
	if err != nil {
		return err
	}
	var changes []apt.Change
	for _, name := range now {
		if !slices.Contains(before, name) {
			changes = append(changes, apt.Change{Name: name, Action: apt.Purge})
		}
	}
	defer h.Forget()
	return errors.Join(apt.Apply(ctx, h, changes, keep...)...)
}

// declared are all packages that a profile wants to be there, also those that nothing is to be done for.
type declared struct {
	mu    sync.Mutex
	wants map[string]Package
}

func declaredOn(h *host.Host) *declared {
	return host.Lasting(h, "declared packages", func() *declared { return &declared{wants: map[string]Package{}} })
}

func (d *declared) add(wants []Package) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range wants {
		if w.State == "" || w.State == modules.Present {
			d.wants[w.Name] = w
		}
	}
}

// installed are the packages that the declared ones are at present: they themselves, or what provides them.
func (d *declared) installed(h *host.Host) []string {
	db, err := apt.Read(h)
	if err != nil {
		return nil // who changes packages is told
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	for _, name := range slices.Sorted(maps.Keys(d.wants)) {
		if have := observe(db, d.wants[name]); have.ProvidedBy != "" {
			names = append(names, have.ProvidedBy)
		} else if have.State != modules.Absent {
			names = append(names, name)
		}
	}
	return names
}

// holds sets what is wanted, and again what a change of a held package has lifted.
func holds(ctx context.Context, h *host.Host, wants, haves []Package, out []modules.Result) {
	db, err := apt.Read(h)
	set := map[string]bool{}
	var of []int
	for i, w := range wants {
		hold := w.Hold
		if hold == nil {
			hold = haves[i].Hold
		}
		if hold == nil || w.State == modules.Absent || w.State == Purged || out[i].Err != nil && w.Hold == nil {
			continue
		}
		if err != nil {
			out[i].Err = err
			continue
		}
		p := db.Find(w.Name)
		switch {
		case p.Present() && p.Held() != *hold:
			set[w.Name] = *hold
			of = append(of, i)
		case !p.Present() && *hold && out[i].Err == nil:
			out[i].Err = hint.New(fmt.Errorf("hold: %s is not installed itself, another package provides it", w.Name), "hold that one")
		}
	}
	if err := apt.Hold(ctx, h, set); err != nil {
		for _, i := range of {
			if out[i].Err == nil {
				out[i].Err = err
			}
		}
	}
}
