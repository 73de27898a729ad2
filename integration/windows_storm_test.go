//go:build linux

package integration

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/integration/lab"
)

var stormRounds = flag.Int("storm", 1, "how many times TestWindowsStorm strikes in each way")

// stormResources is how many commands the storm's profile has. Each writes a line to a file of its own, and makes a folder then.
const stormResources = 12

func stormProfile() string {
	var b strings.Builder
	b.WriteString("profile: storm\ndirectories: [{path: 'C:\\storm'}, {path: 'C:\\storm\\deep\\er'}]\ncommands:\n")
	for i := range stormResources {
		fmt.Fprintf(&b, "  - {name: c%02d, run: [cmd.exe, /d, /c, 'echo done>>C:\\storm\\log%02[1]d & md C:\\storm\\c%02[1]d'], creates: 'C:\\storm\\c%02[1]d'}\n", i)
	}
	return b.String()
}

// TestWindowsStorm strikes runs on a Windows machine at random moments. Whatever was hit, running again must converge,
// nothing that was done may be done twice, and nothing of fitout's may be left.
func TestWindowsStorm(t *testing.T) {
	t.Parallel()
	m := lab.New(t).Machine(t, lab.Wine)
	s := newWinsite(t, m, lab.CmdPort, stormProfile())
	s.fitout("plan").exits(2) // the executor is there from now on
	took := s.fitout("apply", "--yes").exits(0).took
	faults := map[string]func(c *running){
		"the controller is killed": func(c *running) { c.Process.Kill() },
		"an executor is killed": func(*running) {
			_, _ = m.Exec(t.Context(), `kill -9 $(pgrep -f 'bin.[0-9a-f]*.executor' | shuf -n 1)`) // there may be none
		},
		"the network is cut": func(*running) {
			lab.Must(t, m.Cut())
			_ = sleep(t.Context(), 500*time.Millisecond)
			lab.Must(t, m.Restore())
		},
		"Windows crashes": func(*running) {
			lab.Must(t, m.Crash())
			lab.Must(t, m.Start(t.Context()))
		},
		"Windows restarts": func(*running) { lab.Must(t, m.Reboot(t.Context())) },
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d; an undisturbed run takes %s", seed, took)
	random := rand.New(rand.NewPCG(seed, 0))
	for name, strike := range faults {
		for round := range *stormRounds {
			lab.Must(t, os.RemoveAll(m.WindowsPath(`C:\storm`)))
			after := time.Duration(random.Int64N(int64(took)))
			c := s.start("apply", "--yes")
			_ = sleep(t.Context(), after) // the moment is random, and waits for nothing
			strike(c)
			first := c.wait()
			where := fmt.Sprintf("%s, %d, after %s", name, round, after.Round(time.Millisecond))
			var again *result
			deadline := time.Now().Add(2 * time.Minute)
			for again == nil || again.code != 0 && time.Now().Before(deadline) {
				again = s.fitout("apply", "--yes") // a run may be under way yet
			}
			if again.code != 0 {
				t.Fatalf("%s: does not converge\n%s\n%s", where, first, again)
			}
			twice := 0
			for i := range stormResources {
				b, err := os.ReadFile(m.WindowsPath(fmt.Sprintf(`C:\storm\log%02d`, i)))
				lines := strings.Count(string(b), "\n")
				if !s.has(fmt.Sprintf(`C:\storm\c%02d`, i)) || err != nil || lines < 1 || lines > 2 {
					t.Errorf("%s: command %d has left %q, %v\n%s\n%s", where, i, b, err, first, again)
				}
				if lines == 2 {
					twice++
				}
			}
			if twice > 1 { // the one that was struck may have been in its middle
				t.Errorf("%s: %d commands ran twice\n%s\n%s", where, twice, first, again)
			}
			s.fitout("apply", "--yes").exits(0).says("0 changed")
			s.leavesNothing()
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-ctx.Done()
	return ctx.Err()
}
