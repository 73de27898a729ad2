package preflight

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "write the golden parts of fixtures")

// plenty stands for a file system with room for everything.
func plenty(path string, fs *unix.Statfs_t) error {
	*fs = unix.Statfs_t{Type: unix.EXT4_SUPER_MAGIC, Bsize: 4096, Blocks: 1 << 30, Bfree: 1 << 29, Bavail: 1 << 29, Files: 1 << 20, Ffree: 1 << 19}
	return nil
}

// volumesAre replaces what the kernel says of file systems until the test's end.
func volumesAre(t *testing.T, f func(string, *unix.Statfs_t) error) {
	old := statfs
	statfs = f
	t.Cleanup(func() { statfs = old })
}

// Each fixture is a machine: a txtar archive whose comment says what it shows. Sections: settings.json, "image" (present:
// no system runs in it), root/PATH ("-> TARGET" is a link), findings (golden, written by -update).
func TestFixtures(t *testing.T) {
	volumesAre(t, plenty)
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			root, living, want := t.TempDir(), true, ""
			var o Options
			var inputs []txtar.File
			for _, f := range a.Files {
				name, isRoot := strings.CutPrefix(f.Name, "root/")
				switch {
				case isRoot:
					put(t, filepath.Join(root, name), string(f.Data))
				case f.Name == "image":
					living = false
				case f.Name == "settings.json":
					if err := json.Unmarshal(f.Data, &o.Settings); err != nil {
						t.Fatal(err)
					}
				case f.Name == "findings":
					want = string(f.Data)
					continue
				default:
					t.Fatalf("unknown section %q", f.Name)
				}
				inputs = append(inputs, f)
			}
			got := text(device{host.New(root), living}.check(t.Context(), o))
			if *update {
				a.Files = append(inputs, txtar.File{Name: "findings", Data: []byte(got)})
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

func text(found []wire.Finding) string {
	var b strings.Builder
	for _, f := range found {
		how := "warning"
		if f.Fatal {
			how = "fatal"
		}
		fmt.Fprintf(&b, "%s: %s: %s\n\t%s\n", f.Check, how, f.Text, f.Remedy)
	}
	return b.String()
}

func put(t *testing.T, name, content string) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(name), 0o755)
	if target, ok := strings.CutPrefix(content, "-> "); ok && err == nil {
		err = os.Symlink(strings.TrimSpace(target), name)
	} else if err == nil {
		err = os.WriteFile(name, []byte(content), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
