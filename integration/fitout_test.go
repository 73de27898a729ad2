// Package integration proves the whole: the built command against real machines, asked afterwards with their own tools.
package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/integration/lab"
)

var built struct {
	sync.Mutex
	dir string
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// binary builds the command, once for all tests.
func binary(t *testing.T) string {
	t.Helper()
	built.Lock()
	defer built.Unlock()
	if built.dir == "" {
		dir, err := os.MkdirTemp("", "fitout-integration-")
		if err != nil {
			t.Fatal(err)
		}
		built.dir = dir
		if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, "fitout"), "..").CombinedOutput(); err != nil {
			t.Fatalf("build fitout: %v\n%s", err, out)
		}
	}
	return filepath.Join(built.dir, "fitout")
}

// technician is a user of fitout: a home of their own, a folder with files, and the command.
type technician struct {
	t    *testing.T
	dir  string // where the profiles are, and the command is run
	home string
	exe  string
	env  []string // beside what every technician has
}

func newTechnician(t *testing.T) *technician {
	t.Helper()
	w := &technician{t: t, dir: t.TempDir(), home: t.TempDir(), exe: binary(t)}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	goenv := func(name string) string {
		out, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		return name + "=" + strings.TrimSpace(string(out))
	}
	w.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + w.home, "XDG_CACHE_HOME=" + cache, "TZ=UTC", "LANG=C.UTF-8",
		goenv("GOCACHE"), goenv("GOMODCACHE"), goenv("GOFLAGS"), goenv("GOPROXY")}
	return w
}

func (w *technician) write(name, text string) string {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// result is how a command ended.
type result struct {
	t           *testing.T
	line        string
	out, stderr string
	code        int
	took        time.Duration
}

// fitout runs the command to its end.
func (w *technician) fitout(args ...string) *result {
	w.t.Helper()
	return w.start(args...).wait()
}

// running is a command that has been started.
type running struct {
	*exec.Cmd
	r           result
	out, stderr buffer
	started     time.Time
}

// buffer may be read while the command writes.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func (w *technician) start(args ...string) *running {
	w.t.Helper()
	return w.startWith(nil, args...)
}

// startWith is start with something on stdin.
func (w *technician) startWith(in io.Reader, args ...string) *running {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 3*time.Minute)
	w.t.Cleanup(cancel)
	c := &running{Cmd: exec.CommandContext(ctx, w.exe, args...), started: time.Now()}
	c.r = result{t: w.t, line: "fitout " + strings.Join(args, " ")}
	c.Dir, c.Env, c.Stdin, c.Stdout, c.Stderr = w.dir, w.env, in, &c.out, &c.stderr
	if err := c.Start(); err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (c *running) wait() *result {
	c.r.t.Helper()
	err := c.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		c.r.t.Fatalf("%s: %v", c.r.line, err)
	}
	c.r.out, c.r.stderr, c.r.code, c.r.took = c.out.String(), c.stderr.String(), c.ProcessState.ExitCode(), time.Since(c.started)
	return &c.r
}

func (r *result) String() string {
	return fmt.Sprintf("$ %s\n%s%s(exit %d, %.2f s)", r.line, r.out, r.stderr, r.code, r.took.Seconds())
}

// exits fails the test unless the command ended with this status.
func (r *result) exits(code int) *result {
	r.t.Helper()
	if r.code != code {
		r.t.Fatalf("exit %d wanted\n%s", code, r)
	}
	return r
}

// says fails the test unless all texts were printed, on stdout or stderr.
func (r *result) says(texts ...string) *result {
	r.t.Helper()
	for _, text := range texts {
		if !strings.Contains(r.out+r.stderr, text) {
			r.t.Errorf("%q is missing:\n%s", text, r)
		}
	}
	return r
}

// summary is the last line of --json.
type summary struct {
	Devices map[string]struct {
		Status                              string
		Changed, Unchanged, Failed, Skipped int
		Error                               string
	}
}

func (r *result) summary() (s summary) {
	r.t.Helper()
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &s); err != nil {
		r.t.Fatalf("no summary: %v\n%s", err, r)
	}
	return s
}

// pending are the addresses that a plan in JSON has something to do for, by device.
func (r *result) pending() map[string]map[string]string {
	r.t.Helper()
	out := map[string]map[string]string{}
	for line := range strings.Lines(r.out) {
		var e struct {
			Type, Device string
			Plan         struct {
				Resources []struct{ Address, Op, Error string }
			}
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			r.t.Fatalf("not JSON: %v: %s", err, line)
		}
		if e.Type != "plan" {
			continue
		}
		out[e.Device] = map[string]string{}
		for _, p := range e.Plan.Resources {
			if p.Error != "" {
				r.t.Errorf("%s: %s: %s", e.Device, p.Address, p.Error)
			}
			if p.Op != "same" && p.Op != "skip" {
				out[e.Device][p.Address] = p.Op
			}
		}
	}
	return out
}

// inventory writes one with these machines as lt-1, lt-2 and so on. connect is more of what all of them have under it.
func (w *technician) inventory(name, profile, connect string, machines ...*lab.Machine) string {
	w.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "defaults:\n  profile: %s\n  connect: {identityFile: %s%s}\ndevices:\n", profile, machines[0].KeyFile, connect)
	for i, m := range machines {
		fmt.Fprintf(&b, "  lt-%d: {address: %s, user: root}\n", i+1, m.Addr)
	}
	return w.write(name, b.String())
}

// until waits for a condition.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(time.Minute)
	for !done() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("waited a minute for %s", what)
		}
	}
}

// here is this test's folder.
func here() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(file)
}
