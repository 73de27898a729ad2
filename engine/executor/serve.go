// Package executor is what runs on a device: it speaks the session protocol (package wire) on its stdin and stdout,
// observes, and carries out run documents.
//
//	err := executor.Serve(ctx, os.Stdin, os.Stdout, executor.Options{Root: "/", Dir: "/var/lib/fitout"})
//
// A session is: hello (with the device's facts, unasked), observe → observed, blobs, run → events. The end of stdin isn't
// a cancellation: a run that has begun is finished with nobody listening, and its events are kept on the device. Cancelling
// is a message. What it keeps lies in its own folder: executors (bin), contents (store), runs, the lock, owed notifications.
package executor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/facts"
	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/host"
)

// Options configures Serve.
type Options struct {
	Root string // the device's root folder
	Dir  string // the executor's own folder
	// Alive is how often a busy executor says so. 0 is 2 s.
	Alive time.Duration
}

type session struct {
	Options
	conn  *wire.Conn
	store *contents

	mu      sync.Mutex
	current *run
	stop    context.CancelFunc // ends the current run at once
	gone    bool               // nobody listens any more
}

// Serve speaks with one controller until its input ends and all that it asked for is done.
func Serve(ctx context.Context, in io.Reader, out io.Writer, o Options) error {
	if o.Alive == 0 {
		o.Alive = 2 * time.Second
	}
	s := &session{Options: o, conn: wire.NewConn(in, out), store: newContents(filepath.Join(o.Dir, "store"))}
	h := host.New(o.Root)
	if err := s.conn.Send(wire.Message{Hello: &wire.Hello{Version: wire.Version, OS: runtime.GOOS, Arch: runtime.GOARCH,
		Root: h.Root(), Facts: facts.Gather(h), Holder: holder(o.Dir)}}); err != nil {
		return err
	}
	alive := time.NewTicker(o.Alive)
	defer alive.Stop()
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		for {
			select {
			case <-alive.C:
				s.say(wire.Message{Alive: true})
			case <-ended:
				return
			}
		}
	}()
	defer s.stillUsed()
	var work sync.WaitGroup
	defer work.Wait()
	looking, stopLooking := context.WithCancel(ctx) // nobody waits for an observation when the listener has gone
	defer stopLooking()
	for {
		m, err := s.conn.Receive()
		if err != nil {
			s.mu.Lock()
			s.gone = s.gone || !errors.Is(err, io.EOF)
			s.mu.Unlock()
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		switch {
		case m.Observe != nil:
			work.Go(func() { s.observe(looking, m.Observe) })
		case m.Blob != nil:
			if err := s.store.receive(s.conn, *m.Blob); err != nil {
				return err
			}
		case m.Run != nil:
			s.start(ctx, m.Run, &work)
		case m.Attach != nil:
			s.mu.Lock()
			r := s.current
			s.mu.Unlock()
			if r == nil || r.doc.ID != m.Attach.Run {
				s.fail(wire.Failed{Error: "run " + m.Attach.Run + " is not under way in this session"})
				continue
			}
			work.Go(func() { s.follow(r.log, m.Attach.From) })
		case m.Cancel != nil:
			s.cancel(m.Cancel.Now)
		default:
			s.fail(wire.Failed{Error: "this executor does not understand what it was asked"})
		}
	}
}

// say sends unless nobody listens; a run goes on all the same.
func (s *session) say(ms ...wire.Message) {
	s.mu.Lock()
	gone := s.gone
	s.mu.Unlock()
	if gone {
		return
	}
	err := s.conn.Send(ms...)
	if err != nil { // too large, maybe
		err = s.conn.Send(wire.Message{Failed: &wire.Failed{Error: "answer: " + err.Error()}})
	}
	if err != nil {
		s.mu.Lock()
		s.gone = true
		s.mu.Unlock()
	}
}

func (s *session) fail(f wire.Failed) { s.say(wire.Message{Failed: &f}) }

func (s *session) host(secrets []string, log func(wire.Event)) *host.Host {
	h := host.New(s.Root, host.WithBlobs(s.store), host.WithSecrets(secrets))
	host.WithLog(slog.New(&logHandler{scrub: h.Scrub, emit: log}))(h)
	return h
}

func (s *session) observe(ctx context.Context, req *wire.Observe) {
	h := s.host(req.Secrets, func(e wire.Event) { s.say(wire.Message{Event: &e}) })
	items := decode(req.Resources)
	results := observeAll(ctx, h, items, loadOwed(s.Dir).reasons())
	out := &wire.Observed{Observations: make([]wire.Observation, len(items)), Reboot: facts.RebootPending(h)}
	missing, texts := map[string]bool{}, 0
	for i, it := range items {
		f, o := results[it.Address], &out.Observations[i]
		*o = f.report(h, it)
		if it.bad != nil || f.op == modules.Skip || f.op == modules.Delete {
			continue
		}
		if texts < maxTexts {
			if o.Text, o.Binary = oldText(h, it, f); o.Text != nil {
				texts += len(*o.Text)
			}
		}
		for _, fd := range it.typ.Fields {
			if b, ok := it.typ.Value(it.want, fd).(host.Blob); ok && !missing[b.Hash] && needed(f, fd.Name) && !s.store.has(b) {
				missing[b.Hash] = true
				out.Missing = append(out.Missing, b.Hash)
			}
		}
	}
	s.say(wire.Message{Observed: out})
}

// needed says whether a content will be written, or may: nobody can tell of an unknown resource, and one that is as it
// should be may be changed by what comes before it.
func needed(f *found, property string) bool {
	if f.op == modules.Unknown || f.err != nil || f.waits != "" {
		return true
	}
	return slices.ContainsFunc(f.changes, func(c modules.Change) bool { return c.Property == property })
}

// validRun keeps a run's name from being a path.
func validRun(id string) bool {
	return id != "" && len(id) <= 64 && strings.Trim(strings.ToLower(id), "abcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}

// start begins a run, or says why it can't.
func (s *session) start(ctx context.Context, doc *wire.Document, work *sync.WaitGroup) {
	if !validRun(doc.ID) {
		s.fail(wire.Failed{Error: fmt.Sprintf("bad run id %q", doc.ID)})
		return
	}
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		s.fail(wire.Failed{Error: "keep a run on the device: " + err.Error(), Hint: remedy(err)})
		return
	}
	l, other, err := acquire(s.Dir, doc.Holder)
	if errors.Is(err, errHeld) {
		s.fail(wire.Failed{Kind: wire.Locked, Error: "another run is under way on this device", Holder: other})
		return
	}
	if err != nil {
		s.fail(wire.Failed{Error: "lock the device: " + err.Error(), Hint: remedy(err)})
		return
	}
	log, err := newEventLog(s.Dir, doc.ID)
	if err != nil {
		l.release()
		s.fail(wire.Failed{Error: "keep the run's events: " + err.Error(), Hint: remedy(err)})
		return
	}
	ctx, stop := context.WithCancelCause(ctx)
	r := &run{doc: doc, items: decode(doc.Resources), log: log, owed: loadOwed(s.Dir), failed: map[string]string{}, stopping: make(chan struct{})}
	r.host = s.host(doc.Secrets, log.add)
	s.mu.Lock()
	s.current, s.stop = r, func() { stop(errors.New("cancelled")) }
	s.mu.Unlock()
	work.Go(func() {
		defer stop(nil)
		defer log.wait()
		if drift := r.drift(ctx); len(drift) > 0 {
			log.add(wire.Event{Type: wire.Finished, Error: "drift"})
			l.release()
			s.fail(wire.Failed{Kind: wire.Drift, Error: "the device is no longer as the plan found it", Drift: drift})
			return
		}
		defer l.release()
		work.Go(func() { s.follow(log, 1) })
		r.execute(ctx)
		prune(filepath.Join(s.Dir, "store"), keep, "")
		prune(filepath.Join(s.Dir, "runs"), keep, doc.ID)
		s.pruneExecutors()
	})
}

// drift observes everything once more before the first change and compares with what the plan showed.
func (r *run) drift(ctx context.Context) []wire.Observation {
	if len(r.doc.Expect) == 0 {
		return nil
	}
	var drift []wire.Observation
	results := observeAll(ctx, r.host, r.items, r.owed.reasons())
	for _, it := range r.items {
		o := results[it.Address].report(r.host, it)
		if want, ok := r.doc.Expect[it.Address]; ok && want != o.Digest {
			drift = append(drift, o)
		}
	}
	r.host.Forget()
	if r.stopped(ctx) { // then nothing is tried, and what was seen may be half
		return nil
	}
	return drift
}

func (s *session) follow(log *eventLog, from int) {
	for n := from; ; {
		events, done, more := log.from(n)
		var ms []wire.Message
		for i := range events {
			ms = append(ms, wire.Message{Event: &events[i]})
		}
		n += len(events)
		if len(ms) > 0 {
			s.say(ms...)
		}
		if done {
			return
		}
		<-more
	}
}

func (s *session) cancel(now bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return
	}
	s.current.stop()
	if now {
		s.stop()
	}
}

// executorDir is the folder of this very executor, if it lies where the controller puts executors.
func (s *session) executorDir() string {
	me, err := os.Executable()
	if err != nil || filepath.Dir(filepath.Dir(filepath.Dir(me))) != s.Dir || filepath.Base(filepath.Dir(filepath.Dir(me))) != "bin" {
		return ""
	}
	return filepath.Dir(me)
}

// stillUsed notes that this executor was started; once a day is enough.
func (s *session) stillUsed() {
	dir := s.executorDir()
	if fi, err := os.Stat(dir); err == nil && time.Since(fi.ModTime()) > 24*time.Hour {
		now := time.Now()
		os.Chtimes(dir, now, now)
	}
}

// pruneExecutors removes executors that were not started for a month.
func (s *session) pruneExecutors() {
	if dir := s.executorDir(); dir != "" {
		prune(filepath.Dir(dir), keep, filepath.Base(dir))
	}
}

// logHandler turns what modules log into events, scrubbed.
type logHandler struct {
	scrub func(string) string
	emit  func(wire.Event)
	attrs []slog.Attr
}

func (l *logHandler) Enabled(context.Context, slog.Level) bool { return true }
func (l *logHandler) WithGroup(string) slog.Handler            { return l }
func (l *logHandler) WithAttrs(a []slog.Attr) slog.Handler {
	return &logHandler{l.scrub, l.emit, append(l.attrs[:len(l.attrs):len(l.attrs)], a...)}
}

func (l *logHandler) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	add := func(a slog.Attr) bool {
		text += fmt.Sprintf(" %s=%q", a.Key, l.scrub(a.Value.String()))
		return true
	}
	for _, a := range l.attrs {
		add(a)
	}
	r.Attrs(add)
	if text = l.scrub(text); len(text) > 16<<10 {
		text = text[:16<<10] + " (cut)"
	}
	l.emit(wire.Event{Type: wire.Log, Level: r.Level.String(), Text: text})
	return nil
}
