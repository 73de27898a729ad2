//go:build unix

package nodump

import "golang.org/x/sys/unix"

// Set begins it. A system that refuses is no reason not to work.
func Set() {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_CORE, &l) == nil {
		l.Cur = 0
		_ = unix.Setrlimit(unix.RLIMIT_CORE, &l)
	}
	undumpable()
}
