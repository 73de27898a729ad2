//go:build linux

// Command faults breaks runs of fitout on lab machines, in all ways that technicians meet, and looks whether what fitout
// promises still holds.
//
//	go run ./integration/faults                          # 100 rounds on 4 machines
//	go run ./integration/faults -n 1000 -seed 7          # the long storm
//	go run ./integration/faults -seed 7 -only 123        # one of its rounds again
//	go run ./integration/faults -kinds crash,reboot      # only these
//	go run ./integration/faults -powercuts 50            # power cuts of virtual machines
//	go run ./integration/faults -clocks 10               # clocks of virtual machines that jump
//
// A round begins on a machine that is clean, at an earlier release, or damaged in some places. A run of some forty small
// resources starts, and at an instant that the seed gives, something happens: the controller or the executor is killed or
// frozen, the network is cut, the machine crashes, reboots or sleeps, its disk is full, dpkg's lock is taken, what fitout
// keeps on the device is removed or damaged. One round in five has two of that. When the surroundings are as before, at
// most two further runs must bring the machine to its state, and then the machine's own tools are asked:
//
//   - not converged: a resource isn't as it was declared;
//   - lost: something was changed, and no recorded run says so;
//   - repeated: what a run recorded as complete was done again;
//   - not notified: a service hasn't read its last configuration;
//   - left behind: a unit, lock, temporary file or process of fitout's is still there.
//
// A power cut is the kill of a virtual machine whose disk has a volatile write cache: what the guest's kernel had not
// written is lost, and of what it had written since its last flush each sector is there or isn't, as chance has it. Not
// simulated: drives that lie about a flush, and sectors that are half written.
//
// The clock of a virtual machine is set forward by hours and back by days in the middle of a run. The run must end well
// all the same, with its events in their order, and no command may have begun more often than runs tell.
//
// go test is a storm of a minute. A virtual machine takes minutes, since it is emulated: a power cut and a clock that jumps
// are part of the tests where FITOUT_POWERCUTS is set.
//
// The storm is a black box: it uses the command, its files and what it prints. It ends with a table, and with exit status 1
// where a promise was broken; each such round is told with the command that repeats it, and with a folder that has all that
// is known of it. The choices of a round follow from the seed; the instants are as exact as a busy machine allows.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"github.com/fitout-dev/fitout/integration/lab"
)

func main() {
	n := flag.Int("n", 100, "rounds")
	seed := flag.Uint64("seed", 1, "what chance begins with")
	machines := flag.Int("machines", 4, "how many at once")
	only := flag.Int("only", -1, "only the round with this number")
	among := flag.String("kinds", "", "only faults whose kind contains one of these words, divided by commas")
	cuts := flag.Int("powercuts", 0, "instead: cut the power of virtual machines this often")
	clocks := flag.Int("clocks", 0, "instead: set the clocks of virtual machines in this many runs")
	fitout := flag.String("fitout", "", "a release to use; otherwise one is made of the source")
	dir := flag.String("keep", filepath.Join(os.TempDir(), "fitout-faults"), "folder for what is known of failures")
	all := flag.Bool("all", false, "keep what is known of all rounds")
	flag.Parse()

	st := &storm{seed: *seed, machines: *machines, kind: lab.Debian, fitout: *fitout, dir: *dir, all: *all, log: os.Stderr, kinds: kinds}
	st.repeat = fmt.Sprintf("go run ./integration/faults -seed %d", *seed)
	if *among != "" {
		st.kinds = matching(*among)
		st.repeat += fmt.Sprintf(" -kinds %q", *among)
	}
	if *cuts > 0 {
		*n, st.kind, st.kinds = *cuts, lab.QEMU, []kind{powerCut}
		st.repeat += " -powercuts 1"
	}
	if *clocks > 0 {
		*n, st.kind, st.kinds = *clocks, lab.QEMU, []kind{clockJump}
		st.repeat += " -clocks 1"
	}
	for i := range *n {
		st.rounds = append(st.rounds, i)
	}
	if *only >= 0 {
		st.rounds = []int{*only}
	}
	if len(st.kinds) == 0 || len(st.rounds) == 0 {
		fmt.Fprintln(os.Stderr, "faults: nothing to do: -n is 0, or no kind of fault matches")
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	l, err := lab.Open(ctx, lab.Options{Log: os.Stderr})
	if err == nil {
		st.lab = l
		err = errors.Join(st.run(ctx), l.Close())
	}
	stop()
	fmt.Printf("%s\nseed %d, %d rounds on %d machines, %d failures\n", st.table(), *seed, len(st.done), *machines, len(st.failures()))
	if st.cuts > 0 {
		fmt.Printf("%d times the power was cut: of the sectors that were written and not flushed, %d were lost, and %d were not\n", st.cuts, st.lost, st.kept)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
	}
	if err != nil || len(st.failures()) > 0 {
		os.Exit(1)
	}
}

func matching(words string) (out []kind) {
	for _, k := range kinds {
		for _, w := range strings.Split(words, ",") {
			if w != "" && strings.Contains(k.name, strings.TrimSpace(w)) {
				out = append(out, k)
				break
			}
		}
	}
	return out
}
