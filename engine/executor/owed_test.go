package executor

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fitout-dev/fitout/engine/executor/disk"
	"github.com/fitout-dev/fitout/engine/executor/disk/lossy"
	"github.com/fitout-dev/fitout/engine/executor/wire"
)

func notifier(address string, to ...string) *item {
	return &item{Resource: wire.Resource{Address: address, Notify: to}}
}

// TestOwedPowerCut: whenever the power fails, what was recorded and not delivered is still owed.
func TestOwedPowerCut(t *testing.T) {
	const dir = "/var/lib/fitout"
	fs := lossy.New()
	if err := disk.MakeDir(fs, dir, 0o700); err != nil {
		t.Fatal(err)
	}
	states := 0
	var must, may map[string][]string
	look := func(string) {
		for state := range fs.Crashes(2000, 1) {
			states++
			o := loadOwedFrom(state, dir)
			if o.damaged != "" {
				t.Fatalf("%s\n%s", o.damaged, state)
			}
			for to, from := range must {
				for _, f := range from {
					if !slices.Contains(o.to(to), f) {
						t.Fatalf("%s is owed no more to %s\n%s", f, to, state)
					}
				}
			}
			for to := range o.m {
				for _, f := range o.to(to) {
					if !slices.Contains(may[to], f) {
						t.Fatalf("%s was never owed to %s, or is delivered\n%s", f, to, state)
					}
				}
			}
		}
	}
	o := loadOwedFrom(disk.WithSteps(fs, look), dir)
	step := func(after map[string][]string, f func() error) {
		t.Helper()
		before := must
		// While it is under way, what both hold must be there, and what either holds may be.
		must, may = map[string][]string{}, map[string][]string{}
		for _, m := range []map[string][]string{before, after} {
			for to, from := range m {
				may[to] = append(may[to], from...)
				if before[to] != nil && after[to] != nil {
					must[to] = before[to]
				}
			}
		}
		if err := f(); err != nil {
			t.Fatal(err)
		}
		must, may = after, after
		look("")
	}
	ssh, web := "services/ssh", "services/web"
	step(map[string][]string{ssh: {"a"}}, func() error { return o.add(notifier("a", ssh)) })
	step(map[string][]string{ssh: {"a", "b"}, web: {"b"}}, func() error { return o.add(notifier("b", ssh, web)) })
	step(map[string][]string{web: {"b"}}, func() error { o.delivered(ssh); return nil })
	step(map[string][]string{web: {"b", "c"}}, func() error { return o.add(notifier("c", web)) })
	step(map[string][]string{}, func() error { o.delivered(web); return nil })
	step(map[string][]string{ssh: {"d"}}, func() error { return o.add(notifier("d", ssh)) })
	if states < 100 {
		t.Errorf("only %d states were seen", states)
	}
}

// TestOwedDamaged: a file that can't be read is told and kept, not forgotten.
func TestOwedDamaged(t *testing.T) {
	for name, content := range map[string]string{
		"empty": "", "zeros": "\x00\x00\x00", "cut": `{"services/ssh":{"a":tr`, "null": "null", "other": `["a"]`, "other inside": `{"a":{"b":"c"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "owed.json")
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			o := loadOwed(dir)
			if !strings.Contains(o.damaged, file+".damaged") || len(o.m) > 0 {
				t.Errorf("damaged: %q, owed: %v", o.damaged, o.m)
			}
			if b, err := os.ReadFile(file + ".damaged"); err != nil || string(b) != content {
				t.Errorf("kept %q, %v", b, err)
			}
			if err := o.add(notifier("a", "services/ssh")); err != nil {
				t.Fatal(err)
			}
			again := loadOwed(dir)
			if diff := cmp.Diff(map[string]string{"services/ssh": "a changed"}, again.reasons()); diff != "" || again.damaged != "" {
				t.Error(diff, again.damaged)
			}
		})
	}
	if o := loadOwed(t.TempDir()); o.damaged != "" {
		t.Error(o.damaged)
	}
}

// fullDisk refuses new files.
type fullDisk struct {
	disk.FS
	full bool
}

func (f *fullDisk) OpenFile(name string, flag int, perm os.FileMode) (disk.File, error) {
	if f.full && flag&os.O_CREATE != 0 {
		return nil, errors.New("no space left on device")
	}
	return f.FS.OpenFile(name, flag, perm)
}

// TestOwedRetried: what couldn't be recorded isn't taken for recorded when it is tried again.
func TestOwedRetried(t *testing.T) {
	dir := t.TempDir()
	full := &fullDisk{disk.OS, true}
	o := loadOwedFrom(full, dir)
	for range 2 {
		if o.add(notifier("a", "services/ssh")) == nil {
			t.Fatal("recorded on a full disk")
		}
	}
	full.full = false
	if err := o.add(notifier("a", "services/ssh")); err != nil {
		t.Fatal(err)
	}
	if got := loadOwed(dir).to("services/ssh"); !slices.Equal(got, []string{"a"}) {
		t.Errorf("owed: %q", got)
	}
}

// Only the run that is under way knows what is owed when somebody removes the executor's folder.
func TestOwedWithoutFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "fitout")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	o := loadOwed(dir)
	if err := o.add(notifier("a", "services/ssh", "services/cron")); err != nil {
		t.Fatal(err)
	}
	os.RemoveAll(dir)
	o.delivered("services/cron")
	if got := loadOwed(dir).reasons(); len(got) != 1 || got["services/ssh"] != "a changed" {
		t.Errorf("owed %v", got)
	}
	os.RemoveAll(dir)
	o.delivered("services/ssh")
	if err := o.add(notifier("b")); err != nil {
		t.Errorf("a change that notifies nobody: %v", err)
	}
}
