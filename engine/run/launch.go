package run

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/fitout-dev/fitout/engine/executor/bundle"
	"github.com/fitout-dev/fitout/engine/transport"
	"github.com/fitout-dev/fitout/modules/hint"
)

// The executor is started by one line to the device's shell, which answers with a line of its own where there is no executor:
// then another takes it in, and the first is said again. Which shell it is depends on the system alone: Windows' is told by
// cmdexe, all others by posix. A system that was guessed wrongly is asked for.

// lines make the command lines for a kind of shell.
type lines interface {
	// start runs the executor if it is there whole and nobody else can have put it there. Else it prints missingLine.
	start(t Target, e *bundle.Executor) (string, error)
	// push puts the executor there under its hash, once it was hashed there, and prints installedLine.
	push(t Target, e *bundle.Executor, c carriage) (string, error)
	// clean removes all that is fitout's. It ends with status 75 when a run is under way.
	clean(t Target) (string, error)
}

var (
	_ lines = posix{}
	_ lines = cmdexe{}
)

func linesFor(goos string) lines {
	if goos == "windows" {
		return cmdexe{}
	}
	return posix{}
}

// installedLine, missingLine and noFolderLine begin the lines by which devices answer.
const (
	installedLine = "fitout-installed"
	missingLine   = "fitout-missing"
	noFolderLine  = "fitout-nofolder"
)

// missing is the answer of a device that lacks the executor.
type missing struct{ os, arch, unpacker, why string }

func (m *missing) Error() string { return "the executor isn't on the device: " + m.why }

// missed reads that answer: the word, the system, the machine, and why; on Windows what unpacks comes before that.
func missed(line string) *missing {
	words := strings.SplitN(strings.TrimSpace(line), " ", 4)
	if len(words) < 4 || words[0] != missingLine {
		return nil
	}
	m := &missing{why: words[3]}
	m.os, m.arch = platform(words[1], words[2])
	if m.os == "windows" {
		m.unpacker, m.why, _ = strings.Cut(m.why, " ")
	}
	return m
}

// platform turns what uname and cmd.exe say into Go's names.
func platform(system, machine string) (goos, arch string) {
	if goos = strings.ToLower(system); goos == "windows" {
		machine = windowsArch(machine)
	}
	switch machine {
	case "x86_64", "amd64":
		arch = "amd64"
	case "aarch64", "arm64":
		arch = "arm64"
	default:
		arch = machine
	}
	return goos, arch
}

// misunderstood is of a shell that isn't the one that was spoken to, maybe.
type misunderstood struct{ error }

func (m *misunderstood) Unwrap() error { return m.error }

// firstGuess is the system of a device that nothing is known of. Only Windows' own servers say more than that.
func firstGuess(t transport.Transport) (goos, arch string) {
	if o, ok := t.(interface{ OS() string }); ok && o.OS() == "windows" {
		return "windows", "amd64"
	}
	return "linux", "amd64"
}

// open starts the executor on a device, putting it there first where need be.
func open(ctx context.Context, t transport.Transport, target Target) (*session, error) {
	var goos, arch string
	if target.Platform != nil {
		goos, arch = target.Platform()
	}
	if goos == "" {
		goos, arch = firstGuess(t)
	}
	s, err := openAs(ctx, t, target, goos, arch)
	if _, ok := errors.AsType[*misunderstood](err); !ok {
		return s, err
	}
	windows, askErr := speaksWindows(ctx, t)
	switch {
	case askErr != nil || windows == (goos == "windows"):
		return nil, err
	case windows:
		goos, arch = "windows", "amd64"
	default:
		goos, arch = "linux", "amd64"
	}
	return openAs(ctx, t, target, goos, arch)
}

// system is what a device is: what is known, or what it answers.
func system(ctx context.Context, t transport.Transport, target Target) (goos string, err error) {
	if target.Platform != nil {
		if goos, _ = target.Platform(); goos != "" {
			return goos, nil
		}
	}
	if goos, _ = firstGuess(t); goos == "windows" {
		return goos, nil
	}
	windows, err := speaksWindows(ctx, t)
	if windows {
		goos = "windows"
	}
	return goos, err
}

func openAs(ctx context.Context, t transport.Transport, target Target, goos, arch string) (*session, error) {
	e, err := bundle.For(ctx, goos, arch)
	if err != nil {
		return nil, err
	}
	s, err := start(ctx, t, target, e)
	m, ok := errors.AsType[*missing](err)
	if !ok {
		return s, err
	}
	if m.os != goos || m.arch != arch {
		if strings.HasPrefix(m.os, "mingw") || strings.HasPrefix(m.os, "msys") || strings.HasPrefix(m.os, "cygwin") {
			return nil, hint.New(fmt.Errorf("the device is Windows, with a shell of %s for those who log in", m.os),
				`make cmd.exe or PowerShell the DefaultShell again, in its registry under HKLM\SOFTWARE\OpenSSH`)
		}
		if e, err = bundle.For(ctx, m.os, m.arch); err != nil {
			return nil, err
		}
	}
	if err := push(ctx, t, target, e, m); err != nil {
		return nil, fmt.Errorf("put the executor on the device: %w", err)
	}
	if s, err = start(ctx, t, target, e); err != nil {
		if m, ok := errors.AsType[*missing](err); ok {
			who := "root or the user"
			if m.os == "windows" {
				who = "administrators, Windows or the user"
			}
			return nil, hint.New(fmt.Errorf("the executor was put on the device, but %s", m.why), "every folder above it must belong to %s, and be writable by no other", who)
		}
		return nil, err
	}
	s.Pushed = true
	return s, nil
}

// probe is a line that cmd.exe, PowerShell and sh each answer in their own way.
const probe, probed = "echo fitout-os %OS% $env:OS", "fitout-os"

// speaksWindows asks a device whether it is Windows.
func speaksWindows(ctx context.Context, t transport.Transport) (bool, error) {
	out, exit, err := say(ctx, t, transport.Command{Line: probe}, nil)
	if err == nil && !strings.Contains(out, probed) {
		err = words(exit)
	}
	return strings.Contains(out, probed) && strings.Contains(out, "Windows_NT"), err
}

// say runs a line to its end. What it prints is read as far as an answer may be.
func say(ctx context.Context, t transport.Transport, c transport.Command, stdin io.Reader) (out string, exit transport.Exit, err error) {
	p, err := t.Start(ctx, c)
	if err != nil {
		return "", exit, err
	}
	sent := make(chan error, 1)
	go func() {
		var err error
		if stdin != nil {
			_, err = io.Copy(p.Stdin(), stdin)
		}
		sent <- errors.Join(err, p.Stdin().Close())
	}()
	b, readErr := io.ReadAll(io.LimitReader(p.Stdout(), 1<<20))
	if readErr == nil {
		_, readErr = io.Copy(io.Discard, p.Stdout())
	}
	exit, err = p.Wait()
	sendErr := <-sent
	if err = cmp.Or(err, readErr); err == nil && exit.Code == 0 && stdin != nil {
		err = sendErr
	}
	return string(b), exit, err
}

// carriage is one executor on its way to a device.
type carriage struct {
	id       string
	unpacker string // on Windows
	uploaded bool   // it lies in file
	tried    bool   // and may lie there, in part
}

func (c carriage) file() string { return "/tmp/fitout-" + c.id + ".gz" }

// sent is what has to be removed afterwards.
func (c carriage) sent() string {
	if c.tried {
		return c.file()
	}
	return ""
}

// push puts the executor on the device under its hash: uploaded beside its place where the device takes files, streamed
// otherwise, and always to Windows. It is hashed there, by the user who will run it, before it gets its name.
func push(ctx context.Context, t transport.Transport, target Target, e *bundle.Executor, m *missing) error {
	z, err := e.Open()
	if err != nil {
		return err
	}
	defer z.Close()
	var random [12]byte
	rand.Read(random[:])
	c := carriage{id: hex.EncodeToString(random[:]), unpacker: m.unpacker}
	var stream io.Reader = z
	if up, ok := t.(transport.Uploader); ok && e.OS != "windows" {
		c.tried = true
		if err := up.Upload(ctx, c.file(), z); err == nil {
			stream, c.uploaded = nil, true
		} else if te, ok := errors.AsType[*transport.Error](err); ok && te.Kind == transport.Lost || ctx.Err() != nil {
			return err
		} else { // no file channel, or no room in /tmp: stream it
			again, err := e.Open()
			if err != nil {
				return err
			}
			defer again.Close()
			stream = again
		}
	}
	if e.OS == "windows" && c.unpacker == byTar {
		if stream, err = archive(e, z); err != nil {
			return err
		}
	}
	line, err := linesFor(e.OS).push(target, e, c)
	if err != nil {
		return err
	}
	out, exit, err := say(ctx, t, transport.Command{Line: line, Elevate: target.Elevate && e.OS != "windows"}, stream)
	switch {
	case strings.Contains("\n"+out, "\n"+installedLine):
		return nil
	case err != nil:
		return err
	case e.OS == "windows":
		return windowsWords(exit.Code, lastLines(exit.Stderr), out)
	}
	return words(exit)
}

// lastLines is the end of what a program has said.
func lastLines(said string) string {
	said = strings.TrimSpace(said)
	if lines := strings.Split(said, "\n"); len(lines) > 4 {
		said = strings.Join(lines[len(lines)-4:], "\n")
	}
	return said
}

// words turns how a line ended into a cause and a remedy.
func words(exit transport.Exit) error {
	said := lastLines(exit.Stderr)
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
