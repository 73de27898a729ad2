package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Exec runs a shell script (sh -e) as root on the machine, through its namespaces and not its network, and returns its
// standard output without the last newline. A non-zero exit is an error that wraps *exec.ExitError and holds the standard error.
// Not while the machine reboots: its systemd would wait in vain for the end of a process that isn't its child.
// On a QEMU machine it goes through ssh, and the error wraps *ssh.ExitError.
func (m *Machine) Exec(ctx context.Context, script string) (string, error) {
	if m.Kind == QEMU {
		return m.execSSH(ctx, script)
	}
	leader, err := m.leader()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "nsenter", append(enter(leader), "sh", "-ec", script)...)
	cmd.Env = machineEnv
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	group(cmd)
	cmd.WaitDelay = time.Second // a daemon that the script started may keep stdout open
	err = cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	return strings.TrimSuffix(stdout.String(), "\n"), err
}

// machineEnv is the environment of what the lab runs on a machine.
var machineEnv = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "USER=root", "LOGNAME=root",
	"LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"}

// enter are nsenter's arguments for the namespaces of a machine's process; a program's follow.
func enter(leader int) []string {
	return []string{fmt.Sprintf("--target=%d", leader), "--mount", "--uts", "--ipc", "--net", "--pid"}
}

// leader is the process that is 1 on the machine.
func (m *Machine) leader() (int, error) {
	for _, pid := range cgroupProcs(m.cgroups[0]) {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		for line := range strings.Lines(string(status)) {
			f := strings.Fields(line)
			if len(f) == 3 && f[0] == "NSpid:" && f[2] == "1" {
				return pid, nil
			}
		}
	}
	return 0, fmt.Errorf("machine %s is down", m.Name)
}

// Root is the path on this host of a container's root folder, whether it runs or not. /run and /tmp are others inside.
func (m *Machine) Root() string { return m.lab.inside(filepath.Join(m.dir, "root")) }

// BootID differs from boot to boot.
func (m *Machine) BootID(ctx context.Context) (string, error) {
	const file = "/proc/sys/kernel/random/boot_id"
	if m.Kind == QEMU {
		return m.Exec(ctx, "cat "+file)
	}
	leader, err := m.leader()
	if err != nil {
		return "", err
	}
	own, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	id, err := os.ReadFile(fmt.Sprintf("/proc/%d/root%s", leader, file))
	if err == nil && bytes.Equal(id, own) {
		err = fmt.Errorf("machine %s has only begun to boot", m.Name)
	}
	return strings.TrimSpace(string(id)), err
}
