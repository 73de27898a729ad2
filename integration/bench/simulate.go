package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fitout-dev/fitout/engine/profile"
	"github.com/fitout-dev/fitout/engine/run"
	"github.com/fitout-dev/fitout/engine/transport"
)

// simulation is a fleet in this process. All is real but the transport and what goes wrong: each device has a root folder of
// its own, which a real executor works on, a profile of its own that extends a common one, and facts of its own. Encoded
// frames go through pipes.
type simulation struct {
	devices, hanging, failing, reconnecting, resources int

	seeded bool // all but one resource of each device are in their state
	heap   string
	alone  bool // one fleet, in this process
	soak   time.Duration
}

// fleet is made by newFleet.
type fleet struct {
	devices []run.Device
	links   []*link
	hang    map[string]bool
	cuts    atomic.Int64  // of connections in mid-run
	others  time.Duration // until all that don't hang had ended
	gate    chan struct{} // holds up the hanging ones until it is closed
	ending  sync.WaitGroup
}

// newFleet makes a fleet in dir. Every so many'th device hangs, in one of three ways: when it is dialed, before its
// executor says hello, or once it is asked to observe. Others fail half-way: of two, one has something in the place of a
// file, and the other is gone for good in mid-run. Others have a connection that is slow, and breaks every second.
func newFleet(dir string, s simulation) (*fleet, error) {
	base := []byte("profile: base\nfiles:\n")
	for i := range s.resources - 1 {
		base = fmt.Appendf(base, "  - {path: /etc/app%d.conf, content: \"setting=%[1]d\\n\", mode: \"0644\"}\n", i)
	}
	if err := write(filepath.Join(dir, "base.yaml"), base); err != nil {
		return nil, err
	}
	f := &fleet{gate: make(chan struct{}), hang: map[string]bool{}}
	loader := &profile.Loader{}
	for i := range s.devices {
		name := fmt.Sprintf("lt-%05d", i)
		own := filepath.Join(dir, "profiles", name+".yaml")
		root := filepath.Join(dir, "roots", name)
		if err := errors.Join(
			write(own, fmt.Appendf(nil, "profile: %s\nextends: [../base.yaml]\nvariables: {site: site%d}\nfiles:\n  - {path: /etc/asset, content: \"${device.version} of ${vars.site}\\n\"}\n", name, i%100)),
			write(filepath.Join(root, "etc", "os-release"), fmt.Appendf(nil, "ID=debian\nVERSION_ID=\"%d\"\n", i)),
			write(filepath.Join(root, "etc", "passwd"), []byte("root:x:0:0::/root:/bin/sh\n")),
			write(filepath.Join(root, "etc", "group"), []byte("root:x:0:\n")),
		); err != nil {
			return nil, err
		}
		for i := range s.resources - 1 {
			if file := fmt.Sprintf("app%d.conf", i); s.seeded {
				if err := seed(dir, filepath.Join(root, "etc", file), file, fmt.Appendf(nil, "setting=%d\n", i)); err != nil {
					return nil, err
				}
			}
		}
		d := run.Device{Name: name, Address: name, Profile: name, Target: run.Target{Root: root, Dir: filepath.Join(root, "var", "lib", "fitout")}}
		p, err := loader.Load(own)
		if err != nil {
			return nil, err
		}
		d.Compile = func(facts map[string]any) (*profile.Compiled, error) {
			return p.Compile(profile.Device{Name: name, Facts: facts})
		}
		link := &link{fleet: f, target: d.Target}
		d.Dial = link.dial
		hanging, n := s.share(i, 0, s.hanging)
		failing, m := s.share(i, 1, s.failing)
		switch reconnecting, _ := s.share(i, 2, s.reconnecting); {
		case hanging:
			f.hang[name] = true
			switch n % 3 {
			case 0:
				d.Dial = func(ctx context.Context) (transport.Transport, error) {
					<-f.gate
					return nil, &transport.Error{Kind: transport.TimedOut, Err: errors.New("no answer")}
				}
			case 1:
				link.deaf = true
			case 2:
				link.mute = true
			}
		case failing && m%2 == 1:
			link.leaves = true
		case failing:
			if err := obstruct(root, s.resources/2); err != nil {
				return nil, err
			}
			fallthrough
		default:
			link.slow = reconnecting
		}
		f.devices, f.links = append(f.devices, d), append(f.links, link)
	}
	return f, nil
}

// share says whether device i is one of so many that something is wrong with, and which of them. Each kind has devices of its
// own.
func (s simulation) share(i, kind, many int) (is bool, n int) {
	if many == 0 || i%(s.devices/many) != kind {
		return false, 0
	}
	n = i / (s.devices / many)
	return n < many, n
}

// obstruct puts a folder where a file is declared.
func obstruct(root string, i int) error {
	p := filepath.Join(root, "etc", fmt.Sprintf("app%d.conf", i))
	return errors.Join(os.RemoveAll(p), os.Mkdir(p, 0o755))
}

// seed makes a file by linking it to one of the same content: there are very many. Whoever changes a file replaces it.
func seed(dir, path, file string, content []byte) error {
	first := filepath.Join(dir, "seeds", file)
	if _, err := os.Stat(first); err != nil {
		if err := errors.Join(write(first, content), os.Chmod(first, 0o644)); err != nil {
			return err
		}
	}
	return os.Link(first, path)
}

// apply brings the fleet to its state. The hanging devices hang until all others have ended: where one of them could
// hold up another device, this would never return.
func (f *fleet) apply(ctx context.Context, parallel int, quiet time.Duration) []run.Result {
	ended, start := 0, time.Now()
	r := &run.Runner{ID: run.NewID(), Parallel: parallel, Quiet: quiet, Patience: patience, Report: func(e run.Event) {
		if e.Phase == run.Done && !f.hang[e.Device] {
			if ended++; ended == len(f.devices)-len(f.hang) {
				f.others = time.Since(start)
				close(f.gate)
			}
		}
	}}
	results := r.Apply(ctx, f.devices, nil)
	f.ending.Wait()
	return results
}

// simulate runs the fleet twice, each time in a process of its own, without and with what goes wrong, and prints what
// that took.
func simulate(ctx context.Context, o *options) error {
	switch {
	case o.soak > 0:
		return o.endure(ctx)
	case o.alone:
		return o.once(ctx)
	}
	fmt.Printf("| %d devices with %d resources each, one to change, 50 at once | s until all but the hanging ones ended | memory, executors included, MB | changed | failed | unreachable | connections cut in mid-run |\n|---|---|---|---|---|---|---|\n", o.devices, o.resources)
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, ill := range []bool{false, true} {
		var hanging, failing, reconnecting int
		if ill {
			hanging, failing, reconnecting = o.hanging, o.failing, o.reconnecting
		}
		cmd := exec.CommandContext(ctx, self, "simulate", "-alone", "-heap", o.heap, "-devices", fmt.Sprint(o.devices), "-resources", fmt.Sprint(o.resources), "-hanging", fmt.Sprint(hanging),
			"-failing", fmt.Sprint(failing), "-reconnecting", fmt.Sprint(reconnecting))
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			return err
		}
		var took float64
		var changed, failed, unreachable, cuts int
		if _, err := fmt.Sscan(string(out), &took, &changed, &failed, &unreachable, &cuts); err != nil {
			return err
		}
		fmt.Printf("| %d hang, %d fail half-way, %d reconnect every second | %.1f | %.0f | %d | %d | %d | %d |\n", hanging, failing, reconnecting, took, maxRSS(cmd.ProcessState), changed, failed, unreachable, cuts)
	}
	return nil
}

// patience is how long a device whose connection broke is tried again.
const patience = 30 * time.Second

// once runs one fleet and prints its figures for simulate.
func (s simulation) once(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "fitout-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s.seeded = true
	f, err := newFleet(dir, s)
	if err != nil {
		return err
	}
	results := f.apply(ctx, 50, 0)
	count := map[run.Status]int{}
	for _, r := range results {
		count[r.Status]++
		if r.Err != nil && r.Status != run.Unreachable && r.Status != run.Failed {
			return fmt.Errorf("%s: %w", r.Device, r.Err)
		}
	}
	if s.heap != "" {
		if err := writeHeap(s.heap); err != nil {
			return err
		}
	}
	runtime.KeepAlive(results)
	runtime.KeepAlive(f)
	fmt.Println(f.others.Seconds(), count[run.Changed], count[run.Failed], count[run.Unreachable], f.cuts.Load())
	return nil
}

func writeHeap(path string) error {
	w, err := os.Create(path)
	if err != nil {
		return err
	}
	runtime.GC()
	return errors.Join(pprof.WriteHeapProfile(w), w.Close())
}
