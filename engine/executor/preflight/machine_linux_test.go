package preflight

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/integration/lab"
	"github.com/fitout-dev/fitout/modules/host"
	"go.uber.org/goleak"
)

const (
	checkVariable   = "FITOUT_TEST_PREFLIGHT" // options in JSON: check the machine that this runs on
	inhibitVariable = "FITOUT_TEST_INHIBIT"   // a pipe: inhibit, release at its first line, end at its second
	program         = "/usr/local/bin/preflight.test"
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(checkVariable) != "":
		var o Options
		err := json.Unmarshal([]byte(os.Getenv(checkVariable)), &o)
		if err == nil {
			err = json.NewEncoder(os.Stdout).Encode(Check(context.Background(), host.New("/"), o))
		}
		exit(err)
	case os.Getenv(inhibitVariable) != "":
		exit(inhibitUntil(os.Getenv(inhibitVariable)))
	}
	goleak.VerifyTestMain(m)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// inhibitUntil is a run that starts a program which outlives its inhibiting: that may not inherit it.
func inhibitUntil(pipe string) error {
	release := Inhibit(context.Background(), host.New("/"), "fitout run 42")
	child := exec.Command("sleep", "infinity")
	if err := child.Start(); err != nil {
		return err
	}
	defer child.Wait()
	defer child.Process.Kill()
	if err := os.WriteFile(pipe+".begun", nil, 0o600); err != nil {
		return err
	}
	if _, err := os.ReadFile(pipe); err != nil { // until a writer has come and gone
		return err
	}
	release()
	release()
	if err := os.WriteFile(pipe+".released", nil, 0o600); err != nil {
		return err
	}
	_, err := os.ReadFile(pipe)
	return err
}

// machine is a lab machine with this test on it.
type machine struct {
	t *testing.T
	*lab.Machine
}

func newMachine(t *testing.T, opts ...lab.Option) machine {
	m := lab.New(t).Machine(t, lab.Debian, opts...)
	build := exec.Command("go", "test", "-c", "-ldflags=-s -w", "-o", filepath.Join(m.Root(), program), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return machine{t, m}
}

func (m machine) run(script string) string { m.t.Helper(); return m.Run(m.t, script) }

// until waits for a condition in shell.
func (m machine) until(condition string) {
	m.t.Helper()
	m.run("timeout 30 sh -c 'until " + condition + "; do sleep 0.05; done' || { echo '" + condition + "' never came; exit 1; }")
}

// found is what a check says, but for battery and memory: those are the lab's host's.
func (m machine) found(o Options) []wire.Finding {
	m.t.Helper()
	j, err := json.Marshal(o)
	if err != nil {
		m.t.Fatal(err)
	}
	var all, own []wire.Finding
	out := m.run(checkVariable + "='" + string(j) + "' " + program)
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		m.t.Fatalf("%v: %s", err, out)
	}
	for _, f := range all {
		if f.Check != Battery && f.Check != Memory {
			own = append(own, f)
		}
	}
	return own
}

// expect fails unless a check finds what each of want says: "fatal disk: part of the text".
func (m machine) expect(when string, o Options, want ...string) {
	m.t.Helper()
	found := m.found(o)
	ok := len(found) == len(want)
	for i := 0; ok && i < len(want); i++ {
		head, part, _ := strings.Cut(want[i], ": ")
		check, fatal := strings.CutPrefix(head, "fatal ")
		ok = found[i].Check == check && found[i].Fatal == fatal && strings.Contains(found[i].Text, part) && found[i].Remedy != ""
	}
	if !ok {
		m.t.Errorf("%s: want %q, found:\n%s", when, want, text(found))
	}
}

func TestOnAMachine(t *testing.T) {
	m := newMachine(t, lab.Disk(600<<20))
	dir := Options{Dir: "/var/lib/fitout"}
	m.expect("a new machine", dir)

	t.Run("clock", func(t *testing.T) {
		m := machine{t, m.Machine}
		m.expect("right", Options{Now: time.Now()})
		m.expect("wrong", Options{Now: time.Now().Add(3*time.Hour + time.Minute)}, "clock: 3 hours behind")
	})
	t.Run("reboot", func(t *testing.T) {
		m := machine{t, m.Machine}
		m.run("touch /run/reboot-required; echo libc6 >/run/reboot-required.pkgs")
		m.expect("pending", dir, "reboot: libc6")
		m.run("rm /run/reboot-required*")
	})
	t.Run("dpkg", func(t *testing.T) { machine{t, m.Machine}.dpkg() })
	t.Run("managed", func(t *testing.T) { machine{t, m.Machine}.managed() })
	t.Run("inhibit", func(t *testing.T) { machine{t, m.Machine}.inhibit() })
	t.Run("disk", func(t *testing.T) { machine{t, m.Machine}.disk() })
	t.Run("read-only", func(t *testing.T) {
		m := machine{t, m.Machine}
		m.run("mount --bind /etc /etc; mount -o remount,bind,ro /etc")
		m.expect("/etc", dir, "fatal readOnly: at /etc is")
		m.run("umount /etc")
		m.expect("no more", dir)
	})
}

// A real dpkg stops in the middle of its work, in a package's script.
func (m machine) dpkg() {
	m.run(`mkdir -p /tmp/p/DEBIAN; mkfifo /tmp/go
		printf 'Package: slow\nVersion: 1\nArchitecture: all\nMaintainer: nobody <n@example.com>\nDescription: slow\n' >/tmp/p/DEBIAN/control
		printf '#!/bin/sh\ntouch /tmp/here; read x </tmp/go\n' >/tmp/p/DEBIAN/postinst; chmod 755 /tmp/p/DEBIAN/postinst
		dpkg-deb -b /tmp/p /tmp/slow.deb
		setsid dpkg -i /tmp/slow.deb </dev/null >/tmp/dpkg.log 2>&1 &`)
	m.until("test -e /tmp/here")
	pid := m.run("pidof -s dpkg || pgrep -xo dpkg")
	m.expect("while dpkg works", Options{}, "packages: dpkg (process "+pid+")")
	m.run("echo >/tmp/go")
	m.until("! pgrep -x dpkg >/dev/null")
	m.expect("after dpkg", Options{})
	m.run("dpkg -P slow; rm -r /tmp/p /tmp/go /tmp/here")
}

func (m machine) managed() {
	m.run(`printf '[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n' >/etc/systemd/system/puppet.service
		printf '[Service]\nExecStart=/bin/true\n' >/etc/systemd/system/ansible-pull.service
		printf '[Timer]\nOnCalendar=hourly\n[Install]\nWantedBy=timers.target\n' >/etc/systemd/system/ansible-pull.timer
		systemctl daemon-reload`)
	m.expect("there, but neither running nor enabled", Options{})
	m.run("systemctl start puppet")
	m.expect("running", Options{}, "managed: Puppet manages this machine, too: the unit puppet.service is running")
	m.run("systemctl stop puppet; systemctl enable -q puppet ansible-pull.timer")
	m.expect("enabled", Options{}, "managed: Puppet manages this machine, too: the unit puppet.service is enabled",
		"managed: ansible-pull manages this machine, too: the unit ansible-pull.timer is enabled")
	m.run("systemctl disable -q puppet ansible-pull.timer; systemctl mask -q --runtime puppet")
	m.expect("disabled", Options{})
	m.run("cp /bin/sleep /usr/local/bin/puppet; mkdir -p /run/puppet; setsid /usr/local/bin/puppet infinity </dev/null >/dev/null 2>&1 & echo $! >/run/puppet/agent.pid")
	m.until("pgrep -x puppet >/dev/null") // its shell has become it
	m.expect("by hand", Options{}, "managed: Puppet manages this machine, too: process ")
	m.run("kill $(cat /run/puppet/agent.pid)")
	m.until("! pgrep -x puppet >/dev/null")
	m.expect("by hand, ended", Options{})
	m.run("rm -r /run/puppet /usr/local/bin/puppet /etc/systemd/system/puppet.service /etc/systemd/system/ansible-pull.*")
}

func (m machine) inhibit() {
	const list = "systemd-inhibit --list --no-legend --no-pager"
	if out := m.run(list); strings.Contains(out, "fitout") {
		m.t.Fatalf("before: %s", out)
	}
	start := func() string {
		m.run("mkdir -p /tmp/i; mkfifo /tmp/i/pipe; " + inhibitVariable + "=/tmp/i/pipe setsid " + program + " </dev/null >/tmp/i/log 2>&1 &")
		m.until("test -e /tmp/i/pipe.begun")
		out := m.run(list)
		for _, part := range []string{"fitout", "root", "sleep:handle-lid-switch", "fitout run 42", "block"} {
			if !strings.Contains(out, part) {
				m.t.Errorf("%q isn't in what is inhibited:\n%s", part, out)
			}
		}
		return m.run("pgrep -xo preflight.test")
	}
	pid := start()
	m.run("echo >/tmp/i/pipe")
	m.until("test -e /tmp/i/pipe.released")
	m.until("! " + list + " | grep -q fitout")
	m.run("pgrep -P " + pid + " sleep") // the program that was started meanwhile is still there
	m.run("echo >/tmp/i/pipe")
	m.until("! pgrep -x preflight.test >/dev/null")
	m.run("rm -r /tmp/i")

	pid = start()
	child := m.run("pgrep -P " + pid + " sleep")
	m.run("kill -9 " + pid) // and none is left of a run that was killed, whatever it had started
	m.until("! " + list + " | grep -q fitout")
	m.run("kill " + child + "; rm -r /tmp/i")

	m.run("systemctl mask -q --runtime --now systemd-logind dbus-org.freedesktop.login1")
	m.run("mkdir /tmp/i; mkfifo /tmp/i/pipe; " + inhibitVariable + "=/tmp/i/pipe setsid " + program + " </dev/null >/tmp/i/log 2>&1 &")
	m.until("test -e /tmp/i/pipe.begun") // without logind it goes on
	m.run("echo >/tmp/i/pipe")
	m.until("test -e /tmp/i/pipe.released")
	m.run("echo >/tmp/i/pipe; systemctl unmask -q --runtime systemd-logind dbus-org.freedesktop.login1; systemctl start systemd-logind; rm -r /tmp/i")
}

// What is said to fit does, and what is said not to doesn't.
func (m machine) disk() {
	write := func(bytes int64) Options {
		return Options{Dir: "/var/lib/fitout", Writes: []Write{{Path: "/srv/new/file", Bytes: bytes}}}
	}
	m.run(`free=$(stat -f -c '%a * %S / 1000000' / | { read a; echo $(($a)); }); fallocate -l $((free - 150))MB /srv/filler`)
	m.expect("a full disk", write(0), "disk: 200 MB should stay free")
	m.expect("room enough", write(145*mb), "disk: and 145 MB will be written; 200 MB should stay free")
	m.run("fallocate -l 145MB /srv/fits; rm /srv/fits")
	m.expect("too much", write(170*mb), "fatal disk: 170 MB will be written to the file system at /, which has room for 15")
	m.run("if fallocate -l 170MB /srv/no; then echo it fits; exit 1; fi; rm -f /srv/no")
	m.run("mkdir -p /srv/new; fallocate -l 100MB /srv/new/file")
	m.expect("two that replace each other", Options{Settings: wire.Settings{MinDisk: -1}, Writes: []Write{{"/srv/new/file", 40 * mb}, {"/srv/new/other", 60 * mb}}})
	m.run("rm -r /srv/filler /srv/new")
	m.expect("room again", write(100*mb))
}
