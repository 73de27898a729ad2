// Command executor is what fitout puts on a device. It is started by the controller, never by hand.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/fitout-dev/fitout/engine/executor"
)

func main() {
	root := flag.String("root", "/", "the device's root folder")
	dir := flag.String("dir", "", "the executor's own folder")
	flag.Parse()
	if *dir == "" {
		fmt.Fprintln(os.Stderr, "fitout's executor is started by fitout: see fitout apply --help")
		os.Exit(1)
	}
	outliveListener()
	// It lives for a moment as a rule: collecting garbage would cost half of that. The limit bounds it on small devices.
	debug.SetGCPercent(800)
	debug.SetMemoryLimit(40 << 20)
	if err := executor.Serve(context.Background(), os.Stdin, os.Stdout, executor.Options{Root: *root, Dir: *dir}); err != nil {
		fmt.Fprintln(os.Stderr, "executor:", err)
		os.Exit(1)
	}
}
