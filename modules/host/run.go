package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Cmd is a program to run on the device. Args[0] is a name searched in PATH, or a path, which Dir is the start of where it is
// a relative one. Secrets go to Stdin or Env, never to Args: those can be read by every user of the device.
type Cmd struct {
	Args []string
	// Line is what follows the program on Windows in place of Args[1:], as it is: programs there read their command line each
	// in its own way. No secrets either.
	Line  string
	Env   []string // added to the environment: "NAME=value"
	Dir   string
	Stdin io.Reader
	User  string // run as this user, with its groups and HOME
	// Limit bounds what is kept of stdout (its beginning) and of stderr (its end); 0 is 16 MiB.
	Limit int
}

// Result is what a program left. A Code other than 0 is no error of Run's.
type Result struct {
	Stdout, Stderr []byte
	Code           int
}

// Runner runs programs. The host hands it what was asked for, unchanged.
type Runner interface {
	Run(ctx context.Context, c Cmd) (Result, error)
}

// Run runs a program and waits for it. It fails when the program can't be started or ctx ends; see Result.Code for the
// rest, and Must where any failure is one. The result is what the program said, unchanged: a module parses it. Errors, logs
// and what is reported are scrubbed.
func (h *Host) Run(ctx context.Context, c Cmd) (Result, error) {
	if !h.Living() {
		if _, real := h.runner.(system); real {
			return Result{}, ErrNeedsSystem
		}
	}
	start := time.Now()
	defer h.loose.Store(true)
	res, err := h.runner.Run(ctx, c)
	h.log.Debug("ran", "argv", h.Scrub(strings.Join(c.Args, " ")), "code", res.Code, "took", time.Since(start).Round(time.Millisecond))
	if err != nil {
		return res, fmt.Errorf("run %s: %w", c.Args[0], err)
	}
	return res, nil
}

// Must is Run where every exit code but 0 is an error that ends with the last lines of the program's output.
func (h *Host) Must(ctx context.Context, c Cmd) (Result, error) {
	res, err := h.Run(ctx, c)
	if err == nil && res.Code != 0 {
		err = h.Failure(c, res)
	}
	return res, err
}

// Failure is the error that a program's result stands for.
func (h *Host) Failure(c Cmd, res Result) error {
	return &ExitError{Args: []string{h.Scrub(strings.Join(c.Args, " "))}, Result: h.Scrubbed(res)}
}

// Scrubbed is a result to show: without secrets.
func (h *Host) Scrubbed(res Result) Result {
	return Result{[]byte(h.Scrub(string(res.Stdout))), []byte(h.Scrub(string(res.Stderr))), res.Code}
}

// ExitError is a program's failure.
type ExitError struct {
	Args []string
	Result
}

func (e *ExitError) Error() string {
	msg := fmt.Sprintf("%s: exit status %d", strings.Join(e.Args, " "), e.Code)
	out := e.Stderr
	if len(bytes.TrimSpace(out)) == 0 {
		out = e.Stdout
	}
	if tail := LastLines(string(out), 8); tail != "" {
		msg += ": " + tail
	}
	return msg
}

// LastLines returns the last n lines of s that hold text.
func LastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// system runs programs on the machine that this process is on.
type system struct{}

func (system) Run(ctx context.Context, c Cmd) (Result, error) {
	if len(c.Args) == 0 || c.Args[0] == "" {
		return Result{}, errors.New("no program given")
	}
	path, err := exec.LookPath(c.program())
	if err != nil {
		return Result{}, err
	}
	cmd := exec.CommandContext(ctx, path, c.Args[1:]...)
	cmd.Dir = c.Dir
	// A known language keeps messages parseable; the tools of Debian must not ask.
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", "APT_LISTCHANGES_FRONTEND=none")
	if c.User != "" {
		if err := runAs(cmd, c.User); err != nil {
			return Result{}, err
		}
	}
	cmd.Env = append(cmd.Env, c.Env...)
	cmd.Stdin = c.Stdin
	limit := c.Limit
	if limit == 0 {
		limit = 16 << 20
	}
	out, errOut := &head{limit: limit}, &tail{limit: limit}
	cmd.Stdout, cmd.Stderr = out, errOut
	started := ownGroup(cmd)
	if err := commandLine(cmd, c.Line); err != nil {
		return Result{}, err
	}
	cmd.WaitDelay = 2 * time.Second // a background child that holds our pipes delays nobody
	if err = cmd.Start(); err == nil {
		release := started()
		err = cmd.Wait()
		release()
	}
	res := Result{Stdout: out.buf, Stderr: errOut.buf, Code: cmd.ProcessState.ExitCode()}
	if ctx.Err() != nil {
		return res, context.Cause(ctx)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) || errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	return res, err
}

// program is where Args[0] is looked for.
func (c Cmd) program() string {
	name := c.Args[0]
	if c.Dir == "" || filepath.Base(name) == name || filepath.IsAbs(name) || filepath.VolumeName(name) != "" || os.IsPathSeparator(name[0]) {
		return name
	}
	return filepath.Join(c.Dir, name)
}

// head keeps the beginning of what is written to it, tail the end.
type head struct {
	buf   []byte
	limit int
}

func (w *head) Write(p []byte) (int, error) {
	w.buf = append(w.buf, p[:min(len(p), w.limit-len(w.buf))]...)
	return len(p), nil
}

type tail struct {
	buf   []byte
	limit int
}

func (w *tail) Write(p []byte) (int, error) {
	w.buf = append(w.buf, p...)
	if over := len(w.buf) - w.limit; over > 0 {
		w.buf = append(w.buf[:0], w.buf[over:]...)
	}
	return len(p), nil
}
