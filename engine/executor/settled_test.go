package executor

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/host"
)

// TestWhatIsRecordedAsDoneHasSettled: programs don't sync what they write. Were it recorded before, a power cut could undo what
// the journal says is complete, and so it would be done again. The same goes for what a notification brings about.
func TestWhatIsRecordedAsDoneHasSettled(t *testing.T) {
	d := newDevice(t)
	d.write(t, "probe/daemon", "{}")
	var settled [][]string // for each time, what the journal had as done until then
	hostOptions = []host.Option{host.WithSteps(func(change string) {
		if !strings.HasPrefix(change, "settle") {
			return
		}
		done := []string{}
		events, err := readEvents(d.dir, "r1")
		if err != nil {
			t.Error(err)
		}
		for _, e := range events {
			if e.Type == wire.Notified || e.Type == wire.Resolved {
				done = append(done, e.Type+" "+e.Address)
			}
		}
		settled = append(settled, slices.Compact(done))
	})}
	t.Cleanup(func() { hostOptions = nil })
	loosely := func(h *host.Host) error { return h.Chmod("/probe", 0o755) }
	behave(t, "conf", behaviour{apply: func(_ context.Context, h *host.Host, want, _ probe) (modules.Outcome, error) {
		if err := writeProbe(h, want); err != nil {
			return modules.Outcome{}, err
		}
		return modules.Outcome{}, loosely(h)
	}})
	behave(t, "daemon", behaviour{notified: func(_ context.Context, h *host.Host, _ probe) error { return loosely(h) }})
	c := connect(t, d)
	c.run(doc("r1", resource("probe", "conf", "", notifies("probe/daemon")), resource("probe", "daemon", "", after("probe/conf"))))
	c.in.Close()
	<-c.served
	if diff := cmp.Diff([][]string{{}, {"resource probe/conf"}}, settled); diff != "" {
		t.Error(diff)
	}
}
