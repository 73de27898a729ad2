package lab

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// makeDisk makes a disk, mounts the machine's root folder and puts in it what is the machine's own.
func (m *Machine) makeDisk(ctx context.Context) error {
	if m.Kind == QEMU {
		return m.makeQEMUDisk(ctx)
	}
	script := `cd "$1"; mkdir -p disk root; truncate -s "$2" disk.img; mkfs.ext4 -q -F -m 0 -O ^has_journal $4 disk.img
		mount -o loop disk.img disk; mkdir disk/upper disk/work
		mount -t overlay -o "lowerdir=$3,upperdir=$1/disk/upper,workdir=$1/disk/work,redirect_dir=on" overlay root`
	inodes := ""
	if m.inodes > 0 {
		inodes = fmt.Sprintf("-N %d", m.inodes)
	}
	if err := m.lab.mounting(ctx, script, m.dir, fmt.Sprint(m.diskSize), m.root, inodes); err != nil {
		return err
	}
	return m.personalize(m.Root())
}

// personalize writes a machine's name, address, ID and keys into the root folder.
func (m *Machine) personalize(root string) error {
	files := map[string]string{
		"etc/hostname":   m.Name + "\n",
		"etc/hosts":      "127.0.0.1 localhost\n127.0.1.1 " + m.Name + "\n",
		"etc/machine-id": randomHex(16) + "\n",
		"etc/systemd/network/10-lab.network": "[Match]\nName=host0 eth0\n[Network]\nAddress=" + m.Addr + "/24\n" +
			"LinkLocalAddressing=no\nIPv6AcceptRA=no\n",
		"root/.ssh/authorized_keys": m.lab.public + "\n",
	}
	hostKeys, public, err := m.newHostKeys()
	if err != nil {
		return err
	}
	for path, content := range hostKeys {
		files[path] = content
	}
	for path, content := range files {
		path = filepath.Join(root, path)
		mode := os.FileMode(0o644)
		if strings.Contains(path, "/root/.ssh/") || strings.HasSuffix(path, "_key") {
			mode = 0o600
		}
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			return err
		}
	}
	if m.Kind == Wine {
		if err := personalizeWine(root, m.Name); err != nil {
			return err
		}
	}
	m.mu.Lock()
	m.HostKeys = public
	m.mu.Unlock()
	return m.lab.writeKnownHosts()
}

// newHostKeys makes the sshd's keys: files by path, and the public keys.
func (m *Machine) newHostKeys() (files map[string]string, public []string, err error) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if m.Kind == Dropbear {
		private, line, err := dropbearKey(ed)
		return map[string]string{"etc/dropbear/dropbear_ed25519_host_key": private}, []string{line}, err
	}
	files = map[string]string{}
	for name, key := range map[string]any{"ed25519": ed, "ecdsa": ec} {
		private, line, err := opensshKey(key)
		if err != nil {
			return nil, nil, err
		}
		files["etc/ssh/ssh_host_"+name+"_key"] = private
		files["etc/ssh/ssh_host_"+name+"_key.pub"] = line + "\n"
		public = append(public, line)
	}
	slices.Sort(public)
	return files, public, nil
}

// writeKnownHosts lists the keys of all machines.
func (l *Lab) writeKnownHosts() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b strings.Builder
	for _, m := range l.machines {
		m.mu.Lock()
		for _, k := range m.HostKeys {
			fmt.Fprintln(&b, m.Addr, k)
			if m.Kind == Wine {
				fmt.Fprintf(&b, "[%s]:%d,[%s]:%d %s\n", m.Addr, CmdPort, m.Addr, PowerShellPort, k)
			}
		}
		m.mu.Unlock()
	}
	tmp := l.KnownHosts + ".new"
	if err := os.WriteFile(tmp, []byte(b.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, l.KnownHosts)
}
