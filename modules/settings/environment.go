package settings

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

// Environment is a variable that every login session of the machine has. On Linux it stands in /etc/environment, see
// pam_env(8); on Windows it is the machine's, or with user that user's, and programs that start later have it.
type Environment struct {
	// The variable's name.
	Name string `json:"name" fit:"key" title:"Name" pattern:"^[A-Za-z_][A-Za-z0-9_]*$" example:"HTTP_PROXY"`
	// Windows: whose variable it is: a user's name or SID; all for everybody who has a profile on the machine; default
	// for those who will log on for the first time. Left out, it is the machine's. The hives of users who aren't logged on
	// are loaded for the moment (that is experimental).
	User string `json:"user,omitzero" fit:"key" on:"windows" experimental:"windows" title:"User" example:"alice"`
	// The value. Linux takes it literally, Windows replaces %NAME% in it. A line break can't be part of it, nor on Linux a #.
	Value *string `json:"value,omitzero" fit:"managed" title:"Value" pattern:"^[^\\n\\r\\x00]*$" example:"http://proxy.example.lan:3128"`
	// Windows: entries, with ; between them in the value, that are to be part of it; those that are missing go to its end.
	// Case, quotation marks and a \ at the end don't count. This is the way to change PATH: what else is in it stays.
	Add []string `json:"add,omitzero" fit:"managed" on:"windows" title:"Entries to add" example:"C:\\Program Files\\Example"`
	// Windows: entries that are to be no part of it.
	Remove []string `json:"remove,omitzero" fit:"managed" on:"windows" title:"Entries to remove" example:"C:\\Old"`
	State  string   `json:"state,omitzero" fit:"state" enum:"present,absent" title:"State"`
	// What Windows has stored, in each hive that this is about.
	Kept []KeptValue `json:"kept,omitzero" fit:"observed,undo" on:"windows" title:"Stored"`
	// The lines that set it.
	Part *Part `json:"part,omitzero" fit:"observed,undo" on:"linux" title:"Lines in /etc/environment"`
}

// Environments implements Environment.
type Environments struct{}

var (
	_ modules.Resource[Environment]        = Environments{}
	_ modules.Checker[Environment]         = Environments{}
	_ modules.PlatformChecker[Environment] = Environments{}
	_ modules.Comparer[Environment]        = Environments{}
	_ modules.Inverter[Environment]        = Environments{}
	_ modules.Keyer[Environment]           = Environments{}
	_ modules.Referrer[Environment]        = Environments{}
)

const environmentFile = "/etc/environment" // of Linux

// Platforms are where the type exists.
func (Environments) Platforms() []string { return []string{"linux", "windows"} }

// Key is the name, and whose it is.
func (Environments) Key(want Environment) string {
	return strings.TrimPrefix(want.User+"/"+want.Name, "/")
}

// Refs names the user, whose profile comes first.
func (Environments) Refs(want Environment) []string { return userRef(want.User) }

// Check refuses what can't be held.
func (Environments) Check(want Environment) error {
	if !isVariable(want.Name) {
		return fmt.Errorf("name: %q can't be a variable's name", want.Name)
	}
	if want.State == modules.Absent {
		return nil
	}
	if want.Value == nil {
		if want.Add == nil && want.Remove == nil && want.Kept == nil && want.Part == nil {
			return errors.New("value: missing")
		}
		return checkEntries(want)
	}
	if want.Add != nil || want.Remove != nil {
		return errors.New("add, remove: value says already what all of it is")
	}
	if strings.ContainsAny(*want.Value, "\n\r\x00") {
		return fmt.Errorf("value of %s: it can't hold a line break", want.Name)
	}
	return nil
}

// CheckOn implements modules.PlatformChecker.
func (Environments) CheckOn(os string, want Environment) error {
	if os == "windows" || want.State == modules.Absent || want.Value == nil || !strings.Contains(*want.Value, "#") {
		return nil
	}
	return hint.New(fmt.Errorf("value of %s: %s can't hold a #", want.Name, environmentFile), "# begins a comment there even between quotes; in a URL write %%23")
}

// checkEntries looks at what is added and removed.
func checkEntries(want Environment) error {
	for property, entries := range map[string][]string{"add": want.Add, "remove": want.Remove} {
		for _, e := range entries {
			if plainEntry(e) == "" || strings.ContainsAny(e, ";\n\r\x00") {
				return fmt.Errorf("%s: %q can't be one entry of %s", property, e, want.Name)
			}
		}
	}
	for _, e := range want.Add {
		if hasEntry(want.Remove, e) {
			return fmt.Errorf("add, remove: %s is in both", e)
		}
	}
	return nil
}

// Observe reads the variable as a session gets it.
func (Environments) Observe(_ context.Context, h *host.Host, want Environment) (Environment, error) {
	return observeEnvironment(h, want)
}

// Apply writes or removes the variable and leaves all others as they are.
func (e Environments) Apply(_ context.Context, h *host.Host, want, _ Environment) (modules.Outcome, error) {
	if want.Part == nil {
		if err := cmp.Or(e.Check(want), e.CheckOn(h.OS(), want)); err != nil {
			return modules.Outcome{}, err
		}
	}
	return modules.Outcome{}, applyEnvironment(h, want)
}

// Compare knows that lines may have moved.
func (Environments) Compare(property string, want, have Environment) (met, ok bool) {
	switch property {
	case "part":
		return want.Part.met(have.Part), true
	case "kept":
		return sameKept(want.Kept, have.Kept), true
	}
	return false, false
}

// Inverse puts back what there was.
func (Environments) Inverse(_, have Environment) (Environment, error) {
	if have.Part == nil {
		return Environment{Name: have.Name, User: have.User, State: have.State, Kept: have.Kept}, nil
	}
	return have, have.Part.kept(environmentFile)
}

func isVariable(name string) bool {
	for i := range len(name) {
		c := name[i]
		if !(c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || i > 0 && c >= '0' && c <= '9') {
			return false
		}
	}
	return name != ""
}
