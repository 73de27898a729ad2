package run

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
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
	// Platform, if set, says what the device was last time; "" guesses linux/amd64. A wrong guess costs a round trip.
	Platform func() (goos, arch string)
}

// session is a conversation with the executor on one device.
type session struct {
	Hello wire.Hello
	// Pushed says that the executor had to be put on the device first.
	Pushed bool

	process transport.Process
	conn    *wire.Conn
	in      chan wire.Message
	broken  error        // why in was closed
	heard   atomic.Int64 // when, since epoch
	closed  atomic.Bool
}

// installed and missing are the first words of the lines by which our shell scripts answer.
const (
	installedLine = "fitout-installed"
	missingLine   = "fitout-missing"
)

// missing is the answer of a device that lacks the executor.
type missing struct{ os, arch, why string }

func (m *missing) Error() string { return "the executor isn't on the device: " + m.why }

// open starts the executor on a device, putting it there first where need be.
func open(ctx context.Context, t transport.Transport, target Target) (*session, error) {
	var goos, arch string
	if target.Platform != nil {
		goos, arch = target.Platform()
	}
	if goos == "" {
		goos, arch = "linux", "amd64"
	}
	e, err := bundle.For(ctx, goos, arch)
	if err != nil {
		return nil, err
	}
	s, err := start(ctx, t, target, e)
	var m *missing
	if !errors.As(err, &m) {
		return s, err
	}
	if m.os != goos || m.arch != arch {
		if e, err = bundle.For(ctx, m.os, m.arch); err != nil {
			return nil, err
		}
	}
	if err := push(ctx, t, target, e); err != nil {
		return nil, fmt.Errorf("put the executor on the device: %w", err)
	}
	if s, err = start(ctx, t, target, e); err != nil {
		if errors.As(err, &m) {
			return nil, hint.New(fmt.Errorf("the executor was put on the device, but %s", m.why), "every folder above it must belong to root or the user, and be writable by no other")
		}
		return nil, err
	}
	s.Pushed = true
	return s, nil
}

// folder is a line of shell that sets d to the executor's folder and u to the user who must own it.
func (t Target) folder() string {
	switch {
	case t.Dir != "":
		return "d=" + quote(t.Dir) + "; u=$(id -u)"
	case t.Privileged || t.Elevate:
		return "d=/var/lib/fitout; u=0"
	}
	return `d=${XDG_DATA_HOME:-$HOME/.local/share}/fitout; u=$(id -u)`
}

// shell makes a command line of a script, whatever the login shell is.
func shell(script string) string { return "exec sh -c " + quote(script) }

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// startScript runs the executor if every part of its path belongs to root or the user and nobody else may write there
// (a sticky folder protects what others own), and if its size is right. It starts one process (stat) beside it.
func startScript(t Target, e *bundle.Executor) string {
	return fmt.Sprintf(`%s; f=$d/bin/%s/executor; set -- "$f"; p=$f; while p=${p%%/*}; [ -n "$p" ]; do set -- "$p" "$@"; done
s=$(stat -Lc %%u:%%a:%%s / "$@" 2>/dev/null || stat -Lf %%u:%%Lp:%%z / "$@" 2>&1)
for l in $s; do case $l in
0:*[0145][0145]:*|$u:*[0145][0145]:*|0:1???:*|$u:1???:*) ;;
*:*:*) s="a part of its path is not safe ($l)"; break;;
*) s="not there"; break;;
esac; done
case $s in *:%d) exec "$f" -dir "$d" -root %s;; esac
echo; echo "%s $(uname -s) $(uname -m) $s"`, t.folder(), e.Hash, e.Size, quote(orSlash(t.Root)), missingLine)
}

func orSlash(s string) string {
	if s == "" {
		return "/"
	}
	return s
}

// hello is how long the executor may take to answer, once logged in.
var hello = time.Minute

func start(ctx context.Context, t transport.Transport, target Target, e *bundle.Executor) (*session, error) {
	p, err := t.Start(ctx, transport.Command{Line: shell(startScript(target, e)), Elevate: target.Elevate})
	if err != nil {
		return nil, err
	}
	s := &session{process: p, conn: wire.NewConn(p.Stdout(), p.Stdin()), in: make(chan wire.Message, 16)}
	s.conn.Line = func(line string) error {
		words := strings.SplitN(line, " ", 4)
		if len(words) < 4 || words[0] != missingLine {
			return nil
		}
		m := &missing{why: words[3]}
		m.os, m.arch = platform(words[1], words[2])
		return m
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

// platform turns what uname says into Go's names.
func platform(system, machine string) (goos, arch string) {
	switch machine {
	case "x86_64", "amd64":
		arch = "amd64"
	case "aarch64", "arm64":
		arch = "arm64"
	default:
		arch = machine
	}
	return strings.ToLower(system), arch
}

// push puts the executor on the device under its hash: uploaded beside its place where the device takes files, streamed
// otherwise. It is hashed there, by the user who will run it, before it gets its name.
func push(ctx context.Context, t transport.Transport, target Target, e *bundle.Executor) error {
	z, err := e.Open()
	if err != nil {
		return err
	}
	defer z.Close()
	var random [12]byte
	rand.Read(random[:])
	id := hex.EncodeToString(random[:])
	source, sent, uploaded := "-", "", false
	if up, ok := t.(transport.Uploader); ok {
		sent = "/tmp/fitout-" + id + ".gz"
		if err := up.Upload(ctx, sent, z); err == nil {
			source, uploaded = sent, true
		} else if te, ok := errors.AsType[*transport.Error](err); ok && te.Kind == transport.Lost || ctx.Err() != nil {
			return err
		} else if z, err = e.Open(); err != nil { // no file channel, or no room in /tmp: stream it
			return err
		} else {
			defer z.Close()
		}
	}
	mode := "755"
	if !target.Privileged && !target.Elevate {
		mode = "700"
	}
	script := fmt.Sprintf(`%s; set -e; umask 022; t=$d/bin/.new-%s; r=$d/bin/%s; trap "rm -rf \"$t\" %s" EXIT
mkdir -p "$d/bin"; chmod %s "$d" "$d/bin"; mkdir "$t"; gzip -dc %s >"$t/executor"
h=$( (sha256sum "$t/executor" || shasum -a 256 "$t/executor" || openssl dgst -r -sha256 "$t/executor") 2>/dev/null ); h=${h%%%% *}
if [ "${h#\\}" != %s ]; then echo "it arrived damaged: its hash is ${h:-unknown}" >&2; exit 65; fi
chmod 755 "$t/executor"; chmod %s "$t"; rm -rf "$r"; mv "$t" "$r"; echo; echo %s`,
		target.folder(), id, e.Hash, sent, mode, source, e.Hash, mode, installedLine)
	p, err := t.Start(ctx, transport.Command{Line: shell(script), Elevate: target.Elevate})
	if err != nil {
		return err
	}
	streamed := make(chan error, 1)
	go func() {
		var err error
		if !uploaded {
			_, err = io.Copy(p.Stdin(), z)
		}
		streamed <- errors.Join(err, p.Stdin().Close())
	}()
	out, readErr := io.ReadAll(io.LimitReader(p.Stdout(), 1<<20))
	exit, err := p.Wait()
	sendErr := <-streamed
	if strings.Contains("\n"+string(out), "\n"+installedLine) {
		return nil
	}
	if err = errors.Join(err, readErr); err != nil {
		return err
	}
	if exit.Code == 0 && sendErr != nil {
		return sendErr
	}
	return words(exit)
}

// words turns how a shell script ended into a cause and a remedy.
func words(exit transport.Exit) error {
	said := strings.TrimSpace(exit.Stderr)
	if lines := strings.Split(said, "\n"); len(lines) > 4 {
		said = strings.Join(lines[len(lines)-4:], "\n")
	}
	low := strings.ToLower(said)
	err := fmt.Errorf("exit status %d: %s", exit.Code, said)
	switch {
	case strings.Contains(low, "no space left"):
		return hint.New(errors.New("no space left on the device: "+said), "free some space there: fitout needs about 10 MB in its folder")
	case strings.Contains(low, "read-only file system"):
		return hint.New(errors.New("the device's file system is read-only: "+said), "mount it writable; a disk that fails is often remounted so: see its kernel log")
	case strings.Contains(low, "gzip: not found") || strings.Contains(low, "gzip: command not found"):
		return hint.New(err, "the device has no gzip: install it, fitout unpacks its executor with it")
	case exit.Code == 126 || strings.Contains(low, "executor: permission denied"):
		return hint.New(errors.New("the executor can't be started: "+said), "is the file system that holds fitout's folder mounted noexec, or does a security policy forbid programs there?")
	case strings.Contains(low, "exec format error"):
		return hint.New(errors.New("the device can't run the executor: "+said), "its processor is of another kind than `uname -m` says")
	case strings.Contains(low, "permission denied"):
		return hint.New(err, "log in as root, or set `sudo: true` under connect in the inventory")
	case said == "":
		return fmt.Errorf("exit status %d, and nothing was said", exit.Code)
	}
	return err
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
	if exit.Code != 0 || exit.Stderr != "" {
		return words(exit)
	}
	var junk *wire.JunkError
	if errors.As(err, &junk) && len(junk.Junk) > 0 {
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
func (s *session) close(ended func()) {
	if s.closed.Swap(true) {
		return
	}
	go func() {
		s.process.Stdin().Close()
		for range s.in { // let the reader end
		}
		ended()
	}()
}
