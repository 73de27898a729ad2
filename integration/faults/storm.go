//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fitout-dev/fitout/integration/lab"
)

// storm is many rounds on a few machines.
type storm struct {
	seed     uint64
	rounds   []int
	lab      *lab.Lab
	machines int
	kind     lab.Kind
	kinds    []kind
	fitout   string // the command; "" builds it
	dir      string // what is kept of failures
	all      bool   // what is known of the other rounds is kept, too
	repeat   string // the command line that repeats a round, without its number
	log      io.Writer

	disks            []*volatile
	cuts, lost, kept int64 // of all disks

	mu   sync.Mutex
	done []*round
}

// run carries out the storm. The error is of the lab: what was found is in done.
func (st *storm) run(ctx context.Context) error {
	tmp, err := os.MkdirTemp("", "fitout-storm-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if st.fitout == "" {
		st.fitout = filepath.Join(tmp, "fitout")
		if err := build(ctx, st.fitout); err != nil {
			return err
		}
	}
	repo, err := st.lab.OpenAptRepo(lab.Main)
	if err != nil {
		return err
	}
	for _, d := range debs {
		if err := repo.BuildDeb(ctx, d); err != nil {
			return err
		}
	}
	if err := repo.PublishIndex(ctx); err != nil {
		return err
	}
	machines, err := st.boot(ctx, tmp)
	if err != nil {
		return err
	}
	help, err := exec.CommandContext(ctx, st.fitout, "--help").Output()
	if err != nil {
		return err
	}
	attaches := strings.Contains(string(help), "\n  attach ")

	next := make(chan int)
	go func() {
		defer close(next)
		for _, n := range st.rounds {
			select {
			case next <- n:
			case <-ctx.Done():
				return
			}
		}
	}()
	errs := make([]error, len(machines))
	var work sync.WaitGroup
	for i, m := range machines {
		work.Go(func() { errs[i] = st.work(ctx, m, repo, filepath.Join(tmp, m.Name), attaches, next) })
	}
	work.Wait()
	for _, d := range st.disks { // the lab's end cuts their power once more
		st.cuts, st.lost, st.kept = st.cuts+d.cuts.Load(), st.lost+d.lost.Load(), st.kept+d.kept.Load()
	}
	slices.SortFunc(st.done, func(a, b *round) int { return a.n - b.n })
	return errors.Join(append(errs, context.Cause(ctx))...)
}

// boot makes the machines. A container's disk is small, so that it is quickly full.
func (st *storm) boot(ctx context.Context, tmp string) ([]*lab.Machine, error) {
	n := min(st.machines, len(st.rounds))
	if st.kind != lab.QEMU {
		return st.lab.Boot(ctx, n, st.kind, lab.Disk(800<<20), lab.Inodes(8000))
	}
	var machines []*lab.Machine
	for i := range n { // each has a disk of its own
		v, err := newVolatile(filepath.Join(tmp, fmt.Sprintf("disk-%d", i)), st.seed+uint64(i))
		if err != nil {
			return nil, err
		}
		context.AfterFunc(ctx, v.close)
		st.disks = append(st.disks, v)
		m, err := st.lab.Boot(ctx, 1, st.kind, lab.Served(v.serve))
		if err != nil {
			return nil, err
		}
		machines = append(machines, m...)
	}
	return machines, nil
}

// work carries out rounds on one machine.
func (st *storm) work(ctx context.Context, m *lab.Machine, repo *lab.AptRepo, dir string, attaches bool, next <-chan int) error {
	s, err := newStation(ctx, m, repo, st.fitout, dir)
	if err != nil {
		return fmt.Errorf("%s: %w", m.Name, err)
	}
	s.attaches = attaches
	for n := range next {
		r := draw(st.seed, n, st.kinds)
		r.run(ctx, s)
		if ctx.Err() != nil {
			return nil
		}
		if err := st.finish(ctx, s, r); err != nil {
			return err
		}
	}
	return nil
}

// finish tells how a round ended. After a failure the machine is made as new, unless it is enough to remove what is left.
func (st *storm) finish(ctx context.Context, s *station, r *round) error {
	st.mu.Lock()
	st.done = append(st.done, r)
	count := len(st.done)
	st.mu.Unlock()
	dir := filepath.Join(st.dir, fmt.Sprintf("seed-%d-round-%d", st.seed, r.n))
	if r.err == nil && len(r.breaches) == 0 {
		jumps := ""
		if r.evidence.jumped {
			jumps = fmt.Sprintf(", the clock jumped %d times between events", r.evidence.jumps())
		}
		fmt.Fprintf(st.log, "%d/%d: round %d: %s: %d runs, %.1f s%s\n", count, len(st.rounds), r.n, r, len(r.results), r.took.Seconds(), jumps)
		if st.all {
			return r.keep(ctx, s, dir)
		}
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d/%d: round %d: %s\n", count, len(st.rounds), r.n, r)
	for _, br := range r.breaches {
		fmt.Fprintf(&b, "  %s: %s\n", br.promise, br.what)
	}
	if r.err != nil {
		fmt.Fprintf(&b, "  the lab: %v\n", r.err)
	}
	fmt.Fprintf(&b, "  repeat it: %s -only %d; kept in %s\n", st.repeat, r.n, dir)
	fmt.Fprint(st.log, b.String())
	err := r.keep(ctx, s, dir)
	if r.err != nil || slices.ContainsFunc(r.breaches, func(b breach) bool { return b.promise != lost && b.promise != leftBehind }) || s.scrub(ctx) != nil {
		err = s.again(ctx)
	}
	if err != nil {
		return fmt.Errorf("%s, after round %d: %w", s.m.Name, r.n, err)
	}
	return nil
}

// failures are the rounds in which a promise was broken, or which could not be judged.
func (st *storm) failures() (out []*round) {
	for _, r := range st.done {
		if r.err != nil || len(r.breaches) > 0 {
			out = append(out, r)
		}
	}
	return out
}

// build makes a release of the source that the current folder is in: what is changed there meanwhile changes nothing here.
func build(ctx context.Context, out string) error {
	module, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return fmt.Errorf("find the source: %w", err)
	}
	cmd := exec.CommandContext(ctx, "go", "run", "./engine/executor/bundle/make", "-for", "linux/"+runtime.GOARCH, "-release", out)
	cmd.Dir = strings.TrimSpace(string(module))
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build fitout: %w\n%s", err, said)
	}
	return nil
}

// table sums up: a row for each kind of fault. What a round broke is counted with its first fault.
func (st *storm) table() string {
	type row struct {
		faults, runs, held int
		broken             map[string]int
		unknown            int
		took               []time.Duration
	}
	rows := map[string]*row{}
	total := &row{broken: map[string]int{}}
	for _, k := range st.kinds {
		rows[k.name] = &row{broken: map[string]int{}}
	}
	for _, r := range st.done {
		for _, f := range r.faults {
			rows[f.kind].faults++
			total.faults++
		}
		for _, w := range []*row{rows[r.faults[0].kind], total} {
			if r.err != nil {
				w.unknown++
				continue
			}
			w.runs += len(r.results)
			w.held += r.held
			w.took = append(w.took, r.took)
			for _, p := range promises {
				if slices.ContainsFunc(r.breaches, func(b breach) bool { return b.promise == p }) {
					w.broken[p]++
				}
			}
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "| fault | faults | runs | %s | refused | unknown | median s | max s |\n|---|%s\n", strings.Join(promises, " | "), strings.Repeat("---:|", 6+len(promises)))
	print := func(name string, w *row) {
		fmt.Fprintf(&b, "| %s | %d | %d |", name, w.faults, w.runs)
		for _, p := range promises {
			fmt.Fprintf(&b, " %d |", w.broken[p])
		}
		slices.Sort(w.took)
		median, most := time.Duration(0), time.Duration(0)
		if n := len(w.took); n > 0 {
			median, most = w.took[n/2], w.took[n-1]
		}
		fmt.Fprintf(&b, " %d | %d | %.1f | %.1f |\n", w.held, w.unknown, median.Seconds(), most.Seconds())
	}
	for _, k := range st.kinds {
		if w := rows[k.name]; w.faults > 0 {
			print(k.name, w)
		}
	}
	print("**all**", total)
	return b.String()
}
