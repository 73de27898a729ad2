package preflight

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

const (
	mb = 1_000_000
	kb = 4096 // a block
)

func ext4(blocks, free, available uint64) unix.Statfs_t {
	return unix.Statfs_t{Type: unix.EXT4_SUPER_MAGIC, Bsize: kb, Blocks: blocks, Bfree: free, Bavail: available, Files: 10_000, Ffree: 5_000}
}

func TestRoom(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("reserved blocks are root's")
	}
	inodes := func(fs unix.Statfs_t, all, free uint64) unix.Statfs_t { fs.Files, fs.Ffree = all, free; return fs }
	readOnly := func(fs unix.Statfs_t) unix.Statfs_t { fs.Flags = unix.ST_RDONLY; return fs }
	old := func(t *testing.T, root string) { // /srv/image, 40 blocks
		put(t, filepath.Join(root, "srv/image"), strings.Repeat("x", 40*kb))
	}
	many := func(n int) (ws []Write) {
		for range n {
			ws = append(ws, Write{"/srv/a/small", 1})
		}
		return ws
	}
	for name, c := range map[string]struct {
		fs     unix.Statfs_t
		before func(*testing.T, string)
		o      Options
		want   string // finding, or what stands in its text
		fatal  bool
	}{
		"room enough":                   {fs: ext4(1e6, 5e5, 4e5), o: Options{Writes: []Write{{"/srv/a", 1e9}}}},
		"fits exactly":                  {fs: ext4(1e6, 100, 100), o: Options{Settings: wire.Settings{MinDisk: -1}, Writes: []Write{{"/srv/a", 60 * kb}, {"/srv/b", 40 * kb}}}},
		"a byte too much":               {fs: ext4(1e6, 100, 100), o: Options{Writes: []Write{{"/srv/a", 60 * kb}, {"/srv/b", 40*kb + 1}}}, want: "414 kB will be written to the file system at /, which has room for 410 kB", fatal: true},
		"many small ones fill blocks":   {fs: ext4(1e6, 100, 100), o: Options{Writes: many(101)}, want: "will be written", fatal: true},
		"root uses what is reserved":    {fs: ext4(1e6, 6000, 0), o: Options{Settings: wire.Settings{MinDisk: -1}, Writes: []Write{{"/srv/a", 1900 * kb}}}},
		"but not what ext4 needs":       {fs: ext4(1e6, 6000, 0), o: Options{Writes: []Write{{"/srv/a", 1905 * kb}}}, want: "which has room for 7.8 MB", fatal: true},
		"a margin has to stay":          {fs: ext4(1e6, 40_000, 30_000), want: "/ has 123 MB free of 4.1 GB; 200 MB should stay free"},
		"the margin is beyond writes":   {fs: ext4(1e6, 60_000, 60_000), o: Options{Writes: []Write{{"/srv/a", 100 * mb}}}, want: "/ has 246 MB free of 4.1 GB, and 100 MB will be written; 200 MB should stay free"},
		"a margin of the profile's":     {fs: ext4(1e6, 40_000, 30_000), o: Options{Settings: wire.Settings{MinDisk: 100 * mb}}},
		"no margin":                     {fs: ext4(1e6, 1, 1), o: Options{Settings: wire.Settings{MinDisk: -1}}},
		"replaced ones give room back":  {fs: ext4(1e6, 50, 50), before: old, o: Options{Settings: wire.Settings{MinDisk: -1}, Writes: []Write{{"/srv/image", 45 * kb}, {"/srv/b", 45 * kb}}}},
		"but not before they are gone":  {fs: ext4(1e6, 40, 40), before: old, o: Options{Writes: []Write{{"/srv/image", 45 * kb}}}, want: "184 kB will be written", fatal: true},
		"new ones don't":                {fs: ext4(1e6, 50, 50), o: Options{Writes: []Write{{"/srv/image", 45 * kb}, {"/srv/b", 45 * kb}}}, want: "will be written", fatal: true},
		"no inodes":                     {fs: inodes(ext4(1e6, 5e5, 5e5), 10_000, 3), o: Options{Writes: many(4)}, want: "4 files will be made on the file system at /, which has inodes for 3", fatal: true},
		"inodes enough":                 {fs: inodes(ext4(1e6, 5e5, 5e5), 10_000, 4), o: Options{Writes: many(4)}},
		"inodes made as needed":         {fs: inodes(ext4(1e6, 5e5, 5e5), 0, 0), o: Options{Writes: many(4)}},
		"read-only":                     {fs: readOnly(ext4(1e6, 5e5, 5e5)), want: "the file system at / is mounted read-only", fatal: true},
		"nobody knows its size":         {fs: unix.Statfs_t{Bsize: kb}, o: Options{Writes: []Write{{"/proc/sys/kernel/x", 10}}}},
		"reserved blocks aren't margin": {fs: ext4(1e6, 100_000, 0), want: "/ has 0 bytes free"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			if c.before != nil {
				c.before(t, root)
			}
			volumesAre(t, func(p string, fs *unix.Statfs_t) error { *fs = c.fs; return nil })
			found := Check(t.Context(), host.New(root), c.o)
			if c.want == "" {
				if len(found) != 0 {
					t.Errorf("found %s", text(found))
				}
				return
			}
			if len(found) != 1 || !strings.Contains(found[0].Text, c.want) || found[0].Fatal != c.fatal || found[0].Remedy == "" {
				t.Errorf("want %q, fatal %t; found %d: %s", c.want, c.fatal, len(found), text(found))
			}
		})
	}
}

// What is written is added up for each file system: here real ones.
func TestFileSystems(t *testing.T) {
	root := t.TempDir()
	mount(t, root, "size=64m,nr_inodes=2000", 0)
	for _, dir := range []string{"etc", "var", "srv/small", "boot", "sealed", "elsewhere"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mount(t, filepath.Join(root, "srv/small"), "size=1m", 0)
	mount(t, filepath.Join(root, "boot"), "size=1m", 0)
	mount(t, filepath.Join(root, "sealed"), "size=1m", unix.MS_RDONLY)
	if err := os.Symlink("/srv/small", filepath.Join(root, "elsewhere/link")); err != nil { // the root's own /srv
		t.Fatal(err)
	}
	h, lenient := host.New(root), wire.Settings{MinDisk: 20 * mb}
	for name, c := range map[string]struct {
		o    Options
		want []string
	}{
		"nothing":                    {o: Options{}},
		"each for itself":            {o: Options{Writes: []Write{{"/srv/small/a", 700_000}, {"/boot/b", 700_000}, {"/srv/big", 30 * mb}}}},
		"two on one":                 {o: Options{Writes: []Write{{"/srv/small/a", 700_000}, {"/srv/small/deep/missing/b", 700_000}}}, want: []string{"at /srv/small, which"}},
		"through a link":             {o: Options{Writes: []Write{{"/elsewhere/link/a", 1_200_000}}}, want: []string{"at /srv/small, which"}},
		"on the root":                {o: Options{Writes: []Write{{"/opt/new/a", 50 * mb}, {"/etc/b", 30 * mb}}}, want: []string{"at /, which"}},
		"read-only, nothing there":   {o: Options{Writes: []Write{{"/boot/b", 1}}}},
		"read-only, a write":         {o: Options{Writes: []Write{{"/sealed/x", 1}}}, want: []string{"at /sealed is mounted read-only"}},
		"read-only, the executor's":  {o: Options{Dir: "/sealed/lib/fitout"}, want: []string{"at /sealed is mounted read-only"}},
		"the margin of the own room": {o: Options{Dir: "/boot/fitout"}, want: []string{"at /boot has 1.0 MB free of 1.0 MB; 20 MB should"}},
		"two, the fatal one first": {o: Options{Dir: "/boot/fitout", Writes: []Write{{"/sealed/x", 1}}}, want: []string{"at /sealed is mounted read-only",
			"at /boot has"}},
		"inodes": {o: Options{Writes: manyFiles(2100)}, want: []string{"2100 files will be made on the file system at /, which"}},
	} {
		c.o.Settings = lenient
		var got []string
		for _, f := range Check(t.Context(), h, c.o) {
			got = append(got, f.Text)
		}
		if len(got) != len(c.want) {
			t.Errorf("%s: found %q, want %q", name, got, c.want)
			continue
		}
		for i := range got {
			if !strings.Contains(got[i], c.want[i]) {
				t.Errorf("%s: found %q, want %q", name, got, c.want)
			}
		}
	}
	var got []string
	bound := filepath.Join(root, "etc")
	if err := unix.Mount(bound, bound, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", bound, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	for _, f := range Check(t.Context(), h, Options{Settings: lenient, Writes: []Write{{"/etc/ssh/x", 1}, {"/srv/y", 1}}}) {
		got = append(got, f.Text)
	}
	if d := cmp.Diff([]string{"the file system at /etc is mounted read-only"}, got); d != "" {
		t.Errorf("a sandbox: %s", d)
	}
	if err := unix.Unmount(bound, 0); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(root, "run/ostree-booted"), "")
	if err := unix.Mount("", root, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	mount(t, filepath.Join(root, "etc"), "size=1m", 0)
	got = nil
	for _, f := range Check(t.Context(), h, Options{Settings: wire.Settings{MinDisk: -1}}) {
		got = append(got, f.Text)
	}
	if d := cmp.Diff([]string{"the file system at / is mounted read-only"}, got); d != "" { // /var is on it
		t.Errorf("ostree, /var read-only: %s", d)
	}
	mount(t, filepath.Join(root, "var"), "size=1m", 0)
	if found := Check(t.Context(), h, Options{Settings: wire.Settings{MinDisk: -1}}); len(found) != 0 {
		t.Errorf("ostree: %s", text(found))
	}
}

func manyFiles(n int) []Write {
	ws := make([]Write, n)
	for i := range ws {
		ws[i] = Write{"/srv/new", 1}
	}
	return ws
}

func mount(t *testing.T, dir, options string, flags uintptr) {
	t.Helper()
	if err := unix.Mount("tmpfs", dir, "tmpfs", flags, options); err != nil {
		t.Skipf("mounting needs root: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
}

func TestBtrfsSubvolumesShareTheirRoom(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"a", "b"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
		mount(t, filepath.Join(root, dir), "size=1m", 0) // two device numbers
	}
	volumesAre(t, func(p string, fs *unix.Statfs_t) error {
		*fs = unix.Statfs_t{Type: unix.BTRFS_SUPER_MAGIC, Bsize: kb, Blocks: 1e6, Bfree: 1000, Bavail: 1000}
		return nil
	})
	found := Check(t.Context(), host.New(root), Options{Settings: wire.Settings{MinDisk: -1}, Writes: []Write{{"/a/x", 600 * kb}, {"/b/x", 600 * kb}}})
	if len(found) != 1 || !found[0].Fatal {
		t.Errorf("found %s", text(found))
	}
}

func BenchmarkCheck(b *testing.B) {
	h := host.New("/")
	for b.Loop() {
		Check(b.Context(), h, Options{Dir: "/var/lib/fitout", Writes: []Write{{"/etc/motd", 100}, {"/srv/x", 5000}, {"/usr/local/bin/y", 1 << 20}}})
	}
}
