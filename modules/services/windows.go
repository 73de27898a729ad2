package services

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host/scm"
)

// isWindowsName says whether a service of Windows can be called so.
func isWindowsName(name string) bool {
	return name != "" && len(name) <= 256 && name[0] != '@' && strings.TrimSpace(name) == name && !strings.ContainsAny(name, "/\\\n\r\x00")
}

// checkWindows finds what contradicts itself in what Windows alone has.
func checkWindows(want Service) error {
	switch {
	case want.Start != nil && (want.Enabled != nil || want.Masked != nil):
		return errors.New("start: it stands instead of enabled and masked")
	case want.Start != nil && *want.Start == scm.Disabled && is(want.Running, true):
		return errors.New("start: a disabled service can't be running")
	case want.Password != nil && want.Account == nil:
		return errors.New("password: of no account")
	case want.Password != nil && !scm.NeedsPassword(*want.Account):
		return fmt.Errorf("password: %s has none", *want.Account)
	case want.Program != nil && strings.TrimSpace(*want.Program) == "":
		return errors.New("program: empty")
	}
	if p := want.Program; p != nil {
		if err := checkProgram(*p); err != nil {
			return fmt.Errorf("program: %w", err)
		}
	}
	for _, d := range want.Dependencies {
		if d == "" || d == "+" || strings.EqualFold(d, want.Name) {
			return fmt.Errorf("dependencies: %q can't be one of %s", d, want.Name)
		}
	}
	_, err := recovery(want.Recovery)
	return err
}

// checkProgram finds the unquoted path with blanks, which lets anybody who may write C:\Program.exe run as the service.
func checkProgram(line string) error {
	if strings.HasPrefix(line, `"`) {
		if !strings.Contains(line[1:], `"`) {
			return fmt.Errorf("%s: the quotation mark has no other", line)
		}
		return nil
	}
	path, _, ok := strings.Cut(strings.ToLower(line), ".exe")
	if ok && strings.Contains(path, " ") {
		return hint.New(fmt.Errorf("the path in %s has blanks, and Windows would try %s.exe first", line, line[:strings.IndexByte(line, ' ')]), `put the path into double quotation marks`)
	}
	return nil
}

func recovery(list []string) ([]scm.Action, error) {
	if list == nil {
		return nil, nil
	}
	out := []scm.Action{}
	for _, s := range list {
		a, err := scm.ParseAction(s)
		if err != nil {
			return nil, fmt.Errorf("recovery: %w", err)
		}
		out = append(out, a)
	}
	return out, nil
}

// Compare knows that accounts and lists of services are written in several ways.
func (Services) Compare(property string, want, have Service) (met, ok bool) {
	fold := func(a, b *string) bool { return a != nil && b != nil && strings.EqualFold(*a, *b) }
	switch property {
	case "account":
		return have.Account != nil && scm.SameAccount(*want.Account, *have.Account), true
	case "program":
		return fold(want.Program, have.Program), true
	case "dependencies":
		return slices.EqualFunc(want.Dependencies, have.Dependencies, strings.EqualFold), true
	case "recovery":
		a, errA := recovery(want.Recovery)
		b, errB := recovery(have.Recovery)
		return errA == nil && errB == nil && slices.Equal(a, b), true
	}
	return false, false
}

// inverseOnWindows puts back what want changes of a service of Windows.
func inverseOnWindows(want, have Service) (Service, error) {
	back := Service{Name: have.Name}
	if have.State == modules.Absent {
		back.State = modules.Absent
		return back, nil
	}
	whole := want.State == modules.Absent
	if whole && have.Lost != "" {
		return back, fmt.Errorf("%s couldn't be made again: %s", have.Name, have.Lost)
	}
	if whole || want.Enabled != nil || want.Masked != nil || want.Start != nil {
		back.Start = have.Start
		if *have.Start == "boot" || *have.Start == "system" {
			return back, fmt.Errorf("%s is started by the %s, as drivers are, which can't be declared", have.Name, *have.Start)
		}
	}
	if whole || want.Program != nil {
		back.Program = have.Program
	}
	if whole || want.DisplayName != nil {
		back.DisplayName = have.DisplayName
	}
	if whole || want.Description != nil {
		back.Description = have.Description
	}
	if whole || want.Account != nil {
		if back.Account = have.Account; scm.NeedsPassword(*have.Account) && !scm.SameAccount(*have.Account, *cmpOr(want.Account, have.Account)) {
			return back, fmt.Errorf("%s couldn't run as before: %s", have.Name, have.Lost)
		}
	}
	if whole || want.Dependencies != nil {
		back.Dependencies = have.Dependencies
	}
	if (whole || want.Recovery != nil) && have.Recovery != nil {
		back.Recovery = have.Recovery
	}
	if whole || want.Running != nil {
		if have.Running == nil {
			return back, fmt.Errorf("%s is %s just now: whether it should run is not known", have.Name, have.Active)
		}
		back.Running = have.Running
	}
	return back, nil
}

func cmpOr(a, b *string) *string {
	if a != nil {
		return a
	}
	return b
}

var _ modules.Comparer[Service] = Services{}
