package run

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/bundle"
	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/engine/transport"
	"github.com/fitout-dev/fitout/modules/hint"
)

// Target says where on a device the executor lives and what it works on.
type Target struct {
	// Elevate runs the executor as administrator although the login isn't one.
	Elevate bool
	// Privileged says that the executor will be root: its folder is then the system's. Without it, the user's own.
	Privileged bool
	// Root is the folder that is treated as the device's "/"; "" is the running system.
	Root string
	// Dir overrides the executor's folder.
	Dir string
	// Platform, if set, says what the device was last time; "" guesses linux/amd64, or windows/amd64 where the transport has
	// seen Windows' own server. A wrong guess costs round trips.
	Platform func() (goos, arch string)
}

// session is a conversation with the executor on one device.
type session struct {
	Hello wire.Hello
	// Pushed says that the executor had to be put on the device first.
	Pushed bool

	os      string // of the shell that was spoken to
	process transport.Process
	conn    *wire.Conn
	in      chan wire.Message
	broken  error        // why in was closed
	heard   atomic.Int64 // when, since epoch
	closed  atomic.Bool
}

// hello is how long the executor may take to answer, once logged in.
var hello = time.Minute

func start(ctx context.Context, t transport.Transport, target Target, e *bundle.Executor) (*session, error) {
	line, err := linesFor(e.OS).start(target, e)
	if err != nil {
		return nil, err
	}
	p, err := t.Start(ctx, transport.Command{Line: line, Elevate: target.Elevate && e.OS != "windows"})
	if err != nil {
		return nil, err
	}
	s := &session{os: e.OS, process: p, conn: wire.NewConn(p.Stdout(), p.Stdin()), in: make(chan wire.Message, 16)}
	s.conn.Line = func(line string) error {
		if m := missed(line); m != nil {
			return m
		}
		return nil
	}
	late := time.AfterFunc(hello, func() { p.Kill() })
	m, err := s.conn.Receive()
	if !late.Stop() {
		return nil, hint.New(&transport.Error{Kind: transport.TimedOut, Err: fmt.Errorf("logged in, but the executor said nothing for %s", hello)},
			"is the device very busy, or does its login shell wait for something?")
	}
	switch {
	case err != nil:
		defer p.Kill()
		var miss *missing
		if errors.As(err, &miss) {
			return nil, err
		}
		return nil, s.explain(err)
	case m.Hello == nil:
		p.Kill()
		return nil, &transport.Error{Kind: transport.Protocol, Err: errors.New("the executor did not say hello")}
	case m.Hello.Version != wire.Version:
		p.Kill()
		return nil, &transport.Error{Kind: transport.Protocol, Err: fmt.Errorf("the executor speaks version %d, not %d", m.Hello.Version, wire.Version)}
	}
	s.Hello = *m.Hello
	s.heard.Store(int64(time.Since(epoch)))
	go s.read()
	return s, nil
}

// explain finds out why the executor gave no answer.
func (s *session) explain(err error) error {
	exit, waitErr := s.ended()
	if te, ok := errors.AsType[*transport.Error](waitErr); ok {
		return te
	}
	if waitErr != nil {
		return waitErr
	}
	junk, said := (*wire.JunkError)(nil), exit.Stderr
	if errors.As(err, &junk) {
		said += string(junk.Junk)
	}
	switch {
	case exit.Code == 0 && exit.Stderr == "":
	case s.os == "windows" && !strings.Contains(exit.Stderr, "cmd.exe"):
		return windowsWords(exit.Code, lastLines(exit.Stderr), said)
	default: // sh says that it has no cmd.exe; cmd.exe and PowerShell know no exec
		err := words(exit)
		if hint.Of(err) == "" {
			err = &misunderstood{err}
		}
		return err
	}
	if junk != nil && len(junk.Junk) > 0 {
		return hint.New(fmt.Errorf("%w; the device said %q", err, cut(string(junk.Junk), 200)), "does the login shell run something that ends it?")
	}
	return &transport.Error{Kind: transport.Lost, Err: fmt.Errorf("the executor ended without a word: %w", err)}
}

func cut(s string, n int) string {
	if len(s) > n {
		return s[:n] + "…"
	}
	return s
}

func (s *session) read() {
	defer close(s.in)
	for {
		m, err := s.conn.Receive()
		if err != nil {
			s.broken = err
			return
		}
		s.heard.Store(int64(time.Since(epoch)))
		if !m.Alive {
			s.in <- m
		}
	}
}

// silence is how long nothing was heard.
func (s *session) silence() time.Duration { return time.Since(epoch) - time.Duration(s.heard.Load()) }

// epoch is what silence is counted from, by the monotonic clock: this machine's own may be set meanwhile, and nobody is lost for
// that. All other waiting is between two time.Now of one process, which Go measures so too.
var epoch = time.Now()

// next returns the next message that isn't a sign of life.
func (s *session) next(ctx context.Context) (wire.Message, error) {
	select {
	case m, ok := <-s.in:
		if !ok {
			return m, s.lost()
		}
		return m, nil
	case <-ctx.Done():
		return wire.Message{}, context.Cause(ctx)
	}
}

// patient is how long a program that has said its last may take to end.
const patient = 5 * time.Second

// ended waits for the program's end, but not for ever: one that closed its output, or speaks nonsense, may live on.
func (s *session) ended() (transport.Exit, error) {
	type end struct {
		exit transport.Exit
		err  error
	}
	c := make(chan end, 1)
	go func() {
		exit, err := s.process.Wait()
		c <- end{exit, err}
	}()
	t := time.NewTimer(patient)
	defer t.Stop()
	select {
	case e := <-c:
		return e.exit, e.err
	case <-t.C:
		s.process.Kill()
		return transport.Exit{}, nil
	}
}

// lost says why the conversation ended.
func (s *session) lost() error {
	exit, err := s.ended()
	if te, ok := errors.AsType[*transport.Error](err); ok {
		return te
	}
	why := "the connection to the executor broke"
	if exit.Signal != "" {
		why = "the executor was ended by signal " + exit.Signal
	} else if said := strings.TrimSpace(exit.Stderr); said != "" {
		why = "the executor ended: " + cut(said, 2000)
	}
	return &transport.Error{Kind: transport.Lost, Err: errors.New(why)}
}

// close ends the conversation, and calls ended once the executor has ended: an idle one does by itself, and one with a run
// finishes it alone.
func (s *session) close(ended func()) (first bool) {
	if s.closed.Swap(true) {
		return false
	}
	go func() {
		s.process.Stdin().Close()
		for range s.in { // let the reader end
		}
		ended()
	}()
	return true
}
