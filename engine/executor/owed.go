package executor

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// owed are the notifications that are due, kept on the device until they are delivered: they survive a run that was
// interrupted between a change and its notification.
type owed struct {
	file string
	m    map[string]map[string]bool // to, from
}

func loadOwed(dir string) *owed {
	o := &owed{file: filepath.Join(dir, "owed.json"), m: map[string]map[string]bool{}}
	if b, err := os.ReadFile(o.file); err == nil {
		if json.Unmarshal(b, &o.m) != nil || o.m == nil {
			o.m = map[string]map[string]bool{}
		}
	}
	return o
}

// add records what items notify, before they are changed.
func (o *owed) add(items ...*item) error {
	more := false
	for _, it := range items {
		for _, to := range it.Notify {
			if o.m[to] == nil {
				o.m[to] = map[string]bool{}
			}
			more = more || !o.m[to][it.Address]
			o.m[to][it.Address] = true
		}
	}
	if !more {
		return nil
	}
	return o.save()
}

func (o *owed) to(address string) []string {
	var from []string
	for f := range o.m[address] {
		from = append(from, f)
	}
	sort.Strings(from)
	return from
}

func (o *owed) delivered(address string) {
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
	if len(o.m) == 0 {
		return os.Remove(o.file)
	}
	b, err := json.Marshal(o.m)
	if err != nil {
		return err
	}
	tmp := o.file + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, o.file)
}
