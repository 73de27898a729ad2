package facts

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// machine reads what /proc and /sys below a root tell of the hardware.
type machine struct{ root string }

// read returns the beginning of a file of the kernel's, which comes in one piece, without the poller's detours of os.Open.
func read(path string) string {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer syscall.Close(fd)
	var buf [4096]byte
	n, err := syscall.Read(fd, buf[:])
	if err != nil {
		return ""
	}
	return strings.TrimSpace(strings.TrimRight(string(buf[:n]), "\x00"))
}

func (m machine) read(path string) string { return read(filepath.Join(m.root, path)) }

func (m machine) exists(path string) bool {
	var st syscall.Stat_t
	return syscall.Lstat(filepath.Join(m.root, path), &st) == nil
}

func (m machine) gather(f map[string]any) {
	set(f, "kernel", m.read("proc/sys/kernel/osrelease"))
	for line := range strings.SplitSeq(m.read("proc/meminfo"), "\n") {
		if kb, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			if n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(kb, "kB")), 10, 64); err == nil {
				f["memory"] = n << 10
			}
			break
		}
	}
	stat, _ := os.ReadFile(filepath.Join(m.root, "proc/stat")) // long, where there are many processors
	for line := range strings.Lines(string(stat)) {
		if s, ok := strings.CutPrefix(line, "btime "); ok {
			if n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64); err == nil {
				f["bootTime"] = time.Unix(n, 0).UTC().Format(time.RFC3339)
			}
		}
	}
	if on := m.loggedOn(); len(on) > 0 {
		f["loggedOn"] = on
	}
	processor := m.read("proc/cpuinfo")
	for line := range strings.SplitSeq(processor, "\n") {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
			set(f, "cpu", strings.Join(strings.Fields(v), " "))
			break
		}
	}
	if c := m.container(); c != "" { // the rest is the host's
		f["virtual"] = c
		return
	}
	f["virtual"] = m.hypervisor(processor)
	const dmi = "sys/class/dmi/id/"
	for _, fact := range [][3]string{{"vendor", dmi + "sys_vendor", ""}, {"model", dmi + "product_name", "proc/device-tree/model"},
		{"serial", dmi + "product_serial", "proc/device-tree/serial-number"}, {"biosVersion", dmi + "bios_version", ""}} {
		value := m.read(fact[1])
		if value == "" && fact[2] != "" {
			value = m.read(fact[2])
		}
		if !placeholder(value) {
			set(f, fact[0], value)
		}
	}
	if d := m.disks(); len(d) > 0 {
		f["disks"] = d
	}
	if b := m.battery(); b != nil {
		f["battery"] = b
	}
	m.trust(f)
}

// container is what the system is a container of, or "". What systemd-nspawn, Docker, Podman and LXC leave is looked for.
func (m machine) container() string {
	if c := m.read("run/systemd/container"); c != "" {
		return c
	}
	if m.exists("run/.containerenv") {
		return "podman"
	}
	for entry := range strings.SplitSeq(m.read("proc/1/environ"), "\x00") { // root alone may read it
		if c, ok := strings.CutPrefix(entry, "container="); ok && c != "" {
			return c
		}
	}
	// A virtual machine that was made from an image has Docker's file, too, but no process namespace of its own.
	if ns, _ := os.Readlink(filepath.Join(m.root, "proc/self/ns/pid")); m.exists(".dockerenv") && ns != firstNamespace {
		return "docker"
	}
	return ""
}

// firstNamespace is the one that the kernel starts with (PROC_PID_INIT_INO).
const firstNamespace = "pid:[4026531836]"

func (m machine) hypervisor(processor string) string {
	if x := m.read("sys/hypervisor/type"); x != "" {
		return x
	}
	firmware := strings.ToLower(m.read("sys/class/dmi/id/sys_vendor") + " " + m.read("sys/class/dmi/id/product_name") + " " + m.read("sys/class/dmi/id/bios_vendor"))
	if name := virtual(firmware); name != "" {
		return name
	}
	if c := m.read("proc/device-tree/hypervisor/compatible"); c != "" { // ARM and POWER: "linux,kvm"
		_, name, _ := strings.Cut(strings.SplitN(c, "\x00", 2)[0], ",")
		return name
	}
	for line := range strings.SplitSeq(processor, "\n") {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "flags" {
			if strings.Contains(" "+v+" ", " hypervisor ") {
				return "vm" // one that doesn't give its name
			}
			return ""
		}
	}
	return ""
}

// disks are the real ones: loop devices, RAM disks and what is made of other disks (dm, md) have no device of their own.
func (m machine) disks() []any {
	entries, err := os.ReadDir(filepath.Join(m.root, "sys/block"))
	if err != nil {
		return nil
	}
	var disks []any
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, "loop") || strings.HasPrefix(name, "ram") || strings.HasPrefix(name, "sr") || strings.HasPrefix(name, "fd") || !m.exists("sys/block/"+name+"/device") {
			continue
		}
		sectors, err := strconv.ParseInt(m.read("sys/block/"+name+"/size"), 10, 64) // of 512 bytes, whatever the disk's are
		if err != nil || sectors == 0 {
			continue
		}
		d := map[string]any{"name": name, "size": sectors * 512, "rotational": m.read("sys/block/"+name+"/queue/rotational") == "1"}
		set(d, "model", m.read("sys/block/"+name+"/device/model"))
		disks = append(disks, d)
	}
	return disks
}
