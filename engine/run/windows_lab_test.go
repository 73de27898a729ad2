package run

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/engine/transport"
	"github.com/fitout-dev/fitout/integration/lab"
)

// windowsShell is a transport to a Wine machine that hands lines on as Windows' servers do.
type windowsShell struct {
	m     *lab.Machine
	lines []string // that were started
}

type windowsProcess struct {
	in     io.WriteCloser
	out    io.Reader
	kill   context.CancelFunc
	stderr bytes.Buffer
	code   int
	err    error
	ended  chan struct{}
}

func (w *windowsShell) Start(ctx context.Context, c transport.Command) (transport.Process, error) {
	if c.Elevate {
		return nil, errors.New("there is no sudo")
	}
	w.lines = append(w.lines, c.Line)
	inR, inW, err := os.Pipe() // with anything else, the end of input would be waited for
	if err != nil {
		return nil, err
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	ctx, kill := context.WithCancel(ctx)
	cmd := w.m.Windows(ctx)
	cmd.Line = `cmd.exe /c "` + c.Line + `"`
	p := &windowsProcess{in: inW, out: outR, kill: kill, ended: make(chan struct{})}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = inR, outW, &p.stderr
	go func() {
		p.code, p.err = cmd.Run()
		inR.Close()
		outW.Close()
		kill()
		close(p.ended)
	}()
	return p, nil
}

func (w *windowsShell) Close() error { return nil }

func (p *windowsProcess) Stdin() io.WriteCloser { return p.in }
func (p *windowsProcess) Stdout() io.Reader     { return p.out }
func (p *windowsProcess) Kill() error           { p.kill(); return nil }
func (p *windowsProcess) Wait() (transport.Exit, error) {
	<-p.ended
	return transport.Exit{Code: p.code, Stderr: p.stderr.String()}, p.err
}

// TestWindowsLaunch opens sessions on a machine that nothing is known of.
func TestWindowsLaunch(t *testing.T) {
	m := lab.New(t).Machine(t, lab.Wine)
	w := &windowsShell{m: m}
	started := time.Now()
	s, err := open(t.Context(), w, Target{})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("first contact in %s", time.Since(started))
	if s.Hello.OS != "windows" || !s.Pushed {
		t.Errorf("hello from %s, pushed: %t", s.Hello.OS, s.Pushed)
	}
	s.close(func() {})
	if got, err := os.ReadDir(m.WindowsPath(`C:\Program Files\fitout\bin`)); err != nil || len(got) != 1 {
		t.Errorf("bin holds %v, %v", got, err)
	}
	w.lines = nil
	started = time.Now()
	s, err = open(t.Context(), w, Target{Platform: func() (string, string) { return "windows", "amd64" }})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("next contact in %s", time.Since(started))
	if s.Pushed || len(w.lines) != 1 {
		t.Errorf("%d lines were started, pushed: %t", len(w.lines), s.Pushed)
	}
	s.close(func() {})
}
