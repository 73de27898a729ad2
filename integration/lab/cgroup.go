package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const cgroupFS = "/sys/fs/cgroup"

// cgroupRoots lists the hierarchies in which each machine has a group of its own: systemd-nspawn would put all machines
// that one process starts into one, where one machine's systemd stops another's services. The first one tracks processes.
func cgroupRoots() []string {
	if exists(cgroupFS + "/cgroup.procs") {
		return []string{cgroupFS}
	}
	var roots []string
	for _, c := range []string{"systemd", "unified", "cpuacct", "freezer"} {
		if r := filepath.Join(cgroupFS, c); exists(r + "/cgroup.procs") {
			roots = append(roots, r)
		}
	}
	return roots
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// cgroupProcs lists the processes in a group and below, lowest first.
func cgroupProcs(dir string) (pids []int) {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "cgroup.procs" {
			b, _ := os.ReadFile(path)
			for line := range strings.Lines(string(b)) {
				if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil {
					pids = append(pids, pid)
				}
			}
		}
		return nil // groups come and go
	})
	slices.Sort(pids)
	return pids
}

func killCgroups(dirs []string) {
	for _, dir := range dirs {
		for _, pid := range cgroupProcs(dir) {
			if p, err := os.FindProcess(pid); err == nil && pid > 1 {
				_ = p.Kill()
			}
		}
	}
}

// removeCgroup removes an empty group and those below it.
func removeCgroup(dir string) {
	var dirs []string
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	for _, d := range slices.Backward(dirs) {
		_ = os.Remove(d)
	}
}

// CPUTime is what the machine's processes have used since its last boot.
func (m *Machine) CPUTime() (time.Duration, error) {
	for _, c := range m.cgroups {
		if b, err := os.ReadFile(filepath.Join(c, "cpuacct.usage")); err == nil {
			ns, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
			return time.Duration(ns), err
		}
	}
	for _, c := range m.cgroups {
		b, _ := os.ReadFile(filepath.Join(c, "cpu.stat"))
		for line := range strings.Lines(string(b)) {
			if us, ok := strings.CutPrefix(line, "usage_usec "); ok {
				n, err := strconv.ParseInt(strings.TrimSpace(us), 10, 64)
				return time.Duration(n) * time.Microsecond, err
			}
		}
	}
	return 0, fmt.Errorf("no CPU accounting for machine %s", m.Name)
}

func (m *Machine) freeze(on bool) error {
	for _, c := range m.cgroups {
		for file, values := range map[string][2]string{"cgroup.freeze": {"0", "1"}, "freezer.state": {"THAWED", "FROZEN"}} {
			path := filepath.Join(c, file)
			if !exists(path) {
				continue
			}
			value := values[0]
			if on {
				value = values[1]
			}
			return os.WriteFile(path, []byte(value), 0o644)
		}
	}
	return errors.New("this kernel can't freeze a cgroup")
}
