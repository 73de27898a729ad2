package executor

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/engine/executor/disk"
	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/modules"
)

// TestWhatWasNotifiedIsToldAfterAnInterruption: the process was ended after it had notified a resource, and before it told what
// became of that. It is told by whoever takes the run up, or ends it; and nothing is notified again.
func TestWhatWasNotifiedIsToldAfterAnInterruption(t *testing.T) {
	for name, goOn := range map[string]bool{"taken up": true, "ended": false} {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t)
			d.write(t, "probe/conf", "{}")
			d.write(t, "probe/daemon", "{}")
			o := Options{Root: d.root, Dir: d.dir}.complete()
			run := doc("r1", resource("probe", "conf", "", notifies("probe/daemon")), resource("probe", "daemon", "", after("probe/conf")))
			s := &session{Options: o, store: newContents(filepath.Join(d.dir, "store"))}
			if err := s.keep(&run); err != nil {
				t.Fatal(err)
			}
			open := func() *runner {
				t.Helper()
				l, _, err := acquire(d.dir, wire.Holder{Run: "r1"})
				if err != nil {
					t.Fatal(err)
				}
				r, err := openRunner(t.Context(), o, "r1", l, newContents(filepath.Join(d.dir, "store")))
				if err != nil {
					t.Fatal(err)
				}
				return r
			}
			killed := open()
			for _, e := range []wire.Event{{Type: wire.Started}, {Type: wire.Resolved, Address: "probe/conf", Status: wire.Changed, Op: modules.Update},
				{Type: wire.Notified, Address: "probe/daemon", Text: "probe/conf"}} {
				killed.log.add(e)
			}
			killed.log.leave()
			killed.log.wait()
			killed.lock.leave()
			told := count("notify daemon")
			if goOn {
				open().carry(0)
			} else if err := closeRun(o, "r1", "nobody takes it up"); err != nil {
				t.Fatal(err)
			}
			e := event(t, d.events(t, "r1"), wire.Resolved, "probe/daemon")
			if e.Status != wire.Changed || len(e.Changes) != 1 || e.Changes[0].Property != "notification" || e.Changes[0].After != "from probe/conf" {
				t.Errorf("%+v", e)
			}
			if n := count("notify daemon") - told; n != 0 {
				t.Errorf("it was notified %d times more", n)
			}
		})
	}
}

// TestANotificationIsRecordedBeforeItIsStruckOut: else nobody would know of it after a crash between the two.
func TestANotificationIsRecordedBeforeItIsStruckOut(t *testing.T) {
	d := newDevice(t)
	d.write(t, "probe/daemon", "{}")
	var early []string
	all := disk.OS
	t.Cleanup(func() { disk.OS = all })
	disk.OS = disk.WithSteps(all, func(change string) {
		if !strings.HasPrefix(change, "remove") || !strings.HasSuffix(change, "owed.json") {
			return
		}
		events, err := readEvents(d.dir, "r1")
		if err != nil {
			return
		}
		for _, e := range events {
			if e.Type == wire.Notified {
				early = append(early, e.Address)
			}
		}
	})
	c := connect(t, d)
	c.run(doc("r1", resource("probe", "conf", "", notifies("probe/daemon")), resource("probe", "daemon", "", after("probe/conf"))))
	c.in.Close()
	<-c.served // it tidies up after the last event
	if len(early) == 0 || early[0] != "probe/daemon" {
		t.Errorf("when the notification was struck out, the journal had those of %q", early)
	}
}
