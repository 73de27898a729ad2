package services

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/fitout-dev/fitout/modules/host/scm"
)

func observeAll(_ context.Context, h *host.Host, wants []Service) []modules.Observation[Service] {
	out := make([]modules.Observation[Service], len(wants))
	m, err := scm.Open(h)
	if err == nil {
		defer m.Close()
	}
	for i, want := range wants {
		if out[i].Err = errors.Join(Services{}.Check(want), err); out[i].Err == nil {
			out[i].Have, out[i].Err = observe(m, want)
		}
	}
	return out
}

func observe(m *scm.Manager, want Service) (Service, error) {
	s, err := m.Look(want.Name)
	if err != nil {
		return Service{Name: want.Name}, err
	}
	have := tell(want, s)
	switch {
	case s == nil && want.State != modules.Absent && want.Program == nil:
		if is(want.Enabled, true) || is(want.Running, true) || want.Start != nil && *want.Start != scm.Disabled || want.Masked != nil ||
			want.DisplayName != nil || want.Description != nil || want.Account != nil || want.Dependencies != nil || want.Recovery != nil {
			return have, unknownService(m, want.Name)
		}
		have.State = modules.Present // what isn't there doesn't run
		have.Enabled, have.Running, have.Start = modules.Ptr(false), modules.Ptr(false), want.Start
	case s != nil && *have.Start == scm.Disabled && is(want.Running, true) && want.Start == nil && !is(want.Masked, false) && !is(want.Enabled, true):
		return have, hint.New(fmt.Errorf("%s is disabled", want.Name), "add `start: manual`, or `enabled: true`, if it may run after all")
	}
	return have, nil
}

func unknownService(m *scm.Manager, name string) error {
	err := fmt.Errorf("no service %s on this device", name)
	names, _ := m.Names()
	if near := hint.Near(name, names); near != "" {
		return hint.New(err, "did you mean %s?", near)
	}
	return hint.New(err, "correct the name (`sc query` shows it), say by `program` what it is to run, or declare what brings it before")
}

// change is what has to be configured.
func change(want, have Service) (c scm.Config, any bool) {
	set := func(property string, w, h *string) *string {
		met, judged := Services{}.Compare(property, want, have)
		if w == nil || judged && met || !judged && h != nil && *w == *h {
			return nil
		}
		any = true
		return w
	}
	start := want.Start
	switch {
	case is(want.Masked, true):
		start = modules.Ptr(scm.Disabled)
	case is(want.Enabled, true) && (have.Enabled == nil || !*have.Enabled):
		start = modules.Ptr(scm.Auto)
	case is(want.Enabled, false) && is(have.Enabled, true), is(want.Masked, false) && is(have.Masked, true):
		start = modules.Ptr(scm.Manual)
	}
	c.Start = set("start", start, have.Start)
	c.DisplayName, c.Description = set("displayName", want.DisplayName, have.DisplayName), set("description", want.Description, have.Description)
	if want.Program != nil {
		c.Program = set("program", want.Program, have.Program)
	}
	if want.Account != nil {
		if c.Account = set("account", want.Account, have.Account); c.Account != nil {
			c.Password = want.Password
		}
	}
	if met, _ := (Services{}).Compare("dependencies", want, have); want.Dependencies != nil && !met {
		c.Dependencies, any = want.Dependencies, true
	}
	if met, _ := (Services{}).Compare("recovery", want, have); want.Recovery != nil && !met {
		c.Recovery, _ = recovery(want.Recovery)
		any = true
	}
	return c, any
}

func apply(ctx context.Context, h *host.Host, want Service) error {
	m, err := scm.Open(h)
	if err != nil {
		return err
	}
	defer m.Close()
	if want.State == modules.Absent {
		return m.Delete(ctx, want.Name)
	}
	s, err := m.Look(want.Name)
	if err != nil {
		return err
	}
	have := tell(want, s)
	c, any := change(want, have)
	if s != nil && is(want.Running, false) && s.State != scm.Stopped { // before its configuration goes
		if _, err := m.Stop(ctx, want.Name); err != nil {
			return err
		}
	}
	switch {
	case s == nil && want.Program != nil:
		err = m.Create(want.Name, c)
	case s == nil && (is(want.Running, true) || any):
		return unknownService(m, want.Name)
	case any:
		err = m.Configure(want.Name, c)
	}
	if err != nil || !is(want.Running, true) {
		return err
	}
	if s != nil && s.State == scm.Paused {
		return hint.New(fmt.Errorf("%s is paused", want.Name), "continue or stop it on the device")
	}
	return m.Start(ctx, want.Name)
}

// notified restarts a service that runs, with those that depend on it and ran.
func notified(ctx context.Context, h *host.Host, want Service) error {
	m, err := scm.Open(h)
	if err != nil {
		return err
	}
	defer m.Close()
	s, err := m.Look(want.Name)
	if err != nil {
		return err
	}
	if s == nil {
		return unknownService(m, want.Name)
	}
	if s.State != scm.Running && s.State != scm.StartPending {
		return nil
	}
	return m.Restart(ctx, want.Name)
}

func living(context.Context, *host.Host, []string) ([]unit, error) { return nil, errors.ErrUnsupported }

func windowsAlone(Service) error { return nil }

// tell tells a service of Windows as the resource type does.
func tell(want Service, s *scm.Service) Service {
	have := Service{Name: want.Name}
	if s == nil {
		have.State, have.Enablement = modules.Absent, "not-found"
		return have
	}
	c := s.Config
	have.State, have.Unit, have.Enablement, have.Active = modules.Present, s.Name, *c.Start, s.State.String()
	have.Start, have.Program, have.DisplayName, have.Description, have.Account = c.Start, c.Program, c.DisplayName, c.Description, c.Account
	have.Dependencies = c.Dependencies
	for _, a := range c.Recovery {
		have.Recovery = append(have.Recovery, a.String())
	}
	have.Enabled = modules.Ptr(!slices.Contains([]string{scm.Manual, scm.Disabled}, *c.Start))
	have.Masked = modules.Ptr(*c.Start == scm.Disabled)
	switch s.State {
	case scm.Running:
		have.Running = modules.Ptr(true)
	case scm.Stopped:
		have.Running = modules.Ptr(false)
	}
	switch {
	case s.Driver:
		have.Lost = "it is a driver"
	case s.Shared:
		have.Lost = "it shares a process with others"
	case scm.NeedsPassword(*c.Account):
		have.Lost = "the password of " + *c.Account + " is not known"
	}
	return have
}
