//go:build !linux

package executor

import "time"

// startWatchman has the run go on every so often, should its process have been killed.
func startWatchman(o Options, run string, every time.Duration) (end func(), err error) {
	exe, err := executorOf(o, run)
	if err != nil {
		return nil, err
	}
	return startSleeper(runnerArgs(exe, o, run), every)
}
