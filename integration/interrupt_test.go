package integration

import (
	"os"
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
		other := newTechnician(t)
		other.write("slow.yaml", slow)
		other.inventory("inventory.yaml", "slow", "", m)
		other.fitout("trust", "--yes").exits(0)
		r := other.fitout("apply", "--yes").exits(3).says("is under way since", "hint:")
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
		until(t, "the loss to be noticed", func() bool { return strings.Contains(c.stderr.String(), "the connection is lost") })
		if took := time.Since(start); took > 25*time.Second {
			t.Errorf("noticed after %s", took)
		}
		lab.Must(t, m.Restore())
		c.wait().exits(0).says("no sign of life", "trying again", "commands/last")
		w.fitout("apply", "--yes").exits(0).says("Nothing to do")
	})
	t.Run("the machine crashes", func(t *testing.T) {
		w := w.in(t)
		c := begin(w)
		lab.Must(t, m.Crash())
		if err := m.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		until(t, "the run to go on", func() bool { return m.Run(t, "[ -e /run/waiting ] && echo yes || :") == "yes" })
		m.Run(t, "touch /run/go")
		c.wait().exits(0).says("is back", "commands/last")
		w.fitout("apply", "--yes").exits(0).says("Nothing to do")
	})
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
