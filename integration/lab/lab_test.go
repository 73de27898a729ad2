package lab

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func sshRun(t *testing.T, m *Machine, command string) string {
	t.Helper()
	out, err := exec.Command("ssh", "-n", "-F", "none", "-o", "BatchMode=yes", "-o", "UserKnownHostsFile="+m.KnownHosts,
		"-o", "GlobalKnownHostsFile=none", "-i", m.KeyFile, m.User+"@"+m.Addr, command).CombinedOutput()
	if err != nil {
		t.Fatalf("ssh %s: %v: %s", m.Addr, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestMachines(t *testing.T) {
	l := New(t)
	start := time.Now()
	machines := l.Machines(t, 2, Debian)
	t.Logf("2 machines in %s", time.Since(start))
	seen := map[string]string{}
	for _, m := range machines {
		if got := sshRun(t, m, "hostname"); got != m.Name {
			t.Errorf("hostname over ssh: %q, want %q", got, m.Name)
		}
		if got := m.Run(t, "systemctl is-system-running || systemctl --failed"); got != "running" {
			t.Errorf("%s: systemd is %s", m.Name, got)
		}
		for _, what := range []string{"cat /etc/machine-id", "cat /etc/ssh/ssh_host_ed25519_key.pub", "cat /proc/sys/kernel/random/boot_id", "hostname"} {
			got := m.Run(t, what)
			if other := seen[got]; other != "" {
				t.Errorf("%s: %q is as on %s", what, got, other)
			}
			seen[got] = m.Name
		}
		cpu, err := m.CPUTime()
		if err != nil || cpu <= 0 || cpu > time.Minute {
			t.Errorf("CPU time: %v, %v", cpu, err)
		}
		if _, err := os.Stat(m.Root() + "/etc/debian_version"); err != nil {
			t.Error(err)
		}
	}
	if out, err := machines[0].Exec(t.Context(), "echo one; echo two >&2; exit 3"); err == nil || !strings.Contains(err.Error(), "two") || out != "one" {
		t.Errorf("a failing script: %q, %v", out, err)
	}
	if got := machines[0].Run(t, "ip route get 192.0.2.1 2>&1 || :"); !strings.Contains(got, "unreachable") {
		t.Errorf("a machine reaches more than its bridge: %s", got)
	}
}

func TestReboots(t *testing.T) {
	l := New(t)
	m := l.Machine(t, Debian, Named("office"))
	ctx := t.Context()
	m.Run(t, "echo kept >/root/file")
	id, err := m.BootID(ctx)
	Must(t, err)

	Must(t, m.Reboot(ctx))
	rebooted, err := m.BootID(ctx)
	Must(t, err)
	if rebooted == id {
		t.Error("the boot ID did not change by a reboot")
	}
	Must(t, m.Crash())
	if _, err := m.Exec(ctx, "true"); err == nil {
		t.Error("a crashed machine runs commands")
	}
	Must(t, m.Start(ctx))
	Must(t, m.Stop(ctx))
	Must(t, m.Start(ctx))
	if got := sshRun(t, m, "cat /root/file; hostname"); got != "kept\noffice" {
		t.Errorf("after reboot, crash and stop: %q", got)
	}

	keys := m.Run(t, "cat /etc/ssh/*.pub")
	Must(t, m.Reset(ctx))
	if got := sshRun(t, m, "ls /root"); got != "" {
		t.Errorf("after a reset: %q", got)
	}
	if m.Run(t, "cat /etc/ssh/*.pub") == keys {
		t.Error("host keys survived a reset")
	}
}

func TestNetworkAndFreeze(t *testing.T) {
	l := New(t)
	m := l.Machine(t, Debian)
	reachable := func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		return m.answers(ctx)
	}
	Must(t, m.Cut())
	if reachable() {
		t.Error("a cut machine answers")
	}
	m.Run(t, "true")
	Must(t, m.Restore())
	Must(t, await(t.Context(), "the network", reachable))
	Must(t, m.Freeze())
	if reachable() {
		t.Error("a frozen machine's sshd answers")
	}
	Must(t, m.Thaw())
	Must(t, await(t.Context(), "the thaw", reachable))
	Must(t, m.Freeze()) // and is removed while frozen
}

func TestDiskIsLimited(t *testing.T) {
	l := New(t)
	m := l.Machine(t, Debian, Disk(64<<20))
	if got := m.Run(t, "dd if=/dev/zero of=/fill bs=1M count=100 2>&1 || :"); !strings.Contains(got, "No space left") {
		t.Errorf("100 MB on a disk of 64 MB: %s", got)
	}
	m.Run(t, "rm /fill; echo again >/root/file")
}
