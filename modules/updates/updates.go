// Package updates has the resource type of the operating system's updates: updates, with apt on Debian and Ubuntu.
//
//	updates:
//	  install: security    # security | all | none
//	  reboot: ifNeeded     # never | ifNeeded
//
// Whether something is pending is a question to the package lists, and lists that are too old can't answer it: then what
// is observed is "unknown", which differs from what is wanted, and Apply fetches the lists before it installs. So a plan
// never calls a device up to date on old knowledge, and never fetches anything itself; and a second apply within
// refreshAfter has nothing to do.
package updates

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/fitout-dev/fitout/modules/host/apt"
)

// Which updates are installed.
const (
	Security = "security"
	All      = "all"
	None     = "none"
)

// Update is which updates of the operating system are to be installed. Held packages keep their version, no package is removed, and
// updates that a distribution rolls out in phases wait for their turn.
type Update struct {
	// What to install: security (what comes from a security archive of the distribution), all, or none (what is pending
	// is then not even looked for).
	Install *string `json:"install,omitzero" fit:"managed,living" title:"Install" enum:"security,all,none"`
	// Whether the device may be rebooted where an update needs it: never or ifNeeded. Left out, what the profile's "run" says.
	// Until then the reboot is shown as pending.
	Reboot string `json:"reboot,omitzero" fit:"behaviour" title:"Reboot" enum:"never,ifNeeded"`
	// How old the package lists may be, as hours, minutes and seconds ("24h", "90m"). Older ones count as unknown, and are
	// fetched anew by apply.
	RefreshAfter string `json:"refreshAfter,omitzero" fit:"behaviour" title:"Refresh after" pattern:"^([0-9]+(\\.[0-9]+)?(h|m|s))+$" default:"24h" example:"12h"`

	// What waits to be installed: "openssl 3.0.17-1 -> 3.0.18-1".
	Pending []string `json:"pending,omitzero" fit:"observed" title:"Pending updates"`
	// How old the package lists are.
	ListsAge string `json:"listsAge,omitzero" fit:"observed" title:"Age of the package lists"`
	// Which packages wait for a reboot; empty where none is needed.
	RebootPending string `json:"rebootPending,omitzero" fit:"observed" title:"Reboot pending"`
}

// Updates is the resource type.
type Updates struct{}

func (Updates) Platforms() []string { return []string{"linux"} }

// Observe starts one process, and only where updates are wanted and the lists are new enough to tell.
func (Updates) Observe(ctx context.Context, h *host.Host, want Update) (Update, error) {
	have := Update{RebootPending: apt.RebootPending(h)}
	if err := apt.Available(h); err != nil {
		return have, err
	}
	lists, err := apt.ReadLists(h)
	if err != nil {
		return have, err
	}
	have.ListsAge = lists.AgeText()
	if want.Install == nil || *want.Install == None || !h.Living() {
		have.Install = modules.Ptr(None)
		return have, nil
	}
	most, err := want.refreshAfter()
	if err != nil {
		return have, err
	}
	if stale := lists.Stale(most); stale != "" {
		have.Install = modules.Ptr("unknown: " + stale)
		return have, nil
	}
	if db, err := apt.Read(h); err != nil {
		return have, err
	} else if db.Interrupted {
		have.Install = modules.Ptr("unknown: dpkg was interrupted, or a package's script failed")
		return have, nil
	}
	steps, err := apt.Upgradable(ctx, h, *want.Install == Security)
	if err != nil {
		return have, err
	}
	for _, s := range steps {
		have.Pending = append(have.Pending, strings.TrimSpace(s.Name+" "+s.Old)+" -> "+s.New)
	}
	have.Install = modules.Ptr(*want.Install)
	if n := len(have.Pending); n > 0 {
		have.Install = modules.Ptr(fmt.Sprintf("%d pending: %s", n, strings.Join(have.Pending, ", ")))
	}
	return have, nil
}

func (Updates) Apply(ctx context.Context, h *host.Host, want, have Update) (modules.Outcome, error) {
	var out modules.Outcome
	if want.Install == nil || *want.Install == None {
		return out, nil
	}
	if !h.Living() {
		return out, host.ErrNeedsSystem
	}
	most, err := want.refreshAfter()
	if err != nil {
		return out, err
	}
	lists, err := apt.ReadLists(h)
	if err != nil {
		return out, err
	}
	var refresh error
	if lists.Stale(most) != "" {
		refresh = apt.Refresh(ctx, h) // what other sources have is installed all the same
		if ctx.Err() != nil {
			return out, refresh
		}
		if lists, err = apt.ReadLists(h); err == nil && refresh == nil && lists.Missing {
			refresh = hint.New(errors.New("no package source gives any package list"), "see /etc/apt/sources.list and /etc/apt/sources.list.d on the device")
		}
	}
	err = apt.Upgrade(ctx, h, *want.Install == Security)
	if now := apt.RebootPending(h); now != have.RebootPending {
		out.Reboot = now
	}
	return out, errors.Join(refresh, err)
}

// Compare takes only what was found to be complete.
func (Updates) Compare(property string, want, have Update) (met, ok bool) {
	if property != "install" || want.Install == nil {
		return false, false
	}
	return *want.Install == None, *want.Install == None
}

// Check finds a duration that is none.
func (Updates) Check(want Update) error {
	_, err := want.refreshAfter()
	return err
}

// Inverse knows that updates aren't taken back: that would bring back what they mended.
func (Updates) Inverse(want, have Update) (Update, error) {
	return have, errors.New("updates that were installed are not taken back: that would bring back what they mended")
}

func (u Update) refreshAfter() (time.Duration, error) {
	if u.RefreshAfter == "" {
		return 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(u.RefreshAfter)
	if err == nil && d <= 0 {
		err = errors.New("must be more than 0")
	}
	if err != nil {
		return 0, hint.New(fmt.Errorf("refreshAfter %q: %w", u.RefreshAfter, err), `write a time such as "24h" or "90m"`)
	}
	return d, nil
}
