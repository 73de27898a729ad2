//go:build !linux

package executor

import (
	"context"
	"path/filepath"
)

func socketPath(dir, run string) (path string, done func()) {
	return filepath.Join(runDir(dir, run), "socket"), func() {}
}

// Detach starts a runner that outlives the session, in a session of its own.
func Detach(_ context.Context, o Options, run string) error {
	exe, err := executorOf(o, run)
	if err != nil {
		return err
	}
	return spawnRunner([]string{exe, "-dir", o.Dir, "-root", o.Root, "-run", run})
}

func bury(Options, string) {}

func stopping(Options) bool { return false }

// unit starts a run again after the machine has; here nothing does, and the run waits for the controller.
type unit struct{}

var bootUnit unit

func (unit) install(Options, string) bool { return false }
func (unit) remove(Options, string)       {}
func (unit) sweep(Options)                {}
