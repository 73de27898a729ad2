package profile

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/fitout-dev/fitout/modules/host"
)

// A large file takes a while to hash, and is as a rule the same at the next run: so its name is remembered, with what the system
// tells of the file. Whoever writes to a file or puts another in its place changes its time of change, which nobody can set.

// remembered is the size from which on that is worth it.
const remembered = 4 << 20

// settled is how long a file must have been left alone before it is hashed: two changes within one tick of the clock look like one.
var settled = 2 * time.Second

// longUnused is when a name is forgotten.
const longUnused = 90 * 24 * time.Hour

// stamp is what tells a file's content from any that it had before.
type stamp struct {
	Device, Inode     uint64
	Size              int64
	Modified, Changed int64 // nanoseconds
}

type nameOf struct {
	Stamp stamp
	Blob  host.Blob
}

// knownNames is the folder with a file for each name that is remembered; "" remembers none.
type knownNames string

func (n knownNames) file(s stamp) string {
	return filepath.Join(string(n), fmt.Sprintf("%x-%x.json", s.Device, s.Inode))
}

// name names an open file's content: known from an earlier run, or hashed now.
func (n knownNames) name(f fs.File) (b host.Blob, known bool, err error) {
	of, ok := f.(*os.File)
	if n == "" || !ok { // what ships with fitout is no file
		b, err = host.BlobOf(f)
		return b, false, err
	}
	now, lasting := stampOf(of)
	lasting = lasting && now.Size >= remembered
	if lasting {
		if b, known = n.of(now); known {
			return b, true, nil
		}
	}
	begun := time.Now()
	if b, err = host.BlobOf(of); err != nil || !lasting || begun.Sub(time.Unix(0, max(now.Changed, now.Modified))) < settled {
		return b, false, err
	}
	if after, ok := stampOf(of); ok && after == now {
		n.remember(now, b)
	}
	return b, false, nil
}

// of returns the name that a file had when it was hashed, if it is still what it was.
func (n knownNames) of(now stamp) (host.Blob, bool) {
	var was nameOf
	b, err := os.ReadFile(n.file(now))
	if err != nil || json.Unmarshal(b, &was) != nil || was.Stamp != now || was.Blob.Size != now.Size {
		return host.Blob{}, false
	}
	if fi, err := os.Stat(n.file(now)); err == nil && time.Since(fi.ModTime()) > longUnused/10 {
		today := time.Now()
		_ = os.Chtimes(n.file(now), today, today)
	}
	return was.Blob, true
}

// remember keeps a name. That it can't be kept costs time alone.
func (n knownNames) remember(s stamp, b host.Blob) {
	text, err := json.Marshal(nameOf{s, b})
	if err != nil || os.MkdirAll(string(n), 0o700) != nil {
		return
	}
	_ = os.WriteFile(n.file(s), text, 0o600) // half of one isn't JSON
	entries, _ := os.ReadDir(string(n))
	for _, e := range entries {
		if fi, err := e.Info(); err == nil && time.Since(fi.ModTime()) > longUnused {
			_ = os.Remove(filepath.Join(string(n), e.Name()))
		}
	}
}
