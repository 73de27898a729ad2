//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/fitout-dev/fitout/integration/lab"
)

// TestStorm is a short storm: a round of each kind of fault, but for those that are much like another.
func TestStorm(t *testing.T) {
	if testing.Short() {
		t.Skip("breaks machines for a minute")
	}
	alike := []string{"close the terminal", "freeze the controller", "freeze the executor", "cut it for long", "use up the inodes"}
	st := &storm{lab: lab.New(t), seed: 11, machines: 3, kind: lab.Debian, kinds: kinds}
	for i := range kinds {
		if !slices.Contains(alike, draw(st.seed, i, kinds).faults[0].kind) {
			st.rounds = append(st.rounds, i)
		}
	}
	st.check(t)
}

// TestPowerCuts cuts the power of a virtual machine in the middle of a run. That its disk loses what was not flushed is
// TestVolatile's matter; at most moments that is little, and what the kernel had not written is more.
func TestPowerCuts(t *testing.T) {
	if os.Getenv("FITOUT_POWERCUTS") == "" {
		t.Skip("takes some minutes under emulation: set FITOUT_POWERCUTS=1")
	}
	st := &storm{lab: lab.New(t), seed: 5, machines: 1, kind: lab.QEMU, kinds: []kind{powerCut}, rounds: []int{0}}
	st.check(t)
	if n := st.disks[0].cuts.Load(); n == 0 {
		t.Error("the power was never cut")
	}
}

// TestClockJumps sets the clock of a virtual machine forward and back in the middle of a run.
func TestClockJumps(t *testing.T) {
	if os.Getenv("FITOUT_POWERCUTS") == "" {
		t.Skip("takes some minutes under emulation: set FITOUT_POWERCUTS=1")
	}
	st := &storm{lab: lab.New(t), seed: 5, machines: 1, kind: lab.QEMU, kinds: []kind{clockJump}, rounds: []int{0}}
	st.check(t)
	if n := st.done[0].evidence.jumps(); n == 0 {
		t.Error("no event came after the clock was set: this proves nothing")
	}
}

func (st *storm) check(t *testing.T) {
	st.dir, st.log, st.repeat = filepath.Join(os.TempDir(), "fitout-faults"), t.Output(), fmt.Sprintf("go run ./integration/faults -seed %d", st.seed)
	err := st.run(t.Context())
	if errors.Is(err, errors.ErrUnsupported) && os.Getenv("FITOUT_LAB") != "required" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", st.table())
	for _, r := range st.failures() {
		t.Errorf("round %d: %s: %v %v", r.n, r, r.breaches, r.err)
	}
	if len(st.done) != len(st.rounds) {
		t.Errorf("%d rounds of %d were carried out", len(st.done), len(st.rounds))
	}
}
