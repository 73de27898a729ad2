package executor

import (
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/journal"
	"github.com/fitout-dev/fitout/engine/executor/wire"
)

// eventLog numbers a run's events, keeps them in its journal and hands them to whoever follows: what became of a resource
// once it is on the disk, so that nobody is told of what a power cut can undo. The run itself doesn't wait for that.
type eventLog struct {
	mu     sync.Mutex
	events []wire.Event
	last   int           // the last number
	lasts  int           // the last number that has to outlast a power cut before anybody hears of it
	heard  int           // the last number that may be told
	more   chan struct{} // closed when an event is added
	closed bool          // nothing more will come from this process
	j      *journal.Journal
	dirty  chan struct{} // the file holds what the disk doesn't
	ended  chan struct{}
	now    func() time.Time
}

func newEventLog(j *journal.Journal, before []wire.Event, now func() time.Time) *eventLog {
	l := &eventLog{events: before, more: make(chan struct{}), j: j, dirty: make(chan struct{}, 1), ended: make(chan struct{}), now: now}
	if n := len(before); n > 0 {
		if l.last = before[n-1].N; bootOf(before) != bootID() {
			l.last += gap
		}
		l.lasts = l.last // whoever was carrying the run out may have died before it was on the disk
		l.soil()
	}
	go l.sync()
	return l
}

// gap is how many numbers are left out after a restart of the machine: a power cut may have taken events from the journal
// that whoever followed has seen. What comes now must not be taken for those.
const gap = 10000

// bootOf names the start of the machine at which the last of the events happened.
func bootOf(events []wire.Event) string {
	for _, e := range slices.Backward(events) {
		if e.Boot != "" {
			return e.Boot
		}
	}
	return ""
}

// sync writes to the disk what became of resources, beside the run: a slow disk doesn't hold it up.
func (l *eventLog) sync() {
	for range l.dirty {
		l.mu.Lock()
		last := l.last
		l.mu.Unlock()
		l.j.Sync() // those who follow get it all the same
		l.mu.Lock()
		if l.heard = max(l.heard, last); l.lasts <= last {
			l.heard = l.last
		}
		l.tell()
		l.mu.Unlock()
	}
	l.j.Close()
	close(l.ended)
}

// wait returns when the journal is complete, on the disk and closed.
func (l *eventLog) wait() { <-l.ended }

// record puts something other than an event into the journal. It is on the disk when this returns.
func (l *eventLog) record(kind journal.Kind, vs ...any) error {
	var rs []journal.Record
	for _, v := range vs {
		if r, ok := v.(journal.Record); ok {
			rs = append(rs, r)
			continue
		}
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		rs = append(rs, journal.Record{Kind: kind, Data: b})
	}
	err := l.j.Append(rs...)
	if err == nil {
		err = l.j.Sync()
	}
	return err
}

// flush returns when all events so far are on the disk.
func (l *eventLog) flush() error { return l.j.Sync() }

func (l *eventLog) add(e wire.Event) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0
	}
	l.last++
	e.N, e.Time = l.last, l.now().UTC()
	l.events = append(l.events, e)
	if b, err := json.Marshal(e); err == nil {
		_ = l.j.Append(journal.Record{Kind: journal.Event, Data: b}) // those who follow get it all the same
	}
	switch {
	case e.Type == wire.Finished || e.Status == wire.Changed || e.Status == wire.FailedStatus:
		l.lasts = l.last
		l.soil()
	case l.lasts <= l.heard:
		l.heard = l.last
	}
	if e.Type == wire.Finished {
		l.close()
	}
	l.tell()
	return e.N
}

// soil has the file synced, if that isn't due already.
func (l *eventLog) soil() {
	select {
	case l.dirty <- struct{}{}:
	default:
	}
}

// tell needs l.mu.
func (l *eventLog) tell() {
	close(l.more)
	l.more = make(chan struct{})
}

// close needs l.mu, and that soil was called for what comes last: sync has that heard before it ends.
func (l *eventLog) close() {
	if !l.closed {
		l.closed = true
		close(l.dirty)
	}
}

// leave ends the log of a run that goes on another time.
func (l *eventLog) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.soil()
		l.close()
		l.tell()
	}
}

// follow tells the events from number n on until no more can come, until whoever hears them has gone, or until tell fails.
func (l *eventLog) follow(n int, gone <-chan struct{}, tell func([]wire.Event) error) {
	for {
		events, over, more := l.from(n)
		if len(events) > 0 {
			n = events[len(events)-1].N + 1
			if tell(events) != nil {
				return
			}
		}
		if over {
			return
		}
		select {
		case <-more:
		case <-gone:
			return
		}
	}
}

// from returns the events from number n on, whether more can come, and what tells that they have.
func (l *eventLog) from(n int) (events []wire.Event, over bool, more <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := func(n int) int {
		i, _ := slices.BinarySearchFunc(l.events, n, func(e wire.Event, n int) int { return e.N - n })
		return i
	}
	i := at(n)
	return l.events[i:max(i, at(l.heard+1))], l.closed && l.heard == l.last, l.more
}
