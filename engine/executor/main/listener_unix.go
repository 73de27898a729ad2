//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// outliveListener keeps a run going when nobody listens any more: neither a closed terminal nor a closed pipe ends it.
// The signals are caught, not ignored: programs that are started would inherit that, and `yes | head` would complain.
func outliveListener() { signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGPIPE) }

// told is closed when the system wants this process to end, at a shutdown for example.
func told() <-chan struct{} {
	c, signals := make(chan struct{}), make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	go func() {
		<-signals
		close(c)
	}()
	return c
}
