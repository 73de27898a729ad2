// Package executor is what runs on a device: it speaks the session protocol (package wire) on its stdin and stdout,
// observes, and carries out run documents.
//
//	err := executor.Serve(ctx, os.Stdin, os.Stdout, executor.Options{Root: "/", Dir: "/var/lib/fitout"})
//
// A session is: hello (with the device's facts, unasked), observe → observed, blobs (sent, or pull → pulled), run → events. A
// run doesn't belong to the session that began it: a runner carries it out, a process of its own as a rule (Carry), from a journal that holds
// all that it needs and all that it did. Sessions hand it over and follow it; they may end, and others may follow
// it on. Cancelling is a message. What is kept lies in the executor's own folder: executors (bin), contents (store), runs,
// the lock, owed notifications.
//
// On the disk, so that a power cut doesn't take it: the document before a run begins (an executor can't go on without it); what a
// change is about to do, and the state before it, before the change (undo needs it); what a change or a notification brought
// about before the journal says that it is done (or it would be done twice: host.Settle); that a notification was delivered
// before it is owed no more. What the journal then says of it is synced beside the run, before anybody is told: where that is
// lost, the next process observes again.
//
// That folder is /var/lib/fitout, or %ProgramFiles%\fitout on Windows, and nobody but the administrator may write there or put
// another one in its place; who is none has a folder of their own, from which an administrator runs nothing. At each start the
// owner, mode (on Windows: access control list) and size of every part of the executor's path are checked: by a line of shell
// elsewhere, on Windows by the executor itself (CheckPlace). A runner is a unit of systemd, a service of Windows or a job of
// launchd where it may be (Detach), and a process of its own elsewhere.
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
	"github.com/fitout-dev/fitout/engine/executor/preflight"
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
	// Detach starts a process that calls Carry for a run; nil has runs carried out by the session's own process.
	Detach func(ctx context.Context, run string) error
	// Detached says that this process belongs to no session: the machine may be restarted under it.
	Detached bool
	// Now is the clock; nil is the machine's.
	Now func() time.Time

	login *login // who has begun the session, or the run; nil: not over ssh
}

func (o Options) complete() Options {
	if o.Alive == 0 {
		o.Alive = 2 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

type session struct {
	Options
	conn  *wire.Conn
	store *contents

	left context.Context // done: the controller says nothing more

	mu        sync.Mutex
	current   *runner             // in this very process
	remote    *wire.Conn          // to the runner that is followed, in another process
	cancelled *wire.Message       // what the controller asked for, should there be no runner yet
	gone      bool                // nobody listens any more
	owed      map[string][]string // what was owed when the session observed

	opening opening // what there was when it began
}

// Serve speaks with one controller until its input ends and all that it asked for is done.
func Serve(ctx context.Context, in io.Reader, out io.Writer, o Options) error {
	o = o.complete()
	s := &session{Options: o, conn: wire.NewConn(in, out), store: newContents(filepath.Join(o.Dir, "store"))}
	h := host.New(o.Root)
	hello := wire.Hello{Version: wire.Version, OS: runtime.GOOS, Arch: runtime.GOARCH, Root: h.Root(), Facts: facts.Gather(h), Boot: bootID(), Memory: memory(o.Dir)}
	hello.Holder, hello.Stopped = holder(o.Dir)
	if s.Options.login == nil {
		s.Options.login = whoLogsIn()
	}
	s.notice(hello.Holder)
	if err := s.conn.Send(wire.Message{Hello: &hello}); err != nil {
		return err
	}
	if hello.Holder == nil {
		bootUnit.sweep(o)
		sweepLeftovers(o)
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
	looking, stopLooking := context.WithCancel(ctx) // nobody waits for an observation or a content when the listener has gone
	defer stopLooking()
	s.left = looking
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
		case m.Pull != nil:
			work.Go(func() { s.pull(looking, m.Pull) })
		case m.Run != nil:
			s.start(ctx, m.Run, &work)
		case m.Attach != nil:
			work.Go(func() { s.attach(ctx, m.Attach, &work) })
		case m.Cancel != nil:
			s.cancel(m)
		case m.Confirm != nil:
			s.confirm(m)
		case m.Undo != nil:
			work.Go(func() { s.undo(looking, m.Undo) })
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

func (s *session) observe(ctx context.Context, req *wire.Observe) {
	h := newHost(s.Options, s.store, req.Secrets, func(e wire.Event) { s.say(wire.Message{Event: &e}) })
	items := decode(req.Resources)
	owed := loadOwed(s.Dir)
	owed.learn(req.Owed)
	s.mu.Lock()
	s.owed = owed.all()
	s.mu.Unlock()
	results := observeAll(withLogin(ctx, s.Options.login), h, items, owed.reasons())
	out := &wire.Observed{Observations: make([]wire.Observation, len(items)), Reboot: facts.RebootPending(h)}
	missing, texts := map[string]bool{}, 0
	pending, writes, keeps := false, []preflight.Write(nil), int64(0)
	for i, it := range items {
		f, o := results[it.Address], &out.Observations[i]
		*o = f.report(h, it)
		if it.bad == nil {
			o.NoUndo = h.Scrub(noUndo(it, f, &keeps))
			if f.op != modules.Skip {
				o.Notes = it.typ.Notes(it.want, h.OS())
			}
		}
		pending = pending || f.pending()
		if it.bad != nil || f.op == modules.Skip || f.op == modules.Delete {
			continue
		}
		if texts < maxTexts {
			if o.Text, o.Binary = oldText(h, it, f); o.Text != nil {
				texts += len(*o.Text)
			}
		}
		for _, fd := range it.typ.Fields {
			b, ok := it.typ.Value(it.want, fd).(host.Blob)
			if !ok || !needed(f, fd.Name) {
				continue
			}
			if paths := it.typ.Paths(it.want); len(paths) > 0 {
				writes = append(writes, preflight.Write{Path: paths[0], Bytes: b.Size})
			}
			if !missing[b.Hash] && !(blobs{s.store, s.Dir}).has(b) {
				missing[b.Hash] = true
				out.Missing = append(out.Missing, b.Hash)
				if b.Size < large && !slices.Contains(it.Secret, fd.Name) { // larger ones are moved into place
					writes = append(writes, preflight.Write{Path: s.Dir, Bytes: b.Size})
				}
			}
		}
	}
	doubt(withLogin(ctx, s.Options.login), h, items, results, out.Observations)
	if pending {
		out.Findings = preflight.Check(ctx, h, preflight.Options{Settings: req.Settings, Dir: s.Dir, Writes: writes, Now: req.Now})
		out.Findings = slices.DeleteFunc(out.Findings, func(f wire.Finding) bool { return f.Check == preflight.Reboot }) // said already
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

func checkRun(id string) error {
	if !validRun(id) {
		return fmt.Errorf("bad run id %q", id)
	}
	return nil
}

// executorDir is the folder of this very executor, if it lies where the controller puts executors.
func executorDir(dir string) string {
	me, err := os.Executable()
	if err != nil || filepath.Dir(filepath.Dir(filepath.Dir(me))) != dir || filepath.Base(filepath.Dir(filepath.Dir(me))) != "bin" {
		return ""
	}
	return filepath.Dir(me)
}

// stillUsed notes that this executor was started; once a day is enough.
func (s *session) stillUsed() {
	dir := executorDir(s.Dir)
	if fi, err := os.Stat(dir); err == nil && time.Since(fi.ModTime()) > 24*time.Hour {
		now := time.Now()
		os.Chtimes(dir, now, now)
	}
}

// pruneExecutors removes executors that were not started for a month.
func pruneExecutors(dir string) {
	if dir := executorDir(dir); dir != "" {
		prune(filepath.Dir(dir), keep, filepath.Base(dir))
	}
}

func slogTo(h *host.Host, log func(wire.Event)) *slog.Logger {
	return slog.New(&logHandler{scrub: h.Scrub, emit: log})
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
