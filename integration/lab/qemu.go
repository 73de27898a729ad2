package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

const qemuImage = 2 << 30 // the size of the cached disk

// qemuReady checks that this host can emulate, and installs what that needs.
func (l *Lab) qemuReady(ctx context.Context) error {
	if runtime.GOARCH != "amd64" {
		return fmt.Errorf("a QEMU machine on %s: %w", runtime.GOARCH, errors.ErrUnsupported)
	}
	return need(ctx, l.log, map[string]string{"qemu-system-x86_64": "qemu-system-x86"})
}

func (m *Machine) makeQEMUDisk(ctx context.Context) error {
	if m.diskSize < qemuImage {
		return fmt.Errorf("a QEMU machine's disk holds the base too: it needs at least %d bytes", qemuImage)
	}
	script := `cd "$1"; mkdir -p root; cp --sparse=always --reflink=auto "$2/disk.img" disk.img
		if [ "$3" -gt "$4" ]; then truncate -s "$3" disk.img; e2fsck -fp disk.img >/dev/null || [ $? = 1 ]; resize2fs disk.img 2>/dev/null; fi
		mount -o loop disk.img root`
	if err := m.lab.mounting(ctx, script, m.dir, m.root, fmt.Sprint(m.diskSize), fmt.Sprint(qemuImage)); err != nil {
		return err
	}
	err := m.personalize(m.Root())
	return errors.Join(err, m.lab.mounting(ctx, `umount "$1/root"`, m.dir))
}

func (m *Machine) qemuArgs(ctx context.Context) ([]string, error) {
	script := `[ -e "/sys/class/net/$1" ] || ip tuntap add dev "$1" mode tap; ip link set "$1" master "$2" up`
	if err := run(ctx, "sh", "-ec", script, "sh", m.nic(), m.lab.bridge()); err != nil {
		return nil, err
	}
	disk := filepath.Join(m.dir, "disk.img")
	if m.serve != nil {
		url, err := m.serve(disk)
		if err != nil {
			return nil, fmt.Errorf("serve the disk: %w", err)
		}
		disk = url
	}
	mac := fmt.Sprintf("52:54:00:%s:%s:%02x", m.lab.id[:2], m.lab.id[2:4], m.number)
	return []string{
		"qemu-system-x86_64", "-no-user-config", "-nodefaults", "-display", "none", "-monitor", "none",
		// Emulating five levels of page tables and a second processor costs more than it gives.
		"-machine", "pc,accel=tcg", "-cpu", "max,la57=off,pcid=off", "-smp", "1", "-m", "768",
		"-kernel", filepath.Join(m.root, "kernel"), "-initrd", filepath.Join(m.root, "initrd"),
		"-append", qemuCommandLine(),
		"-drive", "if=none,id=disk,format=raw,file=" + disk, "-device", "virtio-blk-pci,drive=disk",
		"-netdev", "tap,id=net,script=no,downscript=no,ifname=" + m.nic(), "-device", "virtio-net-pci,netdev=net,romfile=,mac=" + mac,
		"-device", "virtio-rng-pci",
		"-chardev", "file,id=console,append=on,path=" + filepath.Join(m.dir, "console.log"), "-serial", "chardev:console",
	}, nil
}

// qemuCommandLine is the kernel's: without what takes long under emulation and tells nothing of a machine.
func qemuCommandLine() string {
	line := "root=/dev/vda ro console=ttyS0 quiet loglevel=3 systemd.show_status=0 systemd.log_level=warning net.ifnames=0 mitigations=off nokaslr" +
		" tsc=reliable rcupdate.rcu_expedited=1 cryptomgr.notests random.trust_cpu=on audit=0 apparmor=0"
	for _, unit := range []string{"e2scrub_reap.service", "modprobe@dm_mod.service", "modprobe@drm.service", "modprobe@efi_pstore.service", "modprobe@fuse.service",
		"modprobe@loop.service", "systemd-binfmt.service", "systemd-firstboot.service", "systemd-machine-id-commit.service", "systemd-pcrphase.service",
		"systemd-pcrphase-sysinit.service", "systemd-pstore.service", "systemd-repart.service", "systemd-update-utmp.service", "systemd-update-utmp-runlevel.service",
		"dev-hugepages.mount", "dev-mqueue.mount", "sys-fs-fuse-connections.mount", "sys-kernel-config.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount"} {
		line += " systemd.mask=" + unit
	}
	return line
}

// Dial connects to the machine as root, with the lab's key; the host key is checked.
func (m *Machine) Dial(ctx context.Context) (*ssh.Client, error) {
	m.mu.Lock()
	keys := m.HostKeys
	m.mu.Unlock()
	config := &ssh.ClientConfig{
		User: m.User, Auth: []ssh.AuthMethod{ssh.PublicKeys(m.lab.signer)},
		HostKeyAlgorithms: []string{ssh.KeyAlgoED25519},
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
			for _, k := range keys {
				if k == line {
					return nil
				}
			}
			return fmt.Errorf("host key %s is not %s's", line, m.Name)
		},
	}
	addr := net.JoinHostPort(m.Addr, "22")
	d := net.Dialer{Timeout: 10 * time.Second}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { c.Close() })()
	conn, channels, requests, err := ssh.NewClientConn(c, addr, config)
	if err != nil {
		c.Close()
		return nil, err
	}
	return ssh.NewClient(conn, channels, requests), nil
}

// session opens one on the connection that is kept, or on a new one: a handshake takes seconds under emulation.
func (m *Machine) session(ctx context.Context) (*ssh.Client, *ssh.Session, error) {
	if kept := m.keep(nil); kept != nil {
		stop := context.AfterFunc(ctx, func() { kept.Close() })
		session, err := kept.NewSession()
		if stop() && err == nil {
			return kept, session, nil
		}
		kept.Close()
	}
	client, err := m.Dial(ctx)
	if err != nil {
		return nil, nil, err
	}
	session, err := client.NewSession()
	if err != nil {
		client.Close()
		return nil, nil, err
	}
	return client, session, nil
}

// keep has one connection kept for the next session, and returns the one that was.
func (m *Machine) keep(c *ssh.Client) *ssh.Client {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, m.client = m.client, c
	return c
}

func (m *Machine) execSSH(ctx context.Context, script string) (string, error) {
	client, session, err := m.session(ctx)
	if err != nil {
		return "", err
	}
	stop := context.AfterFunc(ctx, func() { client.Close() })
	defer func() {
		session.Close()
		if !stop() {
			return
		}
		if old := m.keep(client); old != nil {
			old.Close()
		}
	}()
	var stdout, stderr bytes.Buffer
	session.Stdout, session.Stderr = &stdout, &stderr
	quoted := "'" + strings.ReplaceAll("export DEBIAN_FRONTEND=noninteractive LANG=C.UTF-8\n"+script, "'", `'\''`) + "'"
	if err := session.Run("sh -ec " + quoted); err != nil {
		return strings.TrimSuffix(stdout.String(), "\n"), fmt.Errorf("%w: %s", errors.Join(err, context.Cause(ctx)), bytes.TrimSpace(stderr.Bytes()))
	}
	return strings.TrimSuffix(stdout.String(), "\n"), nil
}
