//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// fault is something that goes wrong at one instant of a run.
type fault struct {
	kind   string
	at     float64 // of the time that the run takes undisturbed
	event  float64 // if set: when this part of the lines that the run prints undisturbed has been printed
	hold   time.Duration
	chance uint64 // what else is left to chance
	later  bool   // it strikes the next run, the one that mends
}

func (f fault) String() string {
	when := fmt.Sprintf("at %.0f %% of the time", f.at*100)
	if f.event > 0 {
		when = fmt.Sprintf("after %.0f %% of the events", f.event*100)
	}
	if f.later {
		when += " of the next run"
	}
	return f.kind + " " + when
}

// kind is a kind of fault. do brings it about and mends its surroundings; the run goes on beside it.
type kind struct {
	name string
	hold [2]time.Duration // how long it lasts, least and most
	do   func(context.Context, *station, *controller, fault) error
	// forgets says that it destroys what the device knows of its runs.
	forgets bool
	// restarts says that the machine boots anew.
	restarts bool
	// cuts says that connections hang for as long as it lasts.
	cuts bool
	// jumps says that the machine's clock is set meanwhile. That is no reason for a run to fail.
	jumps bool
}

const ms = time.Millisecond

var kinds = []kind{
	{name: "kill the controller", do: send(syscall.SIGKILL)},
	{name: "Ctrl-C", do: interrupt},
	{name: "close the terminal", do: send(syscall.SIGHUP)},
	{name: "freeze the controller", hold: [2]time.Duration{300 * ms, 5000 * ms}, do: freezeController},
	{name: "kill the executor", do: killExecutor},
	{name: "freeze the executor", hold: [2]time.Duration{300 * ms, 5000 * ms}, do: freezeExecutor},
	{name: "cut the network", hold: [2]time.Duration{1000 * ms, 5000 * ms}, do: cut, cuts: true},
	{name: "cut it for long", hold: [2]time.Duration{12000 * ms, 20000 * ms}, do: cut, cuts: true},
	{name: "sleep", hold: [2]time.Duration{500 * ms, 6000 * ms}, do: sleep, cuts: true},
	{name: "crash", do: crash, restarts: true},
	{name: "reboot", do: reboot, restarts: true},
	{name: "fill the disk", hold: [2]time.Duration{300 * ms, 4000 * ms}, do: fillDisk},
	{name: "use up the inodes", hold: [2]time.Duration{300 * ms, 3000 * ms}, do: fillInodes},
	{name: "take dpkg's lock", hold: [2]time.Duration{500 * ms, 5000 * ms}, do: lockDpkg},
	{name: "remove its folder", do: removeFolder, forgets: true},
	{name: "flip a byte", do: flipByte, forgets: true},
}

func kindNamed(name string) kind {
	for _, k := range append(kinds, powerCut, clockJump) {
		if k.name == name {
			return k
		}
	}
	panic("no such kind of fault: " + name)
}

// draw makes a fault of a kind.
func (k kind) draw(r *rand.Rand) fault {
	f := fault{kind: k.name, at: r.Float64(), chance: r.Uint64(), hold: k.hold[0]}
	if span := k.hold[1] - k.hold[0]; span > 0 {
		f.hold += time.Duration(r.Int64N(int64(span)))
	}
	if r.IntN(3) == 0 {
		f.event = r.Float64()
	}
	if k.jumps { // something must come after it
		f.at, f.event = f.at/2, f.event/2
	}
	return f
}

// last waits as long as a fault lasts.
func last(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func send(s syscall.Signal) func(context.Context, *station, *controller, fault) error {
	return func(_ context.Context, _ *station, c *controller, _ fault) error { return c.signal(s) }
}

// interrupt presses Ctrl-C, in one of three cases twice.
func interrupt(ctx context.Context, _ *station, c *controller, f fault) error {
	err := c.signal(syscall.SIGINT)
	if f.chance%3 == 0 {
		last(ctx, time.Duration(f.chance/3%500)*ms)
		err = errors.Join(err, c.signal(syscall.SIGINT))
	}
	return err
}

func freezeController(ctx context.Context, _ *station, c *controller, f fault) error {
	defer c.signal(syscall.SIGCONT)
	err := c.signal(syscall.SIGSTOP)
	last(ctx, f.hold)
	return err
}

// executors are the processes on the machine that are fitout's, as soon as there are any; none if the run ends before.
func executors(ctx context.Context, s *station, c *controller, f fault) (pids []int) {
	for {
		for _, pid := range s.m.PIDs() {
			if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err == nil && strings.HasPrefix(exe, "/var/lib/fitout/bin/") {
				pids = append(pids, pid)
			}
		}
		if len(pids) > 1 && f.chance%2 == 0 { // one of several
			return []int{pids[f.chance/2%uint64(len(pids))]}
		}
		if len(pids) > 0 || c.over() || ctx.Err() != nil {
			return pids
		}
		last(ctx, ms)
	}
}

func kill(pids []int, s syscall.Signal) (err error) {
	for _, pid := range pids {
		if e := syscall.Kill(pid, s); e != nil && e != syscall.ESRCH {
			err = e
		}
	}
	return err
}

func killExecutor(ctx context.Context, s *station, c *controller, f fault) error {
	return kill(executors(ctx, s, c, f), syscall.SIGKILL)
}

func freezeExecutor(ctx context.Context, s *station, c *controller, f fault) error {
	pids := executors(ctx, s, c, f)
	defer kill(pids, syscall.SIGCONT)
	err := kill(pids, syscall.SIGSTOP)
	last(ctx, f.hold)
	return err
}

func cut(ctx context.Context, s *station, _ *controller, f fault) error {
	err := s.m.Cut()
	last(ctx, f.hold)
	return errors.Join(err, s.m.Restore())
}

// sleep is what a laptop does when its lid is closed.
func sleep(ctx context.Context, s *station, _ *controller, f fault) error {
	err := s.m.Freeze()
	last(ctx, f.hold)
	return errors.Join(err, s.m.Thaw())
}

func crash(ctx context.Context, s *station, _ *controller, _ fault) error {
	if err := s.m.Crash(); err != nil {
		return err
	}
	return s.m.Start(ctx)
}

func reboot(ctx context.Context, s *station, _ *controller, _ fault) error {
	if err := s.m.WaitUp(ctx); err != nil { // the run itself may be rebooting it
		return err
	}
	return s.m.Reboot(ctx)
}

func fillDisk(ctx context.Context, s *station, _ *controller, f fault) error {
	name := filepath.Join(s.m.Root(), "storm-fill")
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	defer os.Remove(name)
	defer file.Close()
	var size int64
	for step := int64(1 << 30); step >= 1<<10; { // to the last block
		if err := syscall.Fallocate(int(file.Fd()), 0, size, step); err != nil {
			step /= 2
		} else {
			size += step
		}
	}
	last(ctx, f.hold)
	return nil
}

func fillInodes(ctx context.Context, s *station, _ *controller, f fault) error {
	dir := filepath.Join(s.m.Root(), "storm-fill")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for i := 0; ctx.Err() == nil; i++ {
		if err := os.Symlink("x", fmt.Sprintf("%s/%d", dir, i)); errors.Is(err, syscall.ENOSPC) {
			break
		} else if err != nil {
			return err
		}
	}
	last(ctx, f.hold)
	return nil
}

// lockDpkg does as another package manager would.
func lockDpkg(ctx context.Context, s *station, _ *controller, f fault) error {
	script := `exec perl -e 'use Fcntl; my @held; for my $n ("lock-frontend", "lock") {
		my $how = pack("s s l! l! i", F_WRLCK, 0, 0, 0, 0); open(my $f, ">>", "/var/lib/dpkg/$n") or die $!; fcntl($f, F_SETLKW, $how) or die $!; push @held, $f }
		select(undef, undef, undef, %.3f)'`
	_, err := s.m.Exec(ctx, fmt.Sprintf(script, f.hold.Seconds()))
	return err
}

func removeFolder(ctx context.Context, s *station, _ *controller, _ fault) error {
	// What is written meanwhile may make a folder anew.
	_, err := s.m.Exec(ctx, "rm -rf /var/lib/fitout 2>/dev/null || rm -rf /var/lib/fitout 2>/dev/null || :")
	return err
}

// flipByte changes one bit of what the device keeps of the latest run.
func flipByte(ctx context.Context, s *station, c *controller, f fault) error {
	for {
		journal, newest := "", time.Time{}
		for _, name := range []string{"journal", "events"} {
			files, _ := filepath.Glob(filepath.Join(s.m.Root(), "var/lib/fitout/runs/*", name))
			for _, file := range files {
				if fi, err := os.Stat(file); err == nil && fi.Size() > 0 && fi.ModTime().After(newest) {
					journal, newest = file, fi.ModTime()
				}
			}
		}
		if newest.Before(c.started) && !c.over() && ctx.Err() == nil { // this run has none yet
			last(ctx, ms)
			continue
		}
		if journal == "" {
			return nil
		}
		return flip(journal, f.chance)
	}
}

func flip(path string, chance uint64) error {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	fi, err := file.Stat()
	if err != nil || fi.Size() == 0 {
		return err
	}
	at, b := int64(chance%uint64(fi.Size())), make([]byte, 1)
	if _, err := file.ReadAt(b, at); err != nil {
		return err
	}
	b[0] ^= 1 << (chance >> 60 % 8)
	_, err = file.WriteAt(b, at)
	return err
}

// powerCut and clockJump are for virtual machines alone: the disk of a container loses nothing, and its clock is the host's.
var (
	powerCut = kind{name: "power cut", restarts: true, do: func(ctx context.Context, s *station, _ *controller, _ fault) error {
		return errors.Join(s.m.Crash(), s.m.Start(ctx))
	}}
	clockJump = kind{name: "clock jumps", hold: [2]time.Duration{300 * ms, 4000 * ms}, jumps: true, do: jump}
)

// jump sets the clock forward by hours and back by days, or the other way round, and right again once the run is over.
func jump(ctx context.Context, s *station, c *controller, f fault) error {
	by := []string{fmt.Sprintf("%d hours", 2+f.chance%22), fmt.Sprintf("%d days ago", 1+f.chance>>8%9)}
	if f.chance>>16%2 == 0 {
		slices.Reverse(by)
	}
	for i, d := range by {
		if i > 0 {
			last(ctx, f.hold)
		}
		if _, err := s.m.Exec(ctx, "date -s '"+d+"'"); err != nil {
			return err
		}
	}
	t := time.NewTimer(c.patience)
	defer t.Stop()
	select {
	case <-c.ended:
	case <-t.C:
	case <-ctx.Done():
	}
	_, err := s.m.Exec(ctx, fmt.Sprintf("date -s @%d", time.Now().Unix()))
	return err
}
