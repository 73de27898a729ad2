package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/integration/lab"
)

const motd = "profile: motd\nfiles: [{path: /etc/motd, content: \"hello\\n\"}]\n"

// TestDevicesThatAreNotIdeal meets what a fleet has: chatty shells, other users than root, odd mounts, full disks, other
// sshds. Each either works or says what to do.
func TestDevicesThatAreNotIdeal(t *testing.T) {
	l := lab.New(t)
	m := l.Machine(t, lab.Debian, lab.Disk(96<<20))
	m.Run(t, `for u in sudopass sudonopass guest; do
			useradd -m -s /bin/bash $u; install -d -m 700 -o $u /home/$u/.ssh
			install -m 600 -o $u /root/.ssh/authorized_keys /home/$u/.ssh/authorized_keys
			echo "$u:pa ss'wörd" | chpasswd
		done
		printf 'sudopass ALL=(ALL:ALL) ALL\nsudonopass ALL=(ALL:ALL) NOPASSWD: ALL\n' >/etc/sudoers.d/test; chmod 440 /etc/sudoers.d/test`)
	w := newTechnician(t)
	w.env = append(w.env, "FITOUT_SECRET_SUDO=pa ss'wörd")
	w.write("motd.yaml", motd)
	w.inventory("inventory.yaml", "motd", "", m)
	w.fitout("trust", "--yes").exits(0)
	undo := func() { m.Run(t, "rm -rf /var/lib/fitout /etc/motd") }
	as := func(user, connect string) string {
		return w.write(user+".yaml", fmt.Sprintf("defaults: {profile: motd, connect: {identityFile: %s%s}}\ndevices: {lt-1: {address: %s, user: %s}}\n", m.KeyFile, connect, m.Addr, user))
	}

	t.Run("a shell that talks", func(t *testing.T) {
		w := w.in(t)
		undo()
		m.Run(t, `cp /root/.bashrc /run/bashrc; { echo 'echo "Welcome, dear user!"'; echo 'printf "no newline; \000\001 odd bytes"'; cat /run/bashrc; } >/root/.bashrc
			echo 'Authorized use only' >/etc/issue.net; echo 'Banner /etc/issue.net' >/etc/ssh/sshd_config.d/banner.conf; systemctl restart ssh`)
		defer m.Run(t, `cp /run/bashrc /root/.bashrc; rm /etc/ssh/sshd_config.d/banner.conf; systemctl restart ssh`)
		w.fitout("apply", "--yes").exits(0)
		w.fitout("plan").exits(0)
	})
	for _, c := range []struct{ user, connect string }{{"sudonopass", ", sudo: true"}, {"sudopass", `, sudo: true, sudoPassword: "${secrets.sudo}"`}} {
		t.Run("sudo as "+c.user, func(t *testing.T) {
			w := w.in(t)
			undo()
			inv := as(c.user, c.connect)
			w.fitout("apply", "-i", inv, "--yes").exits(0)
			w.fitout("plan", "-i", inv).exits(0)
			if got := m.Run(t, "stat -c '%U' /etc/motd /var/lib/fitout /var/lib/fitout/bin/*/executor; find /home -name 'fitout*'"); got != "root\nroot\nroot" {
				t.Errorf("owners of the file and of the executor: %q", got)
			}
		})
	}
	t.Run("sudo refused", func(t *testing.T) {
		w.in(t).fitout("apply", "-i", as("guest", `, sudo: true, sudoPassword: "${secrets.sudo}"`), "--yes").exits(3).says("sudo", "hint:")
	})
	t.Run("sudo with a wrong password", func(t *testing.T) {
		w.in(t).fitout("apply", "-i", as("sudopass", `, sudo: true, sudoPassword: wrong`), "--yes").exits(3).says("password", "hint:")
	})
	t.Run("no rights", func(t *testing.T) {
		w := w.in(t)
		undo()
		inv := as("guest", "")
		w.fitout("plan", "-i", inv).exits(2)
		w.fitout("apply", "-i", inv, "--yes").exits(3).says("permission denied", "hint:")
		w.write("own.yaml", "profile: own\nfiles: [{path: /home/guest/note, content: \"mine\\n\"}]\n")
		w.fitout("apply", "-i", inv, "-p", "own.yaml", "--yes").exits(0)
		if got := m.Run(t, "stat -c %U /home/guest/note /home/guest/.local/share/fitout"); got != "guest\nguest" {
			t.Errorf("owners: %q", got)
		}
	})
	t.Run("noexec", func(t *testing.T) {
		undo()
		m.Run(t, "mkdir -p /var/lib/fitout; mount -t tmpfs -o noexec,mode=755 tmpfs /var/lib/fitout")
		defer m.Run(t, "umount /var/lib/fitout")
		w.in(t).fitout("plan").exits(3).says("noexec", "hint:")
	})
	t.Run("read-only", func(t *testing.T) {
		undo()
		m.Run(t, "mkdir -p /var/lib/fitout; mount -t tmpfs -o ro,mode=755 tmpfs /var/lib/fitout")
		defer m.Run(t, "umount /var/lib/fitout")
		w.in(t).fitout("plan").exits(3).says("read-only", "hint:")
	})
	t.Run("a read-only file", func(t *testing.T) {
		w := w.in(t)
		undo()
		m.Run(t, "echo old >/etc/motd; touch /run/motd; mount --bind /run/motd /etc/motd; mount -o remount,bind,ro /etc/motd")
		defer m.Run(t, "umount /etc/motd")
		w.fitout("apply", "--yes").exits(3).says("/etc/motd", "hint:")
	})
	t.Run("a full disk", func(t *testing.T) {
		undo()
		m.Run(t, "dd if=/dev/zero of=/fill bs=64k 2>/dev/null || :; dd if=/dev/zero of=/fill2 bs=1k 2>/dev/null || :")
		defer m.Run(t, "rm -f /fill /fill2")
		w.in(t).fitout("plan").exits(3).says("no space left on the device", "hint:")
	})
	t.Run("a full disk later", func(t *testing.T) {
		w := w.in(t)
		undo()
		w.fitout("plan").exits(2)
		m.Run(t, "dd if=/dev/zero of=/fill bs=64k 2>/dev/null || :; dd if=/dev/zero of=/fill2 bs=1k 2>/dev/null || :")
		w.fitout("apply", "--yes").exits(3).says("no space left on device", "hint:")
		m.Run(t, "rm -f /fill /fill2")
		w.fitout("apply", "--yes").exits(0)
	})
	t.Run("the executor is pushed once and old ones go", func(t *testing.T) {
		w := w.in(t)
		undo()
		w.fitout("apply", "--yes").exits(0)
		m.Run(t, `cd /var/lib/fitout/bin; [ "$(ls | wc -l)" = 1 ]; mkdir old young; cp */executor old 2>/dev/null; touch -d '40 days ago' old; touch -d '20 days ago' young; stat -c '%i' [0-9a-f]*/executor >/run/inode; rm /etc/motd`)
		w.fitout("apply", "--yes").exits(0)
		if got := m.Run(t, "cd /var/lib/fitout/bin; ls -d old young 2>/dev/null || :; stat -c %i [0-9a-f]*/executor | cmp - /run/inode && echo same"); got != "young\nsame" {
			t.Errorf("after another run: %q", got)
		}
	})
	t.Run("an executor that others may write", func(t *testing.T) {
		w := w.in(t)
		m.Run(t, "chmod 777 /var/lib/fitout/bin")
		w.fitout("plan").exits(0)
		if got := m.Run(t, "stat -c %a /var/lib/fitout/bin"); got != "755" {
			t.Errorf("the folder of executors is %s", got)
		}
	})
	t.Run("clean", func(t *testing.T) {
		w := w.in(t)
		w.fitout("apply", "--yes").exits(0)
		w.fitout("clean").exits(0)
		m.Run(t, "[ ! -e /var/lib/fitout ]; [ -e /etc/motd ]; ! ls /tmp/fitout* 2>/dev/null")
	})
	t.Run("re-imaged", func(t *testing.T) {
		w := w.in(t)
		if err := m.Reset(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.fitout("plan").exits(3).says("THE HOST KEY HAS CHANGED", "hint:", "fitout trust", "--replace")
		w.fitout("trust", "--yes").exits(3).says("--replace")
		w.fitout("trust", "--yes", "--replace").exits(0)
		w.fitout("plan").exits(2)
	})
	t.Run("sshd stopped", func(t *testing.T) {
		w := w.in(t)
		m.Run(t, "systemctl stop ssh")
		defer m.Run(t, "systemctl start ssh")
		w.fitout("plan").exits(3).says("refused", "hint:")
	})
}

// in is the same technician in a subtest.
func (w *technician) in(t *testing.T) *technician {
	c := *w
	c.t = t
	return &c
}

// TestAnotherSSHServer proves that nothing hangs on OpenSSH, SFTP or GNU's tools.
func TestAnotherSSHServer(t *testing.T) {
	l := lab.New(t)
	m := l.Machine(t, lab.Dropbear)
	w := newTechnician(t)
	w.env = append(w.env, "FITOUT_SECRET_ALICE=correct horse battery")
	w.write("site.yaml", `profile: site
hostname: drop
groups: [sales]
users:
  - {name: alice, groups: [sales], password: "${secrets.alice}"}
directories: [{path: /srv/sales, owner: alice, group: sales, mode: "2770"}]
files: [{path: /etc/motd, content: "hello\n"}]
lines: [{path: /etc/hosts, line: "10.0.0.5 nas", match: "nas$", id: nas}]
links: [{path: /srv/sales/motd, target: /etc/motd}]
commands: [{name: once, run: [touch, /srv/once], creates: /srv/once}]
`)
	w.inventory("inventory.yaml", "site", "", m)
	w.fitout("trust", "--yes").exits(0)
	w.fitout("plan").exits(2)
	w.fitout("apply", "--yes").exits(0)
	w.fitout("apply", "--yes").exits(0).says("Nothing to do")
	got := m.Run(t, "hostname; id -Gn alice; stat -c '%U %G %a' /srv/sales; cat /etc/motd /srv/sales/motd; tail -n1 /etc/hosts; ls /srv/once")
	if want := "drop\nalice sales\nalice sales 2770\nhello\nhello\n10.0.0.5 nas\n/srv/once"; got != want {
		t.Errorf("the machine is\n%s\nnot\n%s", got, want)
	}
}

// TestOneBadDeviceDelaysNobody: a frozen machine, one behind an address where nobody is, and a name that means nothing.
func TestOneBadDeviceDelaysNobody(t *testing.T) {
	t.Parallel() // it mostly waits
	l := lab.New(t)
	machines := l.Machines(t, 3, lab.Debian)
	w := newTechnician(t)
	w.write("motd.yaml", motd)
	w.inventory("inventory.yaml", "motd", "", machines...)
	w.fitout("trust", "--yes").exits(0)
	w.fitout("apply", "--yes").exits(0)
	for _, m := range machines {
		m.Run(t, "rm /etc/motd")
	}
	lab.Must(t, machines[1].Freeze())
	f, err := os.OpenFile(filepath.Join(w.dir, "inventory.yaml"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(f, "  nobody: {address: %s, user: root, connect: {timeout: 5s}}\n  nameless: {address: no-such-host.invalid, user: root}\n",
		strings.TrimSuffix(l.Gateway, ".1")+".250")
	f.Close()

	// The good ones are done at once, though there is room for one at a time only.
	c := w.start("apply", "--yes", "--parallel", "1")
	start := time.Now()
	for _, m := range []*lab.Machine{machines[0], machines[2]} {
		until(t, "the good machines", func() bool { return m.Run(t, "cat /etc/motd 2>/dev/null || :") == "hello" })
	}
	if took := time.Since(start); took > 12*time.Second {
		t.Errorf("the good machines had to wait %s", took)
	}
	r := c.wait().exits(3).says("3 unreachable", "hint:", "no-such-host.invalid")
	if r.took > 40*time.Second {
		t.Errorf("the bad ones were given up after %s only", r.took)
	}
	lab.Must(t, machines[1].Thaw())
	until(t, "the frozen machine", func() bool { return w.fitout("apply", "--yes", "lt-2").code == 0 })
}

func TestJumpHost(t *testing.T) {
	l := lab.New(t)
	machines := l.Machines(t, 2, lab.Debian)
	gate, m := machines[0], machines[1]
	m.Run(t, "ip route add blackhole "+l.Gateway+"/32") // reached through the gate only
	w := newTechnician(t)
	w.write("motd.yaml", motd)
	w.write("inventory.yaml", fmt.Sprintf("defaults: {profile: motd, connect: {identityFile: %s, jump: root@%s}}\ndevices: {lt-1: {address: %s, user: root}}\n", m.KeyFile, gate.Addr, m.Addr))
	w.write("gate.yaml", fmt.Sprintf("devices: {gate: {address: %s, user: root, connect: {identityFile: %s}}}\n", gate.Addr, m.KeyFile))
	w.fitout("plan").exits(3).says("fitout trust", gate.Addr)
	w.fitout("trust", "-i", "gate.yaml", "--yes").exits(0)
	w.fitout("plan").exits(3).says("fitout trust")
	w.fitout("trust", "--yes").exits(0)
	w.fitout("apply", "--yes").exits(0)
	if got := m.Run(t, "cat /etc/motd"); got != "hello" {
		t.Errorf("motd is %q", got)
	}
}
