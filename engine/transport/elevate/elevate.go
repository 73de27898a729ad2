// Package elevate runs commands as the device's administrator, with sudo or doas, on any transport that can start programs
// with options (ssh, local).
//
//	t := elevate.New(inner, elevate.Options{Password: password})
//	p, err := t.Start(ctx, transport.Command{Line: "id -u", Elevate: true})
//
// Commands without Elevate, and all of them where the user is root already, run as they are. Rules:
//
//   - Without a password nothing is waited for (sudo -n, doas -n): elevation costs no round trip. That it was refused is told
//     by Wait, as an error of kind Elevation. With a password Start tells it.
//   - The password is sent only when a prompt with a random mark was seen, so that it never becomes the program's input
//     (NOPASSWD, a fresh time stamp), and never in a command line.
//   - Where a terminal is insisted on (doas with a password, sudo with requiretty), a second session has one, just for
//     the prompt: the program's stdin, stdout and stderr are FIFOs to the first session, byte for byte as without it.
//   - Kill ends the elevated program too, by an elevated kill.
package elevate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/fitout-dev/fitout/engine/transport"
)

// Inner is a transport that elevation can work with.
type Inner interface {
	transport.Transport
	StartWith(ctx context.Context, line string, o transport.StartOptions) (transport.Process, error)
	User() string
}

// Method is the program that elevates.
type Method string

const (
	Any  Method = "" // sudo, or doas where there is no sudo
	Sudo Method = "sudo"
	Doas Method = "doas"
)

// Options say how to become administrator.
type Options struct {
	Method Method
	// Password is called when the device asks for it; nil: there is none, and nothing is asked.
	Password func() (string, error)
	Device   string // for messages
}

// killGrace is how long to go on trying to end an elevated program. Nobody but Close waits for it.
const killGrace = 5 * time.Second

var (
	_ transport.Transport = (*Transport)(nil)
	_ transport.Uploader  = (*Transport)(nil)
)

// Transport is a transport whose commands may be elevated.
type Transport struct {
	inner   Inner
	options Options

	mu      sync.Mutex
	running map[*process]bool
	kills   sync.WaitGroup // elevated ones under way; each takes killGrace at most
}

// New wraps a transport, which it closes when it is closed.
func New(inner Inner, o Options) *Transport {
	return &Transport{inner: inner, options: o, running: map[*process]bool{}}
}

// Start runs a command.
func (t *Transport) Start(ctx context.Context, cmd transport.Command) (transport.Process, error) {
	if !cmd.Elevate || t.inner.User() == "root" {
		return t.inner.Start(ctx, transport.Command{Line: cmd.Line})
	}
	p, err := t.start(ctx, cmd.Line, false)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// Upload writes a file with the rights of the user: it isn't elevated.
func (t *Transport) Upload(ctx context.Context, path string, r io.Reader) error {
	if u, ok := t.inner.(transport.Uploader); ok {
		return u.Upload(ctx, path, r)
	}
	return &transport.Error{Kind: transport.NoUpload, Err: errors.New("this transport has no file channel")}
}

// Close ends all programs and closes the inner transport.
func (t *Transport) Close() error {
	t.mu.Lock()
	running := slices.Collect(maps.Keys(t.running))
	t.mu.Unlock()
	for _, p := range running {
		p.end(&transport.Error{Kind: transport.Lost, Err: fmt.Errorf("%s: the connection was closed", t.name())})
	}
	t.kills.Wait()
	return t.inner.Close()
}

func (t *Transport) start(ctx context.Context, line string, isKill bool) (*process, error) {
	if ctx.Err() != nil {
		return nil, &transport.Error{Err: context.Cause(ctx)}
	}
	mark := rand.Text()
	p := &process{
		t: t, mark: mark, line: line, isKill: isKill, watch: newWatcher(mark),
		settled: make(chan struct{}), killed: make(chan struct{}), done: make(chan struct{}),
	}
	inner, err := t.inner.StartWith(ctx, script(t.options.Method, t.options.Password != nil, mark, line), transport.StartOptions{Stderr: p.watch})
	if err != nil {
		return nil, err
	}
	p.inner, p.stdout = inner, inner.Stdout()
	if t.options.Password != nil {
		p.stdout = newEarly(inner.Stdout())
	}
	t.mu.Lock()
	t.running[p] = true
	t.mu.Unlock()
	stop := context.AfterFunc(ctx, func() {
		p.end(&transport.Error{Err: fmt.Errorf("%s: the program was ended: %w", t.name(), context.Cause(ctx))})
	})
	go func() {
		p.follow(ctx)
		stop()
		t.mu.Lock()
		delete(t.running, p)
		t.mu.Unlock()
	}()
	if t.options.Password == nil {
		return p, nil
	}
	select {
	case <-p.settled:
		p.stdout.(*early).release()
		return p, nil
	case <-p.stdout.(*early).ended: // all that was said is kept, for the case that there was a program after all
	case <-p.killed:
		io.Copy(io.Discard, p.stdout)
	}
	_, err = p.Wait()
	select {
	case <-p.settled: // a program that is started and has ended already
		if err == nil {
			return p, nil
		}
	default:
	}
	if err == nil {
		err = &transport.Error{Kind: transport.Elevation, Err: fmt.Errorf("%s: the program was ended before it began", t.name())}
	}
	return nil, err
}

func (t *Transport) name() string {
	if t.options.Device != "" {
		return t.options.Device
	}
	return t.inner.User()
}

// OS is what the inner transport knows of the device's system.
func (t *Transport) OS() string {
	if o, ok := t.inner.(interface{ OS() string }); ok {
		return o.OS()
	}
	return ""
}
