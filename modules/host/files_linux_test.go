package host

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// acl is "user::rw-, user:1234:r--, group::r--, mask::r--, other::---" as the kernel has it: acl(5).
func acl() []byte {
	var b bytes.Buffer
	binary.Write(&b, binary.LittleEndian, uint32(2))
	for _, e := range []struct {
		Tag, Perm uint16
		ID        uint32
	}{{1, 6, ^uint32(0)}, {2, 4, 1234}, {4, 4, ^uint32(0)}, {16, 4, ^uint32(0)}, {32, 0, ^uint32(0)}} {
		binary.Write(&b, binary.LittleEndian, e)
	}
	return b.Bytes()
}

func xattr(path, name string) string {
	b := make([]byte, 1000)
	n, err := unix.Lgetxattr(path, name, b)
	if err != nil {
		return err.Error()
	}
	return string(b[:n])
}

func TestLabelsAreKept(t *testing.T) {
	h := rooted(t, "etc/f=old", "etc/plain=old")
	p := filepath.Join(h.Root(), "etc/f")
	set := map[string]string{accessACL: string(acl()), "user.origin": "here"}
	if os.Getuid() == 0 { // cap_net_bind_service=ep, and a label where no SELinux is there to mind
		set["security.capability"] = "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
		set["security.selinux"] = "system_u:object_r:etc_t:s0\x00"
	}
	for name, value := range set {
		if err := unix.Lsetxattr(p, name, []byte(value), 0); errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EPERM) {
			t.Logf("%s: %v", name, err)
			delete(set, name)
		} else {
			check(t, err)
		}
	}
	if set[accessACL] == "" {
		t.Skip("no ACLs on this file system")
	}
	if os.Getuid() == 0 {
		check(t, os.Chown(p, 1234, 1234))
		check(t, unix.Lsetxattr(p, "security.capability", []byte(set["security.capability"]), 0)) // chown took it
	}
	check(t, h.WriteFile("/etc/f", "new", Attr{}))
	for name, value := range set {
		if got := xattr(p, name); got != value {
			t.Errorf("%s is %q, was %q", name, got, value)
		}
	}
	kept, err := h.Backup("/etc/f")
	check(t, err)
	if got := xattr(filepath.Join(h.Root(), kept), accessACL); got != set[accessACL] {
		t.Errorf("the backup's ACL is %q", got)
	}
	// A folder's default ACL is for new files, not for one that had none.
	check(t, unix.Lsetxattr(filepath.Join(h.Root(), "etc"), "system.posix_acl_default", acl(), 0))
	check(t, h.WriteFile("/etc/plain", "new", Attr{}))
	if got := xattr(filepath.Join(h.Root(), "etc/plain"), accessACL); got != unix.ENODATA.Error() {
		t.Errorf("a replaced file got the ACL %q", got)
	}
	if i, _ := h.Lstat("/etc/plain"); i.Mode != 0o644 {
		t.Errorf("its mode is %o", i.Mode)
	}
}

// TestMounts runs itself again in a mount namespace of its own.
func TestMounts(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to mount")
	}
	root := os.Getenv("HOST_TEST_MOUNTS")
	if root == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestMounts$", "-test.v")
		cmd.Env = append(os.Environ(), "HOST_TEST_MOUNTS="+t.TempDir())
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		out, err := cmd.CombinedOutput()
		if err != nil && strings.Contains(err.Error(), "operation not permitted") {
			t.Skip("no mount namespaces here")
		}
		if err != nil || !strings.Contains(string(out), "--- PASS: TestMounts") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	h := New(root)
	for _, dir := range []string{"/srv", "/srv/d", "/srv/d/with space", "/srv/d/same", "/keep", "/etc"} {
		check(t, h.Mkdir(dir, Attr{}))
	}
	check(t, h.WriteFile("/keep/f", "x", Attr{}))
	check(t, h.WriteFile("/etc/hosts", "old and longer", Attr{}))
	check(t, syscall.Mount("tmpfs", root+"/srv/d/with space", "tmpfs", 0, ""))
	check(t, syscall.Mount(root+"/keep", root+"/srv/d/same", "", syscall.MS_BIND, ""))
	check(t, h.WriteFile("/srv/d/with space/f", "x", Attr{}))

	for _, dir := range []string{"/srv", "/srv/d", "/srv/d/same"} {
		if err := h.RemoveAll(dir); err == nil || !strings.Contains(err.Error(), "is a mount point") {
			t.Errorf("RemoveAll %s: %v", dir, err)
		}
	}
	if !h.Exists("/keep/f") || !h.Exists("/srv/d/with space/f") {
		t.Fatal("a mounted file system was emptied")
	}
	tree, err := h.Tree("/srv")
	check(t, err)
	var seen []string
	check(t, tree.Walk(func(name string, i Info) error { seen = append(seen, name); return nil }))
	tree.Close()
	if d := cmp.Diff([]string{"d"}, seen); d != "" {
		t.Errorf("Walk: %s", d)
	}

	// /etc/hosts of many containers is a mount point of its own.
	check(t, h.WriteFile("/run-hosts", "old and longer", Attr{}))
	check(t, syscall.Mount(root+"/run-hosts", root+"/etc/hosts", "", syscall.MS_BIND, ""))
	kept, err := h.Backup("/etc/hosts")
	check(t, err)
	check(t, h.WriteFile("/etc/hosts", "new", Attr{Mode: new(uint32(0o600)), UID: new(12)}))
	names, _ := h.ReadDir("/etc")
	if d := cmp.Diff([]string{"hosts", filepath.Base(kept)}, names); d != "" {
		t.Error(d)
	}
	for name, want := range map[string]string{"/etc/hosts": "new", "/run-hosts": "new", kept: "old and longer"} {
		if b, _ := h.ReadFile(name); string(b) != want {
			t.Errorf("%s holds %q", name, b)
		}
	}
	if i, _ := h.Lstat("/etc/hosts"); i.Mode != 0o600 || i.UID != 12 {
		t.Errorf("mode %o, owner %d", i.Mode, i.UID)
	}
}

func TestParseMountinfo(t *testing.T) {
	const text = "36 35 98:0 /mnt1 /mnt/with\\040space\\134 rw,noatime master:1 - ext3 /dev/root rw\n25 1 0:5 / / rw - tmpfs x rw\nodd\n"
	if d := cmp.Diff([]string{"/mnt/with space\\", "/"}, parseMountinfo(text)); d != "" {
		t.Error(d)
	}
}
