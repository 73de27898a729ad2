// Package transporttest is the contract of transport.Transport as a suite of tests. Every transport must pass it:
//
//	func TestContract(t *testing.T) {
//		transporttest.Run(t, transporttest.Target{Open: func(t *testing.T) transport.Transport { ... }})
//	}
package transporttest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/engine/transport"
)

// Target is a transport under test and the device that it leads to.
type Target struct {
	// Open connects once more. The suite closes what it returns.
	Open func(t *testing.T) transport.Transport
	// Cut breaks what Open returned last, as a pulled plug would. Nil if this can't happen.
	Cut func(t *testing.T)
	// Dir is a folder on the device for files, as its file channel names it; "" is /tmp.
	Dir string
	// Lines are the programs to run; the zero value is for a POSIX shell.
	Lines Lines
	// Elevate runs everything elevated.
	Elevate bool
}

// Lines are command lines for the device's shell.
type Lines struct {
	Copy   string // copies its stdin to its stdout until the end
	Count  string // prints how many bytes its stdin had, once that has ended
	Early  string // prints "bye" and ends with 0, without reading its stdin
	Exit   string // ends with the code that %d stands for
	Quoted string // prints Quotes
	Quotes string
	Stderr string // writes a megabyte and then "last words" to stderr, "out" to stdout; ends with 3
	Sleep  string // prints its process id, then does nothing for ten minutes
	Alive  string // prints "alive" if the process %s lives, "gone" otherwise
	Cat    string // prints the file %s
	Remove string // removes the file %s
}

// POSIX are the programs of a POSIX shell.
var POSIX = Lines{
	Copy: "cat", Count: "wc -c", Early: "echo bye", Exit: "exit %d",
	Quoted: `printf '%s' "it's" ' "so" $HOME ' \\ "é` + "`echo x`" + `" '%d'`, Quotes: `it's "so" $HOME \éx%d`,
	Stderr: `head -c 1000000 /dev/zero | tr '\0' x >&2; echo last words >&2; echo out; exit 3`,
	Sleep:  "echo $$; exec sleep 600", Alive: "if kill -0 %s 2>/dev/null; then echo alive; else echo gone; fi",
	Cat: "cat '%s'", Remove: "rm -f '%s'",
}

// Windows are programs for cmd.exe on the lab's Wine machines, whose lab.exe has what cmd.exe lacks.
var Windows = Lines{
	Copy: "lab copy", Count: "lab count", Early: "echo bye", Exit: "exit %d",
	Quoted: `lab echo "a & b" "it's 100%" \"so\" x^&y C:\dir\ "é"`, Quotes: `a & b|it's 100%|"so"|x&y|C:\dir\|é`,
	Stderr: "lab stderr", Sleep: "lab sleep 600", Alive: "lab alive %s", Cat: `lab cat "%s"`, Remove: `lab remove "%s"`,
}

// PowerShell are the same for Windows PowerShell, which passes on no exit code but those it is asked for.
var PowerShell = Lines{
	Copy: "lab copy", Count: "lab count", Early: "echo bye", Exit: "exit %d",
	Quoted: `lab echo 'a & b' "it's 100%" 'it''s' ` + "x`&y \"$env:OS\"" + ` C:\dir\ "é"`, Quotes: `a & b|it's 100%|it's|x&y|Windows_NT|C:\dir\|é`,
	Stderr: "lab stderr; exit $LASTEXITCODE", Sleep: "lab sleep 600", Alive: "lab alive %s", Cat: `lab cat "%s"`, Remove: `lab remove "%s"`,
}

// soon is how long anything that should happen at once may take on a busy machine.
const soon = 20 * time.Second

// Run runs the suite.
func Run(t *testing.T, target Target) {
	if target.Lines == (Lines{}) {
		target.Lines = POSIX
	}
	if target.Dir == "" {
		target.Dir = "/tmp"
	}
	for _, test := range []struct {
		name string
		run  func(*testing.T, *suite)
	}{
		{"echo", testEcho},
		{"exit codes", testExitCodes},
		{"quoting", testQuoting},
		{"stderr is bounded", testStderr},
		{"interactive", testInteractive},
		{"half close", testHalfClose},
		{"64 MB there and back", testBig},
		{"programs at once", testAtOnce},
		{"a program that ends with its stdin unread", testEarlyExit},
		{"stdin left open", testStdinLeftOpen},
		{"cancel", testCancel},
		{"kill", testKill},
		{"kill a program that nobody listens to", testKillUnread},
		{"start with a cancelled context", testCancelled},
		{"close ends programs", testClose},
		{"upload", testUpload},
		{"cut", testCut},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &suite{T: t, Target: target}
			s.t = s.open()
			test.run(t, s)
		})
	}
}

type suite struct {
	*testing.T
	Target
	t transport.Transport
}

func (s *suite) open() transport.Transport {
	s.Helper()
	t := s.Open(s.T)
	s.Cleanup(func() { t.Close() })
	return t
}

func (s *suite) start(line string, args ...any) transport.Process {
	s.Helper()
	return s.startIn(s.Context(), s.t, line, args...)
}

func (s *suite) startIn(ctx context.Context, t transport.Transport, line string, args ...any) transport.Process {
	s.Helper()
	if len(args) > 0 {
		line = fmt.Sprintf(line, args...)
	}
	p, err := t.Start(ctx, transport.Command{Line: line, Elevate: s.Elevate})
	if err != nil {
		s.Fatalf("Start(%q): %v", line, err)
	}
	return p
}

// output runs a line on a transport and returns what it printed.
func (s *suite) output(t transport.Transport, line string, args ...any) string {
	s.Helper()
	p := s.startIn(s.Context(), t, line, args...)
	p.Stdin().Close()
	out, err := io.ReadAll(p.Stdout())
	if err != nil {
		s.Fatalf("reading stdout: %v", err)
	}
	if _, err := p.Wait(); err != nil {
		s.Fatalf("Wait: %v", err)
	}
	return string(out)
}

// within fails the test if f takes longer than d.
func (s *suite) within(d time.Duration, what string, f func()) {
	s.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(d):
		s.Fatalf("%s: not done after %v", what, d)
	}
}

// wait expects a program to end with an exit code.
func (s *suite) wait(p transport.Process, code int) transport.Exit {
	s.Helper()
	var exit transport.Exit
	var err error
	s.within(soon, "Wait", func() { exit, err = p.Wait() })
	if err != nil || exit.Code != code {
		s.Fatalf("Wait: %+v, %v; want code %d", exit, err, code)
	}
	return exit
}

func testEcho(t *testing.T, s *suite) {
	p := s.start(s.Lines.Copy)
	want := "hello\r\n\x00\xff\n"
	if _, err := io.WriteString(p.Stdin(), want); err != nil {
		t.Fatal(err)
	}
	p.Stdin().Close()
	got, err := io.ReadAll(p.Stdout())
	if err != nil || string(got) != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	if exit := s.wait(p, 0); exit != (transport.Exit{}) {
		t.Errorf("exit %+v, want the zero value", exit)
	}
}

func testExitCodes(t *testing.T, s *suite) {
	for _, code := range []int{0, 1, 7, 127, 255} {
		p := s.start(s.Lines.Exit, code)
		io.Copy(io.Discard, p.Stdout())
		s.wait(p, code)
	}
}

func testQuoting(t *testing.T, s *suite) {
	if got := s.output(s.t, s.Lines.Quoted); got != s.Lines.Quotes {
		t.Errorf("got %q, want %q", got, s.Lines.Quotes)
	}
}

func testStderr(t *testing.T, s *suite) {
	p := s.start(s.Lines.Stderr)
	out, err := io.ReadAll(p.Stdout())
	if err != nil || strings.TrimSpace(string(out)) != "out" {
		t.Errorf("stdout: %q, %v", out, err)
	}
	exit := s.wait(p, 3)
	if got := strings.TrimRight(exit.Stderr, "\r\n"); len(exit.Stderr) > 8<<10 || !strings.HasSuffix(got, "xlast words") {
		t.Errorf("stderr: %d bytes, ending in %q", len(exit.Stderr), got[max(0, len(got)-40):])
	}
}

func testInteractive(t *testing.T, s *suite) {
	p := s.start(s.Lines.Copy)
	r := bufio.NewReader(p.Stdout())
	for i := range 50 {
		line := fmt.Sprintf("line %d\n", i)
		if _, err := io.WriteString(p.Stdin(), line); err != nil {
			t.Fatal(err)
		}
		var got string
		s.within(soon, "an answer", func() { got, _ = r.ReadString('\n') })
		if got != line {
			t.Fatalf("got %q, want %q", got, line)
		}
	}
	p.Stdin().Close()
	io.Copy(io.Discard, r)
	s.wait(p, 0)
}

func testHalfClose(t *testing.T, s *suite) {
	p := s.start(s.Lines.Count)
	io.WriteString(p.Stdin(), "12345")
	if err := p.Stdin().Close(); err != nil {
		t.Fatal(err)
	}
	var out []byte
	s.within(soon, "output after the end of stdin", func() { out, _ = io.ReadAll(p.Stdout()) })
	if got := strings.TrimSpace(string(out)); got != "5" {
		t.Errorf("counted %q, want 5", got)
	}
	s.wait(p, 0)
}

func testBig(t *testing.T, s *suite) {
	const size = 64 << 20
	block := make([]byte, 1<<20)
	rand.Read(block)
	p := s.start(s.Lines.Copy)
	sent, received := sha256.New(), sha256.New()
	var writing sync.WaitGroup
	writing.Go(func() {
		defer p.Stdin().Close()
		for i := range size / len(block) {
			block[0] = byte(i)
			sent.Write(block)
			if _, err := p.Stdin().Write(block); err != nil {
				t.Errorf("writing block %d: %v", i, err)
				return
			}
		}
	})
	n, err := io.Copy(received, p.Stdout())
	writing.Wait()
	if err != nil || n != size || !bytes.Equal(sent.Sum(nil), received.Sum(nil)) {
		t.Errorf("%d bytes came back, %v; want %d, the same ones", n, err, size)
	}
	s.wait(p, 0)
}

func testAtOnce(t *testing.T, s *suite) {
	var all sync.WaitGroup
	first := s.start(s.Lines.Copy)
	for i := range 4 {
		all.Go(func() {
			want := strings.Repeat(fmt.Sprint(i), 100_000)
			p, err := s.t.Start(t.Context(), transport.Command{Line: s.Lines.Copy, Elevate: s.Elevate})
			if err != nil {
				t.Error(err)
				return
			}
			go func() { io.WriteString(p.Stdin(), want); p.Stdin().Close() }()
			if got, err := io.ReadAll(p.Stdout()); err != nil || string(got) != want {
				t.Errorf("program %d: %d bytes, %v", i, len(got), err)
			}
			if exit, err := p.Wait(); err != nil || exit.Code != 0 {
				t.Errorf("program %d: %+v, %v", i, exit, err)
			}
		})
	}
	all.Wait()
	first.Stdin().Close()
	io.Copy(io.Discard, first.Stdout())
	s.wait(first, 0)
}

func testEarlyExit(t *testing.T, s *suite) {
	p := s.start(s.Lines.Early)
	s.within(soon, "writing what nobody reads", func() {
		block := make([]byte, 1<<20)
		var err error
		for range 64 {
			if _, err = p.Stdin().Write(block); err != nil {
				break
			}
		}
		if !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("writing to a program that has ended: %v, want io.ErrClosedPipe", err)
		}
	})
	out, err := io.ReadAll(p.Stdout())
	if err != nil || strings.TrimSpace(string(out)) != "bye" {
		t.Errorf("stdout %q, %v", out, err)
	}
	s.wait(p, 0)
}

func testStdinLeftOpen(t *testing.T, s *suite) {
	p := s.start(s.Lines.Early)
	out, _ := io.ReadAll(p.Stdout())
	if strings.TrimSpace(string(out)) != "bye" {
		t.Errorf("stdout %q", out)
	}
	s.wait(p, 0)
}

// sleeper starts a program that sleeps, and returns its process id.
func (s *suite) sleeper(ctx context.Context) (p transport.Process, pid string, rest *bufio.Reader) {
	s.Helper()
	p = s.startIn(ctx, s.t, s.Lines.Sleep)
	rest = bufio.NewReader(p.Stdout())
	s.within(soon, "the program's first line", func() { pid, _ = rest.ReadString('\n') })
	if pid = strings.TrimSpace(pid); pid == "" {
		s.Fatal("the program did not tell its process id")
	}
	return p, pid, rest
}

// gone waits until a process has ended on the device.
func (s *suite) gone(t transport.Transport, pid string) {
	s.Helper()
	deadline := time.Now().Add(soon)
	for strings.TrimSpace(s.output(t, s.Lines.Alive, pid)) != "gone" {
		if time.Now().After(deadline) {
			s.Fatalf("process %s still runs", pid)
		}
	}
}

func testCancel(t *testing.T, s *suite) {
	ctx, cancel := context.WithCancel(t.Context())
	p, pid, rest := s.sleeper(ctx)
	cancel()
	s.within(time.Second, "the end of stdout and Wait after cancelling", func() {
		io.Copy(io.Discard, rest)
		if _, err := p.Wait(); !errors.Is(err, context.Canceled) {
			t.Errorf("Wait: %v, want context.Canceled", err)
		}
	})
	s.gone(s.t, pid)
}

func testKill(t *testing.T, s *suite) {
	p, pid, rest := s.sleeper(t.Context())
	if err := p.Kill(); err != nil {
		t.Error(err)
	}
	s.within(time.Second, "the end of stdout and Wait after Kill", func() {
		io.Copy(io.Discard, rest)
		if exit, err := p.Wait(); err != nil || exit.Code == 0 {
			t.Errorf("Wait: %+v, %v", exit, err)
		}
	})
	s.gone(s.t, pid)
	if err := p.Kill(); err != nil {
		t.Errorf("Kill once more: %v", err)
	}
}

func testKillUnread(t *testing.T, s *suite) {
	p := s.start(s.Lines.Copy)
	var writing sync.WaitGroup
	writing.Go(func() {
		for {
			if _, err := p.Stdin().Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	})
	// Reading a little shows that it runs; then everything fills up.
	if _, err := io.ReadFull(p.Stdout(), make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	p.Kill()
	s.within(time.Second, "Write and Wait after Kill", func() {
		writing.Wait()
		p.Wait()
	})
}

func testCancelled(t *testing.T, s *suite) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p, err := s.t.Start(ctx, transport.Command{Line: s.Lines.Sleep, Elevate: s.Elevate})
	if err == nil {
		s.within(time.Second, "Wait", func() { io.Copy(io.Discard, p.Stdout()); _, err = p.Wait() })
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func testClose(t *testing.T, s *suite) {
	p, pid, rest := s.sleeper(t.Context())
	other := s.open()
	s.within(2*time.Second, "Close", func() { s.t.Close() })
	s.within(time.Second, "Wait after Close", func() {
		io.Copy(io.Discard, rest)
		if _, err := p.Wait(); err == nil {
			t.Error("Wait after Close: no error")
		}
	})
	if _, err := s.t.Start(t.Context(), transport.Command{Line: s.Lines.Early, Elevate: s.Elevate}); err == nil {
		t.Error("Start after Close: no error")
	}
	s.gone(other, pid)
}

func testUpload(t *testing.T, s *suite) {
	u, ok := s.t.(transport.Uploader)
	if !ok {
		t.Skip("this transport has no file channel")
	}
	name := path.Join(s.Dir, "fitout-transporttest-"+rand.Text())
	t.Cleanup(func() {
		p, err := s.t.Start(context.Background(), transport.Command{Line: fmt.Sprintf(s.Lines.Remove, name), Elevate: s.Elevate})
		if err == nil {
			io.Copy(io.Discard, p.Stdout())
			p.Wait()
		}
	})
	want := make([]byte, 5<<20+17)
	rand.Read(want)
	err := u.Upload(t.Context(), name, bytes.NewReader(want))
	if KindOf(err) == transport.NoUpload {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := s.output(s.t, s.Lines.Cat, name); got != string(want) {
		t.Errorf("%d bytes arrived, want the same %d", len(got), len(want))
	}
	want = []byte("shorter")
	if err := u.Upload(t.Context(), name, bytes.NewReader(want)); err != nil {
		t.Fatal(err)
	}
	if got := s.output(s.t, s.Lines.Cat, name); got != string(want) {
		t.Errorf("replaced by %q, want %q", got, want)
	}
	if err := u.Upload(t.Context(), path.Join(name, "x"), bytes.NewReader(want)); err == nil {
		t.Error("uploading below a file: no error")
	}
	ctx, cancel := context.WithCancel(t.Context())
	s.within(soon, "Upload after cancelling", func() {
		err := u.Upload(ctx, name, endless{cancel})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled upload: %v, want context.Canceled", err)
		}
	})
}

// endless cancels as soon as it is read, and never ends.
type endless struct{ cancel func() }

func (e endless) Read(p []byte) (int, error) { e.cancel(); return len(p), nil }

func testCut(t *testing.T, s *suite) {
	if s.Cut == nil {
		t.Skip("this transport can't be cut")
	}
	p, _, rest := s.sleeper(t.Context())
	s.Cut(t)
	s.within(soon, "the end after the cut", func() {
		if _, err := io.Copy(io.Discard, rest); KindOf(err) != transport.Lost {
			t.Errorf("reading: %v, want kind Lost", err)
		}
		var err error
		for err == nil {
			_, err = p.Stdin().Write(make([]byte, 1<<16))
		}
		if KindOf(err) != transport.Lost {
			t.Errorf("writing: %v, want kind Lost", err)
		}
		if _, err := p.Wait(); KindOf(err) != transport.Lost {
			t.Errorf("Wait: %v, want kind Lost", err)
		}
		if _, err := s.t.Start(t.Context(), transport.Command{Line: s.Lines.Early, Elevate: s.Elevate}); KindOf(err) != transport.Lost {
			t.Errorf("Start: %v, want kind Lost", err)
		}
	})
}

// KindOf is the kind of a transport's error.
func KindOf(err error) transport.Kind {
	if e, ok := errors.AsType[*transport.Error](err); ok {
		return e.Kind
	}
	return transport.Unknown
}
