package preflight

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/fitout-dev/fitout/engine/executor/facts"
	"github.com/fitout-dev/fitout/engine/executor/wire"
	"golang.org/x/sys/unix"
)

func (d device) looks() []func(Options) []wire.Finding {
	if !d.living {
		return []func(Options) []wire.Finding{d.disks, d.packages, d.managed}
	}
	return []func(Options) []wire.Finding{d.disks, d.battery, d.packages, d.memory, d.reboot, d.managed}
}

// read returns the beginning of a file, or "". On the running system it goes to the kernel directly: host's way takes three
// times as long. Elsewhere links have to be resolved inside the root.
func (d device) read(name string) string {
	if !d.Living() {
		b, _ := d.ReadFile(name)
		return strings.TrimSpace(string(b))
	}
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	var buf [16 << 10]byte
	n, err := unix.Read(fd, buf[:])
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(buf[:n]))
}

// locks are what those who change packages hold, by fcntl: dpkg and apt, rpm and what is built on it.
var locks = []string{"/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock", "/var/cache/apt/archives/lock",
	"/var/lib/rpm/.rpm.lock", "/usr/lib/sysimage/rpm/.rpm.lock"}

// packages tells who is at work on packages. The run waits for them, so it is a warning.
func (d device) packages(o Options) []wire.Finding {
	var holders []string
	for _, l := range locks {
		// Who may not open a lock can't change packages either.
		if who, err := d.LockHolder(l); err == nil && who != "" && !slices.Contains(holders, who) {
			holders = append(holders, who)
		}
	}
	if len(holders) == 0 {
		return nil
	}
	return []wire.Finding{{Check: Packages, Text: "packages are being changed by " + strings.Join(holders, " and "),
		Remedy: "wait for its end; the run itself waits, too, where it comes to packages"}}
}

// minMemory is what apt takes at its most, with the lists of a usual Debian or Ubuntu.
const minMemory = 128_000_000

func (d device) memory(o Options) []wire.Finding {
	var available, swap int64 = -1, 0
	for line := range strings.Lines(d.read("/proc/meminfo")) {
		name, value, _ := strings.Cut(line, ":")
		kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch {
		case err != nil:
		case name == "MemAvailable":
			available = kb << 10
		case name == "SwapFree":
			swap = kb << 10
		}
	}
	if available < 0 || available+swap >= minMemory {
		return nil
	}
	return []wire.Finding{{Check: Memory, Text: fmt.Sprintf("only %s of memory are free, swap included; package managers may be killed", size(available+swap)),
		Remedy: "end what takes it (`ps aux --sort=-rss | head` shows that), or add swap"}}
}

func (d device) reboot(o Options) []wire.Finding {
	why := facts.RebootPending(d.Host)
	if why == "" {
		return nil
	}
	return []wire.Finding{{Check: Reboot, Text: "a reboot is pending from before: " + why, Remedy: "reboot the device before the run, or when its user can spare it"}}
}
