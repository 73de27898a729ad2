package executor

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fitout-dev/fitout/engine/executor/disk"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/host"
)

// keptRoom is how much all runs of a device keep together for undo; tests have less. When more is to be kept, the contents
// of the oldest runs go first.
var keptRoom int64 = 1 << 30

// keptFile is a content that a run keeps.
type keptFile struct {
	path, hash string
	size       int64
}

// keptByRuns are those of all runs but one, the oldest first, and how much that one keeps.
func keptByRuns(dir, except string) (files []keptFile, own int64) {
	paths, _ := filepath.Glob(filepath.Join(runDir(dir, "*"), "kept", "*"))
	slices.SortStableFunc(paths, func(a, b string) int { return strings.Compare(runOf(a), runOf(b)) })
	for _, p := range paths {
		fi, err := os.Stat(p)
		switch {
		case err != nil:
		case runOf(p) == except:
			own += fi.Size()
		default:
			files = append(files, keptFile{p, filepath.Base(p), fi.Size()})
		}
	}
	return files, own
}

func runOf(kept string) string { return filepath.Base(filepath.Dir(filepath.Dir(kept))) }

// makeRoom sees to it that so much more may be kept. What the run itself needs stays: it may take back what an older one did.
func (r *run) makeRoom(size int64) error {
	if r.older == nil {
		r.older, r.keeps = keptByRuns(r.dir, r.doc.ID)
		r.older = append([]keptFile{}, r.older...) // looked for once
	}
	total := r.keeps + size
	for _, f := range r.older {
		total += f.size
	}
	for i := 0; total > keptRoom && i < len(r.older); {
		if f := r.older[i]; r.needs(f.hash) {
			i++
		} else if err := disk.OS.Remove(f.path); err != nil {
			return err
		} else {
			total -= f.size
			r.older = slices.Delete(r.older, i, i+1)
		}
	}
	if total > keptRoom {
		return errNoRoom
	}
	r.keeps += size
	return nil
}

var errNoRoom = errors.New("a device keeps no more than 1 GB")

// needs says whether a resource of the run is declared to have a content.
func (r *run) needs(hash string) bool {
	return slices.ContainsFunc(r.items, func(it *item) bool {
		return it.bad == nil && slices.ContainsFunc(it.typ.Fields, func(fd modules.Field) bool {
			b, ok := it.typ.Value(it.want, fd).(host.Blob)
			return ok && b.Hash == hash
		})
	})
}
