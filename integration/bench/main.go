// Command bench measures fitout beside other ways to the same end, on lab machines, and prints one table of ratios.
//
//	go run ./integration/bench               # noop
//	go run ./integration/bench noop          57 resources on 4 converged machines, and ssh HOST true
//	go run ./integration/bench apply         the same on machines that are fresh
//	go run ./integration/bench put           200 MB to one machine
//	go run ./integration/bench scale         noop on 48 machines
//	go run ./integration/bench winrm         57 resources on a converged Windows machine over WinRM, and uploads to it
//	go run ./integration/bench simulate      10,000 devices in this process, 1,000 of them hanging, 500 failing, 200 reconnecting
//	go run ./integration/bench simulate -soak 10m -devices 1000 -hanging 100 -failing 50 -reconnecting 20
//
// Each figure is the median of runs that are interleaved, so that what else the machine does falls on all of them alike;
// still, only ratios within one run mean something. Ansible takes part where it is installed (-ansible=false: not even
// then). What "Go" stands for is the floor below any program that uses golang.org/x/crypto/ssh.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
)

type options struct {
	reps     int
	machines int
	size     int64
	rate     string
	binary   string
	ansible  bool
	simulation
}

var modes = map[string]func(context.Context, *options) error{"noop": noop, "scale": noop, "apply": apply, "put": put, "winrm": overWinRM, "simulate": simulate}

func main() {
	if len(os.Args) > 1 && os.Args[1] == floorCommand {
		exitOn(floor(os.Args[2:]))
		return
	}
	mode, args := "noop", os.Args[1:]
	if len(args) > 0 && modes[args[0]] != nil {
		mode, args = args[0], args[1:]
	}
	var o options
	f := flag.NewFlagSet("bench", flag.ExitOnError)
	f.IntVar(&o.reps, "reps", 7, "runs for each figure; Ansible has one of them")
	f.IntVar(&o.machines, "machines", map[string]int{"scale": 48, "put": 1}[mode], "how many machines; 0 is 4")
	f.Int64Var(&o.size, "size", 200e6, "put: bytes")
	f.StringVar(&o.rate, "rate", "", "put: what the network carries, as 1gbit; otherwise it is as fast as the processors")
	f.StringVar(&o.binary, "fitout", "", "this fitout instead of one built from the source around")
	f.BoolVar(&o.ansible, "ansible", true, "measure Ansible where it is installed")
	f.IntVar(&o.devices, "devices", 10_000, "simulate: how many")
	f.IntVar(&o.hanging, "hanging", 1_000, "simulate: how many of them never answer")
	f.IntVar(&o.failing, "failing", 500, "simulate: how many of them fail half-way")
	f.IntVar(&o.reconnecting, "reconnecting", 200, "simulate: how many of them have a connection that breaks every second")
	f.DurationVar(&o.soak, "soak", 0, "simulate: apply to one fleet again and again for so long (`TIME`)")
	f.IntVar(&o.resources, "resources", 57, "simulate: for each device")
	f.StringVar(&o.heap, "heap", "", "simulate: write a profile of the heap to this file")
	f.BoolVar(&o.alone, "alone", false, "simulate: one fleet in this process, figures only")
	f.Parse(args)
	if o.machines == 0 {
		o.machines = 4
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	exitOn(modes[mode](ctx, &o))
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func noop(ctx context.Context, o *options) error {
	f, err := newField(ctx, o, site)
	if err != nil {
		return err
	}
	defer f.close()
	if err := f.fitout("apply").run(ctx, f); err != nil {
		return err
	}
	runs := []contestant{f.ssh(), f.floor("exec"), f.fitout("apply")}
	if o.ansible && ansibleInstalled() && o.machines <= 8 {
		runs = append(runs, f.ansible())
	}
	return f.compare(ctx, fmt.Sprintf("no-op of %d resources on %d machines", resources, o.machines), runs, nil)
}

func apply(ctx context.Context, o *options) error {
	f, err := newField(ctx, o, site)
	if err != nil {
		return err
	}
	defer f.close()
	runs := []contestant{f.ssh(), f.floor("exec"), f.fitout("apply")}
	if o.ansible && ansibleInstalled() {
		runs = append(runs, f.ansible())
	}
	return f.compare(ctx, fmt.Sprintf("first contact and apply of %d resources on %d machines", resources, o.machines), runs, f.reset)
}

func put(ctx context.Context, o *options) error {
	f, err := newField(ctx, o, []byte("profile: big\nfiles:\n  - {path: /root/big, source: big}\n"))
	if err != nil {
		return err
	}
	defer f.close()
	big := filepath.Join(f.dir, "big")
	if err := randomFile(big, o.size); err != nil {
		return err
	}
	if err := f.fitout("apply").run(ctx, f); err != nil { // the executor is there from now on
		return err
	}
	if o.rate != "" {
		for _, m := range f.machines {
			if err := m.Rate(ctx, o.rate); err != nil {
				return err
			}
		}
	}
	remove := func(ctx context.Context) error {
		return f.each(ctx, "rm -rf /root/big /var/lib/fitout/store; sync -f /root")
	}
	runs := []contestant{f.sftp(big, false), f.sftp(big, true), f.floor("put", "-src", big, "-dst", "/root/big"), f.fitout("apply")}
	if o.ansible && ansibleInstalled() {
		f.playbook = fmt.Sprintf("- hosts: all\n  gather_facts: false\n  tasks:\n    - copy: {src: %s, dest: /root/big}\n", big)
		runs = append(runs, f.ansible())
	}
	for i := range runs {
		runs[i].after = func(ctx context.Context) error {
			return f.each(ctx, fmt.Sprintf("[ $(stat -c %%s /root/big) = %d ]", o.size))
		}
	}
	return f.compare(ctx, fmt.Sprintf("%d MB to %d machines", o.size/1e6, o.machines), runs, remove)
}

func median[T interface{ ~int64 | ~float64 }](values []T) T {
	s := slices.Sorted(slices.Values(values))
	return s[len(s)/2]
}
