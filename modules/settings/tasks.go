package settings

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

// Task is a scheduled task of Windows: a program that runs at certain times. A new one also runs on battery, is made up for when
// the machine was off at its time, isn't begun again while it runs, and is ended after three days. What isn't declared
// of a task that is there stays, such as triggers by events.
type Task struct {
	// The task's name, with the folders that it is in, as in \Example\Backup. Folders that are missing are made.
	Name string `json:"name" fit:"key" title:"Name" pattern:"^[^/:*?\"<>|]+$" example:"\\Example\\Backup"`
	// The program. %NAME% in it is replaced when it runs.
	Program *string `json:"program,omitzero" fit:"managed,argv" title:"Program" example:"C:\\Program Files\\Example\\backup.exe"`
	// What the program gets, as one command line.
	Arguments *string `json:"arguments,omitzero" fit:"managed,argv" title:"Arguments" example:"--full"`
	// The folder that the program runs in.
	WorkingDirectory *string `json:"workingDirectory,omitzero" fit:"managed" title:"Working directory" example:"C:\\Example"`
	// When it runs, and at no other times: "daily at 03:00", "every 3 days at 03:00", "weekly on monday,friday at 03:00", "monthly
	// on 1,15 at 03:00", "once at 2026-12-24 18:00", "every 15m", "at startup", "at logon", "at logon of alice". Times are the
	// device's own. [] is never: then it runs when it is asked for.
	Triggers []string `json:"triggers,omitzero" fit:"managed" title:"Triggers" example:"daily at 03:00"`
	// The account that it runs as: SYSTEM, LOCAL SERVICE, NETWORK SERVICE or a user. A new task runs as SYSTEM.
	User *string `json:"user,omitzero" fit:"managed" title:"User" ref:"users" example:"SYSTEM"`
	// The user's password, with which it also runs while the user isn't logged on. It can't be read back: it is set when the task
	// is made or changed, and a changed password alone is not noticed. Without one it runs while the user is logged on.
	Password *string `json:"password,omitzero" fit:"behaviour,secret" title:"Password"`
	// Whether it has all rights that the user may have, as an administrator's elevated programs do.
	Elevated *bool `json:"elevated,omitzero" fit:"managed" title:"Elevated"`
	// Whether it runs at its times.
	Enabled *bool `json:"enabled,omitzero" fit:"managed" title:"Enabled"`
	// What it is for.
	Description *string `json:"description,omitzero" fit:"managed" title:"Description" example:"Saves the sales database"`
	State       string  `json:"state,omitzero" fit:"state" enum:"present,absent" title:"State"`
	// The task's definition as it is, in XML.
	Definition *string `json:"definition,omitzero" fit:"observed,undo" title:"Definition"`
}

// Tasks implements Task.
type Tasks struct{}

var (
	_ modules.Resource[Task] = Tasks{}
	_ modules.Checker[Task]  = Tasks{}
	_ modules.Comparer[Task] = Tasks{}
	_ modules.Inverter[Task] = Tasks{}
	_ modules.Keyer[Task]    = Tasks{}
	_ modules.Experimenter   = Tasks{}
)

// Platforms are where the type exists.
func (Tasks) Platforms() []string { return []string{"windows"} }

// Experimental is what no scheduler has run yet: Wine keeps tasks, and runs none.
func (Tasks) Experimental() []string { return []string{"windows"} }

// Key is the name with its folders, from the root on.
func (Tasks) Key(want Task) string { return taskPath(want.Name) }

func taskPath(name string) string { return `\` + strings.TrimPrefix(name, `\`) }

// Check finds what can be no task.
func (Tasks) Check(want Task) error {
	for part := range strings.SplitSeq(taskPath(want.Name)[1:], `\`) {
		if strings.TrimSpace(part) == "" || part == "." || part == ".." || strings.ContainsAny(part, "/:*?\"<>|\x00") {
			return fmt.Errorf("name: %q can't be a task's", want.Name)
		}
	}
	if strings.HasPrefix(strings.ToLower(taskPath(want.Name)), `\microsoft\`) && want.State == modules.Absent {
		return hint.New(fmt.Errorf("name: %s is Windows' own", want.Name), "`enabled: false` keeps it from running")
	}
	if want.State == modules.Absent {
		return nil
	}
	for _, t := range want.Triggers {
		if _, err := parseTrigger(t); err != nil {
			return fmt.Errorf("triggers: %w", err)
		}
	}
	switch {
	case want.Program != nil && *want.Program == "":
		return errors.New("program: empty")
	case want.Program == nil && want.Arguments != nil:
		return errors.New("arguments: of no program")
	case want.Password != nil && (want.User == nil || serviceAccount(*want.User) != ""):
		return errors.New("password: of no user who has one")
	}
	return nil
}

// Observe reads the task's definition.
func (k Tasks) Observe(_ context.Context, h *host.Host, want Task) (Task, error) {
	have := Task{Name: want.Name, State: modules.Absent}
	if err := k.Check(want); err != nil {
		return have, err
	}
	text, found, err := readTask(h, taskPath(want.Name))
	switch {
	case err != nil:
		return have, err
	case !found && want.State != modules.Absent && want.Program == nil && want.Definition == nil:
		return have, hint.New(fmt.Errorf("no task %s on this device", want.Name), "say by `program` what it is to run")
	case !found:
		return have, nil
	}
	if err := have.read(text); err != nil {
		return have, fmt.Errorf("definition of task %s: %w", want.Name, err)
	}
	have.State = modules.Present
	return have, nil
}

// Apply writes or removes the task.
func (k Tasks) Apply(_ context.Context, h *host.Host, want, have Task) (modules.Outcome, error) {
	if err := k.Check(want); err != nil {
		return modules.Outcome{}, err
	}
	path := taskPath(want.Name)
	if want.State == modules.Absent {
		return modules.Outcome{}, removeTask(h, path)
	}
	text := value(want.Definition)
	if want.Definition == nil {
		var err error
		if text, err = want.definition(value(have.Definition)); err != nil {
			return modules.Outcome{}, fmt.Errorf("definition of task %s: %w", want.Name, err)
		}
	}
	return modules.Outcome{}, writeTask(h, path, text, want.Password)
}

// Compare knows that accounts, and lists of times, are written in several ways.
func (Tasks) Compare(property string, want, have Task) (met, ok bool) {
	switch property {
	case "user":
		return sameTaskUser(*want.User, value(have.User)), true
	case "triggers":
		a, b := plainTriggers(want.Triggers), plainTriggers(have.Triggers)
		return slices.Equal(a, b), true
	case "program", "workingDirectory":
		w, h := want.Program, have.Program
		if property != "program" {
			w, h = want.WorkingDirectory, have.WorkingDirectory
		}
		return h != nil && strings.EqualFold(strings.Trim(*w, `"`), strings.Trim(*h, `"`)), true
	case "definition":
		return sameDefinition(value(want.Definition), value(have.Definition)), true
	}
	return false, false
}

// Inverse brings back the definition. A password that it ran with isn't in it.
func (Tasks) Inverse(_, have Task) (Task, error) {
	back := Task{Name: have.Name, State: have.State, Definition: have.Definition}
	if have.Definition != nil && strings.Contains(*have.Definition, "<LogonType>Password</LogonType>") {
		return back, fmt.Errorf("%s couldn't be made again: the password of %s is not known", have.Name, value(have.User))
	}
	return back, nil
}

func serviceAccount(user string) (sid string) {
	switch strings.ToLower(strings.TrimPrefix(strings.ToLower(strings.ReplaceAll(user, " ", "")), `ntauthority\`)) {
	case "system", "localsystem", "s-1-5-18":
		return "S-1-5-18"
	case "localservice", "s-1-5-19":
		return "S-1-5-19"
	case "networkservice", "s-1-5-20":
		return "S-1-5-20"
	}
	return ""
}

func sameTaskUser(a, b string) bool {
	if sid := serviceAccount(a); sid != "" {
		return sid == serviceAccount(b)
	}
	short := func(s string) string { return strings.ToLower(strings.TrimPrefix(s, `.\`)) }
	a, b = short(a), short(b)
	if !strings.Contains(a, `\`) { // of this machine, before whose name Windows puts its own
		b = b[strings.LastIndexByte(b, '\\')+1:]
	}
	return a == b
}
