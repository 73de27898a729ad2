package executor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/wire"
)

// eventLog numbers a run's events, keeps them in a file on the device and hands them to whoever follows.
type eventLog struct {
	mu     sync.Mutex
	events []wire.Event
	more   chan struct{} // closed when an event is added
	done   bool
	file   *os.File
	dirty  chan struct{} // the file holds what the disk doesn't
	ended  chan struct{}
}

func newEventLog(dir, run string) (*eventLog, error) {
	d := filepath.Join(dir, "runs", run)
	if err := os.MkdirAll(d, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(d, "events"), os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("run %s has been carried out on this device before", run)
	}
	if err != nil {
		return nil, err
	}
	l := &eventLog{more: make(chan struct{}), file: f, dirty: make(chan struct{}, 1), ended: make(chan struct{})}
	go l.sync()
	return l, nil
}

// sync writes to the disk what became of resources, beside the run: a slow disk doesn't hold it up.
func (l *eventLog) sync() {
	for range l.dirty {
		l.file.Sync()
	}
	l.file.Close()
	close(l.ended)
}

// wait returns when the file is complete and on the disk.
func (l *eventLog) wait() { <-l.ended }

func (l *eventLog) add(e wire.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done {
		return
	}
	e.N, e.Time = len(l.events)+1, time.Now().UTC()
	l.events = append(l.events, e)
	if b, err := json.Marshal(e); err == nil {
		l.file.Write(append(b, '\n'))
	}
	if e.Type == wire.Finished || e.Status == wire.Changed || e.Status == wire.FailedStatus {
		select {
		case l.dirty <- struct{}{}:
		default:
		}
	}
	if e.Type == wire.Finished {
		l.done = true
		close(l.dirty)
	}
	close(l.more)
	l.more = make(chan struct{})
}

// from returns the events from number n on, whether more can come, and what tells that they have.
func (l *eventLog) from(n int) (events []wire.Event, done bool, more <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.events[min(max(n-1, 0), len(l.events)):], l.done, l.more
}
