// Package local is the transport to the machine that fitout itself runs on: programs are started by /bin/sh -c (cmd.exe /c
// on Windows), each in a session of its own, so that Ctrl-C in the terminal doesn't reach them and Kill reaches their
// children.
//
//	t := local.New()
//	defer t.Close()
//	p, err := t.Start(ctx, transport.Command{Line: "uname -sm"})
package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fitout-dev/fitout/engine/transport"
	"github.com/fitout-dev/fitout/modules/hint"
)

// strayGrace is how long a program that has ended may keep its stderr open through a child it left behind.
const strayGrace = 200 * time.Millisecond

var errClosed = &transport.Error{Kind: transport.Lost, Err: errors.New("the local transport was closed")}

var (
	_ transport.Transport = (*Transport)(nil)
	_ transport.Uploader  = (*Transport)(nil)
)

// Transport starts programs on this machine.
type Transport struct {
	dir string
	env []string

	mu      sync.Mutex
	closed  bool
	running map[*process]bool
}

// New returns the transport to this machine. It can't fail.
func New() *Transport { return NewWith("", nil) }

// NewWith is New with the folder that programs start in and with what is added to their environment (NAME=value).
func NewWith(dir string, env []string) *Transport {
	return &Transport{dir: dir, env: env, running: map[*process]bool{}}
}

// User is who programs run as.
func (t *Transport) User() string {
	u, err := user.Current()
	switch {
	case err != nil:
		return os.Getenv("USER")
	case u.Uid == "0":
		return "root"
	}
	return u.Username
}

// Start runs cmd's line in a shell.
func (t *Transport) Start(ctx context.Context, cmd transport.Command) (transport.Process, error) {
	return t.StartWith(ctx, cmd.Line, transport.StartOptions{})
}

// StartWith is Start with options.
func (t *Transport) StartWith(ctx context.Context, line string, o transport.StartOptions) (transport.Process, error) {
	if ctx.Err() != nil {
		return nil, &transport.Error{Err: context.Cause(ctx)}
	}
	p := &process{
		cmd: shell(line), stderr: transport.Tail{Also: o.Stderr},
		read: make(chan struct{}), killed: make(chan struct{}), done: make(chan struct{}),
	}
	p.cmd.Dir = t.dir
	// Secrets that a user hands to fitout this way aren't for the programs that a profile runs.
	p.cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "FITOUT_SECRET_") }), t.env...)
	if err := p.start(o.Terminal); err != nil {
		return nil, &transport.Error{Err: hint.New(fmt.Errorf("starting %s: %w", p.cmd.Path, err), "check this machine's limits of processes and open files")}
	}
	t.mu.Lock()
	closed := t.closed
	if !closed {
		t.running[p] = true
	}
	t.mu.Unlock()
	if closed {
		p.end(errClosed)
		p.finish()
		return nil, errClosed
	}
	stop := context.AfterFunc(ctx, func() { p.end(context.Cause(ctx)) })
	go func() {
		p.finish()
		stop()
		t.mu.Lock()
		delete(t.running, p)
		t.mu.Unlock()
	}()
	return p, nil
}

// Close ends all programs that were started.
func (t *Transport) Close() error {
	t.mu.Lock()
	t.closed = true
	running := make([]*process, 0, len(t.running))
	for p := range t.running {
		running = append(running, p)
	}
	t.mu.Unlock()
	for _, p := range running {
		p.end(errClosed)
		<-p.done
	}
	return nil
}

// Upload writes a file, replacing what was there.
func (t *Transport) Upload(ctx context.Context, path string, r io.Reader) error {
	f, err := os.Create(path)
	if err != nil {
		return uploadError(path, err)
	}
	_, err = io.Copy(f, contextReader{ctx, r})
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return uploadError(path, err)
}

func uploadError(path string, err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("uploading %s: %w", path, err)
	if errors.Is(err, fs.ErrPermission) {
		err = hint.New(err, "choose a folder that this user may write to")
	}
	return &transport.Error{Err: err}
}

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(p)
}

type process struct {
	cmd    *exec.Cmd
	group  group
	stdin  *os.File
	stdout *os.File
	stderr transport.Tail
	errs   *os.File
	drain  sync.WaitGroup // the copying of stderr

	readOnce sync.Once
	read     chan struct{} // stdout was read to its end
	killOnce sync.Once
	killed   chan struct{}
	cause    error         // why it was killed; set before killed is closed
	done     chan struct{} // the program was reaped, and stdout read or given up
}

// start connects the pipes, or a terminal, and starts the program.
func (p *process) start(wantTerminal bool) error {
	var theirs []*os.File
	defer func() {
		for _, f := range theirs {
			f.Close()
		}
	}()
	if wantTerminal {
		ours, tty, err := terminal()
		if err != nil {
			return err
		}
		theirs = append(theirs, tty)
		p.stdin, p.stdout = ours, ours
		p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = tty, tty, tty
	} else {
		in, stdin, err := os.Pipe()
		if err != nil {
			return err
		}
		p.stdin = stdin
		theirs = append(theirs, in)
		stdout, out, err := os.Pipe()
		if err != nil {
			p.close()
			return err
		}
		p.stdout = stdout
		theirs = append(theirs, out)
		errs, errsIn, err := os.Pipe()
		if err != nil {
			p.close()
			return err
		}
		p.errs = errs
		theirs = append(theirs, errsIn)
		p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = in, out, errsIn
	}
	if err := p.group.start(p.cmd, wantTerminal); err != nil {
		p.close()
		return err
	}
	if p.errs != nil {
		p.drain.Go(func() { io.Copy(&p.stderr, p.errs) })
	}
	return nil
}

// finish waits until the program has ended and its output was read, or it was killed.
func (p *process) finish() {
	p.cmd.Wait()
	drained := make(chan struct{})
	go func() { p.drain.Wait(); close(drained) }()
	select {
	case <-drained:
	case <-time.After(strayGrace):
	}
	if p.errs != nil {
		p.errs.Close()
	}
	<-drained
	select {
	case <-p.read:
	case <-p.killed:
	}
	p.killOnce.Do(func() { close(p.killed) }) // from now on there is nothing to kill
	p.group.release()
	p.close()
	close(p.done)
}

func (p *process) close() {
	for _, f := range []*os.File{p.stdin, p.stdout, p.errs} {
		if f != nil {
			f.Close()
		}
	}
}

// end kills the program and all that it started.
func (p *process) end(cause error) {
	p.killOnce.Do(func() {
		p.cause = cause
		close(p.killed)
		p.group.kill(p.cmd)
		p.stdin.Close()
		p.stdout.Close()
	})
}

func (p *process) Kill() error { p.end(nil); return nil }

func (p *process) Stdin() io.WriteCloser { return stdin{p} }
func (p *process) Stdout() io.Reader     { return stdout{p} }

func (p *process) Wait() (transport.Exit, error) {
	<-p.done
	s := p.cmd.ProcessState
	exit := transport.Exit{Code: s.ExitCode(), Signal: signal(s), Stderr: p.stderr.String()}
	if p.cause == nil {
		return exit, nil
	}
	if _, ok := errors.AsType[*transport.Error](p.cause); ok {
		return exit, p.cause
	}
	return exit, &transport.Error{Err: fmt.Errorf("the program was ended: %w", p.cause)}
}

type stdin struct{ p *process }

func (s stdin) Write(b []byte) (int, error) {
	n, err := s.p.stdin.Write(b)
	if err != nil {
		err = io.ErrClosedPipe // a pipe to a program fails for no other reason
	}
	return n, err
}

func (s stdin) Close() error {
	if s.p.stdin != s.p.stdout {
		s.p.stdin.Close()
	}
	return nil
}

type stdout struct{ p *process }

func (s stdout) Read(b []byte) (int, error) {
	n, err := s.p.stdout.Read(b)
	if err != nil { // the program has closed it, a terminal was hung up (EIO), or Kill
		s.p.readOnce.Do(func() { close(s.p.read) })
		err = io.EOF
	}
	return n, err
}
