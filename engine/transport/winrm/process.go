package winrm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/fitout-dev/fitout/engine/transport"
)

// process is a program on the device. One goroutine polls for its output, one hands that over, one sends its input: each
// poll and each send is a request of its own, on connections of their own.
type process struct {
	c       *Conn
	shell   *shell
	command string
	stdin   *stdin
	stdout  *io.PipeReader
	pipe    *io.PipeWriter // to stdout
	stderr  transport.Tail

	requests context.Context // of all requests
	cancel   context.CancelFunc

	exit   transport.Exit
	exited bool  // the device has told how the program ended
	lost   error // or why nobody will

	killOnce sync.Once
	killed   chan struct{}
	cause    error
	ended    chan struct{} // no more output will come from the device
	done     chan struct{} // and everything was read
}

func (c *Conn) newProcess(ctx context.Context, s *shell, command string) (*process, error) {
	r, w := io.Pipe()
	p := &process{c: c, shell: s, command: command, stdout: r, pipe: w, killed: make(chan struct{}), ended: make(chan struct{}), done: make(chan struct{})}
	p.requests, p.cancel = context.WithCancel(context.Background())
	p.stdin = newStdin(p)
	c.mu.Lock()
	closed := c.closed
	if !closed {
		c.running[p] = true
	}
	c.mu.Unlock()
	if closed {
		c.dropShell(s, "")
		return nil, c.over()
	}
	stop := context.AfterFunc(ctx, func() { p.end(context.Cause(ctx)) })
	pieces := make(chan []byte, 8)
	go p.stdin.run()
	go p.poll(pieces)
	go func() {
		p.deliver(pieces)
		<-p.ended
		p.forget()
		stop()
		close(p.done)
	}()
	return p, nil
}

// forget gives the shell back, if it is good for another program.
func (p *process) forget() {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	delete(p.c.running, p)
	if p.exited && !p.isKilled() && !p.c.closed {
		p.shell.last = p.command
		p.c.shells = append(p.c.shells, p.shell)
	}
}

// poll asks for output until the program has ended. An answer that has none comes after a while, so that a server that is
// gone gets noticed.
func (p *process) poll(pieces chan<- []byte) {
	defer close(p.ended)
	defer close(pieces)
	for {
		r, err := p.c.do(p.requests, p.c.requests.receive(p.shell.id, p.command), poll+leeway)
		if f, ok := errors.AsType[*fault](err); ok && f.timedOut() {
			continue
		}
		if err != nil {
			if f, ok := errors.AsType[*fault](err); ok && f.noShell() {
				err = p.c.lostShell(f)
			}
			p.lost = p.c.explain(err)
			return
		}
		for _, o := range r.output {
			if o.stream == "stderr" {
				p.stderr.Write(o.data)
				continue
			}
			select {
			case pieces <- o.data:
			case <-p.killed:
				return
			}
		}
		if r.done {
			p.exit.Code, p.exited = int(r.exit), true
			if !r.hasExit {
				p.exited, p.lost = false, &transport.Error{Err: fmt.Errorf("%s: the program ended, but the device doesn't say how", p.c.label())}
			}
			return
		}
		if len(r.output) == 0 { // as it should not be: at least don't keep both sides busy
			select {
			case <-time.After(hurry):
			case <-p.killed:
			}
		}
	}
}

// hurry is how soon a server is asked again that has answered with nothing.
const hurry = 50 * time.Millisecond

// deliver hands output over as it is read.
func (p *process) deliver(pieces <-chan []byte) {
	for b := range pieces {
		if _, err := p.pipe.Write(b); err != nil {
			for range pieces { // killed: nobody reads it
			}
			return
		}
	}
	<-p.ended
	p.pipe.CloseWithError(p.lost) // nil is the end
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
		}
		return transport.Exit{Code: -1, Signal: "KILL", Stderr: p.stderr.String()}, p.killError()
	}
	exit := p.exit
	exit.Stderr = p.stderr.String()
	switch {
	case p.exited:
		return exit, nil
	case p.isKilled():
		return transport.Exit{Code: -1, Signal: "KILL", Stderr: exit.Stderr}, p.killError()
	}
	return exit, p.lost
}

// killGrace is how long the end is waited for after Kill.
const killGrace = 300 * time.Millisecond

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
	return &transport.Error{Err: fmt.Errorf("%s: the program was ended: %w", p.c.label(), p.cause)}
}

func (p *process) Kill() error { p.end(nil); return nil }

// end ends the program on the device, too, and its shell, with all that it started.
func (p *process) end(cause error) {
	p.giveUp(cause, io.EOF, func() { p.c.dropShell(p.shell, p.command) })
}

// giveUp ends this side's interest in a running program. The first time it calls first, before anybody learns of the end:
// Close, which ends all that runs, then knows of every shell that is being dropped.
func (p *process) giveUp(cause, read error, first func()) {
	select {
	case <-p.done:
		return
	default:
	}
	p.killOnce.Do(func() {
		first()
		p.cause = cause
		close(p.killed)
		p.pipe.CloseWithError(read)
		p.cancel()
	})
}
