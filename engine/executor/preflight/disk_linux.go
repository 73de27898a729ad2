package preflight

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"golang.org/x/sys/unix"
)

// volume is a file system, with what will be written to it.
type volume struct {
	at   string // where it is mounted, as far as one can tell
	free int64  // bytes that this process may fill
	left int64  // bytes that everybody may fill
	size int64
	node int64 // free inodes; -1 where they are made as needed

	block    int64
	readOnly bool
	watched  bool // the system lives on it, so that some room has to stay
	writes   []Write
}

// identity tells file systems apart, and mounts of one that forbid writing from those that don't: a service's sandbox is
// often made of the former.
type identity struct {
	device, blocks, free uint64
	readOnly             bool
}

// statfs is replaced by tests.
var statfs = unix.Statfs

func (d device) disks(o Options) []wire.Finding {
	vs := d.volumes(o)
	var found []wire.Finding
	for _, v := range vs {
		if v.readOnly {
			found = append(found, wire.Finding{Check: ReadOnly, Fatal: true, Text: fmt.Sprintf("the file system at %s is mounted read-only", v.at),
				Remedy: fmt.Sprintf("see in `dmesg` whether the kernel did that because the disk fails, and back up if so; else `mount -o remount,rw %s`", v.at)})
			continue
		}
		found = append(found, d.room(v, o.Settings.MinDisk)...)
	}
	return found
}

func (d device) volumes(o Options) []*volume {
	var all []*volume
	byID := map[identity]*volume{}
	byDir := map[string]*volume{}
	find := func(dir string) *volume {
		v, known := byDir[dir]
		if !known {
			id, found := d.volume(dir)
			if found != nil && byID[id] == nil {
				byID[id], all = found, append(all, found)
			}
			v = byID[id]
			byDir[dir] = v
		}
		return v
	}
	watch := []string{"/", "/var", "/etc"}
	if d.Exists("/run/ostree-booted") { // such systems have a root that is never written to
		watch = watch[1:]
	}
	if o.Dir != "" {
		watch = append(watch, o.Dir)
	}
	for _, dir := range watch {
		if v := find(dir); v != nil {
			v.watched = true
		}
	}
	for _, w := range o.Writes {
		if v := find(path.Dir(w.Path)); v != nil {
			v.writes = append(v.writes, w)
		}
	}
	return all
}

// volume looks at the file system that a folder is on, or will be on once it is made. What can't be seen is nil: writing
// there will say why.
func (d device) volume(dir string) (id identity, v *volume) {
	real, err := d.Real(dir)
	if err != nil {
		return id, nil
	}
	var st unix.Stat_t
	for {
		if err = unix.Lstat(d.local(real), &st); !errors.Is(err, unix.ENOENT) || real == "/" {
			break
		}
		real = path.Dir(real)
	}
	var fs unix.Statfs_t
	if err != nil || statfs(d.local(real), &fs) != nil {
		return id, nil
	}
	// Subvolumes of btrfs have device numbers and file system IDs of their own, and share their room.
	readOnly := fs.Flags&unix.ST_RDONLY != 0
	if id = (identity{device: st.Dev, readOnly: readOnly}); int64(fs.Type) == unix.BTRFS_SUPER_MAGIC {
		id = identity{0, fs.Blocks, fs.Bfree, readOnly}
	}
	block := int64(fs.Bsize) // of the figures; network file systems give the size of a transfer
	v = &volume{at: d.mountOf(real, st.Dev, readOnly), free: int64(fs.Bavail) * block, left: int64(fs.Bavail) * block, size: int64(fs.Blocks) * block, node: int64(fs.Ffree),
		block: min(block, 4096), readOnly: readOnly}
	// What a file system reserves is for root, but for what ext4 needs itself: a fiftieth, or 4096 blocks.
	if os.Geteuid() == 0 {
		v.free = max(v.left, int64(fs.Bfree-min(fs.Bfree, fs.Blocks/50, 4096))*block)
	}
	if fs.Files == 0 {
		v.node = -1
	}
	return id, v
}

func (d device) local(real string) string { return filepath.Join(d.Root(), real) }

// mountOf goes up from a folder as long as it is the same file system, and read-only where that is.
func (d device) mountOf(dir string, device uint64, readOnly bool) string {
	for dir != "/" {
		parent := d.local(path.Dir(dir))
		var st unix.Stat_t
		var fs unix.Statfs_t
		if unix.Lstat(parent, &st) != nil || st.Dev != device || readOnly && (statfs(parent, &fs) != nil || fs.Flags&unix.ST_RDONLY == 0) {
			break
		}
		dir = path.Dir(dir)
	}
	return dir
}

// room compares what is free with what will be written, and with what has to stay.
func (d device) room(v *volume, margin int64) []wire.Finding {
	var need, nodes int64
	for _, w := range v.writes {
		need += v.round(w.Bytes)
		nodes++
	}
	if !v.watched {
		margin = 0
	}
	if need > v.free || v.left-need < margin || v.node >= 0 && nodes > v.node { // it may do all the same: old files are replaced
		need, nodes = d.peak(v)
	}
	switch {
	case v.size == 0: // procfs and its like
	case need > v.free:
		return []wire.Finding{{Check: Disk, Fatal: true, Text: fmt.Sprintf("%s will be written to the file system at %s, which has room for %s", size(need), v.at, size(max(v.free, 0))),
			Remedy: fmt.Sprintf("make room: `du -xhd2 %s | sort -h` shows what takes it, `apt-get clean` and `journalctl --vacuum-size=100M` often help", v.at)}}
	case v.node >= 0 && nodes > v.node:
		return []wire.Finding{{Check: Disk, Fatal: true, Text: fmt.Sprintf("%d files will be made on the file system at %s, which has inodes for %d", nodes, v.at, v.node),
			Remedy: fmt.Sprintf("remove small files: `du -xd2 --inodes %s | sort -n` shows where they are", v.at)}}
	case margin > 0 && v.left-need < margin:
		text := fmt.Sprintf("the file system at %s has %s free of %s", v.at, size(max(v.left, 0)), size(v.size))
		if need > 0 {
			text += fmt.Sprintf(", and %s will be written", size(need))
		}
		return []wire.Finding{{Check: Disk, Text: text + fmt.Sprintf("; %s should stay free", size(margin)),
			Remedy: fmt.Sprintf("make room: `du -xhd2 %s | sort -h` shows what takes it, `apt-get clean` and `journalctl --vacuum-size=100M` often help", v.at)}}
	}
	return nil
}

// peak is the most that the writes take up at any time: a file that is replaced gives its room back when the new one,
// written beside it, has its name. Without that, replacing three images of a disk's size would seem to need three disks.
func (d device) peak(v *volume) (bytes, nodes int64) {
	var taken, files int64
	for _, w := range v.writes {
		taken, files = taken+v.round(w.Bytes), files+1
		bytes, nodes = max(bytes, taken), max(nodes, files)
		real, err := d.Real(w.Path)
		var st unix.Stat_t
		if err == nil && unix.Lstat(d.local(real), &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Nlink == 1 {
			taken, files = taken-st.Blocks*512, files-1
		}
	}
	return bytes, nodes
}

func (v *volume) round(bytes int64) int64 {
	if v.block <= 0 {
		return bytes
	}
	return (bytes + v.block - 1) / v.block * v.block
}
