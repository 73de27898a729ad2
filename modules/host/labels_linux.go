package host

import (
	"errors"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const accessACL = "system.posix_acl_access"

// copyLabels gives one file the ACL, SELinux label, capabilities and other extended attributes of another, so that
// replacing a file keeps them. Signatures of the old content are left behind.
func copyLabels(from, to string) error {
	names, err := labels(from)
	if err != nil {
		return err
	}
	if !slices.Contains(names, accessACL) { // a new file may have got one from its folder
		err := unix.Lremovexattr(to, accessACL)
		if err != nil && !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.ENOTSUP) {
			return err
		}
	}
	for _, name := range names {
		if name == "security.ima" || name == "security.evm" {
			continue
		}
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

// isLabelled says whether a file has any extended attributes.
func isLabelled(path string) bool {
	names, err := labels(path)
	return err != nil || len(names) > 0
}

func labels(path string) ([]string, error) {
	n, err := unix.Llistxattr(path, nil)
	if n == 0 || errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	names := make([]byte, n)
	if n, err = unix.Llistxattr(path, names); err != nil {
		return nil, err
	}
	return strings.FieldsFunc(string(names[:n]), func(r rune) bool { return r == 0 }), nil
}
