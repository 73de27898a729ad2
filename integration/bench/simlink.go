package main

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/fitout-dev/fitout/engine/executor"
	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/engine/run"
	"github.com/fitout-dev/fitout/engine/transport"
)

// link is the way to a simulated device.
type link struct {
	fleet  *fleet
	target run.Target
	deaf   bool // never says hello
	mute   bool // says hello, and nothing more
	leaves bool // is gone for good once its run has begun
	slow   bool // carries little, and breaks every second once a run has begun

	mu      sync.Mutex
	gone    bool
	begun   bool
	current *process
}

const (
	slowBytes = 20_000                 // a second, over a slow link
	slowLives = time.Second            // so long does a slow link hold
	lastWords = 300 * time.Millisecond // of one that leaves, over a slow link too
)

// reset makes the link as new.
func (l *link) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone, l.begun, l.current = false, false, nil
}

func (l *link) dial(context.Context) (transport.Transport, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		return nil, &transport.Error{Kind: transport.Refused, Err: errors.New("it is gone")}
	}
	return l, nil
}

func (l *link) Close() error { return nil }

func (l *link) Start(context.Context, transport.Command) (transport.Process, error) {
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	p := &process{stdin: inW, stdout: outR, ended: make(chan struct{})}
	p.kill = func() {
		inR.CloseWithError(io.ErrClosedPipe)
		outW.Close()
	}
	l.mu.Lock()
	if l.current = p; l.slow && l.begun {
		l.cutAfter(p, slowLives)
	}
	l.mu.Unlock()
	l.fleet.ending.Go(func() {
		defer close(p.ended)
		if l.deaf || l.mute {
			if l.mute {
				wire.NewConn(inR, outW).Send(wire.Message{Hello: &wire.Hello{Version: wire.Version, OS: "linux", Arch: "amd64", Facts: map[string]any{"os": "linux", "version": "1"}}})
				go io.Copy(io.Discard, inR)
			}
			<-l.fleet.gate
			p.kill()
			return
		}
		var out io.Writer = outW
		if l.slow || l.leaves {
			out = throttled{outW}
		}
		outW.CloseWithError(executor.Serve(context.Background(), inR, out, l.options()))
		inR.CloseWithError(io.ErrClosedPipe)
	})
	return p, nil
}

// options are the executor's. A device whose connection breaks has its runs carried out apart from the session, as real ones do.
func (l *link) options() executor.Options {
	o := executor.Options{Root: l.target.Root, Dir: l.target.Dir}
	if !l.leaves && !l.slow {
		return o
	}
	carry := o
	o.Detach = func(_ context.Context, run string) error {
		l.fleet.ending.Go(func() { _ = executor.Carry(context.Background(), carry, run, false, nil) }) // its journal tells how it ended
		l.mu.Lock()
		defer l.mu.Unlock()
		l.begun = true
		if l.leaves {
			l.gone = true
			l.cutAfter(l.current, lastWords)
		} else {
			l.cutAfter(l.current, slowLives)
		}
		return nil
	}
	return o
}

func (l *link) cutAfter(p *process, d time.Duration) {
	cut := time.AfterFunc(d, func() {
		l.fleet.cuts.Add(1)
		p.kill()
	})
	l.fleet.ending.Go(func() {
		<-p.ended
		cut.Stop()
	})
}

// throttled passes on so many bytes a second.
type throttled struct{ w io.Writer }

func (t throttled) Write(b []byte) (n int, err error) {
	const piece = slowBytes / 50
	for len(b) > 0 && err == nil {
		time.Sleep(time.Second / 50)
		var m int
		m, err = t.w.Write(b[:min(len(b), piece)])
		n, b = n+m, b[m:]
	}
	return n, err
}

type process struct {
	stdin  *io.PipeWriter
	stdout *io.PipeReader
	kill   func()
	ended  chan struct{}
}

func (p *process) Stdin() io.WriteCloser         { return p.stdin }
func (p *process) Stdout() io.Reader             { return p.stdout }
func (p *process) Kill() error                   { p.kill(); return nil }
func (p *process) Wait() (transport.Exit, error) { <-p.ended; return transport.Exit{}, nil }
