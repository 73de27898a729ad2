package integration

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/integration/lab"
)

// restarting is a profile with a command that wants the machine restarted, and one that comes after it. Both tell at which
// start of the machine they were run.
const restarting = `profile: restarting
run: {reboot: POLICY}
commands:
  - {name: other, run: [sh, -c, "cat /proc/sys/kernel/random/boot_id >>/srv/other"], creates: /srv/other}
  - {name: update, run: [sh, -c, "cat /proc/sys/kernel/random/boot_id >>/srv/update; touch /run/reboot-required"]}
  - {name: after, run: [sh, -c, "cat /proc/sys/kernel/random/boot_id >>/srv/after"], creates: /srv/after, after: [commands/update]}
`

func policy(p string) string { return strings.Replace(restarting, "POLICY", p, 1) }

// starts are the lines of a file on the machine: the starts at which something was done.
func (s *site) starts(path string) []string {
	s.t.Helper()
	return strings.Fields(s.m.Run(s.t, "cat "+path+" 2>/dev/null || :"))
}

// restarted fails the test unless the profile was carried out over a restart.
func (s *site) restarted(before string) {
	s.t.Helper()
	now, err := s.m.BootID(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	if before == now {
		s.t.Error("the machine was not restarted")
	}
	for path, boot := range map[string]string{"/srv/other": before, "/srv/update": before, "/srv/after": now} {
		if got := s.starts(path); len(got) != 1 || got[0] != boot {
			s.t.Errorf("%s was written at %q, not at %s", path, got, boot)
		}
	}
	s.leavesNothing()
}

func (s *site) boot() string {
	s.t.Helper()
	id, err := s.m.BootID(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return id
}

// away starts an apply, and kills the controller when the device says that it is this far.
func (s *site) away(when func() bool, args ...string) (run string) {
	s.t.Helper()
	c := s.start(append([]string{"apply", "--yes"}, args...)...)
	until(s.t, "the run to come so far", when)
	c.Process.Kill()
	c.wait()
	return s.record("last").ID
}

// types are the kinds of a recorded run's events, without those of resources and logs.
func (r recorded) types() (types []string) {
	for _, e := range r.Devices[0].Events {
		if e.Type != wire.Resolved && e.Type != wire.Log {
			types = append(types, e.Type)
		}
	}
	return types
}

// TestRebootsBelongToARun restarts machines in the middle of runs, as they ask for it and otherwise.
func TestRebootsBelongToARun(t *testing.T) {
	t.Parallel() // it mostly waits
	l := lab.New(t)
	machines := l.Machines(t, 6, lab.Debian)
	for i, c := range []struct {
		name string
		test func(t *testing.T, m *lab.Machine)
	}{
		{"as the profile says", asTheProfileSays},
		{"with nobody there", withNobodyThere},
		{"power cuts", powerCuts},
		{"secrets", secretsOverRestarts},
		{"limits", limitsOfRestarts},
		{"people", peopleAreWarned},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, machines[i])
		})
	}
}

func asTheProfileSays(t *testing.T, m *lab.Machine) {
	s := newSite(t, m, policy("ifNeeded"), "")
	t.Run("if needed", func(t *testing.T) {
		s := s.in(t)
		before := s.boot()
		s.fitout("plan").exits(2).says("will restart the device if needed")
		r := s.fitout("apply", "--yes").exits(0).says("restarts: the system asks for it (restart 1 of at most 5)", "is back", "3 changed")
		if strings.Contains(r.out+r.stderr, "a reboot is pending") {
			t.Errorf("a reboot that was made is told as pending:\n%s", r)
		}
		s.restarted(before)
		rec := s.record("last")
		rec.is(t, "changed", "commands/other changed", "commands/update changed", "commands/after changed")
		if got := strings.Join(rec.types(), " "); got != "started rebooting rebooted finished" {
			t.Errorf("recorded events: %s", got)
		}
	})
	t.Run("never", func(t *testing.T) {
		s := s.in(t)
		m.Run(t, afresh)
		before := s.boot()
		s.write("never.yaml", policy("never"))
		s.fitout("apply", "--yes", "-p", "never.yaml").exits(0).says("a reboot is pending: the system asks for it", "3 changed")
		if s.boot() != before || len(s.starts("/srv/after")) != 1 {
			t.Error("the machine was restarted, or the run did not go on")
		}
		s.leavesNothing()
		// From then on it is seen in each plan.
		s.fitout("plan", "-p", "never.yaml").exits(2).says("a reboot is pending: the system asks for it")
		m.Run(t, "rm /run/reboot-required")
	})
	t.Run("by the command line", func(t *testing.T) {
		s := s.in(t)
		m.Run(t, afresh)
		before := s.boot()
		s.fitout("apply", "--yes", "-p", "never.yaml", "--reboot", "ifNeeded").exits(0).says("restarts", "is back")
		s.restarted(before)
		m.Run(t, afresh)
		before = s.boot()
		s.fitout("apply", "--yes", "--reboot", "never").exits(0).says("a reboot is pending")
		if s.boot() != before {
			t.Error("the machine was restarted")
		}
		m.Run(t, "rm /run/reboot-required")
	})
	t.Run("by a resource, after the machine was renamed", func(t *testing.T) {
		s := s.in(t)
		m.Run(t, afresh)
		before := s.boot()
		s.write("resource.yaml", strings.NewReplacer("[sh, -c, \"cat /proc/sys/kernel/random/boot_id >>/srv/update", "[sh, -c, \"hostname >/srv/name; cat /proc/sys/kernel/random/boot_id >>/srv/update",
			"/run/reboot-required\"]}", "/run/reboot-required\"], reboot: ifNeeded, after: [hostname]}", "commands:", "hostname: renamed\ncommands:").Replace(policy("never")))
		s.fitout("apply", "--yes", "-p", "resource.yaml").exits(0).says("restarts", "is back", "4 changed")
		s.restarted(before)
		if got := m.Run(t, "cat /srv/name; hostname; cat /etc/hostname"); got != "renamed\nrenamed\nrenamed" {
			t.Errorf("its name is %q", got)
		}
	})
}

func withNobodyThere(t *testing.T, m *lab.Machine) {
	s := newSite(t, m, policy("ifNeeded"), "")
	before := s.boot()
	run := s.away(func() bool { return s.has("/srv/update") })
	until(t, "the run to go on by itself", func() bool { return s.has("/srv/after") })
	lab.Must(t, m.WaitUp(t.Context()))
	s.ends("/var/lib/fitout")
	s.restarted(before)
	s.fitout("attach").exits(0).says("restarts", "is back", "3 changed")
	s.record(run).is(t, "changed", "commands/other changed", "commands/update changed", "commands/after changed")
}

func powerCuts(t *testing.T, m *lab.Machine) {
	s := newSite(t, m, stages, "")
	results := []string{"files//srv/first changed", "commands/wait changed", "commands/last changed"}
	powerCut := func(s *site) {
		s.t.Helper()
		lab.Must(s.t, m.Crash())
		if err := os.Remove(m.Root() + "/srv/waiting"); err != nil {
			s.t.Fatal(err)
		}
		lab.Must(s.t, m.Start(s.t.Context()))
	}
	t.Run("go on", func(t *testing.T) {
		s := s.in(t)
		run := s.away(func() bool { return s.has("/srv/waiting") })
		powerCut(s)
		until(t, "the run to go on by itself", func() bool { return s.has("/srv/waiting") })
		a := s.start("attach")
		until(t, "what happened", func() bool {
			return strings.Contains(a.stderr.String(), "restarted in the middle of the run, which goes on")
		})
		s.goOn()
		a.wait().exits(0).says("3 changed")
		s.record(run).is(t, "changed", results...)
		s.leavesNothing()
	})
	t.Run("go on, and be killed", func(t *testing.T) {
		s := s.in(t)
		m.Run(t, afresh)
		run := s.away(func() bool { return s.has("/srv/waiting") })
		powerCut(s)
		until(t, "the run to go on by itself", func() bool { return s.has("/srv/waiting") })
		m.Run(t, "rm /srv/waiting; systemctl kill --kill-who=main -s KILL fitout-boot-"+run)
		a := s.start("attach")
		until(t, "the run to be taken up", func() bool { return s.has("/srv/waiting") })
		if n := m.Run(t, "pgrep -c -f '[w]hile .*srv/go'"); n != "1" {
			t.Errorf("the command is run %s times side by side", n)
		}
		s.goOn()
		a.wait().exits(0).says("3 changed")
		s.record(run).is(t, "changed", results...)
		s.leavesNothing()
	})
	t.Run("or wait", func(t *testing.T) {
		s := s.in(t)
		m.Run(t, afresh)
		s.write("wait.yaml", stages+"run: {afterPowerCut: wait}\n")
		run := s.away(func() bool { return s.has("/srv/waiting") }, "-p", "wait.yaml")
		powerCut(s)
		until(t, "the run's unit to have ended", func() bool {
			return strings.Contains(m.Run(t, "systemctl show -p ActiveState,ExecMainExitTimestamp fitout-boot-"+run), "ActiveState=inactive")
		})
		if s.has("/srv/waiting") {
			t.Error("the run went on")
		}
		a := s.start("attach")
		until(t, "the run to go on", func() bool { return s.has("/srv/waiting") })
		s.goOn()
		a.wait().exits(0).says("waits", "restarted in the middle", "3 changed")
		s.record(run).is(t, "changed", results...)
		s.leavesNothing()
	})
}

func secretsOverRestarts(t *testing.T, m *lab.Machine) {
	s := newSite(t, m, "profile: none\n", "")
	s.env = append(s.env, "FITOUT_SECRET_TOKEN=canary-token-over-restarts")
	secret := func(run string) string {
		return `profile: secret
run: {reboot: ifNeeded` + run + `}
files: [{path: /srv/token, content: "${secrets.token}\n", after: [commands/update]}]
commands:
  - {name: update, run: [sh, -c, "cat /proc/sys/kernel/random/boot_id >>/srv/update; touch /run/reboot-required"]}
  - {name: after, run: [sh, -c, "cat /proc/sys/kernel/random/boot_id >>/srv/after"], creates: /srv/after, after: [commands/update]}
  - {name: last, run: [cp, /srv/token, /srv/last], creates: /srv/last, after: [files//srv/token]}
`
	}
	onDisk := func(s *site) string {
		return s.m.Run(s.t, "grep -rlaE canary-token /var /etc /root /run 2>/dev/null || :")
	}
	results := []string{"commands/update changed", "files//srv/token changed", "commands/after changed", "commands/last changed"}
	t.Run("wait for the controller", func(t *testing.T) {
		s := s.in(t)
		s.write("site.yaml", secret(""))
		run := s.away(func() bool { return s.has("/srv/update") })
		until(t, "the rest to go on by itself", func() bool { return s.has("/srv/after") })
		lab.Must(t, m.WaitUp(t.Context()))
		s.ends("/var/lib/fitout")
		if got := m.Run(t, "ls /srv"); got != "after\nupdate" {
			t.Errorf("done without the key: %q", got)
		}
		if got := onDisk(s); got != "" {
			t.Errorf("the secret lies in %s", got)
		}
		s.fitout("attach").exits(0).says("waits: for the controller, which holds the key to the secrets of commands/last, files//srv/token", "4 changed")
		if got := m.Run(t, "cat /srv/last; wc -l </srv/update; wc -l </srv/after"); got != "canary-token-over-restarts\n1\n1" {
			t.Errorf("the machine: %q", got)
		}
		if got := len(s.record(run).Devices[0].Events); got == 0 {
			t.Error("nothing was recorded")
		}
		s.leavesNothing()
	})
	t.Run("which is there", func(t *testing.T) {
		s := s.in(t)
		m.Run(t, afresh)
		s.fitout("apply", "--yes").exits(0).says("is back", "4 changed")
		if got := m.Run(t, "cat /srv/last; wc -l </srv/update; wc -l </srv/after"); got != "canary-token-over-restarts\n1\n1" {
			t.Errorf("the machine: %q", got)
		}
		s.leavesNothing()
	})
	t.Run("or not", func(t *testing.T) {
		s := s.in(t)
		m.Run(t, afresh)
		s.write("site.yaml", secret(", unattended: true"))
		run := s.away(func() bool { return s.has("/srv/update") })
		until(t, "all of it to go on by itself", func() bool { return s.has("/srv/last") })
		lab.Must(t, m.WaitUp(t.Context()))
		s.ends("/var/lib/fitout")
		s.leavesNothing() // the key neither
		if got := onDisk(s); got != "" {
			t.Errorf("the secret lies in %s", got)
		}
		s.fitout("attach").exits(0).says("4 changed")
		s.record(run).is(t, "changed", results...)
	})
}

func limitsOfRestarts(t *testing.T, m *lab.Machine) {
	s := newSite(t, m, "profile: none\n", "")
	t.Run("too many", func(t *testing.T) {
		s := s.in(t)
		s.write("site.yaml", strings.Replace(policy("ifNeeded, maxReboots: 1"), "name: after, run: [sh, -c, \"", "name: after, run: [sh, -c, \"touch /run/reboot-required; ", 1))
		s.fitout("apply", "--yes").exits(3).says("restart 1 of at most 1", "commands/after", "after 1 restarts in this run: the system asks for it; the system asks for it", "hint: raise maxReboots")
		s.leavesNothing()
	})
	t.Run("in vain", func(t *testing.T) {
		s := s.in(t)
		m.Run(t, "rm -f /run/reboot-required; "+afresh)
		s.write("site.yaml", `profile: loop
run: {reboot: ifNeeded}
commands:
  - {name: loop, run: [sh, -c, "echo x >>/srv/loop; touch /run/done /run/reboot-required"], creates: /run/done}
  - {name: after, run: [touch, /srv/after], creates: /srv/after, after: [commands/loop]}
`)
		s.fitout("apply", "--yes").exits(3).says("restart 1 of", "commands/loop", "gained nothing: the system asks for it", "hint:", "commands/after: skipped (commands/loop failed)")
		if got := m.Run(t, "cat /srv/loop; ls /srv"); got != "x\nx\nloop" {
			t.Errorf("the machine: %q", got)
		}
		s.leavesNothing()
	})
	t.Run("a unit that a killed process left half written", func(t *testing.T) {
		s := s.in(t)
		half := "/etc/systemd/system/fitout-boot-20200101-000000-abcdef.service.new"
		m.Run(t, "echo >"+half)
		s.write("site.yaml", "profile: none\n")
		s.fitout("plan").exits(0)
		until(t, "it to be removed", func() bool { return !s.has(half) })
	})
	t.Run("a window", func(t *testing.T) {
		s := s.in(t)
		m.Run(t, "rm -f /run/reboot-required; "+afresh)
		before := s.boot()
		in := func(d time.Duration) string { return time.Now().UTC().Add(d).Format("15:04") }
		from := in(2 * time.Hour)
		s.write("site.yaml", policy(`ifNeeded, rebootWindow: "`+from+"-"+in(3*time.Hour)+`"`))
		c := s.start("apply", "--yes", "--json")
		until(t, "the run to wait", func() bool {
			return strings.Contains(c.out.String(), `"type":"waiting"`) && strings.Contains(c.out.String(), "until "+from)
		})
		if !s.has("/srv/update") || s.has("/srv/after") {
			t.Error("it waits at the wrong place")
		}
		c.Process.Signal(os.Interrupt)
		r := c.wait().exits(4)
		if d := r.summary().Devices["lt-1"]; d.Status != "cancelled" || d.Changed != 2 {
			t.Errorf("summary %+v", d)
		}
		if s.boot() != before {
			t.Error("the machine was restarted")
		}
		s.leavesNothing()
	})
}

// peopleAreWarned has somebody logged on while the machine is to restart.
func peopleAreWarned(t *testing.T, m *lab.Machine) {
	s := newSite(t, m, policy("ifNeeded, rebootDelay: 2s"), "")
	c, err := m.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	login, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	var screen buffer
	login.Stdout = &screen
	if err := login.RequestPty("vt100", 24, 200, nil); err != nil {
		t.Fatal(err)
	}
	if err := login.Shell(); err != nil {
		t.Fatal(err)
	}
	until(t, "a prompt", func() bool { return strings.Contains(screen.String(), "# ") })
	before := s.boot()
	r := s.fitout("apply", "--yes").exits(0).says("waits: 2s for those who are logged on", "restarts", "is back")
	if got := screen.String(); !strings.Contains(got, "This machine restarts in 2s: the system asks for it. Save your work.") {
		t.Errorf("on the screen: %q\n%s", got, r)
	}
	s.restarted(before)
}
