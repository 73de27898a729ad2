package executor

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/fitout-dev/fitout/engine/executor/disk"
)

// lease has the kernel see to it that nobody opens the file to write to it, unless that is noticed: see fcntl(2), Leases.
// It fails where somebody has it open so already. Who opens it waits until the lease is given back, for
// fs.lease-break-time (45 s) at most; the signal that tells of them is one that Go ignores.
func lease(f disk.File) bool { return setLease(f, unix.F_RDLCK) }

// leased says whether the lease has held since.
func leased(f disk.File) bool {
	held := -1
	control(f, func(fd uintptr) { held, _ = unix.FcntlInt(fd, unix.F_GETLEASE, 0) })
	return held == unix.F_RDLCK // one that somebody waits for is told as what it becomes
}

func giveBack(f disk.File) { setLease(f, unix.F_UNLCK) }

func setLease(f disk.File, kind int) (ok bool) {
	control(f, func(fd uintptr) {
		_, err := unix.FcntlInt(fd, unix.F_SETLEASE, kind)
		ok = err == nil
	})
	return ok
}

func control(f disk.File, do func(fd uintptr)) {
	file, ok := f.(*os.File)
	if !ok {
		return
	}
	if c, err := file.SyscallConn(); err == nil {
		_ = c.Control(do)
	}
}
