// Package applications has the resource types of installed software. So far: packages, of Debian's and Ubuntu's package
// management.
//
//	packages:
//	  - nano
//	  - {name: curl, version: "7.*", hold: true}
//	  - {name: telnet, state: absent}
//
// All packages of a profile are observed with one reading and changed in one transaction, and each gets its own result.
// Another package management is added as one more manager.
package applications

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/fitout-dev/fitout/modules/host/apt"
)

// Purged is a package that was removed together with its configuration.
const Purged = "purged"

// Package is a package of the distribution. What it depends on is installed with it; the package lists are fetched anew
// only when a package or version is wanted that they don't have. Whenever packages are changed, all that are declared are
// marked as installed on purpose (apt-mark manual), so that autoremove leaves them.
type Package struct {
	// The package's name, or name:architecture for another than the device's own. A virtual package
	// (mail-transport-agent) counts as present when an installed package provides it.
	Name string `json:"name" fit:"key,short" title:"Name" pattern:"^[a-z0-9][a-z0-9+.-]+(:[a-z0-9-]+)?$" example:"curl"`
	// Whether it should be installed: present, absent (its configuration stays) or purged (its configuration goes, too). Removing what other packages
	// need is refused, see removeDependents.
	State string `json:"state,omitzero" fit:"state" title:"State" enum:"present,absent,purged"`
	// The wanted version: exactly ("7.88.1-10+deb12u5"), as a pattern ("7.*"; it leaves an epoch out of account), as a
	// range (">= 7.2, < 8"), compared as deb-version(7) says, or "latest", the newest one that the package lists have.
	// An installed version that is too new is downgraded. Without it any version will do, and none is upgraded.
	Version *string `json:"version,omitzero" fit:"managed" title:"Version" example:"7.*"`
	// Keep this version when packages are upgraded, until the hold is lifted with false (apt-mark hold).
	Hold *bool `json:"hold,omitzero" fit:"managed" title:"Hold"`
	// Install what the package recommends, too, or not. Without it, apt's own configuration decides (Debian: yes).
	Recommends *bool `json:"recommends,omitzero" fit:"behaviour" title:"Install recommended packages"`
	// Allow that other packages are removed because this one is removed, or conflicts with them. Without it that is
	// refused, with their names. Essential packages, and those that the profile declares as present, are never removed.
	RemoveDependents bool `json:"removeDependents,omitzero" fit:"behaviour" title:"Remove dependent packages" default:"false"`

	// The installed package that provides a virtual one.
	ProvidedBy string `json:"providedBy,omitzero" fit:"observed" title:"Provided by"`
	// The newest version in the package lists; looked up only where the version "latest" is wanted.
	Newest string `json:"newest,omitzero" fit:"observed" title:"Newest version"`
	// Whether a removed package has left configuration files.
	ConfigFiles bool `json:"configFiles,omitzero" fit:"observed" title:"Configuration left"`
	// The configuration files that would be purged, and are other than the package brought them.
	Edited []string `json:"edited,omitzero" fit:"observed" title:"Edited configuration"`
	// Whether undo wants the version, which may no longer be available.
	Back bool `json:"back,omitzero" fit:"observed" title:"Undo"`
	// Whether undo removes, too, what came along with the package.
	Along bool `json:"along,omitzero" fit:"observed" title:"With what came along"`
}

// Packages is the resource type.
type Packages struct{}

// A manager is a device's package management.
type manager interface {
	// observe reports all wants with one reading. It changes nothing.
	observe(ctx context.Context, h *host.Host, wants []Package) []modules.Observation[Package]
	// doubts says for each package that undo would want why it couldn't be had, or "".
	doubts(ctx context.Context, h *host.Host, backs []Package) []string
	// apply brings haves to wants in one transaction.
	apply(ctx context.Context, h *host.Host, wants, haves []Package) []modules.Result
}

// managerOf finds a device's package management. Debian's is the only one so far, and says so itself where it is missing.
func managerOf(*host.Host) manager { return debian{} }

func (Packages) Platforms() []string { return []string{"linux"} }

func (p Packages) Observe(ctx context.Context, h *host.Host, want Package) (Package, error) {
	o := p.ObserveAll(ctx, h, []Package{want})[0]
	return o.Have, o.Err
}

func (Packages) ObserveAll(ctx context.Context, h *host.Host, wants []Package) []modules.Observation[Package] {
	return managerOf(h).observe(ctx, h, wants)
}

func (p Packages) Apply(ctx context.Context, h *host.Host, want, have Package) (modules.Outcome, error) {
	r := p.ApplyAll(ctx, h, []Package{want}, []Package{have})[0]
	return r.Outcome, r.Err
}

func (Packages) ApplyAll(ctx context.Context, h *host.Host, wants, haves []Package) []modules.Result {
	if !h.Living() {
		out := make([]modules.Result, len(wants))
		for i := range out {
			out[i].Err = host.ErrNeedsSystem
		}
		return out
	}
	return managerOf(h).apply(ctx, h, wants, haves)
}

// Compare knows patterns and ranges of versions, and that a package that was purged is absent.
func (Packages) Compare(property string, want, have Package) (met, ok bool) {
	switch property {
	case "version":
		if want.Version == nil || have.Version == nil {
			return false, true
		}
		c, err := apt.ParseConstraint(*want.Version)
		if err != nil {
			return false, true
		}
		if c.Latest() {
			return have.Newest != "" && apt.Compare(*have.Version, have.Newest) >= 0, true
		}
		return c.Match(*have.Version), true
	case "state":
		return want.State == modules.Absent && have.State == Purged, true
	}
	return false, false
}

// Check finds a version that is none, and properties that an absent package can't have.
func (Packages) Check(want Package) error {
	if want.State == modules.Absent || want.State == Purged {
		if want.Version != nil {
			return fmt.Errorf("version: a package that is %s has none", want.State)
		}
		if want.Hold != nil {
			return hint.New(fmt.Errorf("hold: a package that is %s can't be held", want.State), "leave hold out")
		}
		return nil
	}
	if want.Version != nil {
		if _, err := apt.ParseConstraint(*want.Version); err != nil {
			return hint.New(err, `write "1.2-3", "1.*", ">= 1.2, < 2" or "latest"`)
		}
	}
	return nil
}

// Inverse goes back to the version, or the absence, from before. What had come along with a package goes with it.
func (Packages) Inverse(want, have Package) (Package, error) {
	back := Package{Name: want.Name, RemoveDependents: want.RemoveDependents, Back: true}
	gone := want.State == modules.Absent || want.State == Purged
	switch {
	case have.State != modules.Present && have.State != modules.Absent && have.State != Purged && have.State != "":
		return back, fmt.Errorf("package %s is broken (%s), and would be so again", want.Name, have.State)
	case want.State == Purged && (have.ConfigFiles || len(have.Edited) > 0):
		what := "the configuration that package " + want.Name + " has left"
		if len(have.Edited) > 0 {
			what = "what was changed in " + strings.Join(have.Edited, ", ")
		}
		return back, errors.New(what + " would be lost")
	case have.State == modules.Absent || have.State == Purged:
		back.State, back.Recommends, back.Along = Purged, want.Recommends, want.Along || !want.Back
		if have.ConfigFiles {
			back.State = modules.Absent
		}
		return back, nil
	case have.ProvidedBy != "":
		return back, fmt.Errorf("%s, which provides %s, may go, and nothing else is known of it", have.ProvidedBy, want.Name)
	case have.Version == nil:
		return back, fmt.Errorf("the version of package %s is not known", want.Name)
	}
	if want.Version != nil || gone {
		back.Version = have.Version
	}
	switch {
	case gone && want.Along:
		back.Recommends, back.Along = want.Recommends, true
	case gone: // what it recommends is there, or wasn't
		back.Recommends = modules.Ptr(false)
	}
	if want.Hold != nil || back.Version != nil && have.Hold != nil && *have.Hold {
		back.Hold = have.Hold
	}
	return back, nil
}

// Doubts finds installed versions that undo would want back, and no package source has any more.
func (p Packages) Doubts(ctx context.Context, h *host.Host, wants, haves []Package) []string {
	backs := make([]Package, len(wants))
	for i := range wants {
		stays := false
		if wants[i].Version != nil {
			stays, _ = p.Compare("version", wants[i], haves[i])
		}
		if back, err := p.Inverse(wants[i], haves[i]); err == nil && !stays {
			backs[i] = back
		}
	}
	return managerOf(h).doubts(ctx, h, backs)
}

var (
	_ modules.Inverter[Package] = Packages{}
	_ modules.Doubter[Package]  = Packages{}
)
