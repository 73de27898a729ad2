package journal

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/fitout-dev/fitout/engine/executor/disk"
	"golang.org/x/sys/unix"
)

// smallDisk mounts a file system of that size. Only root may: the test is skipped for others, except where the lab is required.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size="+size); err != nil {
		if os.Getenv("FITOUT_LAB") == "required" {
			t.Fatal(err)
		}
		t.Skip("mount: ", err)
	}
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return dir
}

// fill writes until nothing more fits.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	for b := make([]byte, 4096); err == nil; {
		_, err = f.Write(b)
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
}

// What was begun can be told on a disk that has become full meanwhile, and nothing more is begun there.
func TestAFullDiskTakesWhatBecameOfAnIntent(t *testing.T) {
	dir := smallDisk(t, "4m")
	path := filepath.Join(dir, "journal")
	j, err := Create(disk.OS, path)
	must(t, err)
	intent, event := Record{Intent, bytes.Repeat([]byte("i"), 20_000)}, Record{Event, bytes.Repeat([]byte("e"), 50_000)}
	fill(t, filepath.Join(dir, "full"))
	if err := j.Append(intent); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("an intent on a full disk: %v", err)
	}
	must(t, os.Remove(filepath.Join(dir, "full")))
	must(t, j.Append(intent))
	fill(t, filepath.Join(dir, "full"))
	want := 1
	for err == nil {
		must(t, j.Append(event))
		must(t, j.Sync())
		if want++; want > 1000 {
			t.Fatal("the disk doesn't fill up")
		}
		if err = j.Append(intent); err == nil {
			want++
		}
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Error(err)
	}
	size := j.Size()
	must(t, j.Close())
	var st unix.Stat_t
	if must(t, unix.Stat(path, &st)); st.Size != size || st.Blocks*512 > size+4096 {
		t.Errorf("%d bytes take %d of the disk", st.Size, st.Blocks*512)
	}
	j, rs, err := Open(disk.OS, path)
	must(t, err)
	if must(t, j.Close()); len(rs) != want {
		t.Errorf("%d records of %d", len(rs), want)
	}
}
