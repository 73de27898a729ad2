//go:build unix

package profile

import (
	"os"

	"golang.org/x/sys/unix"
)

func stampOf(f *os.File) (stamp, bool) {
	var s unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &s); err != nil {
		return stamp{}, false
	}
	return stamp{Device: uint64(s.Dev), Inode: s.Ino, Size: s.Size, Modified: s.Mtim.Nano(), Changed: s.Ctim.Nano()}, true
}
