// Package scripts has the resource type for what no other type knows: commands, a program with a guard that says whether
// it still has to run.
package scripts

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

// Command is a program to run once, or whenever its guards ask for it. A guard is `creates`, `unless` or `onlyIf`; with
// several, each of them must ask. After it ran, the guards must be satisfied. Without a guard it runs at every apply, and
// nothing proves what it did.
type Command struct {
	// A name to tell it by.
	Name string `json:"name" fit:"key" title:"Name" example:"first-day"`
	// The program and its arguments, as a list: no shell is between. A program without a slash is searched in PATH, a relative
	// path begins in `directory`. For a shell's syntax write [/bin/sh, -c, "..."]; on Windows [cmd.exe, /d, /c, "..."], which gets
	// its line as it stands, or [powershell.exe, -NoProfile, -Command, "..."]. Other programs of Windows get arguments as C's
	// library takes a command line apart; of one that does so by rules of its own, or a batch file that is to be handed a quotation
	// mark or percent sign, write the whole line for cmd.exe. A secret can't be part of it: every user of the device could read it.
	// Use `stdin` or `environment`.
	Run []string `json:"run,omitzero" fit:"managed,argv" title:"Program and arguments" example:"[/bin/sh, -c, \"date > /var/lib/first-day\"]"`
	// A path on the device: there is nothing to do once it exists.
	Creates string `json:"creates,omitzero" fit:"behaviour,path" title:"Unless this path exists" example:"/var/lib/first-day"`
	// A program and its arguments that changes nothing: there is nothing to do if it exits with 0. It has 30 seconds.
	Unless []string `json:"unless,omitzero" fit:"behaviour,argv" title:"Unless this succeeds" example:"[grep, -q, done, /var/lib/state]"`
	// A program and its arguments that changes nothing: there is nothing to do if it exits with anything but 0. It has 30 seconds.
	OnlyIf []string `json:"onlyIf,omitzero" fit:"behaviour,argv" title:"Only if this succeeds" example:"[test, -x, /usr/sbin/nginx]"`
	// Run it only when another entry notifies it, never by itself. A notified command runs whatever `creates` and
	// `unless` say; `onlyIf` holds there too.
	OnNotifyOnly bool `json:"onNotifyOnly,omitzero" fit:"behaviour" title:"Only when notified"`
	// Exit statuses that count as success. On Windows 3010 and 1641, by which installers ask for a restart or say that they have
	// begun one, do too where this is left out; with either the machine counts as in need of a restart.
	ExitCodes []int `json:"exitCodes,omitzero" fit:"behaviour" title:"Good exit statuses" default:"[0]" example:"[0, 2]"`
	// The user to run as, guards included, with its groups and home folder. By default the one that fitout runs as, which is root as a rule.
	User string `json:"user,omitzero" fit:"behaviour" on:"linux,darwin" ref:"users" title:"User" example:"alice"`
	// The folder to run in, guards included. By default the user's home folder where `user` is set.
	Directory string `json:"directory,omitzero" fit:"behaviour,path" title:"Folder" example:"/srv/app"`
	// Variables added to its environment and the guards'. May hold secrets.
	Environment map[string]string `json:"environment,omitzero" fit:"behaviour" title:"Environment" example:"{LANG: C.UTF-8}"`
	// Text for its standard input, which is empty otherwise. May hold secrets.
	Stdin string `json:"stdin,omitzero" fit:"behaviour" title:"Standard input"`
	// Always present: what has run can't be taken back.
	State string `json:"state,omitzero" fit:"state" enum:"present" title:"State"`
	// Why it has to run, or hasn't.
	Reason string `json:"reason,omitzero" fit:"observed" title:"Reason"`
}

// Commands implements Command.
type Commands struct{}

var (
	_ modules.Resource[Command]        = Commands{}
	_ modules.Checker[Command]         = Commands{}
	_ modules.PlatformChecker[Command] = Commands{}
	_ modules.Notified[Command]        = Commands{}
	_ modules.Inverter[Command]        = Commands{}
	_ modules.Referrer[Command]        = Commands{}
	_ modules.Guarded                  = Commands{}
)

const guardTime = 30 * time.Second

// Guarded is true: the guards are the profile's own programs.
func (Commands) Guarded() bool { return true }

// Refs are the files that the command names.
func (Commands) Refs(want Command) []string {
	var refs []string
	for _, args := range [][]string{want.Run, want.Unless, want.OnlyIf} {
		for _, a := range args {
			if strings.HasPrefix(a, "/") || isDrive(a) {
				refs = append(refs, "files/"+a)
			}
		}
	}
	return refs
}

func isDrive(path string) bool {
	return len(path) > 2 && path[1] == ':' && (path[2] == '\\' || path[2] == '/')
}

// CheckOn refuses what a platform has no way for.
func (Commands) CheckOn(os string, want Command) error {
	if os == "windows" && want.User != "" {
		return hint.New(errors.New("user: Windows runs no program as another user without that one's password"), `leave it out, or add: when: device.os != "windows"`)
	}
	return nil
}

// Check refuses what can't run.
func (Commands) Check(want Command) error {
	if len(want.Run) == 0 || want.Run[0] == "" {
		return errors.New("run: missing: a list of the program and its arguments")
	}
	for name, guard := range map[string][]string{"unless": want.Unless, "onlyIf": want.OnlyIf} {
		if guard != nil && (len(guard) == 0 || guard[0] == "") {
			return fmt.Errorf("%s: names no program", name)
		}
	}
	for _, args := range [][]string{want.Run, want.Unless, want.OnlyIf} {
		for _, a := range args {
			if strings.Contains(a, "\x00") {
				return errors.New("run: an argument holds a NUL character")
			}
		}
	}
	for name := range want.Environment {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			return fmt.Errorf("environment: %q can't be a variable's name", name)
		}
	}
	if strings.HasPrefix(want.Run[0], "~") {
		return hint.New(fmt.Errorf("run: %q: no shell is there to expand ~", want.Run[0]), "write the whole path, or run [/bin/sh, -c, ...]")
	}
	return nil
}

// Observe asks the guards. A command that has to run is absent, one that hasn't is present as declared.
func (c Commands) Observe(ctx context.Context, h *host.Host, want Command) (Command, error) {
	if !h.Living() {
		return Command{}, host.ErrNeedsSystem
	}
	have := Command{Name: want.Name, Run: want.Run}
	if err := c.Check(want); err != nil {
		return have, err
	}
	if want.OnNotifyOnly {
		have.Reason = "only when notified"
		return have, nil
	}
	must, reason, err := asked(ctx, h, want)
	if must {
		have = Command{Name: want.Name, State: modules.Absent}
	}
	have.Reason = reason
	return have, err
}

// asked says whether the guards ask for the command, and why.
func asked(ctx context.Context, h *host.Host, want Command) (must bool, reason string, err error) {
	var reasons []string
	if want.OnlyIf != nil {
		code, err := guard(ctx, h, want, "onlyIf", want.OnlyIf)
		if err != nil {
			return false, "", err
		}
		if code != 0 {
			return false, fmt.Sprintf("onlyIf: exit status %d", code), nil
		}
		reasons = append(reasons, "onlyIf: exit status 0")
	}
	if want.Creates != "" {
		if h.Exists(want.Creates) {
			return false, "creates: " + want.Creates + " exists", nil
		}
		reasons = append(reasons, "creates: "+want.Creates+" is missing")
	}
	if want.Unless != nil {
		code, err := guard(ctx, h, want, "unless", want.Unless)
		switch {
		case err != nil && host.NoProgram(err):
			reasons = append(reasons, "unless: "+want.Unless[0]+" is missing")
		case err != nil:
			return false, "", err
		case code == 0:
			return false, "unless: exit status 0", nil
		default:
			reasons = append(reasons, fmt.Sprintf("unless: exit status %d", code))
		}
	}
	if reasons == nil {
		return true, "no guard: runs at every apply", nil
	}
	return true, strings.Join(reasons, "; "), nil
}

func guard(ctx context.Context, h *host.Host, want Command, name string, args []string) (code int, err error) {
	late := fmt.Errorf("still running after %s", guardTime)
	ctx, cancel := context.WithTimeoutCause(ctx, guardTime, late)
	defer cancel()
	res, err := h.Run(ctx, program(want, args))
	switch {
	case errors.Is(err, late):
		err = hint.New(err, "a guard only looks; what takes its time belongs to `run`")
	case host.NoProgram(err):
		err = hint.New(err, "if another entry brings it, name that one under `after`")
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return res.Code, nil
}

func program(want Command, args []string) host.Cmd {
	cmd := host.Cmd{Args: args, Dir: want.Directory, User: want.User}
	for name, value := range want.Environment {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	slices.Sort(cmd.Env)
	return cmd
}

// Apply runs the command and asks the guards again.
func (c Commands) Apply(ctx context.Context, h *host.Host, want, _ Command) (modules.Outcome, error) {
	var out modules.Outcome
	code, err := c.run(ctx, h, want)
	if err != nil {
		return out, err
	}
	if h.OS() == "windows" && slices.Contains(restartCodes, code) {
		out.Reboot = fmt.Sprintf("%s asks for a restart (exit status %d)", want.Name, code)
	}
	if want.Creates == "" && want.Unless == nil && want.OnlyIf == nil {
		out.Unproven = "no guard: runs at every apply"
		return out, nil
	}
	must, reason, err := asked(ctx, h, want)
	if err != nil {
		return out, err
	}
	if must && out.Reboot == "" { // else it may be what the restart is for
		return out, hint.New(fmt.Errorf("%s succeeded, but its guard still asks for it (%s)", want.Run[0], reason),
			"correct the guard, or make the command fail when it didn't do its work")
	}
	return out, nil
}

// Notified runs the command because something it depends on changed.
func (c Commands) Notified(ctx context.Context, h *host.Host, want Command) error {
	if want.OnlyIf != nil && h.Living() {
		code, err := guard(ctx, h, want, "onlyIf", want.OnlyIf)
		if err != nil || code != 0 {
			return err
		}
	}
	_, err := c.run(ctx, h, want)
	return err
}

// restartCodes are ERROR_SUCCESS_REBOOT_REQUIRED and ERROR_SUCCESS_REBOOT_INITIATED:
// https://learn.microsoft.com/windows/win32/msi/error-codes
var restartCodes = []int{3010, 1641}

func (c Commands) run(ctx context.Context, h *host.Host, want Command) (code int, err error) {
	if !h.Living() {
		return 0, host.ErrNeedsSystem
	}
	if err := c.Check(want); err != nil {
		return 0, err
	}
	h.Step("run", want.Run[0])
	cmd := program(want, want.Run)
	if want.Stdin != "" {
		cmd.Stdin = strings.NewReader(want.Stdin)
	}
	res, err := h.Run(ctx, cmd)
	res = h.Scrubbed(res) // nothing is parsed, all of it is shown
	h.Log().Info("command", "name", want.Name, "code", res.Code, "stdout", host.LastLines(string(res.Stdout), 50), "stderr", host.LastLines(string(res.Stderr), 50))
	if err != nil {
		if tail := host.LastLines(string(res.Stdout)+string(res.Stderr), 8); tail != "" {
			err = fmt.Errorf("%w; the last it said: %s", err, tail)
		}
		if host.NoProgram(err) {
			return 0, hint.New(err, "install it first: declare its package, or name under `after` what brings it")
		}
		return 0, err
	}
	good := want.ExitCodes
	if good == nil {
		good = []int{0}
		if h.OS() == "windows" {
			good = append(good, restartCodes...)
		}
	}
	// Windows has 32 bits, and people write them with a sign as often as without.
	isGood := func(c int) bool { return c == res.Code || h.OS() == "windows" && uint32(c) == uint32(res.Code) }
	if !slices.ContainsFunc(good, isGood) {
		return res.Code, h.Failure(cmd, res)
	}
	return res.Code, nil
}

// Inverse refuses: nobody knows what a program did.
func (Commands) Inverse(_, _ Command) (Command, error) {
	return Command{}, errors.New("what a command did is not known")
}
