package lab

import (
	"strings"
	"testing"
	"time"
)

func TestDropbear(t *testing.T) {
	l := New(t)
	repo := l.AptRepo(t)
	repo.Fetch(t, "nano")
	repo.Publish(t)
	m := l.Machine(t, Dropbear)
	if got := sshRun(t, m, "hostname; readlink /proc/$PPID/exe"); got != m.Name+"\n/usr/sbin/dropbear" {
		t.Errorf("over ssh: %q", got)
	}
	if got := m.Run(t, "find / -xdev -name 'sftp-server' -o -xdev -path '*/sbin/sshd'"); got != "" {
		t.Errorf("OpenSSH is still there: %s", got)
	}
	for _, tool := range []string{"sh", "stat", "cp", "sed", "id"} {
		if got := m.Run(t, "readlink -f $(which "+tool+")"); !strings.HasSuffix(got, "/busybox") {
			t.Errorf("%s is %s", tool, got)
		}
	}
	if got := m.Run(t, "systemctl is-system-running || systemctl --failed"); got != "running" {
		t.Errorf("systemd is %s", got)
	}
	repo.Use(t, m)
	m.Run(t, "apt-get -qq update; apt-get -qq -y install nano; nano --version; useradd -m alice; su alice -c id")
	Must(t, m.Reboot(t.Context()))
}

func TestQEMU(t *testing.T) {
	if testing.Short() {
		t.Skip("boots a virtual machine under emulation")
	}
	l := New(t)
	start := time.Now()
	m := l.Machine(t, QEMU)
	t.Logf("booted in %s", time.Since(start))
	if got := sshRun(t, m, "hostname"); got != m.Name {
		t.Errorf("hostname: %q", got)
	}
	if got := m.Run(t, "systemctl is-system-running || systemctl --failed"); got != "running" {
		t.Errorf("systemd is %s", got)
	}
	if got := m.Run(t, "sysctl -w vm.swappiness=37 kernel.panic=9 >/dev/null; sysctl -n vm.swappiness kernel.panic"); got != "37\n9" {
		t.Errorf("sysctl: %q", got)
	}
	m.Run(t, "echo kept >/root/kept; sync; echo lost >/root/lost")
	start = time.Now()
	Must(t, m.Crash())
	Must(t, m.Start(t.Context()))
	t.Logf("booted after a power cut in %s", time.Since(start))
	if got := m.Run(t, "cat /root/kept; [ ! -s /root/lost ]"); got != "kept" {
		t.Errorf("after a power cut: %q", got)
	}
	start = time.Now()
	Must(t, m.Reboot(t.Context()))
	t.Logf("rebooted in %s", time.Since(start))
}
