package lab

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// With this in its environment, the test binary opens a lab with a machine, prints the lab's directory and the guard's
// process ID, and then does what the variable says.
const ownerVariable = "FITOUT_LAB_TEST_OWNER"

func TestMain(m *testing.M) {
	how := os.Getenv(ownerVariable)
	if how == "" {
		os.Exit(m.Run())
	}
	ctx := context.Background()
	l, err := Open(ctx, Options{})
	if err == nil {
		_, err = l.Boot(ctx, 1, Debian)
	}
	if err == nil {
		_, err = l.OpenAptRepo(Main)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(l.dir, l.guard.Process.Pid)
	switch how {
	case "panic":
		panic("as a test does")
	case "wait":
		select {}
	}
}

// leftovers lists what is there of the lab with this directory.
func leftovers(t *testing.T, dir string) (found []string) {
	t.Helper()
	id := filepath.Base(dir)
	for _, pattern := range []string{
		dir, "/sys/class/net/fl-" + id, "/sys/class/net/vb-" + id + "-*", cgroupFS + "/fitout-lab-" + id, cgroupFS + "/*/fitout-lab-" + id,
	} {
		names, err := filepath.Glob(pattern)
		Must(t, err)
		found = append(found, names...)
	}
	loops, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	Must(t, err)
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	Must(t, err)
	for _, file := range append(append(loops, processes...), "/proc/self/mountinfo") {
		if b, _ := os.ReadFile(file); strings.Contains(string(b), dir) {
			found = append(found, file+": "+strings.ReplaceAll(string(b[:min(len(b), 200)]), "\x00", " "))
		}
	}
	return found
}

func TestNothingIsLeft(t *testing.T) {
	l := New(t)
	l.Machines(t, 2, Debian)
	l.AptRepo(t)
	if n := len(leftovers(t, l.dir)); n < 8 {
		t.Errorf("only %d things are found of a lab that runs: the search is blind", n)
	}
	Must(t, l.Close())
	if found := leftovers(t, l.dir); found != nil {
		t.Errorf("after Close: %s", strings.Join(found, "\n"))
	}
}

func TestNothingIsLeftOfOneMachine(t *testing.T) {
	l := New(t)
	ctx := t.Context()
	machines, err := l.Boot(ctx, 1, Debian)
	Must(t, err)
	m := machines[0]
	Must(t, m.Remove())
	for _, path := range append(m.cgroups, m.dir, "/sys/class/net/"+m.nic()) {
		if exists(path) {
			t.Errorf("%s is left", path)
		}
	}
	again := l.Machine(t, Debian)
	if again.Addr == m.Addr {
		t.Errorf("the address %s was given again at once", m.Addr)
	}
}

func TestOwnerDies(t *testing.T) {
	l := New(t) // for the skip, and so that the base is there
	l.Machine(t, Debian)
	for _, test := range []struct {
		name, how string
		kill      bool // the owner
		guard     bool // kill the guard too
	}{
		{name: "panic", how: "panic"},
		{name: "killed", how: "wait", kill: true},
		{name: "killed with its guard", how: "wait", kill: true, guard: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			owner := exec.Command(os.Args[0])
			owner.Env = append(os.Environ(), ownerVariable+"="+test.how)
			out, err := owner.StdoutPipe()
			Must(t, err)
			Must(t, owner.Start())
			line, err := bufio.NewReader(out).ReadString('\n')
			Must(t, err)
			var dir string
			var guard int
			if _, err := fmt.Sscan(line, &dir, &guard); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			if test.guard {
				p, err := os.FindProcess(guard)
				Must(t, err)
				Must(t, p.Kill())
			}
			if test.kill {
				Must(t, owner.Process.Kill())
			}
			if err := owner.Wait(); err == nil {
				t.Fatal("the owner ended in order")
			}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			if test.guard {
				if len(leftovers(t, dir)) == 0 {
					t.Fatal("nothing is left to sweep")
				}
				next, err := Open(ctx, Options{})
				Must(t, err)
				Must(t, next.Close())
			}
			var found []string
			err = await(ctx, "the clean-up", func() bool {
				found = leftovers(t, dir)
				return found == nil
			})
			if err != nil {
				t.Errorf("%v: %s", err, strings.Join(found, "\n"))
			}
			if !exists(l.dir) || !exists("/sys/class/net/"+l.bridge()) {
				t.Error("the sweep took a living lab's things")
			}
		})
	}
	if got := l.Machine(t, Debian).Run(t, "echo alive"); got != "alive" {
		t.Error(got)
	}
}
