// Package lab makes real devices to test against: Debian machines that boot in about two seconds.
//
// In a test:
//
//	l := lab.New(t)                                  // skips where a lab can't run; FITOUT_LAB=required fails instead, FITOUT_LAB=off skips
//	m := l.Machine(t, lab.Debian)                    // booted, sshd answers; gone when t ends
//	many := l.Machines(t, 4, lab.Debian)             // booted at once
//	out := m.Run(t, "stat -c %a /etc/motd")          // a way in that needs nothing of fitout; fails t on a non-zero exit
//	conn := dial(m.Addr, m.User, m.KeyFile, m.KnownHosts)
//	lab.Must(t, m.Cut())                             // methods without t return errors
//
// Outside tests, [Open], [Lab.Boot] and [Lab.Close].
//
// A Debian machine is a systemd-nspawn container with a full systemd, an overlay on a disk of limited size ([Disk]),
// cgroups, host keys and a machine ID of its own. It reaches nothing but the lab's bridge; [Lab.AptRepo] serves packages
// there. [Dropbear] is the same with another sshd and busybox's tools. [Wine] is Windows as far as Wine is: Go programs,
// registry, services, files, MSI and more are real there; see [Machine.Windows], [Machine.WindowsPath] and the tests of this
// package. Its restart is one of Windows (services, RunOnce, pending renames), and shutdown.exe and ExitWindowsEx bring one
// about. Not like Windows: a path that begins with / is a Unix one there, and what a crash finds unwritten of the registry
// is up to 30 seconds old, as long as nobody calls RegFlushKey. [QEMU] is a virtual machine under software
// emulation, for what a container can't show (kernel.* and vm.* settings, the clock, a power cut); it boots in half a minute, on a busy host in minutes.
// [Proxy] stands between controller and device, and delays, cuts, stalls and counts.
//
// The root file systems are built once, from the mirror that this machine's apt uses (or FITOUT_LAB_MIRROR), and are
// kept under the user's cache directory (or FITOUT_LAB_DIR), shared by all processes.
//
// Promises: any number of processes may have labs at the same time. Nothing is left behind when the owner closes the
// lab, panics or is killed: a guard process notices its end, and the next lab sweeps what a killed guard left. What stays is the
// cache, the Debian packages that the lab needs and fs.inotify.max_user_instances at 4096.
package lab

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/fitout-dev/fitout/modules/hint"
)

// Options of a lab. The zero value is usable.
type Options struct {
	Log io.Writer // progress of what takes long, such as building a root file system; default: discarded
}

// A Lab is a bridge with machines on it. Its methods may be used concurrently.
type Lab struct {
	KeyFile    string // private key that logs in as root on every machine
	KnownHosts string // known_hosts file with every machine's keys
	Gateway    string // the host's own address on the lab's bridge

	id     string // six hex digits; every interface, cgroup and directory is named after it
	dir    string
	log    io.Writer
	public string // the key's other half, as authorized_keys has it
	signer ssh.Signer

	guard   *exec.Cmd
	guardIn io.Closer
	lock    *os.File

	mu       sync.Mutex
	machines map[int]*Machine
	next     int
	repos    *repoServer
	closed   bool
}

//go:embed guard.sh
var guardScript string

// Available reports why a lab can't run here, or nil.
func Available() error {
	if os.Getenv("FITOUT_LAB") == "off" {
		return errors.New("FITOUT_LAB=off")
	}
	if runtime.GOOS != "linux" {
		return fmt.Errorf("a lab needs Linux, this is %s", runtime.GOOS)
	}
	if !isRoot() {
		return hint.New(errors.New("a lab needs root"), "run the same command with sudo")
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return errors.New("a lab needs a Debian-like host: apt-get not found")
	}
	return nil
}

// Open makes a lab without machines. Close it.
func Open(ctx context.Context, o Options) (l *Lab, err error) {
	if err := Available(); err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	if err := hostReady(ctx, o.Log); err != nil {
		return nil, err
	}
	l = &Lab{log: o.Log, machines: map[int]*Machine{}}
	if err := l.claim(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	if err := l.makeKey(); err != nil {
		return nil, err
	}
	if err := l.makeBridge(ctx); err != nil {
		return nil, err
	}
	return l, nil
}

// claim sweeps what dead labs left, makes this lab's directory, locks it and starts the guard.
func (l *Lab) claim(ctx context.Context) error {
	runs, err := cacheDir("run")
	if err != nil {
		return err
	}
	unlock, err := lockFile(ctx, runs+".lock")
	if err != nil {
		return err
	}
	defer unlock()
	sweep(runs)
	l.id = randomHex(3)
	l.dir = filepath.Join(runs, l.id)
	if err := os.Mkdir(l.dir, 0o700); err != nil {
		return err
	}
	if l.lock, err = os.OpenFile(filepath.Join(l.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return err
	}
	if ok, err := tryLock(l.lock); !ok {
		return fmt.Errorf("lock of lab %s is taken: %w", l.id, err)
	}
	return l.startGuard()
}

func (l *Lab) startGuard() error {
	var stderr bytes.Buffer
	l.guard = exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", guardScript, "guard.sh", "guard", l.dir)
	l.guard.Stderr = &stderr
	l.guard.ExtraFiles = []*os.File{l.lock} // held until the guard has cleaned up
	detach(l.guard)
	in, err := l.guard.StdinPipe()
	if err != nil {
		return err
	}
	out, err := l.guard.StdoutPipe()
	if err != nil {
		return err
	}
	if err := l.guard.Start(); err != nil {
		return fmt.Errorf("start the lab's guard: %w", err)
	}
	l.guardIn = in
	if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
		in.Close()
		return fmt.Errorf("the lab's guard did not start: %w: %s", errors.Join(err, l.guard.Wait()), &stderr)
	}
	return nil
}

// sweep removes the labs in runs that nobody holds the lock of any more. It does what it can: a leftover harms nobody.
func sweep(runs string) {
	dirs, _ := os.ReadDir(runs)
	for _, d := range dirs {
		dir := filepath.Join(runs, d.Name())
		f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			continue
		}
		if free, _ := tryLock(f); free {
			_ = exec.Command("sh", "-c", guardScript, "guard.sh", "reap", dir).Run()
		}
		f.Close()
	}
}

// Close ends all machines and removes everything the lab made.
func (l *Lab) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.mu.Unlock()
	if l.repos != nil {
		l.repos.close()
	}
	for _, m := range l.machines {
		m.kill()
	}
	for _, m := range l.machines {
		m.waitDown()
	}
	l.guardIn.Close()
	err := l.guard.Wait()
	l.lock.Close()
	if err != nil {
		return fmt.Errorf("clean up lab %s: %w: %s", l.id, err, l.guard.Stderr)
	}
	return nil
}

// inside is the path by which this process sees what the guard has mounted at path.
func (l *Lab) inside(path string) string {
	return fmt.Sprintf("/proc/%d/root%s", l.guard.Process.Pid, path)
}

// mounting runs a shell script in the guard's mount namespace.
func (l *Lab) mounting(ctx context.Context, script string, args ...string) error {
	ns := fmt.Sprintf("--mount=/proc/%d/ns/mnt", l.guard.Process.Pid)
	return run(ctx, "nsenter", append([]string{ns, "sh", "-ec", script, "sh"}, args...)...)
}

func (l *Lab) makeKey() error {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	if l.signer, err = ssh.NewSignerFromKey(key); err != nil {
		return err
	}
	private, public, err := opensshKey(key)
	if err != nil {
		return err
	}
	l.public = public
	l.KeyFile = filepath.Join(l.dir, "key")
	l.KnownHosts = filepath.Join(l.dir, "known_hosts")
	if err := os.WriteFile(l.KeyFile, []byte(private), 0o600); err != nil {
		return err
	}
	return os.WriteFile(l.KnownHosts, nil, 0o600)
}

// makeBridge gives the lab a /24 of 10.0.0.0/8 that no interface and no route of this host has.
func (l *Lab) makeBridge(ctx context.Context) error {
	for range 50 {
		b := make([]byte, 2)
		rand.Read(b)
		subnet := net.IPNet{IP: net.IPv4(10, b[0], b[1], 0).To4(), Mask: net.CIDRMask(24, 32)}
		if used, err := subnetUsed(&subnet, l.bridge()); err != nil {
			return err
		} else if used {
			continue
		}
		l.Gateway = fmt.Sprintf("10.%d.%d.1", b[0], b[1])
		// An address of its own: a bridge without one takes a machine's, and then hears that machine even when it is cut off.
		mac := fmt.Sprintf("02:00:%02x:%02x:00:01", b[0], b[1])
		script := `ip link add "$1" address "$3" type bridge; ip addr add "$2/24" dev "$1"; ip link set "$1" up
			echo 20 >"/proc/sys/net/ipv4/neigh/$1/retrans_time_ms"` // a machine that comes up is asked for its address at once
		if err := run(ctx, "sh", "-ec", script, "sh", l.bridge(), l.Gateway, mac); err != nil {
			return err
		}
		// Another lab may have looked at the same moment.
		if used, err := subnetUsed(&subnet, l.bridge()); err != nil || !used {
			return err
		}
		if err := run(ctx, "ip", "link", "delete", l.bridge()); err != nil {
			return err
		}
	}
	return errors.New("no unused subnet in 10.0.0.0/8")
}

func (l *Lab) bridge() string { return "fl-" + l.id }

func subnetUsed(subnet *net.IPNet, except string) (bool, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return false, err
	}
	for _, i := range interfaces {
		if i.Name == except {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // gone meanwhile
		}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && (n.Contains(subnet.IP) || subnet.Contains(n.IP)) {
				return true, nil
			}
		}
	}
	routes, err := os.ReadFile("/proc/net/route")
	for line := range strings.Lines(string(routes)) {
		f := strings.Fields(line)
		if len(f) < 8 || f[0] == except || f[1] == "00000000" {
			continue
		}
		ip, err1 := hex.DecodeString(f[1])
		mask, err2 := hex.DecodeString(f[7])
		if err1 != nil || err2 != nil || len(ip) != 4 || len(mask) != 4 {
			continue // the header
		}
		n := net.IPNet{IP: net.IPv4(ip[3], ip[2], ip[1], ip[0]).To4(), Mask: net.IPv4Mask(mask[3], mask[2], mask[1], mask[0])}
		if n.Contains(subnet.IP) || subnet.Contains(n.IP) {
			return true, nil
		}
	}
	return false, err
}

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// run runs a command; its error holds what the command said.
func run(ctx context.Context, name string, args ...string) error {
	_, err := output(ctx, name, args...)
	return err
}

func output(ctx context.Context, name string, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	group(cmd)
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return stdout.String(), fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), nil
}

// await polls until done says so or ctx ends.
func await(ctx context.Context, what string, done func() bool) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, context.Cause(ctx))
		case <-tick.C:
		}
	}
	return nil
}
