package executor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/disk"
	"github.com/fitout-dev/fitout/engine/executor/journal"
	"github.com/fitout-dev/fitout/engine/executor/wire"
)

// starting is how long a runner may take to answer, and to get the key from the session that started it.
const starting = 20 * time.Second

// restarts is how often a session starts a runner anew that dies without getting on.
const restarts = 3

// start begins a run, or says why it can't.
func (s *session) start(ctx context.Context, doc *wire.Document, work *sync.WaitGroup) {
	if err := checkRun(doc.ID); err != nil {
		s.fail(wire.Failed{Error: err.Error()})
		return
	}
	if err := disk.MakeDir(disk.OS, s.Dir, 0o755); err != nil {
		s.fail(wire.Failed{Error: "keep a run on the device: " + err.Error(), Hint: remedy(err)})
		return
	}
	doc.Holder.Run = doc.ID
	l, other, err := acquire(s.Dir, doc.Holder)
	for deadline := time.Now().Add(starting); errors.Is(err, errHeld) && s.tidiesUp(other) && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
		l, other, err = acquire(s.Dir, doc.Holder)
	}
	if errors.Is(err, errHeld) {
		s.fail(wire.Failed{Kind: wire.Locked, Error: "another run is under way on this device", Holder: other})
		return
	}
	if err != nil {
		s.fail(wire.Failed{Error: "lock the device: " + err.Error(), Hint: remedy(err)})
		return
	}
	if l.stopped != nil && l.stopped.Run != doc.ID { // who began it can still ask what became of it
		_ = closeRun(s.Options, l.stopped.Run, "it had stopped half-way when run "+doc.ID+" began")
	}
	s.mu.Lock()
	doc.Owed, s.owed = s.owed, nil // what the plan has shown is done, though somebody removes the folder now
	s.mu.Unlock()
	if err = remember(s.Dir, doc.Memory); err == nil {
		err = s.keep(doc)
	}
	if err != nil {
		l.release()
		s.fail(wire.Failed{Error: "keep the run on the device: " + err.Error(), Hint: remedy(err)})
		return
	}
	if s.Detach == nil {
		s.carry(ctx, doc.ID, l, doc.Key, 1, work)
		return
	}
	l.leave() // to the runner
	work.Go(func() { s.relay(ctx, wire.Attach{Run: doc.ID, From: 1, Key: doc.Key}, true) })
}

// tidiesUp says whether who holds the lock has done its run, and but removes what it needed.
func (s *session) tidiesUp(h *wire.Holder) bool {
	if h == nil {
		return false
	}
	events, err := readEvents(s.Dir, h.Run)
	return err == nil && over(events)
}

// keep writes the journal's beginning: from then on the run needs neither the session nor the controller.
func (s *session) keep(doc *wire.Document) (err error) {
	if len(doc.Key) != keySize { // then nobody can open what is sealed but the runner that gets it now
		doc.Key = make([]byte, keySize)
		rand.Read(doc.Key)
	}
	me, _ := os.Executable()
	records, err := declare(doc, s.Options, me, s.store)
	if err != nil {
		return err
	}
	if _, err := readState(s.Dir, doc.ID); errors.Is(err, errNeverBegun) { // an executor died over it
		disk.OS.RemoveAll(runDir(s.Dir, doc.ID))
	}
	if err := disk.MakeDir(disk.OS, runDir(s.Dir, doc.ID), 0o700); err != nil {
		return err
	}
	if err := s.store.sync(); err != nil {
		return err
	}
	j, err := journal.Create(disk.OS, journalFile(s.Dir, doc.ID))
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("run %s has been carried out on this device before", doc.ID)
	}
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, j.Close()); err != nil {
			disk.OS.RemoveAll(runDir(s.Dir, doc.ID))
		}
	}()
	if doc.Settings.Unattended {
		if err := disk.Replace(disk.OS, keyFile(s.Dir, doc.ID), doc.Key, 0o600); err != nil {
			return err
		}
	}
	if err := j.Append(records...); err != nil {
		return err
	}
	return j.Sync()
}

// carry carries a run out in this process and follows it.
func (s *session) carry(ctx context.Context, id string, l *lock, key []byte, from int, work *sync.WaitGroup) {
	r, err := openRunner(ctx, s.Options, id, l, s.store)
	if err != nil {
		l.leave()
		s.fail(wire.Failed{Error: "take up run " + id + ": " + err.Error(), Hint: remedy(err)})
		return
	}
	if len(key) > 0 {
		if err := r.unlock(key); err != nil {
			s.fail(wire.Failed{Error: err.Error()})
		}
	}
	s.mu.Lock()
	s.current = r
	s.mu.Unlock()
	work.Go(func() { s.follow(r.log, from) })
	work.Go(func() { r.carry(0) })
}

// attach follows a run that is under way, resumes or closes one that stopped half-way, or tells of one that has ended.
func (s *session) attach(ctx context.Context, a *wire.Attach, work *sync.WaitGroup) {
	if err := checkRun(a.Run); err != nil {
		s.fail(wire.Failed{Error: err.Error()})
		return
	}
	s.mu.Lock()
	r := s.current
	s.mu.Unlock()
	if r != nil && r.id == a.Run {
		s.follow(r.log, a.From)
		return
	}
	events, err := readEvents(s.Dir, a.Run)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errNeverBegun):
		s.settle(a.Run)
		s.fail(wire.Failed{Kind: wire.NoRun, Error: "the device knows nothing of run " + a.Run})
		return
	case err != nil:
		s.fail(wire.Failed{Error: err.Error(), Hint: remedy(err)})
		return
	case over(events):
		s.settle(a.Run)
		s.tell(events, min(a.From, events[len(events)-1].N)) // who has heard the end, and forgot that, hears it again
		return
	}
	live, stopped := holder(s.Dir)
	switch {
	case live != nil && !stopped && live.Run == a.Run && s.Detach != nil:
		s.relay(ctx, *a, false)
		return
	case live != nil && !stopped && live.Run == a.Run: // in another session's process, which nobody can join
		s.tell(events, a.From)
		s.fail(wire.Failed{Kind: wire.Locked, Error: "the run is under way in another session", Holder: live})
		return
	case live != nil && live.Run != a.Run:
		s.tell(events, a.From)
		s.fail(wire.Failed{Kind: wire.Locked, Error: "another run is under way on this device", Holder: live})
		return
	case !a.Resume && !a.Close:
		s.tell(events, a.From)
		s.fail(wire.Failed{Kind: wire.Stopped, Error: "the run stopped half-way"})
		return
	}
	me := wire.Holder{Run: a.Run}
	if live != nil {
		me = *live
	}
	l, other, err := acquire(s.Dir, me)
	if err != nil {
		s.fail(wire.Failed{Kind: wire.Locked, Error: "lock the device: " + err.Error(), Holder: other})
		return
	}
	switch {
	case a.Close:
		err := closeRun(s.Options, a.Run, "it stopped half-way and was not taken up again")
		l.release()
		if events, readErr := readEvents(s.Dir, a.Run); err == nil && readErr == nil {
			s.tell(events, a.From)
			return
		}
		s.fail(wire.Failed{Error: errors.Join(errors.New("end the run"), err).Error(), Hint: remedy(err)})
	case s.Detach == nil:
		s.carry(ctx, a.Run, l, a.Key, a.From, work)
	case stopping(s.Options):
		l.leave()
		s.tell(events, a.From)
	default:
		l.leave()
		s.relay(ctx, *a, true)
	}
}

// settle finishes what a process was about to do that died after its run's last event, or before the first.
func (s *session) settle(run string) {
	h, stopped := holder(s.Dir)
	if !stopped || h.Run != run {
		return
	}
	l, _, err := acquire(s.Dir, *h)
	if err != nil {
		return
	}
	if l.stopped == nil || l.stopped.Run != run { // another run was quicker
		_ = l.putBack()
		return
	}
	_ = closeRun(s.Options, run, "")
	l.release()
}

func readEvents(dir, run string) ([]wire.Event, error) {
	st, err := readState(dir, run)
	if err != nil {
		return nil, err
	}
	return st.events, nil
}

// readState reads a run's journal without changing it.
func readState(dir, run string) (*state, error) {
	r := journal.NewReader(disk.OS, journalFile(dir, run))
	defer r.Close()
	records, err := r.Next()
	if err != nil {
		return nil, err
	}
	return load(records)
}

// executorOf is the program that carries a run out: the one that began it, if it is still there.
func executorOf(o Options, run string) (string, error) {
	if st, err := readState(o.Dir, run); err == nil && st.Executor != "" {
		if fi, err := os.Stat(st.Executor); err == nil && fi.Mode().IsRegular() {
			return st.Executor, nil
		}
	}
	return os.Executable()
}

func over(events []wire.Event) bool {
	return len(events) > 0 && events[len(events)-1].Type == wire.Finished
}

// tell sends events, from number n on, and what ends a run for its controller.
func (s *session) tell(events []wire.Event, n int) {
	var ms []wire.Message
	for i := range events {
		if e := &events[i]; e.N >= n {
			if e.Refused != nil {
				ms = append(ms, wire.Message{Failed: e.Refused})
				continue
			}
			ms = append(ms, wire.Message{Event: e})
		}
	}
	for len(ms) > 0 {
		k := min(len(ms), 100)
		s.say(ms[:k]...)
		ms = ms[k:]
	}
}

func (s *session) follow(log *eventLog, from int) {
	log.follow(from, nil, func(events []wire.Event) error { s.tell(events, 0); return nil })
}

// relay joins the controller with a runner in another process, and starts one where none is. One that dies is started
// again, as long as it gets on. When the controller has gone, it returns: the run needs nobody.
func (s *session) relay(ctx context.Context, a wire.Attach, fresh bool) {
	for tries, done := 0, -1; ; {
		if fresh {
			if err := s.Detach(ctx, a.Run); err != nil {
				s.fail(wire.Failed{Error: "start the run: " + err.Error(), Hint: remedy(err)})
				return
			}
		}
		if s.join(ctx, &a, fresh) || s.hungUp() {
			return
		}
		events, err := readEvents(s.Dir, a.Run)
		if err != nil {
			s.fail(wire.Failed{Kind: wire.NoRun, Error: "read the run's journal: " + err.Error(), Hint: remedy(err)})
			return
		}
		s.tell(events, a.From)
		if n := len(events); n > 0 {
			a.From = max(a.From, events[n-1].N+1)
		}
		if over(events) || goingDown(events) || stopping(s.Options) {
			return // whoever comes back when the machine is up again follows on
		}
		if h, stopped := holder(s.Dir); h != nil && !stopped && h.Run != a.Run {
			s.fail(wire.Failed{Kind: wire.Locked, Error: "another run is under way on this device", Holder: h})
			return
		}
		if n := settledBy(events); n > done {
			tries, done = 0, n
		}
		tries++
		why, waits := waitsForUs(events)
		if tries > restarts || waits && (fresh || !a.Resume) {
			f := wire.Failed{Kind: wire.Stopped, Error: "the run stopped half-way", Hint: "`fitout attach " + a.Run + "` goes on with it"}
			if waits {
				f.Error = "the run waits " + why
			}
			s.fail(f)
			return
		}
		fresh = true
	}
}

// settledBy counts the resources of which it is known what became of them.
func settledBy(events []wire.Event) (n int) {
	for _, e := range events {
		if e.Type == wire.Resolved {
			n++
		}
	}
	return n
}

// goingDown says whether the last that a run did was to restart the machine, which is still up.
func goingDown(events []wire.Event) bool {
	last := lastStep(events)
	return last.Type == wire.Rebooting && last.Boot == bootID()
}

// lastStep is the last event that isn't a mere log.
func lastStep(events []wire.Event) (last wire.Event) {
	for _, e := range events {
		if e.Type != wire.Log {
			last = e
		}
	}
	return last
}

// forController marks the events of runs that wait for a controller, without a process.
const forController = "the controller"

func waitsForUs(events []wire.Event) (why string, ok bool) {
	if len(events) == 0 {
		return "", false
	}
	last := events[len(events)-1]
	return last.Text, last.Type == wire.Waiting && last.Reason == forController
}

// join relays until the runner or the controller hangs up, and moves a.From on. It says whether the run's end was told.
func (s *session) join(ctx context.Context, a *wire.Attach, fresh bool) (ended bool) {
	c, err := dialRunner(ctx, s.Dir, a.Run, a.From, fresh)
	if err != nil {
		return false
	}
	defer c.Close()
	conn := wire.NewConn(c, c)
	if conn.Send(wire.Message{Attach: a}) != nil {
		return false
	}
	s.mu.Lock()
	s.remote = conn
	if s.cancelled != nil {
		conn.Send(*s.cancelled)
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.remote = nil
		s.mu.Unlock()
	}()
	defer context.AfterFunc(s.left, func() { c.Close() })()
	for {
		m, err := conn.Receive()
		if err != nil {
			return false
		}
		switch {
		case m.Event != nil:
			a.From = m.Event.N + 1
			s.tell([]wire.Event{*m.Event}, 0)
		case m.Failed != nil:
			s.say(m)
		}
		if m.Event != nil && m.Event.Type == wire.Finished {
			return true
		}
	}
}

// hungUp says whether the controller has gone.
func (s *session) hungUp() bool { return s.left.Err() != nil }

func (s *session) cancel(m wire.Message) {
	s.mu.Lock()
	r, remote := s.current, s.remote
	s.cancelled = &m
	s.mu.Unlock()
	switch {
	case r != nil:
		r.cancel(m.Cancel.Now)
	case remote != nil:
		remote.Send(m)
	}
}
