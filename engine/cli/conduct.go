package cli

import (
	"context"

	"github.com/fitout-dev/fitout/engine/run"
)

// conduct has a runner do its work on devices, which is shown and, where there is a recorder, recorded. The first Ctrl-C
// stops each device after its current resource, and ends a question; the second one ends ctx.
func (a *app) conduct(ctx context.Context, r *run.Runner, devices []run.Device, rec *recorder, work func(ctx, asking context.Context, p *progress) []run.Result) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	asking, decline := context.WithCancel(ctx)
	defer decline()
	p := newProgress(a, devices)
	r.Report = func(e run.Event) {
		p.report(e)
		if rec != nil {
			rec.report(e)
		}
	}
	defer interrupts(func() {
		a.say("stopping after the current resource; once more stops at once")
		r.Stop()
		decline()
	}, cancel)()
	results := work(ctx, asking, p)
	if rec != nil {
		rec.finish(results, devices)
	}
	return status(p.summarize(r, results, false))
}

// confirming asks about a plan between what progress shows of planning and of applying it.
func (p *progress) confirming(asking context.Context) func([]run.Result) bool {
	return func(results []run.Result) bool {
		p.close()
		if !p.a.confirm(asking, results) {
			return false
		}
		p.open()
		return true
	}
}
