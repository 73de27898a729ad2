package applications

import (
	"context"
	"fmt"
	"maps"
	"slices"
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
		if w.Version != nil && *w.Version == apt.Latest {
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
	declared := declaredOn(h)
	declared.add(wants)
	for j, err := range apt.Apply(ctx, h, changes, declared.installed(h)...) {
		out[index[j]].Err = err
	}
	h.Forget()
	holds(ctx, h, wants, haves, out)
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
