package executor

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/modules/fuzzing"
)

// Whatever a crash has left in the lock's file: the lock can be taken, tells then who holds it, tells of a run that stopped
// half-way to whoever asks, and can be put back as it was.
func FuzzLock(f *testing.F) {
	f.Add([]byte(nil), "r1", "pc-7.example.lan")
	f.Add([]byte(`{"run":"r0","who":"root","from":"pc","since":"2026-01-02T03:04:05Z","pid":4711,"boot":"b"}`), "r1", "pc")
	f.Add([]byte(`{"run":"r0"}garbage`), "", "")
	f.Add([]byte("\x00\x00\x00"), "r", "\xff<>")
	f.Add([]byte("null"), "r", strings.Repeat("x", 1000))
	f.Fuzz(func(t *testing.T, left []byte, run, from string) {
		if len(left) > fuzzing.Most || len(run)+len(from) > 200 {
			t.Skip()
		}
		dir := t.TempDir()
		if err := os.WriteFile(lockFile(dir), left, 0o600); err != nil {
			t.Fatal(err)
		}
		if run == "" { // no run has that name
			t.Skip()
		}
		fuzzing.Soon(func() {
			checkLock(t, dir, left, wire.Holder{Run: run, Who: "root", From: from, Since: time.Unix(1e9, 0).UTC()})
		})
	})
}

func checkLock(t *testing.T, dir string, left []byte, me wire.Holder) {
	before, stopped := holder(dir)
	if stopped != (before != nil) {
		t.Fatalf("%q: %+v, stopped %v", left, before, stopped)
	}
	l, _, err := acquire(dir, me)
	if err != nil {
		t.Fatalf("%q: %v", left, err)
	}
	if d := cmp.Diff(before, l.stopped); d != "" {
		t.Fatalf("%q was left by one and by another:\n%s", left, d)
	}
	now, stopped := holder(dir)
	want, _ := json.Marshal(me) // as JSON has its texts
	if err := json.Unmarshal(want, &me); err != nil {
		t.Fatal(err)
	}
	me.PID, me.Boot = os.Getpid(), bootID()
	if now == nil || stopped || !cmp.Equal(*now, me) {
		t.Fatalf("%q: taken by %+v, held by %+v, stopped %v", left, me, now, stopped)
	}
	if before == nil { // then nobody puts it back
		l.leave()
	} else if err := l.putBack(); err != nil {
		t.Fatal(err)
	}
	if after, _ := holder(dir); before != nil && !cmp.Equal(before, after) {
		t.Fatalf("%q: put back it is\n%s", left, cmp.Diff(before, after))
	}
	if l, _, err = acquire(dir, me); err != nil {
		t.Fatal(err)
	}
	l.release()
	if h, stopped := holder(dir); h != nil || stopped {
		t.Fatalf("released, and still held by %+v", h)
	}
}

// Whatever is in the file of owed notifications, it is read or set aside and told of; what is added survives, what was
// delivered is gone, and all else is owed as before.
func FuzzOwed(f *testing.F) {
	f.Add([]byte(nil), "services/ssh", "files//etc/ssh/sshd_config")
	f.Add([]byte(`{"services/ssh":{"files//a":true,"files//b":false},"services/x":{}}`), "services/ssh", "files//a")
	f.Add([]byte(`{"services/ssh":{"files//a":true},"services/x":{"files//a":true}}`), "services/ssh", "files//c")
	f.Add([]byte(`{"services/ssh":null}`), "services/ssh", "files//a")
	f.Add([]byte(`null`), "a", "b")
	f.Add([]byte(`{"a":{"b":true}`), "a", "b")
	f.Fuzz(func(t *testing.T, text []byte, to, from string) {
		if len(text) > fuzzing.Most {
			t.Skip()
		}
		dir := t.TempDir()
		file := filepath.Join(dir, "owed.json")
		if len(text) > 0 {
			if err := os.WriteFile(file, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		fuzzing.Soon(func() {
			to, from := strings.ToValidUTF8(to, "?"), strings.ToValidUTF8(from, "?")
			o := loadOwed(dir)
			if o.damaged != "" {
				if kept, err := os.ReadFile(file + ".damaged"); err != nil || string(kept) != string(text) || len(o.m) > 0 {
					t.Fatalf("%q, told of as %q, is kept as %q: %v", text, o.damaged, kept, err)
				}
			}
			others := func(o *owed) map[string][]string {
				out := map[string][]string{}
				for a := range o.m {
					if a != to {
						out[a] = o.to(a)
					}
				}
				return out
			}
			before, mine := others(o), o.to(to)
			if err := o.add(&item{Resource: wire.Resource{Address: from, Notify: []string{to}}}); err != nil {
				t.Fatal(err)
			}
			if mine = append(mine, from); len(o.reasons()) != len(o.m) {
				t.Fatalf("%d of %d have a reason", len(o.reasons()), len(o.m))
			}
			slices.Sort(mine)
			again := loadOwed(dir)
			if d := cmp.Diff(slices.Compact(mine), again.to(to)); d != "" || again.damaged != "" {
				t.Fatalf("%q and %s: %q\n%s", text, from, again.damaged, d)
			}
			again.delivered(to)
			last := loadOwed(dir)
			if _, left := last.m[to]; left || last.damaged != "" || !maps.EqualFunc(before, others(last), slices.Equal) {
				t.Fatalf("%q: delivered to %s, and left is %v; others were owed %v", text, to, last.m, before)
			}
		})
	})
}
