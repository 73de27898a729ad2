//go:build linux

package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// record is a run as fitout remembers it.
type record struct {
	ID      string
	Started time.Time
	Devices []struct {
		Status string
		Events []event
	}
}

// event is something that happened in a run.
type event struct {
	N                     int
	Time                  time.Time
	Type, Address, Status string
	Changes               []struct{ Property string }
}

// notified says whether a notification is part of what happened.
func (e event) notified() bool {
	for _, c := range e.Changes {
		if c.Property == "notification" {
			return true
		}
	}
	return false
}

// evidence is what is known when a round is over. None of it comes from inside fitout: what the machine's own tools said,
// and what fitout prints.
type evidence struct {
	site          *site
	before, after map[string]string // by address
	runs          []*record         // of this round, the oldest first
	told          []string          // addresses of which a run said, while it went on, that it had changed them
	recovered     bool              // the last run said that all is done
	hung          []string          // commands that did not end
	forgot        bool              // a fault destroyed what the device knows of its runs
	restarted     bool              // a fault restarted the machine
	jumped        bool              // a fault set the machine's clock
	first         int               // the exit status of the run under faults
	begins        map[string][]time.Time
	read          map[string]string // by service: the digest of the configuration that it read last
	left          []string
}

// breach is a promise that was not kept.
type breach struct{ promise, what string }

const (
	notConverged = "not converged"
	lost         = "lost"
	repeated     = "repeated"
	unnotified   = "not notified"
	leftBehind   = "left behind"
)

// promises in the order of the table.
var promises = []string{lost, notConverged, repeated, unnotified, leftBehind}

// judge compares the evidence with what is promised.
func judge(e *evidence) []breach {
	var out []breach
	found := func(promise, format string, args ...any) {
		out = append(out, breach{promise, fmt.Sprintf(format, args...)})
	}
	if !e.recovered {
		found(notConverged, "the last run did not end well")
	}
	if e.jumped && e.first != 0 {
		found(notConverged, "the run under which the clock jumped ended with exit status %d", e.first)
	}
	for _, line := range e.hung {
		found(notConverged, "%s did not end in time", line)
	}
	recorded := map[string]bool{} // a failure, too, is a result that was told
	for _, run := range e.runs {
		for _, event := range run.resolved("changed", "failed") {
			recorded[event.Address] = true
		}
	}
	for _, r := range e.site.resources {
		if r.probe == "" {
			continue
		}
		if e.after[r.address] != r.want {
			found(notConverged, "%s is %q, not %q", r.address, e.after[r.address], r.want)
		}
		if e.after[r.address] != e.before[r.address] && !recorded[r.address] && !e.forgot && !e.byItself(r.address) {
			found(lost, "%s was changed from %q to %q; no run says so", r.address, e.before[r.address], e.after[r.address])
		}
	}
	for _, address := range e.told {
		if !recorded[address] && !e.forgot {
			found(lost, "%s: a run said that it was changed, and does so no more", address)
		}
	}
	for _, run := range e.runs {
		for _, d := range run.Devices {
			for i, event := range d.Events[min(1, len(d.Events)):] {
				if before := d.Events[i].N; event.N <= before {
					found(lost, "event %d of %s comes after event %d", event.N, run.ID, before)
				}
			}
		}
	}
	e.repetitions(found)
	for name, config := range map[string]string{"app": "files//etc/storm/app.conf", "reload": "files//etc/storm/reload.conf"} {
		if !strings.HasSuffix(e.after[config], e.read[name]) || e.read[name] == "" {
			found(unnotified, "services/storm-%s has read the digest %q last; %s is %q", name, e.read[name], config, e.after[config])
		}
	}
	for _, what := range e.left {
		found(leftBehind, "%s", what)
	}
	return out
}

// byItself says whether a resource may have come to its state without having been touched.
func (e *evidence) byItself(address string) bool {
	before, after := e.before[address], e.after[address]
	if e.restarted { // the machine sets what is written down, and starts what is enabled
		switch typ, _, _ := strings.Cut(address, "/"); typ {
		case "services":
			return strings.HasPrefix(before, "enabled ") && after == "enabled active"
		case "sysctl":
			_, written, _ := strings.Cut(before, " ")
			return after == written+" "+written
		}
	}
	// A group or user that was removed came back under its old number: what stat called UNKNOWN has a name again.
	head, tail, unknown := strings.Cut(before, "UNKNOWN")
	return unknown && len(after) > len(head)+len(tail) && strings.HasPrefix(after, head) && strings.HasSuffix(after, tail) &&
		!strings.Contains(after[len(head):len(after)-len(tail)], " ")
}

// untilRestart says whether a resource had its state only until the machine was restarted: a service that runs, and isn't enabled.
func (e *evidence) untilRestart(address string) bool {
	i := slices.IndexFunc(e.site.resources, func(r resource) bool { return r.address == address })
	return e.restarted && strings.HasPrefix(address, "services/") && i >= 0 && e.site.resources[i].want == "disabled active"
}

// repetitions looks for what was recorded as complete and done again.
func (e *evidence) repetitions(found func(promise, format string, args ...any)) {
	if e.jumped {
		e.counted(found)
	}
	done := map[string]string{} // address, run
	for i, run := range e.runs {
		var next time.Time
		if i+1 < len(e.runs) {
			next = e.runs[i+1].began()
		}
		for _, event := range run.resolved("changed") {
			name, isCommand := strings.CutPrefix(event.Address, "commands/")
			if by := done[event.Address]; by != "" && event.Address != "commands/always" && !event.notified() && !e.untilRestart(event.Address) {
				found(repeated, "%s was changed by %s, and again by %s", event.Address, by, run.ID)
			}
			if !event.notified() {
				done[event.Address] = run.ID
			}
			if !isCommand || e.jumped {
				continue
			}
			for _, at := range e.begins[name] {
				if at.After(event.Time) && (name != "always" || next.IsZero() || at.Before(next)) {
					found(repeated, "%s began at %s, though %s recorded it as complete at %s", event.Address, at.UTC().Format(time.StampMicro), run.ID, event.Time.UTC().Format(time.StampMicro))
				}
			}
		}
	}
}

// counted looks for the same where the clock can't tell: a command has begun as often as runs say that they have run it.
func (e *evidence) counted(found func(promise, format string, args ...any)) {
	told := map[string]int{}
	for _, run := range e.runs {
		for _, event := range run.resolved("changed", "failed") {
			told[strings.TrimPrefix(event.Address, "commands/")]++
		}
	}
	for name, begins := range e.begins {
		if len(begins) > told[name] {
			found(repeated, "commands/%s began %d times, and the runs tell of %d", name, len(begins), told[name])
		}
	}
}

// jumps is how often the clock was set by an hour or more between one event of a run and the next.
func (e *evidence) jumps() (n int) {
	for _, run := range e.runs {
		for _, d := range run.Devices {
			for i, event := range d.Events[min(1, len(d.Events)):] {
				if event.Time.Sub(d.Events[i].Time).Abs() >= time.Hour {
					n++
				}
			}
		}
	}
	return n
}

// resolved are the events that say what became of a resource, if it is one of these.
func (r *record) resolved(statuses ...string) (out []event) {
	for _, d := range r.Devices {
		for _, e := range d.Events {
			if e.Type == "resource" && slices.Contains(statuses, e.Status) {
				out = append(out, e)
			}
		}
	}
	return out
}

// began is when the run began: by the device's clock where that is known.
func (r *record) began() time.Time {
	for _, d := range r.Devices {
		for _, e := range d.Events {
			if !e.Time.IsZero() {
				return e.Time
			}
		}
	}
	return r.Started
}
