package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/integration/lab"
)

// stages is a profile whose run stands still in its middle until the file /srv/go is there.
const stages = `profile: stages
files: [{path: /srv/first, content: "1\n"}]
commands:
  - {name: wait, run: [sh, -c, "touch /srv/waiting; while [ ! -e /srv/go ]; do sleep 0.05; done; rm /srv/waiting; touch /srv/waited"], creates: /srv/waited}
  - {name: last, run: [touch, /srv/last], creates: /srv/last, after: [commands/wait]}
`

// afresh undoes it.
const afresh = "rm -f /srv/*"

// site is a technician with one machine to work on.
type site struct {
	*technician
	m *lab.Machine
}

// newSite gives the machine a profile, and trusts it. connect is more of what is under that key in the inventory.
func newSite(t *testing.T, m *lab.Machine, profile, connect string) *site {
	t.Helper()
	s := &site{newTechnician(t), m}
	s.write("site.yaml", profile)
	s.inventory("inventory.yaml", "site", connect, m)
	s.fitout("trust", "--yes").exits(0)
	s.fitout("facts").exits(0) // has the executor built and put there
	return s
}

func (s *site) in(t *testing.T) *site { return &site{s.technician.in(t), s.m} }

// has says whether a file is there, also while the machine is down.
func (s *site) has(path string) bool {
	_, err := os.Stat(s.m.Root() + path)
	return err == nil
}

// begin starts an apply and waits until its run stands still.
func (s *site) begin(args ...string) *running {
	s.t.Helper()
	c := s.start(append([]string{"apply", "--yes"}, args...)...)
	defer func() {
		if s.t.Failed() {
			s.t.Logf("%s%s", c.out.String(), c.stderr.String())
			s.t.Log(s.m.Exec(context.Background(), "ps axf -o pid,ppid,etime,wchan:20,args; ls -laR /var/lib/fitout/runs; cat /var/lib/fitout/lock; journalctl -n 40 --no-pager"))
		}
	}()
	until(s.t, "the run to stand still", func() bool { return s.has("/srv/waiting") })
	return c
}

func (s *site) goOn() { s.m.Run(s.t, "touch /srv/go") }

// isFollowed waits until a session is there beside the process that carries the run out.
func (s *site) isFollowed() {
	s.t.Helper()
	until(s.t, "a session", func() bool { return s.m.Run(s.t, "pgrep -fc 'bin/[0-9a-f]*/executor' || :") == "2" })
}

// ends waits until no run is under way, without asking fitout.
func (s *site) ends(dir string) {
	s.t.Helper()
	until(s.t, "the run to end", func() bool { return s.m.Run(s.t, "flock -n "+dir+"/lock echo free || :") == "free" })
}

// recorded is a run as `fitout runs show` tells it.
type recorded struct {
	ID      string
	Devices []struct {
		Name, Status string
		Events       []wire.Event
	}
}

func (s *site) record(run string) (r recorded) {
	s.t.Helper()
	out := s.fitout("runs", "show", run, "--json").exits(0)
	if err := json.Unmarshal([]byte(out.out), &r); err != nil || len(r.Devices) != 1 {
		s.t.Fatalf("%v\n%s", err, out)
	}
	return r
}

// is fails the test unless the record has these results, each once, and the run's begin and end.
func (r recorded) is(t *testing.T, status string, results ...string) {
	t.Helper()
	var got []string
	var types []string
	for _, e := range r.Devices[0].Events {
		if types = append(types, e.Type); e.Type == wire.Resolved {
			got = append(got, e.Address+" "+string(e.Status))
		}
	}
	if r.Devices[0].Status != status || strings.Join(got, ", ") != strings.Join(results, ", ") {
		t.Errorf("recorded as %s: %s", r.Devices[0].Status, strings.Join(got, ", "))
	}
	if len(types) == 0 || types[0] != wire.Started || types[len(types)-1] != wire.Finished {
		t.Errorf("recorded events: %s", types)
	}
}

// leavesNothing fails the test unless all that runs need is gone from the machine.
func (s *site) leavesNothing() {
	s.t.Helper()
	const find = `pgrep -af 'bin/[0-9a-f]*/executor' || :
		[ ! -d /run/systemd/system ] || systemctl list-units --all --plain --no-legend 'fitout*'
		find / -xdev -name 'fitout-run*' -o -xdev -name 'fitout-boot*'; find /run -name '*fitout*' -not -path '*/lock*'
		for d in /var/lib/fitout /home/*/.local/share/fitout; do [ ! -d $d ] || find $d -name socket -o -name key -o -name '*.new' -o -name lock -size +0; done`
	left := "?"
	deadline := time.Now().Add(20 * time.Second)
	for ; left != "" && time.Now().Before(deadline); left = s.m.Run(s.t, find) {
	}
	if left != "" {
		s.t.Errorf("left behind:\n%s", left)
	}
}

// TestRunsGoOnWithoutUs takes the controller away, or the connection, or the process that carries a run out.
func TestRunsGoOnWithoutUs(t *testing.T) {
	t.Parallel() // it mostly waits
	l := lab.New(t)
	machines := l.Machines(t, 5, lab.Debian)

	t.Run("the controller goes away", func(t *testing.T) {
		t.Parallel()
		controllerGoes(t, newSite(t, machines[0], stages, ""))
	})
	t.Run("the connection breaks", func(t *testing.T) {
		t.Parallel()
		connectionBreaks(t, machines[1])
	})
	t.Run("the runner is killed", func(t *testing.T) {
		t.Parallel()
		runnerIsKilled(t, newSite(t, machines[2], stages, ""))
	})
	t.Run("users without rights", func(t *testing.T) {
		t.Parallel()
		otherUsers(t, machines[3])
	})
	t.Run("cleaning up", func(t *testing.T) {
		t.Parallel()
		cleaningUp(t, newSite(t, machines[4], stages, ""))
	})
	t.Run("without systemd", func(t *testing.T) {
		t.Parallel()
		withoutSystemd(t, l)
	})
}

func controllerGoes(t *testing.T, s *site) {
	all := []string{"files//srv/first changed", "commands/wait changed", "commands/last changed"}

	t.Run("killed, then attach", func(t *testing.T) {
		s := s.in(t)
		c := s.begin()
		run := s.record("last").ID
		c.Process.Kill()
		c.wait()
		if got := s.m.Run(t, "systemctl is-active fitout-run-"+run); got != "active" {
			t.Errorf("the run's unit is %s", got)
		}
		s.fitout("runs").exits(0).says("not ended")
		a := s.start("attach")
		s.isFollowed()
		s.goOn()
		a.wait().exits(0).says("commands/wait", "commands/last", "changed", "3 changed")
		s.record(run).is(t, "changed", all...)
		s.leavesNothing()
		s.fitout("attach").exits(0).says("is known to have ended")
		s.fitout("apply", "--yes").exits(0).says("Nothing to do")
	})
	t.Run("killed, then attach when all is over", func(t *testing.T) {
		s := s.in(t)
		s.m.Run(t, afresh)
		c := s.begin()
		c.Process.Kill()
		c.wait()
		s.goOn()
		s.ends("/var/lib/fitout")
		r := s.fitout("attach", "--json").exits(0)
		if d := r.summary().Devices["lt-1"]; d.Status != "changed" || d.Changed != 3 {
			t.Errorf("summary %+v", d)
		}
		s.record("last").is(t, "changed", all...)
		s.leavesNothing()
	})
	t.Run("killed, then apply", func(t *testing.T) {
		s := s.in(t)
		s.m.Run(t, afresh)
		c := s.begin()
		run := s.record("last").ID
		c.Process.Kill()
		c.wait()
		a := s.start("apply", "--yes")
		s.isFollowed()
		s.goOn()
		a.wait().exits(0).says("Nothing to do", "run "+run, "commands/last")
		s.record(run).is(t, "changed", all...)
		s.leavesNothing()
	})
	t.Run("a run that failed meanwhile", func(t *testing.T) {
		s := s.in(t)
		s.m.Run(t, afresh)
		s.write("fails.yaml", strings.Replace(stages, "[touch, /srv/last]", "[sh, -c, 'echo no luck >&2; exit 3']", 1))
		c := s.begin("-p", "fails.yaml")
		c.Process.Kill()
		c.wait()
		s.goOn()
		s.ends("/var/lib/fitout")
		s.fitout("attach").exits(3).says("commands/last", "no luck")
		s.record("last").is(t, "failed", "files//srv/first changed", "commands/wait changed", "commands/last failed")
	})
	t.Run("the terminal is closed", func(t *testing.T) {
		s := s.in(t)
		s.m.Run(t, afresh)
		c := s.begin()
		c.Process.Signal(syscall.SIGHUP)
		c.wait()
		s.goOn()
		s.ends("/var/lib/fitout")
		s.fitout("attach").exits(0).says("3 changed")
		s.leavesNothing()
	})
	t.Run("apply --detach", func(t *testing.T) {
		s := s.in(t)
		s.m.Run(t, afresh)
		r := s.fitout("apply", "--yes", "--detach").exits(0).says("fitout attach")
		if r.took > 10*time.Second {
			t.Errorf("it took %s", r.took)
		}
		until(t, "the run to stand still", func() bool { return s.has("/srv/waiting") })
		s.goOn()
		s.fitout("attach", "last").exits(0).says("3 changed")
		s.record("last").is(t, "changed", all...)
		s.leavesNothing()
	})
	t.Run("what a command leaves running stays", func(t *testing.T) {
		s := s.in(t)
		s.write("daemon.yaml", `profile: daemon
commands: [{name: daemon, run: [sh, -c, "sleep 600 </dev/null >/dev/null 2>&1 & echo $! >/run/daemon"], creates: /run/daemon}]
`)
		s.fitout("apply", "--yes", "-p", "daemon.yaml").exits(0)
		s.ends("/var/lib/fitout")
		until(t, "the runner to end", func() bool { return s.m.Run(t, "pgrep -f 'bin/[0-9a-f]*/executor' || :") == "" })
		s.m.Run(t, "kill $(cat /run/daemon)")
		s.leavesNothing()
	})
	t.Run("another controller", func(t *testing.T) {
		s := s.in(t)
		s.m.Run(t, afresh)
		c := s.begin()
		run := s.record("last").ID
		other := newSite(t, s.m, stages, "")
		host, _ := os.Hostname()
		other.fitout("apply", "--yes").exits(3).says("run "+run+" of root from "+host+" is under way since "+time.Now().UTC().Format("15:"), "hint:")
		other.fitout("plan").exits(2)
		s.goOn()
		c.wait().exits(0)
		other.fitout("apply", "--yes").exits(0).says("Nothing to do")
		s.leavesNothing()
	})
}

func connectionBreaks(t *testing.T, m *lab.Machine) {
	p := lab.NewProxy(t, m.Addr+":22")
	s := &site{newTechnician(t), m}
	s.write("site.yaml", stages)
	s.write("inventory.yaml", fmt.Sprintf("devices: {lt-1: {address: 127.0.0.1, user: root, profile: site, connect: {identityFile: %s, port: %d}}}\n", m.KeyFile, p.Port()))
	s.fitout("trust", "--yes").exits(0)
	for name, breaks := range map[string]func(*site){
		"dropped": func(*site) { p.Drop() },
		"cut for a while": func(s *site) {
			p.Cut()
			s.goOn()
			s.ends("/var/lib/fitout") // with nobody there
			p.Resume()
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := s.in(t)
			m.Run(t, afresh)
			c := s.begin()
			breaks(s)
			until(t, "the loss to be noticed", func() bool { return strings.Contains(c.stderr.String(), "connection is lost") })
			s.goOn()
			c.wait().exits(0).says("trying again", "3 changed")
			s.record("last").is(t, "changed", "files//srv/first changed", "commands/wait changed", "commands/last changed")
			s.leavesNothing()
		})
	}
}

// killRunner kills what carries a run out, and nothing else.
const killRunner = `pkill -9 -f 'execut[o]r .*-run '`

func runnerIsKilled(t *testing.T, s *site) {
	// Unguarded: it would be run again if its result were lost. Another one is in the middle.
	s.write("site.yaml", strings.Replace(stages, "creates: /srv/waited}", "creates: /srv/waited, after: [commands/once]}", 1)+`  - {name: once, run: [sh, -c, "echo x >>/srv/once"]}
  - {name: then, run: [sh, -c, "echo y >>/srv/then"], after: [commands/wait]}
`)
	ended := func(s *site) {
		s.t.Helper()
		if got := s.m.Run(s.t, "cat /srv/once /srv/then; ls /srv/waited /srv/last"); got != "x\ny\n/srv/last\n/srv/waited" {
			s.t.Errorf("the machine: %q", got)
		}
		s.leavesNothing()
	}
	t.Run("with the controller there", func(t *testing.T) {
		s := s.in(t)
		c := s.begin()
		s.m.Run(t, "rm /srv/waiting; "+killRunner)
		until(t, "the run to go on", func() bool { return s.has("/srv/waiting") })
		s.goOn()
		c.wait().exits(0).says("was interrupted, and goes on", "5 changed")
		ended(s)
	})
	t.Run("with nobody there, then attach", func(t *testing.T) {
		s := s.in(t)
		s.m.Run(t, afresh)
		c := s.begin()
		c.Process.Kill()
		c.wait()
		s.m.Run(t, killRunner)
		s.ends("/var/lib/fitout")
		s.m.Run(t, "rm /srv/waiting")
		a := s.start("attach")
		until(t, "the run to go on", func() bool { return s.has("/srv/waiting") })
		s.goOn()
		a.wait().exits(0).says("was interrupted, and goes on", "5 changed")
		ended(s)
	})
	t.Run("with nobody there, then apply", func(t *testing.T) {
		s := s.in(t)
		s.m.Run(t, afresh)
		c := s.begin()
		run := s.record("last").ID
		c.Process.Kill()
		c.wait()
		s.m.Run(t, killRunner)
		s.ends("/var/lib/fitout")
		s.write("rest.yaml", stages)
		a := s.start("apply", "--yes", "-p", "rest.yaml")
		until(t, "what the dead runner had started to end", func() bool { return strings.Contains(a.stderr.String(), "3 not tried") })
		s.goOn()
		a.wait().exits(0).says("run "+run, "3 not tried", "commands/wait", "commands/last")
		s.record(run).is(t, "cancelled", "files//srv/first changed", "commands/once changed", "commands/wait cancelled", "commands/last cancelled", "commands/then cancelled")
		s.fitout("apply", "--yes", "-p", "rest.yaml").exits(0).says("Nothing to do")
		s.leavesNothing()
	})
	t.Run("time and again", func(t *testing.T) {
		s := s.in(t)
		s.m.Run(t, afresh)
		s.write("deadly.yaml", `profile: deadly
commands: [{name: deadly, run: [sh, -c, "echo x >>/srv/deadly; kill -9 $PPID"], creates: /srv/never}]
`)
		s.fitout("apply", "--yes", "-p", "deadly.yaml").exits(3).says("stopped half-way", "fitout attach")
		if got := len(s.m.Run(t, "cat /srv/deadly")); got > 10 {
			t.Errorf("tried %d times", got/2)
		}
	})
}

// otherUsers work as whom systemd gives no rights, and as root by sudo.
func otherUsers(t *testing.T, m *lab.Machine) {
	m.Run(t, `for u in guest tech; do useradd -m -s /bin/bash $u; install -d -m 700 -o $u /home/$u/.ssh
			install -m 600 -o $u /root/.ssh/authorized_keys /home/$u/.ssh/authorized_keys; done
		echo 'tech ALL=(ALL:ALL) NOPASSWD: ALL' >/etc/sudoers.d/test; chmod 440 /etc/sudoers.d/test; chmod 777 /srv`)
	s := newSite(t, m, stages, "")
	as := func(user, connect string) {
		s.write("inventory.yaml", fmt.Sprintf("devices: {lt-1: {address: %s, user: %s, profile: site, connect: {identityFile: %s%s}}}\n", m.Addr, user, m.KeyFile, connect))
	}
	t.Run("without rights", func(t *testing.T) {
		s := s.in(t)
		as("guest", "")
		c := s.begin()
		c.Process.Kill()
		c.wait()
		until(t, "the logout", func() bool {
			return m.Run(t, "loginctl list-sessions --no-legend | grep guest || :; pgrep -u guest sshd || :") == ""
		})
		s.goOn()
		s.ends("/home/guest/.local/share/fitout")
		s.fitout("attach").exits(0).says("3 changed")
		if got := m.Run(t, "stat -c %U /srv/first /srv/last; ls /var/lib/fitout/runs 2>/dev/null || :"); got != "guest\nguest" {
			t.Errorf("the run was another user's: %q", got)
		}
		s.leavesNothing()
	})
	t.Run("a lock from before a crash", func(t *testing.T) {
		s := s.in(t)
		m.Run(t, afresh)
		c := s.begin()
		run := s.record("last").ID
		c.Process.Kill()
		c.wait()
		lab.Must(t, m.Crash())
		lab.Must(t, m.Start(t.Context()))
		// Nothing starts it again for a user without rights, and a process may have its number.
		if got := m.Run(t, "cat /home/guest/.local/share/fitout/lock"); !strings.Contains(got, run) {
			t.Errorf("the lock holds %q", got)
		}
		m.Run(t, "chmod 777 /srv; rm -f /srv/waiting; touch /srv/go")
		other := newSite(t, m, stages, "")
		other.write("inventory.yaml", string(mustRead(t, s.dir+"/inventory.yaml")))
		other.fitout("apply", "--yes").exits(0).says("commands/last")
		s.fitout("apply", "--yes").exits(0).says("run "+run, "2 not tried", "Nothing to do")
		s.leavesNothing()
	})
	t.Run("sudo", func(t *testing.T) {
		s := s.in(t)
		m.Run(t, afresh)
		as("tech", ", sudo: true")
		c := s.begin()
		run := s.record("last").ID
		c.Process.Kill()
		c.wait()
		if got := m.Run(t, "systemctl is-active fitout-run-"+run); got != "active" {
			t.Errorf("the run's unit is %s", got)
		}
		s.goOn()
		s.fitout("attach").exits(0).says("3 changed")
		s.leavesNothing()
	})
}

func cleaningUp(t *testing.T, s *site) {
	c := s.begin()
	s.fitout("clean").exits(3).says("under way", "hint:")
	c.Process.Kill()
	c.wait()
	s.fitout("clean").exits(3).says("under way")
	s.m.Run(t, killRunner)
	s.ends("/var/lib/fitout")
	s.goOn() // for what the runner had started
	s.fitout("clean").exits(0)
	s.leavesNothing()
	s.m.Run(t, "[ ! -e /var/lib/fitout ]; [ -e /srv/first ]")
	s.fitout("attach").exits(3).says("knows nothing of run")
	s.fitout("apply", "--yes").exits(0)
	s.fitout("clean").exits(0)
	s.leavesNothing()
}

// withoutSystemd is a machine with busybox's tools, on which another program than systemd is asked for nothing.
func withoutSystemd(t *testing.T, l *lab.Lab) {
	m := l.Machine(t, lab.Dropbear)
	m.Run(t, "mv /run/systemd/system /run/systemd/elsewhere") // by that programs know systemd
	defer m.Run(t, "mv /run/systemd/elsewhere /run/systemd/system")
	s := newSite(t, m, stages, "")
	c := s.begin()
	c.Process.Kill()
	c.wait()
	if got := m.Run(t, "pgrep -f 'execut[o]r .*-run ' | wc -l; ls -d /sys/fs/cgroup/systemd/system.slice/fitout* 2>/dev/null || :"); strings.TrimSpace(got) != "1" {
		t.Errorf("runners and units: %q", got)
	}
	s.goOn()
	s.fitout("attach").exits(0).says("3 changed")
	s.fitout("apply", "--yes").exits(0).says("Nothing to do")
	s.fitout("clean").exits(0)
	if got := m.Run(t, "pgrep -f 'bin/[0-9a-f]*/executor' || :; ls -d /var/lib/fitout 2>/dev/null || :"); got != "" {
		t.Errorf("left behind: %s", got)
	}
}
