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
		"-machine", "pc,accel=tcg", "-cpu", "max", "-smp", "2", "-m", "768",
		"-kernel", filepath.Join(m.root, "kernel"), "-initrd", filepath.Join(m.root, "initrd"),
		"-append", "root=/dev/vda ro console=ttyS0 net.ifnames=0 mitigations=off systemd.show_status=0",
		"-drive", "if=none,id=disk,format=raw,file=" + disk, "-device", "virtio-blk-pci,drive=disk",
		"-netdev", "tap,id=net,script=no,downscript=no,ifname=" + m.nic(), "-device", "virtio-net-pci,netdev=net,romfile=,mac=" + mac,
		"-device", "virtio-rng-pci",
		"-chardev", "file,id=console,append=on,path=" + filepath.Join(m.dir, "console.log"), "-serial", "chardev:console",
	}, nil
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

func (m *Machine) execSSH(ctx context.Context, script string) (string, error) {
	client, err := m.Dial(ctx)
	if err != nil {
		return "", err
	}
	defer client.Close()
	defer context.AfterFunc(ctx, func() { client.Close() })()
	session, err := client.NewSession()
	if err != nil {
		return "", err
	}
	var stdout, stderr bytes.Buffer
	session.Stdout, session.Stderr = &stdout, &stderr
	quoted := "'" + strings.ReplaceAll("export DEBIAN_FRONTEND=noninteractive LANG=C.UTF-8\n"+script, "'", `'\''`) + "'"
	if err := session.Run("sh -ec " + quoted); err != nil {
		return strings.TrimSuffix(stdout.String(), "\n"), fmt.Errorf("%w: %s", errors.Join(err, context.Cause(ctx)), bytes.TrimSpace(stderr.Bytes()))
	}
	return strings.TrimSuffix(stdout.String(), "\n"), nil
}
