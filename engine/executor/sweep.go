package executor

import (
	"os"
	"path/filepath"

	"github.com/fitout-dev/fitout/engine/executor/disk"
)

// sweepLeftovers removes what a crash has left half written, or of a run that has ended, while no run is under way or to be
// gone on with.
func sweepLeftovers(o Options) {
	f, err := os.OpenFile(lockFile(o.Dir), os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer f.Close() // gives back what tryLock took: no run begins meanwhile
	if tryLock(f) != nil || readHolder(f) != nil {
		return
	}
	disk.OS.Remove(owedFile(o.Dir) + ".new")
	runs, _ := os.ReadDir(filepath.Join(o.Dir, "runs"))
	for _, e := range runs {
		for _, pattern := range traces {
			left, _ := filepath.Glob(filepath.Join(runDir(o.Dir, e.Name()), pattern))
			if len(left) == 0 {
				continue
			}
			if st, err := readState(o.Dir, e.Name()); err == nil && st.ended { // another is about to begin, maybe
				removeTraces(o, e.Name())
			}
			break
		}
	}
}
