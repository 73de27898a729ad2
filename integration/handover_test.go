package integration

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/integration/lab"
)

// toPort has sshd listen on one port and says that it is another one, or the same.
func toPort(port, declared int) string {
	return fmt.Sprintf(`profile: move
run: {confirmWithin: 4s}
files:
  - {path: /etc/ssh/sshd_config.d/10-port.conf, content: "Port %d\n", notify: [services/ssh], connect: {port: %d}}
services:
  - {name: ssh, running: true}
commands:
  - {name: after, run: [touch, /srv/after], creates: /srv/after, after: [services/ssh]}
`, port, declared)
}

// mover is a technician with one machine of which a run changes how it is reached.
func mover(t *testing.T, l *lab.Lab, profile string) (*technician, *lab.Machine) {
	t.Helper()
	t.Parallel()
	m := l.Machine(t, lab.Debian)
	w := newTechnician(t)
	w.write("move.yaml", profile)
	w.inventory("inventory.yaml", "move", "", m)
	w.fitout("trust", "--yes").exits(0)
	return w, m
}

func (w *technician) reachable(m *lab.Machine, port int) bool {
	c, err := net.DialTimeout("tcp", net.JoinHostPort(m.Addr, strconv.Itoa(port)), time.Second)
	if err == nil {
		c.Close()
	}
	return err == nil
}

// settled waits until no run is under way, and sees that nothing of one is left.
func settled(t *testing.T, m *lab.Machine) {
	t.Helper()
	until(t, "the device to be released", func() bool {
		return m.Run(t, "flock -n /var/lib/fitout/lock sh -c '[ ! -s /var/lib/fitout/lock ] && echo free' || :") == "free"
	})
	var left string
	defer func() {
		if t.Failed() {
			t.Logf("left: %s", left)
		}
	}()
	until(t, "the rest to go", func() bool {
		left = m.Run(t, "systemctl list-units --plain --no-legend 'fitout-*'; ls /var/lib/fitout/runs/*/key /etc/systemd/system/fitout-* 2>/dev/null || :")
		return left == ""
	})
}

// TestHandOver changes in the middle of a run how the machine is reached: rightly, wrongly, and with nobody there to confirm.
func TestHandOver(t *testing.T) {
	t.Parallel() // it mostly waits
	l := lab.New(t)

	t.Run("port", func(t *testing.T) {
		w, m := mover(t, l, toPort(2222, 2222))
		w.fitout("apply", "--yes").exits(0).says("is reached in another way", "port: 2222", "3 changed")
		if w.reachable(m, 22) || !w.reachable(m, 2222) {
			t.Error("sshd is not where it should be")
		}
		m.Run(t, "[ -e /srv/after ]")
		settled(t, m)
		w.fitout("plan").exits(3).says("the connection is refused")
		w.write("inventory.yaml", strings.Replace(string(mustRead(t, w.dir+"/inventory.yaml")), "user: root", "user: root, connect: {port: 2222}", 1))
		w.fitout("plan").exits(0) // its host key is known there, too
		// The way back is a hand-over, too.
		w.fitout("undo", "last", "--yes").exits(0).says("port: 22 ")
		if !w.reachable(m, 22) || w.reachable(m, 2222) {
			t.Error("sshd is not where it was before")
		}
		settled(t, m)
	})
	t.Run("another port than declared", func(t *testing.T) {
		w, m := mover(t, l, toPort(2223, 2222))
		w.fitout("apply", "--yes").exits(3).says("files//etc/ssh/sshd_config.d/10-port.conf", "(port 2222) within 4s", "was taken back", "hint:")
		if !w.reachable(m, 22) || w.reachable(m, 2223) {
			t.Error("sshd is not where it was")
		}
		if got := m.Run(t, "ls /etc/ssh/sshd_config.d"); got != "" {
			t.Errorf("left: %s", got)
		}
		settled(t, m)
		w.fitout("plan").exits(2)
	})
	t.Run("the controller is killed", func(t *testing.T) {
		w, m := mover(t, l, toPort(2223, 2222))
		c := w.start("apply", "--yes")
		until(t, "sshd to move", func() bool { return w.reachable(m, 2223) })
		c.Process.Signal(syscall.SIGKILL)
		c.wait()
		until(t, "sshd to come back", func() bool { return w.reachable(m, 22) })
		settled(t, m)
		w.fitout("attach").exits(3).says("was taken back", "failed")
	})
	t.Run("all processes are killed", func(t *testing.T) {
		w, m := mover(t, l, toPort(2223, 2222))
		c := w.start("apply", "--yes")
		until(t, "sshd to move", func() bool { return w.reachable(m, 2223) })
		c.Process.Signal(syscall.SIGKILL)
		c.wait()
		m.Run(t, "pkill -KILL -x executor")
		until(t, "sshd to come back", func() bool { return w.reachable(m, 22) })
		settled(t, m)
		w.fitout("apply", "--yes").exits(3).says("which went on without us: failed", "was taken back")
	})
	t.Run("the machine crashes", func(t *testing.T) {
		w, m := mover(t, l, strings.Replace(toPort(2223, 2222), "run: {", "run: {afterPowerCut: wait, ", 1)) // but not with this
		c := w.start("apply", "--yes")
		until(t, "sshd to move", func() bool { return w.reachable(m, 2223) })
		m.Run(t, "sync")
		lab.Must(t, m.Crash())
		if err := m.Start(t.Context()); err != nil {
			t.Log(err) // it waits for port 22
		}
		c.wait().exits(3).says("was taken back")
		if !w.reachable(m, 22) {
			t.Error("sshd is not where it was")
		}
		settled(t, m)
	})
	t.Run("address", func(t *testing.T) {
		w, m := mover(t, l, "")
		m.Run(t, "echo 1 >/proc/sys/net/ipv4/tcp_orphan_retries; echo 3 >/proc/sys/net/ipv4/tcp_retries2") // the old connection must not keep the network up
		other := m.Addr[:strings.LastIndex(m.Addr, ".")] + ".10" + m.Addr[len(m.Addr)-1:]
		text := strings.ReplaceAll(m.Run(t, "cat /etc/systemd/network/10-lab.network"), m.Addr, other)
		w.write("files/lab.network", text+"\n")
		profile := `profile: move
run: {confirmWithin: %s}
files:
  - {path: /etc/systemd/network/10-lab.network, source: files/lab.network, notify: [commands/renew], connect: {address: %s}}
commands:
  - {name: renew, onNotifyOnly: true, run: [sh, -c, "ip addr flush dev host0; systemctl restart systemd-networkd"]}
`
		w.write("move.yaml", fmt.Sprintf(profile, "5s", "192.0.2.1"))
		w.fitout("apply", "--yes").exits(3).says("(address 192.0.2.1) within 5s", "was taken back")
		w.write("move.yaml", fmt.Sprintf(profile, "40s", other))
		w.fitout("apply", "--yes").exits(0).says("address: "+other, "2 changed")
		if got := m.Run(t, "ip -4 -o addr show dev host0"); !strings.Contains(got, other+"/") || strings.Contains(got, m.Addr+"/") {
			t.Errorf("addresses: %s", got)
		}
		settled(t, m)
		w.write("inventory.yaml", strings.Replace(string(mustRead(t, w.dir+"/inventory.yaml")), m.Addr, other, 1))
		w.fitout("plan").exits(0)
	})
	t.Run("password", func(t *testing.T) {
		w, m := mover(t, l, "")
		m.Run(t, "useradd -m -s /bin/bash tech; echo tech:old-password | chpasswd; echo 'tech ALL=(ALL:ALL) ALL' >/etc/sudoers.d/tech; chmod 440 /etc/sudoers.d/tech")
		for name, text := range map[string]string{"old": "old-password", "new": "new-password", "other": "other-password"} {
			w.startWith(strings.NewReader(text), "secret", "set", name).wait().exits(0)
		}
		inventory := fmt.Sprintf(`secrets: secrets.age
defaults: {profile: move, connect: {sudo: true, password: "${secrets.old}", sudoPassword: "${secrets.old}"}}
devices: {lt-1: {address: %s, user: tech}}
`, m.Addr)
		w.write("inventory.yaml", inventory)
		profile := `profile: move
run: {confirmWithin: %s}
users:
  - {name: tech, password: "${secrets.new}", connect: {password: "${secrets.%s}"}}
`
		w.write("move.yaml", fmt.Sprintf(profile, "3s", "other"))
		w.fitout("apply", "--yes").exits(3).says("(another password) within 3s", "was taken back")
		settled(t, m)
		w.fitout("plan").exits(2) // over the old one
		w.write("move.yaml", fmt.Sprintf(profile, "20s", "new"))
		w.fitout("apply", "--yes").exits(0).says("password: the new one")
		settled(t, m)
		w.fitout("plan").exits(3)
		w.write("inventory.yaml", strings.ReplaceAll(inventory, "secrets.old", "secrets.new"))
		w.fitout("plan").exits(0)
	})
	t.Run("host key", func(t *testing.T) {
		w, m := mover(t, l, "")
		m.Run(t, `ssh-keygen -q -t ed25519 -N "" -f /root/new; cp /etc/ssh/ssh_host_ed25519_key /root/old`)
		w.startWith(strings.NewReader(m.Run(t, "cat /root/new")), "secret", "set", "hostkey").wait().exits(0)
		w.write("move.yaml", `profile: move
run: {confirmWithin: 20s}
files:
  - {path: /etc/ssh/ssh_host_ed25519_key, content: "${secrets.hostkey}\n", mode: "0600", notify: [services/ssh], connect: {hostKey: new}}
services:
  - {name: ssh, running: true}
`)
		w.write("inventory.yaml", "secrets: secrets.age\n"+string(mustRead(t, w.dir+"/inventory.yaml")))
		w.fitout("apply", "--yes").exits(0).says("2 changed")
		settled(t, m)
		known := string(mustRead(t, w.home+"/.config/fitout/known_hosts"))
		if key := strings.Fields(m.Run(t, "ssh-keygen -y -f /root/new"))[1]; !strings.Contains(known, key) || strings.Count(known, "\n") != 1 {
			t.Errorf("known hosts: %s", known)
		}
		w.fitout("plan").exits(0)
		// Somebody else's key is not accepted, whatever is declared.
		m.Run(t, "cp /root/old /etc/ssh/ssh_host_ed25519_key; systemctl restart ssh")
		w.fitout("plan").exits(3).says("THE HOST KEY HAS CHANGED")
		if b, _ := os.ReadFile(w.home + "/.config/fitout/known_hosts"); string(b) != known {
			t.Error("known hosts were changed")
		}
	})
}

// TestLockOut declares what would shut out the very login that fitout works by: it is an error in the plan, and isn't applied.
func TestLockOut(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	t.Run("root, by key", func(t *testing.T) {
		w, m := mover(t, l, `profile: move
files:
  - {path: /etc/motd, content: "welcome\n"}
  - {path: /etc/ssh/sshd_config.d/10.conf, content: "PermitRootLogin no\n"}
lines:
  - {path: /etc/ssh/sshd_config, line: "Port 2222", id: port}
directories:
  - {path: /root/.ssh, state: absent, recursive: true}
users:
  - {name: root, sshKeys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIC two"], sshKeysExact: true}
services:
  - {name: ssh, running: false}
packages:
  - {name: openssh-server, state: absent}
`)
		before := m.Run(t, "sha256sum /root/.ssh/authorized_keys /etc/ssh/sshd_config; ls /etc/ssh/sshd_config.d; systemctl is-active ssh")
		r := w.fitout("plan")
		r.says("which logs in as root", "the key that it logs in with, SHA256:", "would be stopped", "package openssh-server", "no longer listen on port 22", "its keys are in", "hint: if it is meant, say under connect")
		if n := strings.Count(r.out+r.stderr, "observed: this would lock fitout out"); n != 5 {
			t.Errorf("%d refused:\n%s", n, r)
		}
		w.fitout("apply", "--yes").exits(3).says("PermitRootLogin would be no") // known once the content has come
		if now := m.Run(t, "sha256sum /root/.ssh/authorized_keys /etc/ssh/sshd_config; ls /etc/ssh/sshd_config.d; systemctl is-active ssh"); now != before {
			t.Errorf("before:\n%s\nnow:\n%s", before, now)
		}
		if got := m.Run(t, "cat /etc/motd"); got != "welcome" {
			t.Errorf("the rest: %s", got)
		}
	})
	t.Run("a user with sudo, by password", func(t *testing.T) {
		w, m := mover(t, l, `profile: move
users:
  - {name: tech, password: "$6$salt$Wkq1mNuJ8cOPn4y0hBqQO4dZzDyX8sXWQqVZ1oYqf5m8wVJ6oQjO1o7c2V8xYQqg5Jg1Jv3l4XQqV7bqT3u9b1"}
groups:
  - {name: sudo, state: absent}
packages:
  - {name: sudo, state: absent}
`)
		m.Run(t, "useradd -m -G sudo -s /bin/bash tech; echo tech:old-password | chpasswd")
		w.startWith(strings.NewReader("old-password"), "secret", "set", "old").wait().exits(0)
		w.write("inventory.yaml", fmt.Sprintf(`secrets: secrets.age
defaults: {profile: move, connect: {sudo: true, password: "${secrets.old}", sudoPassword: "${secrets.old}"}}
devices: {lt-1: {address: %s, user: tech}}
`, m.Addr))
		r := w.fitout("plan").says("which logs in as tech: its password would be another one", "group sudo lets it become root", "it becomes root by sudo")
		if n := strings.Count(r.out+r.stderr, "observed: this would lock fitout out"); n != 3 {
			t.Errorf("%d refused:\n%s", n, r)
		}
	})
}
