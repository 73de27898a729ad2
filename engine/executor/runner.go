package executor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/disk"
	"github.com/fitout-dev/fitout/engine/executor/journal"
	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/modules/host"
)

// runner carries out one run from its journal. It belongs to no session: whoever wants to know follows its events.
type runner struct {
	Options
	id    string
	lock  *lock
	st    *state
	store *contents
	log   *eventLog
	run   *run
	stop  context.CancelCauseFunc // ends it at once
	ctx   context.Context
	shut  func() // lets no more sessions join; nil where none can

	mu       sync.Mutex
	unlocked chan struct{} // closed once the key is here, or isn't needed
}

// openRunner takes up a run of which the device has the journal. It owns the lock from then on.
func openRunner(ctx context.Context, o Options, id string, l *lock, store *contents) (*runner, error) {
	j, records, err := journal.Open(disk.OS, journalFile(o.Dir, id))
	if err != nil {
		return nil, err
	}
	st, err := load(records)
	if err != nil {
		j.Close()
		return nil, err
	}
	if len(st.events) == 0 && st.Boot != "" && st.Boot == bootID() { // it begins just now
		store.trust(st.Fresh)
	}
	r := &runner{Options: o, id: id, lock: l, st: st, store: store, unlocked: make(chan struct{})}
	r.ctx, r.stop = context.WithCancelCause(ctx)
	r.log = newEventLog(j, st.events, o.Now)
	r.run = &run{log: r.log, owed: loadOwed(o.Dir), failed: map[string]string{}, stopping: make(chan struct{}),
		suspending: make(chan struct{}), confirmed: make(chan int, 8), now: o.Now, dir: o.Dir, detached: o.Detached, store: store}
	if !st.sealedNow() {
		close(r.unlocked)
	} else if key, err := os.ReadFile(keyFile(o.Dir, id)); err == nil {
		r.unlock(key)
	}
	return r, nil
}

// keyFile is where an unattended run has its key.
func keyFile(dir, id string) string { return filepath.Join(runDir(dir, id), "key") }

// unlock takes the key that a session hands over.
func (r *runner) unlock(key []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.unlocked:
		return nil
	default:
	}
	if err := r.st.unlock(key, r.store); err != nil {
		return err
	}
	close(r.unlocked)
	return nil
}

// cancel ends the run after its current resource, or at once.
func (r *runner) cancel(now bool) {
	r.run.stop()
	if now {
		r.stop(errors.New("cancelled"))
	}
}

// carry does what is left to do. A run whose secrets are sealed waits for the key that long, and then does without.
func (r *runner) carry(wait time.Duration) {
	defer r.stop(nil)
	defer r.log.wait()
	if r.st.ended {
		r.log.leave()
		r.tidy()
		return
	}
	t := time.NewTimer(wait)
	select {
	case <-r.unlocked:
	case <-t.C:
	case <-r.run.suspending:
	}
	t.Stop()
	r.mu.Lock()
	st := *r.st
	r.mu.Unlock()
	doc := &st.Document
	r.run.doc, r.run.st, r.run.items = doc, &st, decode(doc.Resources)
	r.run.host = newHost(r.Options, r.store, doc.Secrets, func(e wire.Event) { r.log.add(e) })
	if why := r.run.owed.damaged; why != "" {
		r.run.host.Log().Warn("notifications that were due are lost: apply again what they were about", "error", why)
	}
	if len(st.events) == 0 {
		r.run.owed.learn(doc.Owed)
		if err := r.run.owed.add(); err != nil {
			r.run.host.Log().Warn("what is owed since earlier runs isn't kept: it is lost should this run be interrupted", "error", err)
		}
		if drift := r.run.drift(r.ctx); len(drift) > 0 {
			r.log.add(wire.Event{Type: wire.Finished, Error: "drift", Refused: &wire.Failed{Kind: wire.Drift,
				Error: "the device is no longer as the plan found it", Drift: drift}})
			r.tidy()
			return
		}
	}
	if !bootUnit.install(r.Options, r.id) && doc.Settings.Reboot == wire.RebootIfNeeded {
		r.run.host.Log().Warn("nothing here starts the run again after a restart: it waits for the controller then")
	}
	if r.run.execute(withLogin(r.ctx, st.Login)) != finished {
		if r.shut != nil { // who comes now is for the next process
			r.shut()
		}
		r.log.leave()
		r.lock.leave()
		return
	}
	r.tidy()
}

// tidy removes what a run that is at its end needs no more, gives the lock back, and removes what is old. The lock tells of
// the run until the first is done: should this process die, the next one sees to it.
func (r *runner) tidy() {
	removeTraces(r.Options, r.id)
	r.lock.release()
	bootUnit.remove(r.Options, r.id) // systemd may take its time; a unit that is left finds nothing to do, and goes
	sweep(filepath.Join(r.Dir, "store"))
	prune(filepath.Join(r.Dir, "store"), keep, "")
	pruneRuns(r.Dir, r.id)
	pruneExecutors(r.Dir)
}

// traces are what a run's folder has beside its journal while it is under way, and what a crash has left half written.
var traces = []string{"key", "socket", disk.HalfWritten("*"), disk.HalfWritten("kept/*")}

func tracesOf(o Options, id string) (left []string) {
	for _, pattern := range traces {
		found, _ := filepath.Glob(filepath.Join(runDir(o.Dir, id), pattern))
		left = append(left, found...)
	}
	return left
}

func removeTraces(o Options, id string) {
	for _, name := range tracesOf(o, id) {
		disk.OS.Remove(name)
	}
}

// pruneRuns keeps the newest journals, whatever a clock says.
func pruneRuns(dir, current string) {
	entries, err := os.ReadDir(filepath.Join(dir, "runs"))
	if err != nil {
		return
	}
	slices.SortFunc(entries, func(a, b os.DirEntry) int { return strings.Compare(b.Name(), a.Name()) })
	for i, e := range entries {
		if i >= keepRuns && e.Name() != current {
			disk.OS.RemoveAll(runDir(dir, e.Name()))
		}
	}
}

// closeRun ends a run that stopped half-way and isn't to be continued. Whoever asks for its events learns that.
func closeRun(o Options, id, why string) error {
	if err := checkRun(id); err != nil {
		return err
	}
	defer bootUnit.remove(o, id)
	defer removeTraces(o, id)
	if _, err := readState(o.Dir, id); errors.Is(err, errNeverBegun) {
		return disk.OS.RemoveAll(runDir(o.Dir, id))
	}
	j, records, err := journal.Open(disk.OS, journalFile(o.Dir, id))
	if err != nil {
		return err
	}
	bury(o, id)
	st, err := load(records)
	if err != nil || st.ended {
		return errors.Join(err, j.Close())
	}
	log := newEventLog(j, st.events, o.Now)
	r := &run{doc: &st.Document, st: st, log: log, failed: map[string]string{}, settledNow: map[string]bool{}}
	for _, it := range decode(st.Document.Resources) {
		if e, ok := st.settled[it.Address]; ok {
			r.count(e)
			continue
		}
		e := wire.Event{Type: wire.Resolved, Address: it.Address, Status: wire.NotTried}
		if from, ok := st.notified[it.Address]; ok {
			wasNotified(&e, from)
		}
		r.finish(e)
	}
	log.add(wire.Event{Type: wire.Finished, Counts: &r.counts, Error: why})
	log.wait()
	return nil
}

// hostOptions are a test's: it stands between a run and the device with them, as it does with disk.OS.
var hostOptions []host.Option

func newHost(o Options, store *contents, secrets []string, log func(wire.Event)) *host.Host {
	h := host.New(o.Root, append(hostOptions, host.WithBlobs(blobs{store, o.Dir}), host.WithSecrets(secrets))...)
	host.WithLog(slogTo(h, log))(h)
	return h
}
