package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// Kind is a kind of machine.
type Kind string

const (
	Debian   Kind = "debian"   // Debian 12 in a container; OpenSSH, sudo, systemd
	Dropbear Kind = "dropbear" // the same without OpenSSH: dropbear, no sftp-server, busybox's tools in the place of GNU's
	QEMU     Kind = "qemu"     // Debian 12 in a virtual machine with a kernel of its own; boots in half a minute or more
	Wine     Kind = "wine"     // Windows as Wine has it, in a container of Debian 13; see Windows
)

// bootTimeout is generous: the machine's cores may be shared with other tests.
func (k Kind) bootTimeout() time.Duration {
	if k == QEMU {
		return 10 * time.Minute
	}
	return 2 * time.Minute
}

// Option of a machine.
type Option func(*Machine)

// Disk sets the size of the machine's disk in bytes; the default is 2 GB. What the base holds doesn't count in a container.
func Disk(bytes int64) Option { return func(m *Machine) { m.diskSize = bytes } }

// Named sets the machine's name, which is its hostname too. The default is m1, m2 and so on.
func Named(name string) Option { return func(m *Machine) { m.Name = name } }

// Inodes sets how many files fit on a container's disk; by default as many as its size suggests.
func Inodes(n int) Option { return func(m *Machine) { m.inodes = n } }

// Served has a QEMU machine use its disk through a server, such as one that loses what a power cut would. serve is called
// before each boot with the disk's image and returns what QEMU is to open, such as nbd:unix:PATH.
func Served(serve func(image string) (url string, err error)) Option {
	return func(m *Machine) { m.serve = serve }
}

// A Machine of a lab. Its methods may be used concurrently, but only one of Start, Stop, Crash, Reboot, Reset and Remove at a time.
type Machine struct {
	Name       string
	Kind       Kind
	Addr       string   // IP address; sshd listens on port 22
	User       string   // root
	KeyFile    string   // the private key that User accepts
	KnownHosts string   // the lab's known_hosts file
	HostKeys   []string // public keys in authorized_keys' format; new after Reset

	lab      *Lab
	root     string // the read-only base
	number   int
	diskSize int64
	inodes   int
	serve    func(image string) (string, error)
	dir      string
	cgroups  []string

	fresh  bool        // the disk has to be made
	quit   atomic.Bool // do not start again
	mu     sync.Mutex
	proc   *exec.Cmd
	client *ssh.Client   // to a QEMU machine, for the next Exec
	done   chan struct{} // closed when the machine is down for good
	down   error         // why; set before done is closed
}

// Boot boots n machines at once and returns when all have booted completely: sshd answers and systemd has nothing left to start.
func (l *Lab) Boot(ctx context.Context, n int, kind Kind, opts ...Option) ([]*Machine, error) {
	if !slices.Contains([]Kind{Debian, Dropbear, QEMU, Wine}, kind) {
		return nil, fmt.Errorf("no such kind of machine: %s", kind)
	}
	if kind == QEMU {
		if err := l.qemuReady(ctx); err != nil {
			return nil, err
		}
	}
	root, err := l.root(ctx, kind)
	if err != nil {
		return nil, err
	}
	machines := make([]*Machine, n)
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range machines {
		m, err := l.newMachine(kind, root, opts)
		if err != nil {
			errs[i] = err
			break
		}
		machines[i] = m
		wg.Go(func() {
			if err := m.Start(ctx); err != nil {
				errs[i] = fmt.Errorf("%s: %w", m.Name, err)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		for _, m := range machines {
			if m != nil {
				err = errors.Join(err, m.Remove())
			}
		}
		return nil, err
	}
	return machines, nil
}

func (l *Lab) newMachine(kind Kind, root string, opts []Option) (*Machine, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errors.New("the lab is closed")
	}
	// Addresses are used again only when all others were: nothing may mistake a new machine for an old one.
	for range 253 {
		l.next = l.next%253 + 1
		if l.machines[l.next] == nil {
			break
		}
	}
	if l.machines[l.next] != nil {
		return nil, errors.New("the lab is full: 253 machines")
	}
	m := &Machine{
		Name: fmt.Sprintf("m%d", l.next), Kind: kind, User: "root", KeyFile: l.KeyFile, KnownHosts: l.KnownHosts,
		Addr: fmt.Sprintf("%s.%d", strings.TrimSuffix(l.Gateway, ".1"), l.next+1),
		lab:  l, root: root, number: l.next, diskSize: 2 << 30, fresh: true,
	}
	for _, o := range opts {
		o(m)
	}
	m.dir = filepath.Join(l.dir, fmt.Sprint(m.number))
	for _, r := range cgroupRoots() {
		m.cgroups = append(m.cgroups, filepath.Join(r, "fitout-lab-"+l.id, fmt.Sprint(m.number)))
	}
	l.machines[m.number] = m
	return m, os.Mkdir(m.dir, 0o700)
}

// unit is the machine's name on the host; its interface there is vb-UNIT.
func (m *Machine) unit() string { return fmt.Sprintf("%s-%d", m.lab.id, m.number) }

func (m *Machine) nic() string { return "vb-" + m.unit() }

// Start boots the machine, with the disk it had when it went down, and returns when it has booted completely.
func (m *Machine) Start(ctx context.Context) error {
	m.mu.Lock()
	running := m.proc != nil
	m.mu.Unlock()
	if running {
		return errors.New("start: the machine runs already")
	}
	ctx, cancel := context.WithTimeout(ctx, m.Kind.bootTimeout())
	defer cancel()
	if m.fresh {
		if err := m.makeDisk(ctx); err != nil {
			return fmt.Errorf("make the disk: %w", err)
		}
		m.fresh = false
	}
	m.quit.Store(false)
	m.done = make(chan struct{})
	if err := m.boot(ctx); err != nil {
		close(m.done)
		return err
	}
	return m.WaitUp(ctx)
}

// boot starts the machine's process and sees to it that it starts again after a reboot.
func (m *Machine) boot(ctx context.Context) error {
	if err := await(ctx, "the end of the machine's last boot", m.clean); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(m.dir, "console.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	for _, c := range m.cgroups {
		if err := os.MkdirAll(c, 0o755); err != nil {
			return err
		}
	}
	var args []string
	if m.Kind == QEMU {
		args, err = m.qemuArgs(ctx)
	} else {
		args = m.nspawnArgs()
	}
	if err != nil {
		return err
	}
	// exec keeps the process ID.
	enter := `while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs"; shift; done; shift; exec "$@"`
	cmd := exec.Command("sh", slices.Concat([]string{"-ec", enter, "sh"}, m.cgroups, []string{"--"}, args)...)
	cmd.Stdout, cmd.Stderr = log, log
	detach(cmd)
	if err := cmd.Start(); err != nil {
		return err
	}
	m.mu.Lock()
	m.proc = cmd
	m.mu.Unlock()
	if m.quit.Load() { // since a reboot began
		_ = cmd.Process.Kill()
	}
	go m.attend(cmd)
	return nil
}

// attend waits for the process's end and boots again if the machine asked for that.
func (m *Machine) attend(cmd *exec.Cmd) {
	_ = cmd.Wait()
	m.mu.Lock()
	m.proc = nil
	m.mu.Unlock()
	const rebootRequested = 133 // systemd-nspawn's
	err := fmt.Errorf("the machine went down: %s", cmd.ProcessState)
	if cmd.ProcessState.ExitCode() == rebootRequested && !m.quit.Load() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err = m.boot(ctx); err == nil {
			return
		}
	}
	m.down = err
	close(m.done)
}

// clean reports whether nothing of an earlier boot is left, and removes its cgroups.
func (m *Machine) clean() bool {
	for _, c := range m.cgroups {
		if len(cgroupProcs(c)) > 0 {
			return false
		}
		removeCgroup(c)
	}
	_, err := os.Stat("/sys/class/net/" + m.nic())
	return err != nil || m.Kind == QEMU
}

func (m *Machine) nspawnArgs() []string {
	return []string{
		"nsenter", fmt.Sprintf("--mount=/proc/%d/ns/mnt", m.lab.guard.Process.Pid),
		"systemd-nspawn", "--quiet", "--settings=no", "--boot", "--register=no", "--keep-unit",
		"--directory=" + filepath.Join(m.dir, "root"), "--machine=" + m.unit(), "--hostname=" + m.Name,
		"--network-bridge=" + m.lab.bridge(), "--link-journal=no", "--resolv-conf=off", "--timezone=off",
	}
}

// WaitUp returns when the machine has booted completely.
func (m *Machine) WaitUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, m.Kind.bootTimeout())
	defer cancel()
	ctx, stop := m.whileUp(ctx)
	defer stop()
	err := await(ctx, "sshd", func() bool { return m.answers(ctx) })
	if err == nil {
		err = await(ctx, "systemd", func() bool {
			out, _ := m.Exec(ctx, "systemctl is-system-running --wait || :")
			return out == "running" || out == "degraded"
		})
	}
	if err != nil {
		return fmt.Errorf("%w; the console's end:\n%s", err, m.console())
	}
	return nil
}

// whileUp returns a context that ends when the machine is down for good.
func (m *Machine) whileUp(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := m.done
	go func() {
		select {
		case <-done:
			cancel(m.down)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// answers reports whether sshd greets.
func (m *Machine) answers(ctx context.Context) bool {
	d := net.Dialer{Timeout: 200 * time.Millisecond} // the kernel answers, however busy the machine is
	c, err := d.DialContext(ctx, "tcp", net.JoinHostPort(m.Addr, "22"))
	if err != nil {
		return false
	}
	defer c.Close()
	deadline := time.Now().Add(20 * time.Second)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	_ = c.SetReadDeadline(deadline)
	hello := make([]byte, 4)
	_, err = io.ReadFull(c, hello)
	return err == nil && string(hello) == "SSH-"
}

func (m *Machine) console() string {
	b, _ := os.ReadFile(filepath.Join(m.dir, "console.log"))
	return string(b[max(0, len(b)-2000):])
}

// Reboot reboots the machine from inside and returns when it has booted again.
func (m *Machine) Reboot(ctx context.Context) error {
	id, err := m.BootID(ctx)
	if err != nil {
		return err
	}
	// The connection may end before the answer.
	_, _ = m.Exec(ctx, "systemctl reboot")
	return m.WaitReboot(ctx, id)
}

// WaitReboot returns when the machine has booted after the boot that BootID gave bootID for, however that came about.
func (m *Machine) WaitReboot(ctx context.Context, bootID string) error {
	ctx, cancel := context.WithTimeout(ctx, m.Kind.bootTimeout())
	defer cancel()
	ctx, stop := m.whileUp(ctx)
	defer stop()
	err := await(ctx, "a reboot", func() bool {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second) // a connection to the old boot may hang
		defer cancel()
		id, err := m.BootID(ctx)
		return err == nil && id != "" && id != bootID
	})
	if err != nil {
		return fmt.Errorf("%w; the console's end:\n%s", err, m.console())
	}
	return m.WaitUp(ctx)
}

// Crash kills the machine at once. A container's crash keeps what was written to the page cache; a QEMU machine's is a power cut.
func (m *Machine) Crash() error {
	m.kill()
	if c := m.keep(nil); c != nil {
		c.Close()
	}
	m.waitDown()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return await(ctx, "the machine's processes to end", func() bool {
		killCgroups(m.cgroups)
		return m.clean()
	})
}

func (m *Machine) kill() {
	m.quit.Store(true)
	_ = m.Thaw() // some kernels don't kill what is frozen
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.proc != nil {
		_ = m.proc.Process.Kill()
	}
}

// Stop shuts the machine down in order.
func (m *Machine) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, m.Kind.bootTimeout())
	defer cancel()
	m.quit.Store(true)
	_, _ = m.Exec(ctx, "systemctl poweroff")
	select {
	case <-m.done:
		return m.Crash()
	case <-ctx.Done():
		return fmt.Errorf("shut %s down: %w", m.Name, context.Cause(ctx))
	}
}

func (m *Machine) waitDown() {
	if m.done != nil {
		<-m.done
	}
}

// Reset throws the machine's state away and boots it afresh, with new host keys, as after re-imaging. The address stays.
func (m *Machine) Reset(ctx context.Context) error {
	if err := m.wipe(ctx); err != nil {
		return err
	}
	return m.Start(ctx)
}

// Remove ends the machine and removes what it had. Closing the lab does so too.
func (m *Machine) Remove() error {
	l := m.lab
	l.mu.Lock()
	closed := l.closed
	l.mu.Unlock()
	if closed {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := m.wipe(ctx); err != nil {
		return err
	}
	for _, c := range m.cgroups {
		removeCgroup(c)
	}
	l.mu.Lock()
	delete(l.machines, m.number)
	l.mu.Unlock()
	if m.Kind == QEMU {
		_ = run(ctx, "ip", "link", "delete", m.nic())
	}
	return errors.Join(os.RemoveAll(m.dir), l.writeKnownHosts())
}

func (m *Machine) wipe(ctx context.Context) error {
	if err := m.Crash(); err != nil {
		return err
	}
	m.fresh = true
	return m.lab.mounting(ctx, `for d in root disk; do if mountpoint -q "$1/$d"; then umount "$1/$d"; fi; done; rm -f "$1"/disk.*`, m.dir)
}

// Freeze stops all of the machine's processes where they are; its network stays up. Thaw lets them go on.
func (m *Machine) Freeze() error { return m.freeze(true) }

// Thaw ends Freeze.
func (m *Machine) Thaw() error { return m.freeze(false) }

// Cut takes the machine off the network without a word to either side, as where a cable further away is pulled: packets are lost and
// connections hang. A container that boots is on the network again.
func (m *Machine) Cut() error {
	return run(context.Background(), "ip", "link", "set", m.nic(), "nomaster")
}

// Restore ends Cut.
func (m *Machine) Restore() error {
	return run(context.Background(), "ip", "link", "set", m.nic(), "master", m.lab.bridge())
}

// Rate limits what the network carries to the machine, as in tc(8): 1gbit.
func (m *Machine) Rate(ctx context.Context, rate string) error {
	return run(ctx, "tc", "qdisc", "replace", "dev", m.nic(), "root", "tbf", "rate", rate, "burst", "256kb", "latency", "50ms")
}
