//go:build linux

package main

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// honest is the evidence of a round that kept all promises: from an earlier release, with a run that was interrupted.
func honest() *evidence {
	old, to := newSite(1), newSite(2)
	e := &evidence{site: to, before: map[string]string{}, after: map[string]string{}, recovered: true, begins: map[string][]time.Time{}, read: map[string]string{
		"app": digest("release r2\n"), "reload": digest("release r2\n"),
	}}
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	runs := []*record{{ID: "one", Started: at}, {ID: "two", Started: at.Add(time.Hour)}}
	for i := range runs {
		runs[i].Devices = append(runs[i].Devices, struct {
			Status string
			Events []event
		}{})
	}
	for i, r := range to.resources {
		e.before[r.address], e.after[r.address] = old.resources[i].want, r.want
		if r.want != old.resources[i].want {
			run := runs[i%2]
			events := &run.Devices[0].Events
			*events = append(*events, event{Time: run.Started.Add(time.Duration(i) * time.Second), Type: "resource", Address: r.address, Status: "changed"})
			e.told = append(e.told, r.address)
		}
	}
	for _, run := range runs { // it has no guard: each run does it once
		events := &run.Devices[0].Events
		*events = append(*events, event{Time: run.Started.Add(2 * time.Minute), Type: "resource", Address: "commands/always", Status: "changed"})
		e.begins["always"] = append(e.begins["always"], run.Started.Add(time.Minute))
	}
	e.runs = runs
	return e
}

// drop takes an address out of all that was recorded.
func (e *evidence) drop(address string) {
	for _, run := range e.runs {
		d := &run.Devices[0]
		d.Events = slices.DeleteFunc(d.Events, func(ev event) bool { return ev.Address == address })
	}
	e.told = slices.DeleteFunc(e.told, func(a string) bool { return a == address })
}

// twice has both runs record a change.
func (e *evidence) twice(address string) {
	for _, run := range e.runs {
		d := &run.Devices[0]
		d.Events = append(d.Events, event{Time: run.Started.Add(3 * time.Minute), Type: "resource", Address: address, Status: "changed"})
	}
}

func TestJudge(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*evidence)
		want   []string
	}{
		"nothing":                       {func(e *evidence) {}, nil},
		"a file is otherwise":           {func(e *evidence) { e.after["files//etc/storm/token"] = "regular file" }, []string{notConverged}},
		"a user is missing":             {func(e *evidence) { delete(e.after, "users/storm1") }, []string{notConverged}},
		"the last run failed":           {func(e *evidence) { e.recovered = false }, []string{notConverged}},
		"a run did not end":             {func(e *evidence) { e.hung = []string{"fitout apply"} }, []string{notConverged}},
		"a run is forgotten":            {func(e *evidence) { e.runs, e.told = e.runs[1:], nil }, []string{lost}},
		"and nothing can be known":      {func(e *evidence) { e.runs, e.forgot = e.runs[1:], true }, nil},
		"an event was told and is gone": {func(e *evidence) { e.told = append(e.told, "links//usr/local/bin/storm-link") }, []string{lost}},
		"a command ran once more": {func(e *evidence) {
			e.begins["always"] = append(e.begins["always"], e.runs[0].Started.Add(3*time.Minute))
		}, []string{repeated}},
		"a change was made once more": {func(e *evidence) {
			e.runs[1].Devices[0].Events = append(e.runs[1].Devices[0].Events, e.runs[0].Devices[0].Events[0])
		}, []string{repeated}},
		"a service was started twice": {func(e *evidence) { e.twice("services/storm-reload") }, []string{repeated}},
		"and the machine between, which doesn't start it": {func(e *evidence) {
			e.twice("services/storm-reload")
			e.restarted = true
			for i := range e.site.resources {
				if r := &e.site.resources[i]; r.address == "services/storm-reload" {
					r.want = "disabled active"
					e.after[r.address] = r.want
				}
			}
		}, nil},
		"and the machine between, which starts it": {func(e *evidence) {
			e.twice("services/storm-reload")
			e.restarted = true
		}, []string{repeated}},
		"a service was not told": {func(e *evidence) { e.read["reload"] = digest("release r1\n") }, []string{unnotified}},
		"a service said nothing": {func(e *evidence) { delete(e.read, "app") }, []string{unnotified}},
		"a lock is still there":  {func(e *evidence) { e.left = []string{"lock held"} }, []string{leftBehind}},
		"a group came back by its number": {func(e *evidence) {
			e.before["directories//srv/storm/sub"], e.after["directories//srv/storm/sub"] = "directory root UNKNOWN 755", "directory root root 755"
		}, nil},
		"and the mode with it": {func(e *evidence) {
			e.before["directories//srv/storm/sub"], e.after["directories//srv/storm/sub"] = "directory root UNKNOWN 700", "directory root root 755"
		}, []string{lost}},
		"a service came up with the machine": {func(e *evidence) {
			e.before["services/storm-app"], e.restarted = "enabled failed", true
		}, nil},
		"and without a restart": {func(e *evidence) { e.before["services/storm-app"] = "enabled failed" }, []string{lost}},
		"a setting came back with the machine": {func(e *evidence) {
			e.before["sysctl/net.ipv4.tcp_fin_timeout"], e.restarted = "43 52", true
			e.drop("sysctl/net.ipv4.tcp_fin_timeout")
		}, nil},
		"and it wasn't written down": {func(e *evidence) {
			e.before["sysctl/net.ipv4.tcp_fin_timeout"], e.restarted = "43 51", true
			e.drop("sysctl/net.ipv4.tcp_fin_timeout")
		}, []string{lost}},
		"events are out of order": {func(e *evidence) { e.runs[0].Devices[0].Events[1].N = -1 }, []string{lost}},
		"the clock is set back after a command": {func(e *evidence) {
			e.jumped = true
			e.begins["always"][0] = e.runs[0].Started.Add(time.Hour)
		}, nil},
		"and the command ran once more": {func(e *evidence) {
			e.jumped = true
			e.begins["always"] = append(e.begins["always"], e.runs[0].Started)
		}, []string{repeated}},
		"the run failed when the clock was set": {func(e *evidence) { e.jumped, e.first = true, 3 }, []string{notConverged}},
		"a resource that failed ":               {func(e *evidence) { e.runs[0].Devices[0].Events[0].Status = "failed"; e.told = nil }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			e := honest()
			c.change(e)
			for _, run := range e.runs {
				for i := range run.Devices[0].Events {
					run.Devices[0].Events[i].N += i + 1
				}
			}
			kinds := map[string]bool{}
			for _, b := range judge(e) {
				kinds[b.promise] = true
			}
			want := map[string]bool{}
			for _, w := range c.want {
				want[w] = true
			}
			if d := cmp.Diff(want, kinds); d != "" {
				t.Errorf("broken promises (-want +got):\n%s%v", d, judge(e))
			}
		})
	}
}

// A round is the same each time it is drawn, and all kinds take turns.
func TestDraw(t *testing.T) {
	seen := map[string]int{}
	for n := range 3 * len(kinds) {
		a, b := draw(7, n, kinds), draw(7, n, kinds)
		if a.String() != b.String() || a.seed.Uint64() != b.seed.Uint64() {
			t.Errorf("round %d: %s, then %s", n, a, b)
		}
		seen[a.faults[0].kind]++
	}
	for _, k := range kinds {
		if seen[k.name] != 3 {
			t.Errorf("%s comes first in %d rounds of %d, not in 3", k.name, seen[k.name], 3*len(kinds))
		}
	}
}
