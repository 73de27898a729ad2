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
	"runtime/pprof"
	"sync"
	"time"

	"github.com/fitout-dev/fitout/engine/executor"
	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/engine/profile"
	"github.com/fitout-dev/fitout/engine/run"
	"github.com/fitout-dev/fitout/engine/transport"
)

// simulation is a fleet in this process. All is real but the transport and the hanging: each device has a root folder of
// its own, which a real executor works on, a profile of its own that extends a common one, and facts of its own. Encoded
// frames go through pipes.
type simulation struct {
	devices, hanging, resources int
	seeded                      bool // all but one resource of each device are in their state
	heap                        string
	alone                       bool // one fleet, in this process
}

// fleet is made by newFleet.
type fleet struct {
	devices []run.Device
	healthy int
	others  time.Duration // until all that don't hang had ended
	gate    chan struct{} // holds up the hanging ones until it is closed
	ending  sync.WaitGroup
}

// newFleet makes a fleet in dir. Every so many'th device hangs, in one of three ways: when it is dialed, before its
// executor says hello, or once it is asked to observe.
func newFleet(dir string, s simulation) (*fleet, error) {
	base := []byte("profile: base\nfiles:\n")
	for i := range s.resources - 1 {
		base = fmt.Appendf(base, "  - {path: /etc/app%d.conf, content: \"setting=%[1]d\\n\", mode: \"0644\"}\n", i)
	}
	if err := write(filepath.Join(dir, "base.yaml"), base); err != nil {
		return nil, err
	}
	f := &fleet{gate: make(chan struct{})}
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
		d.Dial = func(context.Context) (transport.Transport, error) { return link, nil }
		if s.hanging > 0 && i%(s.devices/s.hanging) == 0 && i/(s.devices/s.hanging) < s.hanging {
			switch i / (s.devices / s.hanging) % 3 {
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
		} else {
			f.healthy++
		}
		f.devices = append(f.devices, d)
	}
	return f, nil
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
	r := &run.Runner{Parallel: parallel, Quiet: quiet, Report: func(e run.Event) {
		if e.Phase == run.Done && e.Result.Status != run.Unreachable {
			if ended++; ended == f.healthy {
				f.others = time.Since(start)
				close(f.gate)
			}
		}
	}}
	results := r.Apply(ctx, f.devices, nil)
	f.ending.Wait()
	return results
}

// link is the way to a simulated device.
type link struct {
	fleet  *fleet
	target run.Target
	deaf   bool // never says hello
	mute   bool // says hello, and nothing more
}

func (l *link) Close() error { return nil }

func (l *link) Start(context.Context, transport.Command) (transport.Process, error) {
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	p := &process{stdin: inW, stdout: outR, ended: make(chan struct{})}
	p.kill = func() {
		inR.CloseWithError(io.ErrClosedPipe)
		outW.Close()
	}
	l.fleet.ending.Go(func() {
		defer close(p.ended)
		if l.deaf || l.mute {
			if l.mute {
				wire.NewConn(inR, outW).Send(wire.Message{Hello: &wire.Hello{Version: wire.Version, OS: "linux", Arch: "amd64", Facts: map[string]any{"os": "linux", "version": "1"}}})
				go io.Copy(io.Discard, inR)
			}
			<-l.fleet.gate
			p.kill()
			return
		}
		outW.CloseWithError(executor.Serve(context.Background(), inR, outW, executor.Options{Root: l.target.Root, Dir: l.target.Dir}))
		inR.CloseWithError(io.ErrClosedPipe)
	})
	return p, nil
}

type process struct {
	stdin  *io.PipeWriter
	stdout *io.PipeReader
	kill   func()
	ended  chan struct{}
}

func (p *process) Stdin() io.WriteCloser         { return p.stdin }
func (p *process) Stdout() io.Reader             { return p.stdout }
func (p *process) Kill() error                   { p.kill(); return nil }
func (p *process) Wait() (transport.Exit, error) { <-p.ended; return transport.Exit{}, nil }

// simulate runs the fleet twice, each time in a process of its own, without and with hanging devices, and prints what
// that took.
func simulate(ctx context.Context, o *options) error {
	if o.alone {
		return o.once(ctx)
	}
	fmt.Printf("| %d devices with %d resources each, one to change, 50 at once | s until all but the hanging ones ended | memory, executors included, MB | changed | unreachable |\n|---|---|---|---|---|\n", o.devices, o.resources)
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, hanging := range []int{0, o.hanging} {
		cmd := exec.CommandContext(ctx, self, "simulate", "-alone", "-heap", o.heap, "-devices", fmt.Sprint(o.devices), "-resources", fmt.Sprint(o.resources), "-hanging", fmt.Sprint(hanging))
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			return err
		}
		var took float64
		var changed, unreachable int
		if _, err := fmt.Sscan(string(out), &took, &changed, &unreachable); err != nil {
			return err
		}
		fmt.Printf("| %d hanging | %.1f | %.0f | %d | %d |\n", hanging, took, maxRSS(cmd.ProcessState), changed, unreachable)
	}
	return nil
}

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
		if r.Err != nil && r.Status != run.Unreachable {
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
	fmt.Println(f.others.Seconds(), count[run.Changed], count[run.Unreachable])
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
