package executor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sort"
	"strings"

	"github.com/fitout-dev/fitout/engine/executor/disk"
)

// owed are the notifications that are due, kept on the device until they are delivered: they survive a run that was
// interrupted between a change and its notification, by a power cut too.
type owed struct {
	fs      disk.FS
	file    string
	m       map[string]map[string]bool // to, from
	unsaved bool                       // there may be more in m than in the file

	// damaged says what is wrong with a file that can't be read, and where it is kept: nobody knows what was owed then.
	damaged string
}

func owedFile(dir string) string { return filepath.Join(dir, "owed.json") }

func loadOwed(dir string) *owed { return loadOwedFrom(disk.OS, dir) }

func loadOwedFrom(fsys disk.FS, dir string) *owed {
	o := &owed{fs: fsys, file: owedFile(dir)}
	b, err := disk.ReadFile(fsys, o.file)
	if err == nil {
		if err = json.Unmarshal(b, &o.m); err == nil && o.m == nil {
			err = errors.New("it holds nothing")
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		o.m = nil
		o.damaged = fmt.Sprintf("the list of owed notifications can't be read, some may never be delivered: %v; it is kept as %s", err, o.aside())
	}
	if o.m == nil {
		o.m = map[string]map[string]bool{}
	}
	return o
}

// aside moves a damaged file away, and says where it is.
func (o *owed) aside() string {
	to := o.file + ".damaged"
	if err := o.fs.Rename(o.file, to); err != nil {
		return o.file
	}
	o.fs.SyncDir(filepath.Dir(o.file))
	return to
}

// add records what items notify, before they are changed.
func (o *owed) add(items ...*item) error {
	for _, it := range items {
		for _, to := range it.Notify {
			o.learn(map[string][]string{to: {it.Address}})
		}
	}
	if !o.unsaved {
		return nil
	}
	return o.save()
}

// learn takes in what somebody else knows to be owed. It is saved with what this run owes.
func (o *owed) learn(owed map[string][]string) {
	for to, from := range owed {
		for _, f := range from {
			if o.m[to] == nil {
				o.m[to] = map[string]bool{}
			}
			o.unsaved = o.unsaved || !o.m[to][f]
			o.m[to][f] = true
		}
	}
}

// all is what is owed: to whom, from whom.
func (o *owed) all() map[string][]string {
	out := map[string][]string{}
	for a := range o.m {
		out[a] = o.to(a)
	}
	return out
}

func (o *owed) to(address string) []string {
	var from []string
	for f := range o.m[address] {
		from = append(from, f)
	}
	sort.Strings(from)
	return from
}

// delivered strikes out what was owed to a resource. Should that not last, it is delivered once more.
func (o *owed) delivered(address string) {
	if o.m[address] == nil {
		return
	}
	delete(o.m, address)
	o.save()
}

func (o *owed) reasons() map[string]string {
	out := map[string]string{}
	for a := range o.m {
		out[a] = strings.Join(o.to(a), ", ") + " changed"
	}
	return out
}

func (o *owed) save() error {
	err := o.write()
	o.unsaved = err != nil
	return err
}

func (o *owed) write() error {
	if len(o.m) == 0 {
		if err := o.fs.Remove(o.file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		err := o.fs.SyncDir(filepath.Dir(o.file))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	b, err := json.Marshal(o.m)
	if err != nil {
		return err
	}
	err = disk.Replace(o.fs, o.file, b, 0o600)
	if errors.Is(err, fs.ErrNotExist) { // somebody has removed the executor's folder: only this process knows what is owed
		if err = disk.MakeDir(o.fs, filepath.Dir(o.file), 0o700); err == nil {
			err = disk.Replace(o.fs, o.file, b, 0o600)
		}
	}
	return err
}
