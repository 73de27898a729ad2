package settings

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/fitout-dev/fitout/modules/host/registry"
	"github.com/fitout-dev/fitout/modules/host/scm"
)

const (
	w32Time     = "W32Time"
	timeKey     = `SYSTEM\CurrentControlSet\Services\W32Time\Parameters`
	timeSource  = "Type"
	timeServers = "NtpServer"
)

func observeTime(context.Context, *host.Host, Time) (Time, error) {
	return Time{}, errors.ErrUnsupported
}

func applyTime(context.Context, *host.Host, Time) error { return errors.ErrUnsupported }

// observeWindowsTime reads the configuration of W32Time from the registry, where it has it, and asks how the service is.
func observeWindowsTime(h *host.Host, _ Time) (Time, error) {
	var have Time
	m, err := scm.Open(h)
	if err != nil {
		return have, err
	}
	defer m.Close()
	s, err := m.Look(w32Time)
	if err != nil {
		return have, err
	}
	if s == nil {
		return have, hint.New(errors.New("no service W32Time on this device, which keeps the clock"), "`w32tm /register` on the device, as an administrator, makes it again")
	}
	source, peers, err := readTime(h)
	if err != nil {
		return have, err
	}
	have = Time{Service: w32Time, Source: &source, Peers: &peers, Start: s.Config.Start, Running: modules.Ptr(s.State == scm.Running), Servers: []string{}}
	if *have.Running {
		have.Current = modules.Ptr(!strings.HasSuffix(peers, unread))
	}
	if have.Current != nil && !*have.Current {
		have.Servers = nil
		return have, nil
	}
	switch on := slices.Contains([]string{scm.Auto, scm.Delayed}, *have.Start) && *have.Running; {
	case strings.EqualFold(source, fromNowhere):
		have.Automatic = modules.Ptr(false)
	case on:
		have.Automatic = modules.Ptr(true)
	}
	if !strings.EqualFold(source, fromTheDomain) { // there the list is nothing to the service
		for _, p := range parsePeers(peers) {
			have.Servers = append(have.Servers, p.name)
		}
	}
	return have, nil
}

func readTime(h *host.Host) (source, peers string, err error) {
	roots, release, err := registry.Open(h, registry.LocalMachine, "")
	if err != nil {
		return "", "", err
	}
	defer release()
	for name, to := range map[string]*string{timeSource: &source, timeServers: &peers} {
		v, err := roots[0].Get(timeKey, name, registry.View64)
		if err != nil {
			return "", "", err
		}
		*to = textOf(v)
	}
	return source, peers, nil
}

// unread ends the list while a service that runs hasn't been told of a change: a blank is nothing to it, and after an interruption
// it shows what is still to be done.
const unread = " "

// applyWindowsTime changes the configuration, and tells the service.
func applyWindowsTime(ctx context.Context, h *host.Host, want Time) error {
	m, err := scm.Open(h)
	if err != nil {
		return err
	}
	defer m.Close()
	s, err := m.Look(w32Time)
	if err != nil || s == nil {
		return err
	}
	oldSource, oldPeers, err := readTime(h)
	if err != nil {
		return err
	}
	source, peers := nextTime(want, oldSource, oldPeers)
	changed := source != oldSource || peers != oldPeers
	if changed {
		first := peers
		if s.State != scm.Stopped {
			first = strings.TrimSuffix(peers, unread) + unread
		}
		if err := writeTime(h, timeServers, first); err != nil {
			return err
		}
		if err := writeTime(h, timeSource, source); err != nil {
			return err
		}
	}
	if err := bringW32Time(ctx, m, s, want, changed); err != nil || !changed || s.State == scm.Stopped {
		return err
	}
	return writeTime(h, timeServers, peers)
}

// bringW32Time starts, tells or stops the service.
func bringW32Time(ctx context.Context, m *scm.Manager, s *scm.Service, want Time, changed bool) error {
	start, run := want.Start, want.Running
	if start == nil && run == nil && want.Automatic != nil && *want.Automatic {
		run = want.Automatic
		if *s.Config.Start != scm.Auto && *s.Config.Start != scm.Delayed {
			start = modules.Ptr(scm.Auto)
		}
	}
	if start != nil && *start != *s.Config.Start {
		if err := m.Configure(w32Time, scm.Config{Start: start}); err != nil {
			return err
		}
	}
	switch {
	case run != nil && *run && s.State != scm.Running:
		return m.Start(ctx, w32Time)
	case run != nil && !*run && s.State != scm.Stopped:
		_, err := m.Stop(ctx, w32Time)
		return err
	case changed && s.State != scm.Stopped:
		return m.Reread(ctx, w32Time)
	}
	return nil
}

// writeTime sets a value, or removes it where it is to be empty.
func writeTime(h *host.Host, name, text string) error {
	roots, release, err := registry.Open(h, registry.LocalMachine, "")
	if err != nil {
		return err
	}
	defer release()
	if text == "" {
		return roots[0].Delete(h, timeKey, name, registry.View64)
	}
	return roots[0].Set(h, timeKey, name, registry.View64, registry.String(text))
}
