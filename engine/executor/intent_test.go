package executor

import (
	"bytes"
	"io/fs"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/fitout-dev/fitout/engine/executor/disk"
	"github.com/fitout-dev/fitout/engine/executor/journal"
	"github.com/fitout-dev/fitout/engine/executor/wire"
)

// fullFor is a disk that has no room for what holds text, a number of times.
type fullFor struct {
	disk.FS
	text  []byte
	times int
}

func (f *fullFor) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	file, err := f.FS.OpenFile(name, flag, perm)
	if err == nil && filepath.Base(name) == "journal" {
		file = &fullFile{file, f}
	}
	return file, err
}

type fullFile struct {
	disk.File
	f *fullFor
}

func (f *fullFile) Write(b []byte) (int, error) {
	if f.f.times > 0 && bytes.Contains(b, f.f.text) {
		f.f.times--
		return 0, syscall.ENOSPC
	}
	return f.File.Write(b)
}

// An intent that couldn't be recorded is none: when the resource is tried again, it is recorded before anything changes.
func TestAnIntentThatWasNotRecordedIsRecordedLater(t *testing.T) {
	d := newDevice(t)
	full := &fullFor{disk.OS, []byte(`"have":`), 1}
	disk.OS = full
	t.Cleanup(func() { disk.OS = full.FS })
	c := connect(t, d)
	events := c.run(doc("r1", resource("probe", "conf", "", func(r *wire.Resource) { r.Retries = 1 })))
	if got := resolved(events); got != "probe/conf changed" || full.times != 0 {
		t.Errorf("resolved %s; to fail: %d", got, full.times)
	}
	c.in.Close()
	<-c.served
	j, rs, err := journal.Open(full.FS, journalFile(d.dir, "r1"))
	if err != nil {
		t.Fatal(err)
	}
	j.Close()
	intents := 0
	for _, r := range rs {
		if r.Kind == journal.Intent {
			intents++
		}
	}
	if intents != 1 {
		t.Errorf("%d intents are in the journal", intents)
	}
}
