package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	gossh "golang.org/x/crypto/ssh"

	"github.com/fitout-dev/fitout/engine/transport"
	"github.com/fitout-dev/fitout/modules/hint"
)

const (
	chunk   = 32 << 10  // one SSH packet
	handful = 256 << 10 // what goes to stdin's goroutine at once: handing over takes as long as encrypting a packet
)

// Start runs cmd's line in the user's shell.
func (t *Transport) Start(ctx context.Context, cmd transport.Command) (transport.Process, error) {
	return t.StartWith(ctx, cmd.Line, transport.StartOptions{})
}

// StartWith is Start with options.
func (t *Transport) StartWith(ctx context.Context, line string, o transport.StartOptions) (transport.Process, error) {
	root := t.hop.user == "root" && !o.Terminal
	if root {
		line = tellPID + line
	}
	ch, reqs, err := t.open(ctx, func(ch gossh.Channel) error {
		if o.Terminal {
			// Not waited for: where it is refused, the program says so.
			ch.SendRequest("pty-req", false, gossh.Marshal(rawTerminal))
		}
		ok, err := ch.SendRequest("exec", true, gossh.Marshal(struct{ Line string }{line}))
		if err == nil && !ok {
			return fmt.Errorf("%s refuses to start programs", t.hop.label)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	p := newProcess(t, ch, reqs, o.Stderr, root)
	stop := context.AfterFunc(ctx, func() { p.end(context.Cause(ctx)) })
	t.mu.Lock()
	t.running[p] = true
	t.mu.Unlock()
	go func() {
		<-p.done
		stop()
		t.mu.Lock()
		delete(t.running, p)
		t.mu.Unlock()
	}()
	return p, nil
}

// rawTerminal asks for a terminal that changes nothing that passes through it (RFC 4254, 6.2 and 8).
var rawTerminal = struct {
	Term                         string
	Columns, Rows, Width, Height uint32
	Modes                        string
}{"dumb", 80, 24, 0, 0, terminalModes(map[uint8]uint32{
	gossh.ECHO: 0, gossh.ICANON: 0, gossh.ISIG: 0, gossh.IEXTEN: 0, gossh.OPOST: 0, gossh.ONLCR: 0, gossh.ICRNL: 0, gossh.INLCR: 0,
	gossh.IGNCR: 0, gossh.IXON: 0, gossh.IXOFF: 0, gossh.ISTRIP: 0, gossh.CS8: 1, gossh.PARENB: 0,
})}

func terminalModes(modes map[uint8]uint32) string {
	var b strings.Builder
	for op, v := range modes {
		b.Write([]byte{op, byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
	}
	b.WriteByte(0)
	return b.String()
}

// open opens a session and asks for what it is for. It doesn't wait longer than ctx.
func (t *Transport) open(ctx context.Context, request func(gossh.Channel) error) (gossh.Channel, <-chan *gossh.Request, error) {
	type opened struct {
		ch   gossh.Channel
		reqs <-chan *gossh.Request
		err  error
	}
	if ctx.Err() != nil {
		return nil, nil, &transport.Error{Err: fmt.Errorf("%s: %w", t.hop.label, context.Cause(ctx))}
	}
	result := make(chan opened, 1)
	go func() {
		ch, reqs, err := t.openOnce(request)
		for again := 1; again < openTries && errors.Is(err, io.EOF) && ctx.Err() == nil && t.alive(); again++ {
			ch, reqs, err = t.openOnce(request)
		}
		result <- opened{ch, reqs, err}
	}()
	select {
	case o := <-result:
		return o.ch, o.reqs, t.explainStart(o.err)
	case <-ctx.Done():
		go func() {
			if o := <-result; o.err == nil {
				o.ch.Close()
				gossh.DiscardRequests(o.reqs)
			}
		}()
		return nil, nil, &transport.Error{Err: fmt.Errorf("%s: %w", t.hop.label, context.Cause(ctx))}
	}
}

// openTries is how many sessions are opened until one isn't closed before it has answered what it is for. dropbear closes one
// that was asked for nothing yet when the program of another ends. Nothing has run in it, or there would have been an answer.
const openTries = 5

func (t *Transport) openOnce(request func(gossh.Channel) error) (gossh.Channel, <-chan *gossh.Request, error) {
	ch, reqs, err := t.client.OpenChannel("session", nil)
	if err != nil {
		return nil, nil, err
	}
	if err = request(ch); err != nil {
		ch.Close()
		go gossh.DiscardRequests(reqs)
		return nil, nil, err
	}
	return ch, reqs, nil
}

func (t *Transport) explainStart(err error) error {
	if err == nil {
		return nil
	}
	if refused, ok := errors.AsType[*gossh.OpenChannelError](err); ok {
		return &transport.Error{Kind: transport.Refused, Err: hint.New(fmt.Errorf("%s refuses one more session (%s)", t.hop.label, refused.Message), "raise MaxSessions in its sshd_config")}
	}
	switch closed := errors.Is(err, io.EOF); {
	case t.broken() || closed && !t.alive():
		return t.lost()
	case closed:
		return &transport.Error{Kind: transport.Refused, Err: hint.New(fmt.Errorf("%s closes each session before a program is started", t.hop.label), "see the log of its SSH server")}
	}
	return &transport.Error{Err: hint.New(err, "see whether the user %s has a shell on the device", t.hop.user)}
}

// process is a program on the device. Its Stdin and Stdout pass through goroutines of its own, so that a dead connection
// can't hold up whoever kills it.
type process struct {
	t      *Transport
	ch     gossh.Channel
	stdin  *stdin
	stdout *io.PipeReader
	pipe   *io.PipeWriter // to stdout
	stderr transport.Tail
	pid    *pidFilter // nil where the shell doesn't tell it

	exit   transport.Exit
	exited bool // the device has told how the program ended

	killOnce sync.Once
	killed   chan struct{}
	cause    error
	done     chan struct{} // the channel has ended and everything was read
}

func newProcess(t *Transport, ch gossh.Channel, reqs <-chan *gossh.Request, stderr io.Writer, tellsPID bool) *process {
	r, w := io.Pipe()
	p := &process{t: t, ch: ch, stdout: r, pipe: w, stderr: transport.Tail{Also: stderr}, killed: make(chan struct{}), done: make(chan struct{})}
	p.stdin = &stdin{p: p, in: make(chan []byte), out: make(chan error, 1)}
	go p.stdin.run()
	var reading sync.WaitGroup
	if tellsPID {
		p.pid = newPIDFilter(&p.stderr)
		reading.Go(func() { io.Copy(p.pid, p.ch.Stderr()); p.pid.flush() })
	} else {
		reading.Go(func() { io.Copy(&p.stderr, p.ch.Stderr()) })
	}
	reading.Go(func() {
		_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{p.ch}, make([]byte, chunk))
		if err == nil && t.broken() {
			err = t.lost()
		}
		w.CloseWithError(err)
	})
	go func() {
		p.await(reqs)
		reading.Wait()
		close(p.done)
	}()
	return p
}

// await notes how the program ends, until the channel is closed.
func (p *process) await(reqs <-chan *gossh.Request) {
	for r := range reqs {
		switch r.Type {
		case "exit-status":
			var m struct{ Status uint32 }
			if gossh.Unmarshal(r.Payload, &m) == nil {
				p.exit.Code, p.exited = int(m.Status), true
			}
		case "exit-signal":
			var m struct {
				Signal     string
				CoreDumped bool
				Message    string
				Language   string
			}
			if gossh.Unmarshal(r.Payload, &m) == nil {
				p.exit.Code, p.exit.Signal, p.exited = -1, m.Signal, true
			}
		}
		if r.WantReply {
			r.Reply(false, nil)
		}
	}
}

func (p *process) Stdin() io.WriteCloser { return p.stdin }
func (p *process) Stdout() io.Reader     { return p.stdout }

func (p *process) Wait() (transport.Exit, error) {
	select {
	case <-p.done:
	case <-p.killed:
		select {
		case <-p.done:
		case <-time.After(killGrace):
			return transport.Exit{Code: -1, Signal: "KILL", Stderr: p.stderr.String()}, p.killError()
		}
	}
	exit := p.exit
	exit.Stderr = p.stderr.String()
	switch {
	case p.isKilled() && p.cause != nil:
		return exit, p.killError()
	case p.exited:
		return exit, nil
	case p.isKilled():
		return transport.Exit{Code: -1, Signal: "KILL", Stderr: exit.Stderr}, nil
	case !p.t.alive():
		return exit, p.t.lost()
	}
	return exit, &transport.Error{Err: fmt.Errorf("%s: the program ended, but the device doesn't say how", p.t.hop.label)}
}

func (p *process) isKilled() bool {
	select {
	case <-p.killed:
		return true
	default:
		return false
	}
}

func (p *process) killError() error {
	if _, ok := errors.AsType[*transport.Error](p.cause); ok || p.cause == nil {
		return p.cause
	}
	return &transport.Error{Err: fmt.Errorf("%s: the program was ended: %w", p.t.hop.label, p.cause)}
}

func (p *process) Kill() error { p.end(nil); return nil }

func (p *process) end(cause error) {
	if p.giveUp(cause, io.EOF) {
		go func() { // a dead connection takes its time
			p.sendKill()
			p.ch.Close()
		}()
	}
}

// giveUp ends this side's interest in a running program; it says whether this was the first time.
func (p *process) giveUp(cause, read error) (first bool) {
	select {
	case <-p.done:
		return false
	default:
	}
	p.killOnce.Do(func() {
		first = true
		p.cause = cause
		close(p.killed)
		p.pipe.CloseWithError(read)
	})
	return first
}

// stdin writes in a goroutine of its own, from buffers of its own: one is encrypted while the next is filled. A write that
// fails tells of the one before it, as with any pipe.
type stdin struct {
	p  *process
	mu sync.Mutex // of Write and Close

	bufs    [2][]byte
	in      chan []byte // nil: no more
	out     chan error
	pending bool // what went in last is yet to come out
}

func (s *stdin) run() {
	for {
		select {
		case b := <-s.in:
			var err error
			if b == nil {
				err = s.p.ch.CloseWrite()
			} else {
				_, err = s.p.ch.Write(b)
			}
			s.out <- err
		case <-s.p.done:
			return
		case <-s.p.killed:
			return
		}
	}
}

// give needs s.mu.
func (s *stdin) give(b []byte) error {
	if err := s.settle(); err != nil {
		return err
	}
	select {
	case s.in <- b:
		s.pending = true
		return nil
	case <-s.p.done:
		return io.EOF
	case <-s.p.killed:
		return io.ErrClosedPipe
	}
}

// settle waits until what was given is sent.
func (s *stdin) settle() error {
	if !s.pending {
		return nil
	}
	select {
	case err := <-s.out:
		s.pending = false
		return err
	case <-s.p.killed:
		return io.ErrClosedPipe
	}
}

func (s *stdin) Write(b []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n < len(b) {
		s.bufs[0], s.bufs[1] = s.bufs[1], s.bufs[0]
		if room := min(len(b)-n, handful); len(s.bufs[0]) < room {
			s.bufs[0] = make([]byte, room)
		}
		c := copy(s.bufs[0], b[n:])
		if err := s.give(s.bufs[0][:c]); err != nil {
			if s.p.t.broken() {
				return n, s.p.t.lost()
			}
			return n, io.ErrClosedPipe // the program has ended, or Close was called
		}
		n += c
	}
	return n, nil
}

func (s *stdin) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.give(nil) == nil {
		s.settle()
	}
	return nil
}
