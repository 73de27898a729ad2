//go:build linux

package main

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
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/fitout-dev/fitout/integration/lab"
)

// station is a machine, and the technician who looks after it: a home and a folder with a profile.
type station struct {
	m        *lab.Machine
	repo     *lab.AptRepo
	fitout   string
	dir      string
	release  int // what the machine is converged to; 0: unknown
	clean    extent
	update   extent
	attaches bool // fitout can reattach to a run
}

// extent is how much an undisturbed run is.
type extent struct {
	took  time.Duration
	lines int
}

// newStation prepares a machine that has just been made.
func newStation(ctx context.Context, m *lab.Machine, repo *lab.AptRepo, fitout, dir string) (*station, error) {
	s := &station{m: m, repo: repo, fitout: fitout, dir: dir}
	if err := os.MkdirAll(filepath.Join(dir, "home", ".ssh"), 0o700); err != nil {
		return nil, err
	}
	connect := "identityFile: " + m.KeyFile
	if m.Kind == lab.QEMU { // emulated: a handshake may take half a minute
		connect += ", timeout: 5m"
	}
	inventory := fmt.Sprintf("secrets: secrets.age\ndefaults: {profile: storm, connect: {%s}}\ndevices:\n  dev: {address: %s, user: root}\n", connect, m.Addr)
	err := errors.Join(
		os.WriteFile(filepath.Join(dir, "inventory.yaml"), []byte(inventory), 0o600),
		os.WriteFile(filepath.Join(dir, "big-0"), []byte(big(0)), 0o600),
		os.WriteFile(filepath.Join(dir, "big-1"), []byte(big(1)), 0o600),
		s.declare(newSite(1)),
	)
	if err != nil {
		return nil, err
	}
	c, err := s.start(ctx, strings.NewReader(token), "secret", "set", "token")
	if err == nil {
		err = c.wait(ctx).failure()
	}
	if err != nil {
		return nil, err
	}
	return s, s.outfit(ctx)
}

// outfit does what a fresh machine needs, and measures undisturbed runs on it.
func (s *station) outfit(ctx context.Context) error {
	known, err := os.ReadFile(s.m.KnownHosts)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.dir, "home", ".ssh", "known_hosts"), known, 0o600); err != nil {
		return err
	}
	if err := s.repo.AddTo(ctx, s.m); err != nil {
		return err
	}
	if _, err := s.m.Exec(ctx, "apt-get -qq update"); err != nil {
		return err
	}
	s.release = 0
	for i, e := range []*extent{&s.clean, &s.update} {
		r, err := s.converge(ctx, newSite(i+1))
		if err != nil {
			return err
		}
		*e = extent{r.took, strings.Count(r.stdout, "\n")}
	}
	return nil
}

// again makes a machine of which nothing is known any more as new.
func (s *station) again(ctx context.Context) error {
	if err := s.m.Reset(ctx); err != nil {
		return err
	}
	return s.outfit(ctx)
}

// declare writes the profile.
func (s *station) declare(of *site) error {
	return os.WriteFile(filepath.Join(s.dir, "storm.yaml"), []byte(of.profile()), 0o600)
}

// converge brings the machine to a site, undisturbed.
func (s *station) converge(ctx context.Context, to *site) (*result, error) {
	if err := s.declare(to); err != nil {
		return nil, err
	}
	c, err := s.start(ctx, nil, apply...)
	if err != nil {
		return nil, err
	}
	r := c.wait(ctx)
	if err := r.failure(); err != nil {
		return nil, fmt.Errorf("an undisturbed run: %w", err)
	}
	s.release = to.release
	return r, nil
}

var apply = []string{"apply", "--yes", "--json"}

// controller is a command that runs.
type controller struct {
	cmd     *exec.Cmd
	line    string
	started time.Time
	stdout  *stream
	stderr  bytes.Buffer
	ended   chan struct{}

	patience time.Duration
}

// stream keeps what a command prints and tells how many lines there are.
type stream struct {
	mu    sync.Mutex
	b     bytes.Buffer
	lines int
	wait  int           // for this many lines
	there chan struct{} // closed when there are
}

func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines += bytes.Count(p, []byte("\n"))
	if s.there != nil && s.lines >= s.wait {
		close(s.there)
		s.there = nil
	}
	return s.b.Write(p)
}

// reach returns a channel that is closed when n lines are there.
func (s *stream) reach(n int) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := make(chan struct{})
	if s.lines >= n {
		close(c)
		return c
	}
	s.wait, s.there = n, c
	return c
}

// start starts fitout.
func (s *station) start(ctx context.Context, in io.Reader, args ...string) (*controller, error) {
	c := &controller{line: "fitout " + strings.Join(args, " "), started: time.Now(), stdout: &stream{}, ended: make(chan struct{}), patience: s.patience()}
	c.cmd = exec.CommandContext(ctx, s.fitout, args...)
	c.cmd.Dir, c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = s.dir, in, c.stdout, &c.stderr
	home := filepath.Join(s.dir, "home")
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	c.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "XDG_CACHE_HOME=" + cache, "TZ=UTC", "LANG=C.UTF-8"}
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C at the storm isn't for it
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = c.cmd.Wait()
		close(c.ended)
	}()
	return c, nil
}

// signal does nothing to a command that has ended.
func (c *controller) signal(s syscall.Signal) error {
	if err := c.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

func (c *controller) over() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// result is how a command ended.
type result struct {
	line           string
	stdout, stderr string
	code           int // -1: by a signal
	hung           bool
	took           time.Duration
}

// patience is how long a run may take, whatever happens to it. It is far more than any needs, also where the machine that
// all of them share is busy with other things.
func (s *station) patience() time.Duration {
	if s.m.Kind == lab.QEMU {
		return 15 * time.Minute
	}
	return 10 * time.Minute
}

// wait returns when the command has ended; one that hangs is killed.
func (c *controller) wait(ctx context.Context) *result {
	r := &result{line: c.line}
	t := time.NewTimer(c.patience)
	defer t.Stop()
	select {
	case <-c.ended:
	case <-ctx.Done():
		<-c.ended
	case <-t.C:
		r.hung = true
		_ = c.signal(syscall.SIGKILL)
		<-c.ended
	}
	r.stdout, r.stderr, r.code, r.took = c.stdout.b.String(), c.stderr.String(), c.cmd.ProcessState.ExitCode(), time.Since(c.started)
	return r
}

func (r *result) failure() error {
	if r.code == 0 {
		return nil
	}
	return fmt.Errorf("%s: exit status %d\n%s%s", r.line, r.code, r.stdout, r.stderr)
}

// held says whether the run was refused because another one is under way on the device.
func (r *result) held() bool { return r.code == 3 && strings.Contains(r.stdout, "is under way since") }

// changed are the addresses that a run said it had changed, while it went on.
func (r *result) changed() (addresses []string) {
	for line := range strings.Lines(r.stdout) {
		var e struct{ Event *event }
		if json.Unmarshal([]byte(line), &e) == nil && e.Event != nil && e.Event.Type == "resource" && e.Event.Status == "changed" {
			addresses = append(addresses, e.Event.Address)
		}
	}
	return addresses
}

// runs are the IDs of all runs that fitout remembers, the oldest first.
func (s *station) runs(ctx context.Context) ([]string, error) {
	c, err := s.start(ctx, nil, "runs", "--json", "-n", "100000")
	if err != nil {
		return nil, err
	}
	r := c.wait(ctx)
	if err := r.failure(); err != nil {
		return nil, err
	}
	var ids []string
	for line := range strings.Lines(r.stdout) {
		var run record
		if err := json.Unmarshal([]byte(line), &run); err != nil {
			return nil, err
		}
		ids = append(ids, run.ID)
	}
	slices.Reverse(ids)
	return ids, nil
}

// show returns a run with its events.
func (s *station) show(ctx context.Context, id string) (*record, error) {
	c, err := s.start(ctx, nil, "runs", "show", id, "--json")
	if err != nil {
		return nil, err
	}
	r := c.wait(ctx)
	if err := r.failure(); err != nil {
		return nil, err
	}
	var run record
	return &run, json.Unmarshal([]byte(r.stdout), &run)
}
