package host

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLastingMounts(t *testing.T) {
	// As the kernel of Debian 12 writes it, and two lines from proc_pid_mountinfo(5)'s rules.
	const mountinfo = `22 28 0:21 / /sys rw,nosuid shared:7 - sysfs sysfs rw
25 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
30 25 0:26 / /run rw,nosuid - tmpfs tmpfs rw,size=1k
31 25 254:2 / /home\040dirs rw - xfs /dev/vda2 rw
32 25 254:1 /srv /mnt/srv rw,relatime shared:1 - ext4 /dev/vda1 rw
33 25 254:3 / /usr/share ro,relatime - ext4 /dev/vda3 rw
34 25 254:4 / /iso rw - ext4 /dev/vda4 ro
35 25 254:5 / /boot/efi rw master:1 propagate_from:2 - vfat /dev/vda5 rw,fmask=0077
36 25 8:1 / /media/alice/STICK rw - ext4 /dev/sda1 rw
37 25 8:2 / /backup rw - vfat /dev/sdb1 rw
38 25 0:44 / /nas rw - nfs4 nas:/ rw,addr=10.0.0.5
39 25 0:45 / /var/lib/overlay rw - overlay overlay rw,lowerdir=/a
cut off
`
	want := []string{"/", "/home dirs", "/boot/efi", "/var/lib/overlay"}
	if diff := cmp.Diff(want, lastingMounts(mountinfo)); diff != "" {
		t.Error(diff)
	}
	if err := syncAll(); err != nil {
		t.Error(err)
	}
}
