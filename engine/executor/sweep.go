package executor

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/disk"
)

// sweepLeftovers removes what a crash has left half written, or of a run that has ended, while no run is under way or to be
// gone on with.
func sweepLeftovers(o Options) {
	removeAbandoned(filepath.Join(o.Dir, "bin", ".new-*"))
	if o.Root == "/" {
		removeAbandoned("/tmp/fitout-*.gz")
	}
	f, err := os.OpenFile(lockFile(o.Dir), os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer f.Close() // gives back what tryLock took: no run begins meanwhile
	if tryLock(f) != nil || readHolder(f) != nil {
		return
	}
	disk.OS.Remove(disk.HalfWritten(owedFile(o.Dir)))
	runs, _ := os.ReadDir(filepath.Join(o.Dir, "runs"))
	for _, e := range runs {
		if len(tracesOf(o, e.Name())) == 0 {
			continue
		}
		if st, err := readState(o.Dir, e.Name()); err == nil && st.ended { // another is about to begin, maybe
			removeTraces(o, e.Name())
		}
	}
}

// uploadLasts is far longer than an executor is on its way. What is older was left by a controller that died.
const uploadLasts = time.Hour

// removeAbandoned removes executors that were not sent to their end.
func removeAbandoned(pattern string) {
	left, _ := filepath.Glob(pattern)
	for _, name := range left {
		fi, err := os.Lstat(name)
		if err == nil && (fi.Mode().IsRegular() || fi.IsDir()) && time.Since(fi.ModTime()) > uploadLasts {
			disk.OS.RemoveAll(name)
		}
	}
}

// runsOf are the runs for which a file was written, or half of one. pattern is its name, with * for the run's.
func runsOf(pattern string) (runs []string) {
	before, after, _ := strings.Cut(filepath.Base(pattern), "*")
	files, _ := filepath.Glob(pattern)
	half, _ := filepath.Glob(disk.HalfWritten(pattern))
	for _, f := range append(files, half...) {
		run, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(f), before), after)
		runs = append(runs, run)
	}
	return runs
}
