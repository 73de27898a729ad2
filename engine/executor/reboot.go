package executor

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/journal"
	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

const (
	maxReboots  = 5
	rebootDelay = time.Minute
	// shutdownTime is how long a machine may take to end its processes, this one among them.
	shutdownTime = 10 * time.Minute
)

// mayRestart says whether the machine may be restarted for a resource.
func (r *run) mayRestart(it *item) bool {
	return r.detached && r.host.Living() && cmp.Or(it.Reboot, r.doc.Settings.Reboot) == wire.RebootIfNeeded
}

// hold keeps back what is to be told of a changed resource until it can be proven: after a restart, or when the controller
// has reached the device in its new way.
func (r *run) hold(it *item, e *wire.Event) {
	switch {
	case e.Status != wire.Changed:
	case len(it.Connect) > 0 && (e.Reboot == "" || !r.mayRestart(it)): // else it is tried after that
		r.trials = append(r.trials, &trial{it: it, event: *e})
		*e = wire.Event{}
	case e.Reboot != "" && r.mayRestart(it):
		re := restart{Reason: e.Reboot, Addresses: []string{it.Address}, Boot: bootID(), Changed: r.counts.Changed}
		if e.After == nil && e.Reason != shownLater {
			re.Unproven = e.Reason
		}
		_ = r.log.record(journal.Reboot, re)
		r.wants = append(r.wants, re)
		r.log.add(wire.Event{Type: wire.Log, Level: "INFO", Address: it.Address, Text: "applied; wants the machine restarted: " + e.Reboot})
		*e = wire.Event{}
	}
}

// comeBack takes up a run after a restart of the machine or of the executor.
func (r *run) comeBack() {
	boot, last := bootID(), lastStep(r.st.events)
	r.goingDown = goingDown(r.st.events)
	switch {
	case last.Type == wire.Rebooting && last.Boot != boot:
		r.log.add(wire.Event{Type: wire.Rebooted, Boot: boot, Text: "the machine is up again"})
	case r.st.Boot != boot && !r.wasHere(boot):
		r.log.add(wire.Event{Type: wire.Rebooted, Boot: boot, Text: "the machine was restarted in the middle of the run, which goes on"})
	default:
		r.log.add(wire.Event{Type: wire.Log, Level: "WARN", Text: "the run was interrupted, and goes on"})
	}
	for _, re := range r.st.restarts {
		switch {
		case re.Now || r.settledNow[re.Addresses[0]]:
		case re.Boot == boot:
			r.wants = append(r.wants, re)
		case re.Unproven != "":
			e := r.started(re.Addresses[0])
			e.Status, e.Reason = wire.Changed, re.Unproven
			r.finish(e)
		}
	}
}

// wasHere says whether the run has been at work since the machine's start.
func (r *run) wasHere(boot string) bool {
	return slices.ContainsFunc(r.st.events, func(e wire.Event) bool { return e.Boot == boot })
}

// awaitsRestart says whether a resource is applied, and needs but the restart.
func (r *run) awaitsRestart(address string) bool {
	return slices.ContainsFunc(r.wants, func(re restart) bool { return re.Addresses[0] == address })
}

// restartBefore says whether one of a batch comes after something that wants a restart.
func (r *run) restartBefore(batch []*item) bool {
	return slices.ContainsFunc(batch, func(it *item) bool {
		return slices.ContainsFunc(r.wants, func(re restart) bool { return slices.Contains(it.After, re.Addresses[0]) })
	})
}

// restart brings the machine down, for a run that goes on afterwards. ok says that the run goes on now, since it may not.
func (r *run) restart(ctx context.Context) (o outcome, ok bool) {
	now := restart{Boot: bootID(), Changed: r.counts.Changed, Now: true, Reason: r.reasons()}
	for _, re := range r.wants {
		now.Addresses = append(now.Addresses, re.Addresses...)
	}
	if r.goingDown { // an earlier process has told it to
		return r.goDown(ctx)
	}
	if err := r.tooMany(now); err != nil {
		for _, a := range now.Addresses {
			e := r.started(a)
			r.fail(&e, err)
			r.finish(e)
		}
		r.wants = nil
		return 0, true
	}
	if !r.awaitWindow(ctx, now.Reason) {
		return r.left(), r.stopped(ctx)
	}
	if !r.warn(ctx, now.Reason) {
		return r.left(), r.stopped(ctx)
	}
	if err := r.log.record(journal.Reboot, now); err != nil {
		r.host.Log().Warn("the run's journal can't be written, so the machine isn't restarted", "error", err.Error())
		r.settle()
		return 0, true
	}
	r.log.add(wire.Event{Type: wire.Rebooting, Boot: now.Boot, Reboot: now.Reason, Text: fmt.Sprintf("restart %d of at most %d", r.restarts()+1, r.mostRestarts())})
	return r.goDown(ctx)
}

// reasons is all that the machine is to be restarted for.
func (r *run) reasons() string {
	reasons := map[string]bool{}
	for _, re := range r.wants {
		reasons[re.Reason] = true
	}
	return strings.Join(slices.Sorted(maps.Keys(reasons)), "; ")
}

// goDown tells the machine to restart, and waits for its end.
func (r *run) goDown(ctx context.Context) (o outcome, ok bool) {
	quiet := host.New(r.host.Root()) // the last that is heard is that the machine restarts
	if err := restartMachine(ctx, quiet, r.reasons()); err != nil {
		r.log.add(wire.Event{Type: wire.Log, Level: "ERROR", Text: "restart the machine: " + r.host.Scrub(err.Error())})
		r.settle()
		return 0, true
	}
	select {
	case <-r.suspending:
	case <-time.After(shutdownTime):
		r.log.add(wire.Event{Type: wire.Log, Level: "ERROR", Text: "the machine was told to restart, and didn't"})
	}
	return restarting, false
}

// settle reports what wants a restart that this run won't make.
func (r *run) settle() {
	for _, re := range r.wants {
		e := r.started(re.Addresses[0])
		e.Status, e.Reboot, e.Reason = wire.Changed, re.Reason, "applied, but not seen after a restart"
		r.finish(e)
	}
	r.wants = nil
}

// started is the event of a resource whose change was begun.
func (r *run) started(address string) wire.Event {
	e := wire.Event{}
	if in := r.st.intents[address]; in != nil {
		e = in.Event
	}
	e.Type, e.Address = wire.Resolved, address
	return e
}

// left is why a run stands still before a restart.
func (r *run) left() outcome {
	if r.isSuspended() {
		return suspended
	}
	return finished
}

func (r *run) restarts() (n int) {
	for _, re := range r.st.restarts {
		if re.Now {
			n++
		}
	}
	return n
}

func (r *run) mostRestarts() int { return cmp.Or(r.doc.Settings.MaxReboots, maxReboots) }

// tooMany refuses a restart that would be one too many, or that changed nothing the last time.
func (r *run) tooMany(now restart) error {
	var reasons []string
	var last *restart
	for i, re := range r.st.restarts {
		if re.Now {
			reasons = append(reasons, re.Reason)
			last = &r.st.restarts[i]
		}
	}
	switch {
	case last != nil && last.Reason == now.Reason && last.Changed == now.Changed && slices.Equal(last.Addresses, now.Addresses):
		return hint.New(fmt.Errorf("wants the machine restarted again for the same reason, and the last restart gained nothing: %s", now.Reason),
			"look on the device why that isn't done by a restart")
	case len(reasons) >= r.mostRestarts():
		return hint.New(fmt.Errorf("wants the machine restarted, after %d restarts in this run: %s", len(reasons), strings.Join(append(reasons, now.Reason), "; ")),
			"raise maxReboots under run in the profile if that many are right")
	}
	return nil
}

// awaitWindow waits until the machine may be restarted. It is false when the run is to end or to be left.
func (r *run) awaitWindow(ctx context.Context, reason string) bool {
	window := r.doc.Settings.RebootWindow
	if window == "" || inWindow(window, r.now()) {
		return !r.stopped(ctx) && !r.isSuspended()
	}
	r.log.add(wire.Event{Type: wire.Waiting, Text: fmt.Sprintf("until %s to restart the machine: %s", window, reason)})
	for !inWindow(window, r.now()) {
		if !r.sleep(ctx, windowTick) {
			return false
		}
	}
	return true
}

// windowTick is how often the clock is looked at: it may jump, and the machine may sleep. Tests shorten it.
var windowTick = 20 * time.Second

// sleep is false when the run is to end or to be left.
func (r *run) sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
	case <-r.stopping:
	case <-r.suspending:
	}
	return false
}

// inWindow says whether now is within "22:00-06:00", by the device's own time. Nonsense is no window.
func inWindow(window string, now time.Time) bool {
	from, to, ok := strings.Cut(window, "-")
	a, errA := time.Parse("15:04", strings.TrimSpace(from))
	b, errB := time.Parse("15:04", strings.TrimSpace(to))
	if !ok || errA != nil || errB != nil {
		return true
	}
	local := now.Local()
	minute := func(t time.Time) int { return t.Hour()*60 + t.Minute() }
	n, x, y := minute(local), minute(a), minute(b)
	if x <= y {
		return n >= x && n < y
	}
	return n >= x || n < y
}

// warn tells those who are logged on, and gives them time.
func (r *run) warn(ctx context.Context, reason string) bool {
	if !loggedOn(ctx, r.host) {
		return true
	}
	delay := cmp.Or(r.doc.Settings.RebootDelay, rebootDelay)
	text := fmt.Sprintf("This machine restarts in %s: %s. Save your work.", delay.Round(time.Second), reason)
	if err := warnAll(ctx, r.host, text); err != nil {
		r.host.Log().Warn("those who are logged on could not be warned", "error", err.Error())
	}
	r.log.add(wire.Event{Type: wire.Waiting, Text: fmt.Sprintf("%s for those who are logged on, before the machine restarts", delay)})
	return r.sleep(ctx, delay)
}
