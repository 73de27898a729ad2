// Command executor is what fitout puts on a device. It is started by the controller, never by hand.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/fitout-dev/fitout/engine/executor"
	"github.com/fitout-dev/fitout/engine/executor/nodump"
)

// placed, where it isn't nil, sees that this program is where it should be. It says whether that was all to be done.
var placed func(dir *string) (done bool, err error)

// around is what a platform does around a run that is carried out.
var around = func(carry func(atBoot bool, stop <-chan struct{}) error, atBoot bool) error {
	return carry(atBoot, told())
}

func main() {
	nodump.Set()
	root := flag.String("root", "/", "the device's root folder")
	dir := flag.String("dir", "", "the executor's own folder")
	run := flag.String("run", "", "carry this run out")
	boot := flag.Bool("boot", false, "the machine has started")
	flag.Parse()
	if *dir == "" {
		fmt.Fprintln(os.Stderr, "fitout's executor is started by fitout: see fitout apply --help")
		os.Exit(1)
	}
	if placed != nil {
		if done, err := placed(dir); err != nil {
			fmt.Fprintln(os.Stderr, "executor:", err)
			os.Exit(1)
		} else if done {
			return
		}
	}
	outliveListener()
	// It lives for a moment as a rule: collecting garbage would cost half of that. The limit bounds it on small devices.
	debug.SetGCPercent(800)
	debug.SetMemoryLimit(40 << 20)
	o := executor.Options{Root: *root, Dir: *dir, Detached: *run != ""}
	var err error
	if *run != "" {
		carry := func(atBoot bool, stop <-chan struct{}) error {
			return executor.Carry(context.Background(), o, *run, atBoot, stop)
		}
		err = around(carry, *boot)
	} else {
		o.Detach = func(ctx context.Context, run string) error { return executor.Detach(ctx, o, run) }
		err = executor.Serve(context.Background(), os.Stdin, os.Stdout, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "executor:", err)
		os.Exit(1)
	}
}
