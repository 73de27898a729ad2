package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/integration/lab"
)

// slow is a profile whose run waits in its middle until the file /run/go is there.
const slow = `profile: slow
groups: [sales]
commands:
  - {name: wait, run: [sh, -c, "touch /run/waiting; while [ ! -e /run/go ]; do sleep 0.05; done; rm /run/waiting; touch /srv/waited"], creates: /srv/waited}
  - {name: last, run: [touch, /srv/last], creates: /srv/last, after: [commands/wait]}
`

const forget = "pkill -f 'while [!]' || :; rm -f /run/go /run/waiting /srv/waited /srv/last; groupdel sales 2>/dev/null || :"

// TestInterruptions interrupts runs on either side. Whatever happens, the next run finds a device on which the rest is done.
func TestInterruptions(t *testing.T) {
	t.Parallel() // it mostly waits
	l := lab.New(t)
	m := l.Machine(t, lab.Debian)
	w := newTechnician(t)
	w.write("slow.yaml", slow)
	w.inventory("inventory.yaml", "slow", "", m)
	w.fitout("trust", "--yes").exits(0)

	begin := func(w *technician) *running {
		m.Run(w.t, forget)
		c := w.start("apply", "--yes")
		defer func() {
			if w.t.Failed() {
				w.t.Logf("%s%s", c.out.String(), c.stderr.String())
			}
		}()
		until(w.t, "the run to wait", func() bool { return m.Run(w.t, "[ -e /run/waiting ] && echo yes || :") == "yes" })
		return c
	}
	released := func(w *technician) {
		until(w.t, "the device to be released", func() bool { return m.Run(w.t, "flock -n /var/lib/fitout/lock echo free || :") == "free" })
	}

	t.Run("a second run", func(t *testing.T) {
		w := w.in(t)
		c := begin(w)
		r := w.fitout("apply", "--yes").exits(3).says("is under way since", "hint:")
		host, _ := os.Hostname()
		r.says(" of root from " + host)
		w.fitout("clean").exits(3).says("under way")
		w.fitout("plan").exits(2) // looking is always allowed
		m.Run(t, "touch /run/go")
		c.wait().exits(0)
		w.fitout("apply", "--yes").exits(0).says("Nothing to do")
	})
	t.Run("Ctrl-C", func(t *testing.T) {
		w := w.in(t)
		c := begin(w)
		c.Process.Signal(os.Interrupt)
		until(t, "an answer", func() bool { return strings.Contains(c.stderr.String(), "stopping after the current resource") })
		m.Run(t, "touch /run/go")
		c.wait().exits(4).says("cancelled", "2 changed", "1 not tried")
		if got := m.Run(t, "cd /srv; ls"); got != "waited" {
			t.Errorf("what was done: %q", got)
		}
		w.fitout("plan").exits(2).says("commands/last")
		released(w)
	})
	t.Run("Ctrl-C twice", func(t *testing.T) {
		w := w.in(t)
		c := begin(w)
		c.Process.Signal(os.Interrupt)
		until(t, "an answer", func() bool { return strings.Contains(c.stderr.String(), "stopping after the current resource") })
		c.Process.Signal(os.Interrupt)
		r := c.wait().exits(4).says("cancelled")
		if r.took > 20*time.Second {
			t.Errorf("it took %s", r.took)
		}
		released(w)
		if got := m.Run(t, "cd /srv; ls; pgrep -f 'while [!]' || :"); got != "" {
			t.Errorf("what was done, or goes on: %q", got)
		}
	})
	t.Run("the controller is killed", func(t *testing.T) {
		w := w.in(t)
		c := begin(w)
		c.Process.Signal(syscall.SIGKILL)
		c.wait()
		m.Run(t, "touch /run/go")
		released(w)
		w.fitout("apply", "--yes").exits(0).says("Nothing to do")
	})
	t.Run("the terminal is closed", func(t *testing.T) {
		w := w.in(t)
		c := begin(w)
		c.Process.Signal(syscall.SIGHUP)
		c.wait()
		m.Run(t, "touch /run/go")
		released(w)
		w.fitout("apply", "--yes").exits(0).says("Nothing to do")
	})
	t.Run("the network is cut", func(t *testing.T) {
		w := w.in(t)
		c := begin(w)
		lab.Must(t, m.Cut())
		start := time.Now()
		m.Run(t, "touch /run/go")
		released(w) // with nobody listening
		c.wait().exits(3).says("unreachable", "no sign of life", "hint:")
		if took := time.Since(start); took > 25*time.Second {
			t.Errorf("noticed after %s", took)
		}
		lab.Must(t, m.Restore())
		until(t, "the network", func() bool { return w.fitout("apply", "--yes").code == 0 })
		w.fitout("apply", "--yes").exits(0).says("Nothing to do")
	})
	t.Run("the machine crashes", func(t *testing.T) {
		w := w.in(t)
		c := begin(w)
		lab.Must(t, m.Crash())
		c.wait().exits(3).says("unreachable", "hint:")
		if err := m.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		c = begin(w) // the lock went with its holder
		m.Run(t, "touch /run/go")
		c.wait().exits(0)
	})
}

// TestSecretsStayWhereTheyBelong uses secrets in each place that takes one, and looks for them everywhere else.
func TestSecretsStayWhereTheyBelong(t *testing.T) {
	l := lab.New(t)
	m := l.Machine(t, lab.Debian)
	m.Run(t, `useradd -m -s /bin/bash tech; install -d -m 700 -o tech /home/tech/.ssh
		install -m 600 -o tech /root/.ssh/authorized_keys /home/tech/.ssh/authorized_keys
		echo tech:canary-sudo-1x | chpasswd; echo 'tech ALL=(ALL:ALL) ALL' >/etc/sudoers.d/test; chmod 440 /etc/sudoers.d/test
		echo "before canary-none" >/etc/token`)
	w := newTechnician(t)
	canaries := map[string]string{"sudo": "canary-sudo-1x", "login": "canary-login-2x", "token": "canary-token-3x", "env": "canary-env-4x", "input": "canary-input-5x", "line": "canary-line-6x", "broken": "canary-broken-7x"}
	for name, text := range canaries {
		w.startWith(strings.NewReader(text), "secret", "set", name).wait().exits(0)
	}
	p := w.write("site.yaml", `profile: site
users:
  - {name: alice, password: "${secrets.login}"}
files:
  - {path: /etc/token, content: "token=${secrets.token}\n", mode: "0600", backup: true}
lines:
  - {path: /etc/app.conf, line: "key=${secrets.line}", id: key}
commands:
  - {name: uses, run: [sh, -c, "cat; echo $KEY >&2; sleep 1; touch /srv/used"], creates: /srv/used, environment: {KEY: "${secrets.env}"}, stdin: "${secrets.input}"}
  - {name: fails, run: [sh, -c, "echo it is $KEY; cat /proc/self/environ; exit 3"], creates: /srv/never, environment: {KEY: "${secrets.broken}"}}
`)
	m.Run(t, "touch /etc/app.conf")
	inv := w.write("inventory.yaml", fmt.Sprintf(`secrets: secrets.age
defaults: {profile: site, connect: {identityFile: %s, sudo: true, sudoPassword: "${secrets.sudo}"}}
devices: {lt-1: {address: %s, user: tech}}
`, m.KeyFile, m.Addr))
	w.fitout("trust", "--yes").exits(0)

	var said strings.Builder
	keep := func(r *result) *result { said.WriteString(r.out + r.stderr); return r }
	keep(w.fitout("check", p, inv))
	keep(w.fitout("plan").exits(2)).says("(secret)")
	keep(w.fitout("plan", "--json", "--verbose").exits(2))
	keep(w.fitout("plan", "--out", "plan.json").exits(2))
	// All processes of the host, machines included, are watched while it runs.
	watch := newProcessWatch(t)
	c := w.start("apply", "--plan", "plan.json", "--yes", "--verbose", "--json")
	r := keep(c.wait().exits(3))
	argv := watch.stop()
	keep(w.fitout("apply", "--yes", "--verbose").exits(3)).says("commands/fails")
	m.Run(t, "echo damaged >/etc/token; : >/etc/app.conf; usermod -p x alice")
	keep(w.fitout("plan").exits(2)).says("(secret)")
	keep(w.fitout("apply", "--yes").exits(3))
	keep(w.fitout("runs", "show", "last", "--json").exits(0))
	keep(w.fitout("runs", "show").exits(0))

	if got := m.Run(t, "cat /etc/token; cat /etc/app.conf"); got != "token=canary-token-3x\nkey=canary-line-6x" {
		t.Errorf("the secrets did not arrive: %q\n%s", got, r)
	}
	for name, text := range canaries {
		if strings.Contains(said.String(), text) {
			i := strings.Index(said.String(), text)
			t.Errorf("secret %s was printed: …%s", name, said.String()[max(0, i-200):i+len(text)])
		}
		if strings.Contains(argv, text) {
			t.Errorf("secret %s was in a process's arguments", name)
		}
	}
	if !strings.Contains(argv, "sleep\x001\x00") {
		t.Error("the watch of processes saw nothing, which proves nothing")
	}
	// On the device, and with the technician.
	if got := m.Run(t, "grep -rIlaE canary-'[a-z]+-[0-9]x' /etc /var /root /home /srv /tmp /run /opt /usr/local 2>/dev/null || :"); got != "/etc/app.conf\n/etc/token" && got != "/etc/token\n/etc/app.conf" {
		t.Errorf("files on the device that hold secrets: %s", got)
	}
	for _, dir := range []string{w.dir, w.home} {
		filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			b := mustRead(t, path)
			for name, text := range canaries {
				if strings.Contains(string(b), text) {
					t.Errorf("%s holds the secret %s", path, name)
				}
			}
			return nil
		})
	}
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// processWatch collects the arguments and environment-free command lines of all processes that it sees.
type processWatch struct {
	end  chan struct{}
	seen chan string
}

func newProcessWatch(t *testing.T) *processWatch {
	w := &processWatch{make(chan struct{}), make(chan string, 1)}
	go func() {
		lines := map[string]bool{}
		for {
			select {
			case <-w.end:
				var b strings.Builder
				for l := range lines {
					b.WriteString(l + "\n")
				}
				w.seen <- b.String()
				return
			default:
			}
			files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
			for _, f := range files {
				if b, err := os.ReadFile(f); err == nil && len(b) > 0 {
					lines[string(b)] = true
				}
			}
		}
	}()
	return w
}

func (w *processWatch) stop() string {
	close(w.end)
	return <-w.seen
}
