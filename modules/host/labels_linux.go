package host

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// copyLabels copies ACLs, SELinux labels and other extended attributes, so that replacing a file keeps them.
func copyLabels(from, to string) error {
	n, err := unix.Llistxattr(from, nil)
	if n == 0 || errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return err
	}
	names := make([]byte, n)
	if n, err = unix.Llistxattr(from, names); err != nil {
		return err
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(names[:n]), "\x00"), "\x00") {
		size, err := unix.Lgetxattr(from, name, nil)
		if err != nil {
			continue // gone meanwhile, or not ours to read
		}
		value := make([]byte, size)
		if size, err = unix.Lgetxattr(from, name, value); err != nil {
			continue
		}
		if err := unix.Lsetxattr(to, name, value[:size], 0); err != nil && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.EPERM) {
			return err
		}
	}
	return nil
}
