package cli

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/engine/plan"
	"github.com/fitout-dev/fitout/engine/run"
	"github.com/fitout-dev/fitout/modules/hint"
)

// event is a line of --json. Its shape is stable: fields are added, never changed.
type event struct {
	Type   string       `json:"type"` // device, plan, and those of the executor: started, resource, notified, log, finished
	Device string       `json:"device"`
	Run    string       `json:"run,omitempty"` // an earlier one, of which this is told now
	Phase  string       `json:"phase,omitempty"`
	Status string       `json:"status,omitempty"`
	Plan   *plan.Device `json:"plan,omitempty"`
	Event  *wire.Event  `json:"event,omitempty"`
	Error  string       `json:"error,omitempty"`
	Hint   string       `json:"hint,omitempty"`
	Reboot string       `json:"reboot,omitempty"`
	Why    string       `json:"why,omitempty"` // the connection is lost
}

// summary is the last line of --json.
type summary struct {
	Type    string                   `json:"type"`
	Run     string                   `json:"run,omitempty"`
	Devices map[string]deviceSummary `json:"devices"`
}

type deviceSummary struct {
	Status    string `json:"status"`
	Changed   int    `json:"changed"` // for plan: how many changes are pending
	Unchanged int    `json:"unchanged"`
	Failed    int    `json:"failed"`
	Skipped   int    `json:"skipped"`
	Error     string `json:"error,omitempty"`
}

// progress shows what goes on. Its report is called with one event at a time.
type progress struct {
	a       *app
	devices []run.Device
	live    *table
	start   time.Time
}

func newProgress(a *app, devices []run.Device) *progress {
	p := &progress{a: a, devices: devices, start: time.Now()}
	p.open()
	return p
}

// open puts the live table on the screen, where there is one.
func (p *progress) open() {
	f, isFile := p.a.err.(*os.File)
	if _, ok := terminal(p.a.err); !ok || !isFile || p.a.quiet || p.a.json || p.a.verbose || os.Getenv("TERM") == "dumb" || !enableColors(f) {
		return
	}
	p.live = newTable(f, func() (int, int) { return screen(f) }, func(code, text string) string { return p.a.paint(f, code, text) }, p.devices)
	p.a.front(p.live)
}

func (p *progress) report(e run.Event) {
	switch {
	case p.a.json:
		p.line(e)
	case p.live != nil:
		p.live.update(e)
	case !p.a.quiet:
		p.plain(e)
	}
	if p.a.verbose {
		p.verbose(e)
	}
	if p.live != nil && !p.a.quiet && e.Phase == run.Following && e.Result != nil { // the table has no line for it
		p.a.say("%s: %s", e.Device, earlier(e))
	}
}

// verbose logs each step, and what modules say.
func (p *progress) verbose(e run.Event) {
	log := p.a.log.With("device", e.Device)
	switch {
	case e.Log != nil:
		logged(log, e.Log)
	case e.Event == nil && e.Result != nil:
		log.Debug(string(e.Phase), "status", string(e.Result.Status))
	case e.Event == nil:
		log.Debug(string(e.Phase))
	case e.Event.Type == wire.Log:
		logged(log, e.Event)
	case e.Event.Address != "":
		log.Debug(e.Event.Type, "address", e.Event.Address, "status", e.Event.Status)
	}
}

func logged(log *slog.Logger, e *wire.Event) {
	var level slog.Level
	if level.UnmarshalText([]byte(e.Level)) != nil {
		level = slog.LevelInfo
	}
	if e.Address != "" {
		log = log.With("address", e.Address)
	}
	log.Log(context.Background(), level, e.Text)
}

// line prints an event as JSON.
func (p *progress) line(e run.Event) {
	out := event{Type: "device", Device: e.Device, Phase: string(e.Phase), Why: e.Why}
	switch {
	case e.Event != nil:
		out.Type, out.Event, out.Phase, out.Run = e.Event.Type, e.Event, "", e.Run
	case e.Log != nil:
		out.Type, out.Event = wire.Log, e.Log
	case e.Plan != nil:
		out.Type, out.Plan = "plan", e.Plan
	case e.Result != nil:
		out.Run = e.Run
		out.Status, out.Reboot = string(e.Result.Status), e.Result.Reboot
		if e.Result.Err != nil {
			out.Error, out.Hint = e.Result.Err.Error(), hint.Of(e.Result.Err)
		}
	}
	p.a.printJSON(out)
}

// plain prints what matters, a line each, for logs.
func (p *progress) plain(e run.Event) {
	switch {
	case e.Event != nil && e.Event.Type == wire.Resolved && e.Event.Status == wire.Changed:
		p.a.say("%s: %s: %s (%.1f s)", e.Device, e.Event.Address, past(e.Event), e.Event.Seconds)
	case e.Event != nil && e.Event.Type == wire.Resolved && e.Event.Status == wire.FailedStatus:
		p.a.say("%s: %s: failed: %s", e.Device, e.Event.Address, printable(e.Event.Error, "  "))
		if e.Event.Hint != "" {
			p.a.say("  hint: %s", printable(e.Event.Hint, "  "))
		}
	case e.Event != nil && e.Event.Type == wire.Resolved && e.Event.Status == wire.Skipped && consequence(e.Event.Reason):
		p.a.say("%s: %s: skipped (%s)", e.Device, e.Event.Address, e.Event.Reason)
	case e.Event != nil && e.Event.Type == wire.Log && strings.EqualFold(e.Event.Level, "warn"):
		about := e.Device
		if e.Event.Address != "" {
			about += ": " + e.Event.Address
		}
		p.a.say("%s: %s", about, printable(e.Event.Text, "  "))
	case e.Event != nil && telling[e.Event.Type] != "":
		p.a.say("%s: %s", e.Device, told(e.Event))
	case e.Phase == run.Following && e.Result != nil:
		p.a.say("%s: %s", e.Device, earlier(e))
	case e.Phase == run.Away:
		p.a.say("%s: the run goes on there, the connection is lost (%s); trying again", e.Device, printable(e.Why, "  "))
	case e.Phase == run.Silent:
		p.a.say("%s: nothing heard for a while; others go on", e.Device)
	}
}

// telling are the kinds of events that people are told of by themselves.
var telling = map[string]string{wire.Rebooting: "restarts", wire.Rebooted: "is back", wire.Waiting: "waits", wire.Confirming: "changes how it is reached"}

// told says such an event in words.
func told(e *wire.Event) string {
	text := e.Text
	switch e.Type {
	case wire.Rebooting:
		text = fmt.Sprintf("%s (%s)", e.Reboot, e.Text)
	case wire.Confirming:
		text = fmt.Sprintf("the new way must be confirmed within %s, or %s is taken back", e.Text, e.Address)
	}
	return telling[e.Type] + ": " + printable(text, "  ")
}

// earlier says what became of a run that was begun before.
func earlier(e run.Event) string {
	c := e.Result.Counts
	text := fmt.Sprintf("run %s, which went on without us: %s, %d changed, %d unchanged", e.Run, e.Result.Status, c.Changed, c.Unchanged)
	if c.Failed > 0 {
		text += fmt.Sprintf(", %d failed", c.Failed)
	}
	if c.Cancelled > 0 {
		text += fmt.Sprintf(", %d not tried", c.Cancelled)
	}
	if e.Result.Err != nil {
		text += "\n  " + printable(e.Result.Err.Error(), "  ")
	}
	return text
}

// consequence says whether a resource was skipped because another failed, not because the profile wants it so.
func consequence(reason string) bool {
	return strings.HasSuffix(reason, " failed") || strings.HasSuffix(reason, " was skipped")
}

// past says what was done: "created", "updated".
func past(e *wire.Event) string {
	for _, c := range e.Changes {
		if c.Property == "notification" && len(e.Changes) == 1 {
			return "notified"
		}
	}
	switch e.Op {
	case "delete":
		return "deleted"
	case "create":
		return "created"
	}
	return "updated"
}

// close takes the live table from the screen, so that what follows stands by itself.
func (p *progress) close() {
	if p.live != nil {
		p.a.front(nil)
		p.live.close()
		p.live = nil
	}
}

// summarize prints how it ended, and returns the exit status.
func (p *progress) summarize(r *run.Runner, results []run.Result, planned bool) int {
	p.close()
	code := exitDone
	worse := func(c int) { code = max(code, c) }
	s := summary{Type: "summary", Devices: map[string]deviceSummary{}}
	if !planned {
		s.Run = r.ID
	}
	for _, r := range results {
		d := deviceSummary{string(r.Status), r.Counts.Changed, r.Counts.Unchanged, r.Counts.Failed, r.Counts.Skipped, ""}
		if r.Err != nil {
			d.Error = r.Err.Error()
		}
		if planned && r.Plan != nil {
			d.Changed = r.Plan.Count().Pending()
		}
		s.Devices[r.Device] = d
		switch r.Status {
		case run.Pending:
			if planned {
				worse(exitPending)
			} else if !r.Open { // shown, and declined
				worse(exitStopped)
			}
		case run.Failed, run.Unreachable:
			worse(exitFailed)
		case run.Cancelled:
			worse(exitStopped)
		}
	}
	switch {
	case p.a.json:
		p.a.printJSON(s)
	case planned:
	default:
		p.outcome(r.ID, results)
	}
	return code
}

// outcome is the result of an apply for people: a line a device where that helps, and what to do about failures.
func (p *progress) outcome(id string, results []run.Result) {
	out := p.a.out
	var counts [6]int
	width := 6
	for _, r := range results {
		width = max(width, len(r.Device))
	}
	shown := 0
	for _, r := range results {
		for i, s := range statusOrder {
			if r.Status == s {
				counts[i]++
			}
		}
		if r.Status == run.Converged && len(results) > 20 || r.Status == run.Pending && !r.Open {
			continue // in a large fleet only those that need a look
		}
		shown++
		text := fmt.Sprintf("%-*s  %s", width, r.Device, p.a.paint(out, statusColors[r.Status], fmt.Sprintf("%-11s", r.Status)))
		c := r.Counts
		goesOn := r.Open && r.Status == run.Pending // nothing is known yet
		if !goesOn && (r.Plan != nil && len(r.Plan.Resources) > 0 || c != (wire.Counts{})) {
			text += fmt.Sprintf("  %d changed, %d unchanged", c.Changed, c.Unchanged)
		}
		for _, x := range []struct {
			n    int
			what string
		}{{c.Failed, "failed"}, {c.Skipped, "skipped"}, {r.NotTried, "not tried"}} {
			if x.n > 0 {
				text += fmt.Sprintf(", %d %s", x.n, x.what)
			}
		}
		fmt.Fprintln(out, strings.TrimRight(text, " "))
		if r.Err != nil {
			fmt.Fprintf(out, "  %s\n", printable(r.Err.Error(), "  "))
			if h := hint.Of(r.Err); h != "" {
				fmt.Fprintf(out, "  hint: %s\n", printable(h, "  "))
			}
		}
		if r.Reboot != "" {
			fmt.Fprintf(out, "  a reboot is pending: %s\n", printable(r.Reboot, "  "))
		}
		if goesOn {
			fmt.Fprintf(out, "  goes on by itself: `fitout attach %s` follows it\n", id)
		}
		if len(r.Moved) > 0 {
			fmt.Fprintf(out, "  is reached in another way from now on: write %s into the inventory\n", printable(strings.Join(r.Moved, ", "), "  "))
		}
		for _, s := range r.Stuck {
			fmt.Fprintf(out, "  not undone: %s: %s\n", s.Address, printable(s.Reason, "  "))
		}
	}
	if len(results) > 1 {
		var parts []string
		for i, s := range statusOrder {
			if counts[i] > 0 {
				parts = append(parts, fmt.Sprintf("%d %s", counts[i], s))
			}
		}
		fmt.Fprintf(out, "%d devices in %.1f s: %s\n", len(results), time.Since(p.start).Seconds(), strings.Join(parts, ", "))
	} else if shown == 1 && results[0].Status == run.Converged && results[0].Counts.Changed == 0 {
		fmt.Fprintln(out, "Nothing to do.")
	}
	if slices.ContainsFunc(results, func(r run.Result) bool { return r.Status == run.Pending && !r.Open }) {
		fmt.Fprintln(out, "Nothing was changed.")
	}
}
