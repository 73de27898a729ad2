package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// syncAll syncs the file systems to which a change of the system goes.
func syncAll() error {
	text, err := readMountinfo()
	if err != nil {
		return err
	}
	var failed []error
	for _, point := range lastingMounts(text) {
		if err := syncFS(point); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			failed = append(failed, fmt.Errorf("write %s to its disk: %w", point, err))
		}
	}
	return errors.Join(failed...)
}

func syncFS(point string) error {
	f, err := os.Open(point)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}

// lastingMounts names one mount point of each file system that is on a disk of the machine's own and can be written.
func lastingMounts(mountinfo string) (points []string) {
	seen := map[string]bool{}
	for f := range mountLines(mountinfo) {
		rest := f[min(mountOptional, len(f)):]
		rest = rest[slices.Index(rest, "-")+1:]
		if len(rest) < 3 {
			continue
		}
		device, point, typ, options := f[mountDevice], f[mountPoint], rest[0], rest[2]
		if !seen[device] && lasts(typ, point) && !readOnly(f[mountOptions]) && !readOnly(options) {
			seen[device] = true
			points = append(points, point)
		}
	}
	return points
}

func readOnly(options string) bool { return slices.Contains(strings.Split(options, ","), "ro") }

// lasts says whether a file system of this type, there, is one of the machine's own.
func lasts(typ, point string) bool {
	for _, removable := range []string{"/media/", "/run/media/"} {
		if strings.HasPrefix(point, removable) {
			return false
		}
	}
	switch typ {
	case "ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "jfs", "bcachefs", "zfs", "overlay":
		return true
	case "vfat":
		return point == "/efi" || strings.HasPrefix(point+"/", "/boot/")
	}
	return false
}
