package executor

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/disk"
	"github.com/fitout-dev/fitout/engine/executor/journal"
	"github.com/fitout-dev/fitout/engine/executor/wire"
)

// TestNobodyIsToldOfWhatAPowerCutCanUndo: what became of a resource is told once it is on the disk, with what comes after it;
// the run doesn't wait for that.
func TestNobodyIsToldOfWhatAPowerCutCanUndo(t *testing.T) {
	slow, syncing := make(chan struct{}), make(chan struct{}, 8)
	fs := disk.WithSteps(disk.OS, func(change string) {
		if strings.HasPrefix(change, "sync") && strings.HasSuffix(change, "journal") {
			syncing <- struct{}{}
			<-slow
		}
	})
	close(slow)
	j, err := journal.Create(fs, filepath.Join(t.TempDir(), "journal"))
	if err != nil {
		t.Fatal(err)
	}
	slow = make(chan struct{})
	for len(syncing) > 0 {
		<-syncing
	}
	l := newEventLog(j, nil, time.Now)
	heard := make(chan []wire.Event, 8)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.follow(1, nil, func(e []wire.Event) error { heard <- e; return nil })
	}()
	next := func() []wire.Event {
		t.Helper()
		select {
		case e := <-heard:
			return e
		case <-time.After(patience):
			t.Fatal("nothing was told")
			return nil
		}
	}
	l.add(wire.Event{Type: wire.Started})
	if e := next(); len(e) != 1 || e[0].N != 1 {
		t.Fatalf("%+v", e)
	}
	l.add(wire.Event{Type: wire.Resolved, Status: wire.Changed})
	<-syncing
	l.add(wire.Event{Type: wire.Log})
	if e, _, _ := l.from(2); len(e) != 0 {
		t.Fatalf("told before it was on the disk: %+v", e)
	}
	close(slow)
	var numbers []int
	for len(numbers) < 2 {
		for _, e := range next() {
			numbers = append(numbers, e.N)
		}
	}
	l.add(wire.Event{Type: wire.Finished})
	l.wait()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("the end was not told")
	}
	if e := next(); numbers[0] != 2 || numbers[1] != 3 || len(e) != 1 || e[0].Type != wire.Finished {
		t.Errorf("%v %+v", numbers, e)
	}
}
