package executor

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/disk"
	"github.com/fitout-dev/fitout/engine/executor/wire"
)

var errHeld = errors.New("held by another run")

// lock is the device's: one run at a time. The kernel gives it back when its process ends, however that happens; the file
// only tells who has it. A file that tells of a run and isn't locked belongs to one that stopped half-way.
type lock struct {
	f       *os.File
	stopped *wire.Holder // whose run had stopped when the lock was taken
}

func lockFile(dir string) string { return filepath.Join(dir, "lock") }

// acquire takes the lock or returns who holds it, with errHeld.
func acquire(dir string, me wire.Holder) (*lock, *wire.Holder, error) {
	f, err := os.OpenFile(lockFile(dir), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, err
	}
	err = tryLock(f)
	for i := 0; i < 20 && errors.Is(err, errHeld); i++ {
		time.Sleep(10 * time.Millisecond) // maybe somebody only looks who holds it
		err = tryLock(f)
	}
	if err != nil {
		defer f.Close()
		if !errors.Is(err, errHeld) {
			return nil, nil, err
		}
		return nil, readHolder(f), errHeld
	}
	l := &lock{f: f, stopped: readHolder(f)}
	me.PID, me.Boot = os.Getpid(), bootID()
	if err := l.tell(&me); err != nil {
		f.Close()
		return nil, nil, err
	}
	return l, nil, nil
}

// tell writes into the file who has it, or nobody. A new text is written over the old one, which is cut off after it: who is
// killed in between has left one of the two.
func (l *lock) tell(h *wire.Holder) error {
	var b []byte
	if h != nil {
		b, _ = json.Marshal(h)
	}
	f, err := disk.OS.OpenFile(l.f.Name(), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if len(b) > 0 {
		_, err = f.Write(b)
	}
	if err == nil {
		err = f.Truncate(int64(len(b)))
	}
	return errors.Join(err, f.Close())
}

func readHolder(f *os.File) *wire.Holder {
	var h wire.Holder
	if json.NewDecoder(io.NewSectionReader(f, 0, 4096)).Decode(&h) != nil || h.Run == "" {
		return nil
	}
	return &h
}

// holder says who holds the lock now, or whose run has stopped half-way, or nil.
func holder(dir string) (h *wire.Holder, stopped bool) {
	f, err := os.OpenFile(lockFile(dir), os.O_RDWR, 0)
	if err != nil {
		return nil, false
	}
	defer f.Close() // gives back what tryLock took
	if errors.Is(tryLock(f), errHeld) {
		return readHolder(f), false
	}
	h = readHolder(f)
	return h, h != nil
}

// release says that nothing is under way any more.
func (l *lock) release() {
	l.tell(nil)
	l.f.Close()
}

// leave gives the lock back and lets the file tell of a run that isn't at its end.
func (l *lock) leave() { l.f.Close() }

// putBack gives the lock back as it was found.
func (l *lock) putBack() error {
	return errors.Join(l.tell(l.stopped), l.f.Close())
}
