// Package scm is Windows' service control manager: what services there are, how they are configured and what they do.
//
//	m, err := scm.Open(h)
//	defer m.Close()
//	s, err := m.Look("Spooler")     // nil where there is no such service
//	err = m.Stop(ctx, "Spooler")    // and what depends on it, first
//
// The configuration is read from the registry, where the manager keeps it: that needs fewer rights than asking it, and
// differs nowhere. All changes go through the manager.
package scm

import (
	"fmt"
	"strings"
	"time"
)

// How a service is started.
const (
	Auto     = "auto"
	Delayed  = "delayed" // with the machine, two minutes after the others
	Manual   = "manual"
	Disabled = "disabled"
)

// Service is a service as it is.
type Service struct {
	Name   string
	Config Config
	State  State
	PID    uint32
	Driver bool // or a file system: no process of its own
	Shared bool // several in one process, as svchost's
}

// Config is what can be configured. To a change, nil is what stays as it is.
type Config struct {
	Start, Program, DisplayName, Description, Account *string
	Dependencies                                      []string // services, and groups with a + before them
	Recovery                                          []Action
	Password                                          *string // never read
}

// State is what a service does.
type State uint32

const (
	Stopped      State = 1
	StartPending State = 2
	StopPending  State = 3
	Running      State = 4
	Paused       State = 7
)

func (s State) String() string {
	names := []string{"", "stopped", "starting", "stopping", "running", "continuing", "pausing", "paused"}
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprint("state ", uint32(s))
}

// Action is what the manager does when a service has failed, the first, second and any further time.
type Action struct {
	Type  uint32 // as SC_ACTION_TYPE
	After time.Duration
}

var actions = []string{"none", "restart", "reboot", "command"}

// String is the action in words: "restart after 1m".
func (a Action) String() string {
	if a.Type == 0 {
		return actions[0]
	}
	name := fmt.Sprint("action ", a.Type)
	if int(a.Type) < len(actions) {
		name = actions[a.Type]
	}
	after := a.After.String()
	if strings.HasSuffix(after, "m0s") {
		after = strings.TrimSuffix(after, "0s")
	}
	if strings.HasSuffix(after, "h0m") {
		after = strings.TrimSuffix(after, "0m")
	}
	return name + " after " + after
}

// ParseAction reads an action in words. Without a time it is done at once.
func ParseAction(s string) (Action, error) {
	name, after, timed := strings.Cut(s, " after ")
	var a Action
	switch name {
	case "none":
	case "restart":
		a.Type = 1
	case "reboot":
		a.Type = 2
	default:
		return a, fmt.Errorf("%q is none of none, restart and reboot", name)
	}
	if !timed {
		return a, nil
	}
	d, err := time.ParseDuration(after)
	if err != nil || d < 0 || d.Milliseconds() > 1<<31 {
		return a, fmt.Errorf("%q is no length of time, such as 60s", after)
	}
	a.After = d
	return a, nil
}

// SameAccount says whether two spellings name the same account, as far as that can be told without asking anybody.
func SameAccount(a, b string) bool { return plainAccount(a) == plainAccount(b) }

func plainAccount(s string) string {
	s = strings.ToLower(strings.TrimSpace(s))
	s = strings.TrimPrefix(s, `.\`)
	s = strings.ReplaceAll(strings.TrimPrefix(s, `nt authority\`), " ", "")
	switch s {
	case "", "system", "s-1-5-18":
		return "localsystem"
	case "s-1-5-19":
		return "localservice"
	case "s-1-5-20":
		return "networkservice"
	}
	return s
}

// NeedsPassword says whether an account is one that has a password: not one of Windows' own, nor a managed one.
func NeedsPassword(account string) bool {
	p := plainAccount(account)
	return p != "localsystem" && p != "localservice" && p != "networkservice" && !strings.HasPrefix(p, `ntservice\`) && !strings.HasSuffix(p, "$")
}
