package integration

import (
	"encoding/json"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/fitout-dev/fitout/integration/lab"
	"github.com/google/go-cmp/cmp"
)

// prepare gives a machine the state that testdata/undo.yaml changes.
const prepare = `cd /usr/lib/systemd/system
	for s in one two three sleeper; do
		printf '[Unit]\nDescription=%s\n[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n' $s >$s.service
	done
	systemctl daemon-reload; systemctl enable -q --now two; systemctl start sleeper
	echo 'net.ipv4.conf.all.accept_redirects = 1' >/etc/sysctl.d/50-site.conf
	printf '# kept\nnet.ipv4.conf.all.log_martians = 1\n' >/etc/sysctl.d/60-other.conf
	sysctl -q -p /etc/sysctl.d/50-site.conf -p /etc/sysctl.d/60-other.conf
	printf 'EDITOR=vi\nOLD="1"\n# end\n' >/etc/environment
	groupadd -g 1500 staff2; groupadd nobodys
	useradd -m -s /bin/bash -c Bob bob; echo 'bob:old secret' | chpasswd; install -d -m 700 -o bob -g bob /home/bob/.ssh; echo 'ssh-ed25519 OLD old' >/home/bob/.ssh/authorized_keys; chown bob: /home/bob/.ssh/authorized_keys
	useradd -m carol; useradd -m -G nobodys,staff2 dave; echo 'dave:gone' | chpasswd
	mkdir -m 755 /srv/mode /srv/full /srv/full/sub /srv/tree /srv/tree/sub
	echo one >/srv/full/one; echo two >/srv/full/sub/two; chown carol /srv/full/sub/two; chmod 604 /srv/full/sub/two; ln -s ../one /srv/full/sub/link
	echo t >/srv/tree/sub/t; chown carol /srv/tree/sub/t; chmod 4755 /srv/tree/sub/t
	echo old >/etc/changed.conf; chmod 640 /etc/changed.conf; echo away >/etc/deleted.conf; chown carol /etc/deleted.conf
	echo o >/etc/owned.conf; printf 'token=old-canary\n' >/etc/secret.conf; chmod 640 /etc/secret.conf; head -c 5000 /dev/urandom >/etc/rendered.conf
	echo seconds=1 >/etc/sleeper.conf
	printf 'a=1\nlevel=low\nb=2\ndebug=yes\nc=3\n' >/etc/app.conf
	ln -s /srv/tree /etc/current; ln -s /nowhere /etc/stale`

// TestUndo takes back a run of every kind of change, and that too: the machine must be as it was each time, but for what
// the plan had said.
func TestUndo(t *testing.T) {
	t.Parallel() // it mostly waits
	l := lab.New(t)
	repo := l.AptRepo(t)
	for _, d := range []lab.Deb{{Name: "newtool", Version: "1.0"}, {Name: "oldtool", Version: "1.0"}, {Name: "keeptool", Version: "1.0"}, {Name: "ledger", Version: "1.0"}, {Name: "ledger", Version: "1.1"}} {
		d.Files = map[string]string{"/usr/bin/" + d.Name: "#!/bin/sh\necho " + d.Version + "\n", "/etc/" + d.Name + "/settings": "version " + d.Version + "\n"}
		repo.Build(t, d)
	}
	repo.Publish(t)
	m := l.Machine(t, lab.Debian)
	repo.Use(t, m)
	m.Run(t, "apt-get update -qq; apt-get install -qq -y oldtool keeptool ledger=1.0\n"+prepare)
	w := newTechnician(t)
	w.write("undo.yaml", string(mustRead(t, filepath.Join(here(), "testdata/undo.yaml"))))
	w.write("rendered.tmpl", "of {{.device.name}}\n")
	w.env = append(w.env, "FITOUT_SECRET_ALICE=canary-alice", "FITOUT_SECRET_BOB=canary-bob", "FITOUT_SECRET_TOKEN=canary-token")
	w.inventory("inventory.yaml", "undo", "", m)
	w.fitout("trust", "--yes").exits(0)

	before := snapshot(t, m)
	password := m.Run(t, "getent shadow bob | cut -d: -f2")
	sleeper := m.Run(t, "systemctl show -p MainPID sleeper")
	if got := w.fitout("plan", "--json").exits(2).noUndo("lt-1"); len(got) != 1 || got["commands/day"] == "" {
		t.Errorf("the plan says of these that they can't be undone: %v", got)
	}
	w.fitout("plan").says("can't be undone: ")
	applied := w.fitout("apply", "--yes", "--json").exits(0).summary()
	if n := applied.Devices["lt-1"].Changed; n < 40 {
		t.Errorf("only %d resources changed", n)
	}
	after := snapshot(t, m)
	if m.Run(t, "systemctl show -p MainPID sleeper") == sleeper {
		t.Error("the service was not told of its new file")
	}
	if same := diff(before, after); len(same) < 40 {
		t.Errorf("the run shows in few places only: %v", same)
	}
	sleeper = m.Run(t, "systemctl show -p MainPID sleeper")

	r := w.fitout("undo", "last", "--yes").exits(0).says("not undone: commands/day")
	undone := snapshot(t, m)
	delete(undone, "/srv/day") // as the plan had said
	if d := cmp.Diff(before, undone); d != "" {
		t.Errorf("the undo leaves (-before the run +after its undo):\n%s\n%s", d, r)
	}
	if m.Run(t, "systemctl show -p MainPID sleeper") == sleeper {
		t.Error("the service was not told that its file is the old one again")
	}
	runs := runIDs(t, w)
	w.fitout("undo", runs[1], "--yes").exits(0).says("Nothing to do")
	if d := cmp.Diff(before, without(snapshot(t, m), "/srv/day")); d != "" {
		t.Errorf("a second undo of the same run has changed:\n%s", d)
	}

	r = w.fitout("undo", runs[0], "--yes").exits(0)
	if d := cmp.Diff(after, snapshot(t, m)); d != "" {
		t.Errorf("the undo of the undo leaves (-after the run +after both):\n%s\n%s", d, r)
	}
	w.fitout("plan").exits(0)
	for _, secret := range []string{"canary", password} {
		if got := m.Run(t, "grep -rIlF '"+secret+"' /var/lib/fitout || :"); got != "" {
			t.Errorf("%s is in %s", secret, got)
		}
		filepath.WalkDir(w.home, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() && strings.Contains(string(mustRead(t, path)), secret) {
				t.Errorf("%s is in %s", secret, path)
			}
			return err
		})
	}

	// What would be gone for good is said before, and why.
	w.write("risky.yaml", `profile: risky
users: [{name: carol, state: absent, removeHome: true}, {name: bob, fullName: Bobby}]
`)
	got := w.fitout("plan", "--json", "-p", "risky.yaml").exits(2).noUndo("lt-1")
	if len(got) != 1 || !strings.Contains(got["users/carol"], "/home/carol") {
		t.Errorf("the plan says of these that they can't be undone: %v", got)
	}
}

// TestUndoOfWhatWentWrong takes back runs that failed, were killed, or were followed by others' changes.
func TestUndoOfWhatWentWrong(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	machines := l.Machines(t, 2, lab.Debian)
	m, other := machines[0], machines[1]
	w := newTechnician(t)
	w.env = append(w.env, "FITOUT_SECRET_TOKEN=canary-token")
	reset := func() {
		t.Helper()
		for _, m := range machines {
			m.Run(t, "rm -rf /srv/*; rm -f /run/go /run/waiting; echo old >/srv/a; echo older >/srv/b; echo 'token=old' >/srv/secret")
		}
	}
	site := func(w *technician, more string) {
		w.write("site.yaml", `profile: site
files:
  - {path: /srv/a, content: "new a\n"}
  - {path: /srv/b, content: "new b\n"}
  - {path: /srv/c, content: "new c\n"}
  - {path: /srv/secret, content: "token=${secrets.token}\n"}
`+more)
	}
	site(w, "")
	w.inventory("inventory.yaml", "site", "", machines...)
	w.fitout("trust", "--yes").exits(0)
	const was, is = "old\nolder\ntoken=old", "new a\nnew b\nnew c\ntoken=canary-token"
	holds := func(t *testing.T, m *lab.Machine, want string) {
		t.Helper()
		if got := m.Run(t, "cat /srv/[abc] /srv/secret 2>/dev/null || :"); got != want {
			t.Errorf("%s holds %q, want %q", m.Name, got, want)
		}
	}

	t.Run("others have changed something since", func(t *testing.T) {
		w := w.in(t)
		reset()
		site(w, "")
		w.fitout("apply", "--yes").exits(0)
		run := runIDs(t, w)[0]
		m.Run(t, "echo theirs >/srv/b")
		w.fitout("undo", run, "--yes").exits(3).says("changed by others since the run: files//srv/b", "--force")
		holds(t, m, strings.Replace(is, "new b", "theirs", 1))
		holds(t, other, was)
		w.fitout("undo", run, "--yes", "--device", "lt-1", "--only", "files//srv/a,files//srv/c").exits(0)
		holds(t, m, "old\ntheirs\ntoken=canary-token")
		w.fitout("undo", run, "--yes", "--device", "lt-9").exits(1).says("lt-9", "hint: it was for lt-1, lt-2")
		w.fitout("undo", run, "--yes", "--device", "lt-1", "--only", "users").exits(3).says("changed nothing of users")
		w.fitout("undo", run, "--yes", "--force").exits(0)
		holds(t, m, was)
	})
	t.Run("a run that failed half-way", func(t *testing.T) {
		w := w.in(t)
		reset()
		m.Run(t, "mkdir /srv/c") // a folder is in the file's way
		site(w, "  - {path: /srv/d, content: x, after: [files//srv/c]}\n")
		w.fitout("apply", "--yes", "lt-1").exits(3)
		w.fitout("undo", "last", "--yes").exits(0)
		if got := m.Run(t, "cd /srv; ls -d *; cat a b secret"); got != "a\nb\nc\nsecret\nold\nolder\ntoken=old" {
			t.Errorf("it holds %q", got)
		}
	})
	t.Run("a run that was killed and closed", func(t *testing.T) {
		w := w.in(t)
		reset()
		site(w, `commands: [{name: wait, run: [sh, -c, "touch /run/waiting; while [ ! -e /run/go ]; do sleep 0.05; done; touch /srv/waited"], creates: /srv/waited}]
`)
		c := w.start("apply", "--yes", "lt-1")
		until(t, "the run to wait", func() bool { return m.Run(t, "[ -e /run/waiting ] && echo yes || :") == "yes" })
		c.Process.Signal(syscall.SIGKILL)
		c.wait()
		run := runIDs(t, w)[0]
		m.Run(t, `systemctl kill -s KILL 'fitout-*' 2>/dev/null || :; touch /run/go; flock /var/lib/fitout/lock true`)
		w.fitout("undo", run, "--yes").exits(0).says("not undone: commands/wait")
		holds(t, m, was)
		if got := m.Run(t, "ls /srv"); strings.Contains(got, "waited") {
			t.Error("the run was not killed, which proves nothing")
		}
	})
	t.Run("the controller is killed while it undoes", func(t *testing.T) {
		w := w.in(t)
		reset()
		m.Run(t, `printf '[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c "touch /run/waiting; while [ ! -e /run/go ]; do sleep 0.05; done; rm /run/waiting"\n' >/etc/systemd/system/slow.service; systemctl daemon-reload; touch /run/go; systemctl restart slow`)
		site(w, "services: [{name: slow, running: false}]\n")
		w.fitout("apply", "--yes", "lt-1").exits(0)
		m.Run(t, "rm /run/go")
		c := w.start("undo", "last", "--yes") // starts the service, which waits
		until(t, "the undo to wait", func() bool { return m.Run(t, "[ -e /run/waiting ] && echo yes || :") == "yes" })
		c.Process.Signal(syscall.SIGKILL)
		c.wait()
		m.Run(t, "touch /run/go")
		w.fitout("attach").exits(0).says("changed")
		holds(t, m, was)
		w.fitout("undo", runIDs(t, w)[0], "--yes").exits(0)
		holds(t, m, is)
	})
	t.Run("another controller", func(t *testing.T) {
		w := w.in(t)
		reset()
		site(w, "")
		w.fitout("apply", "--yes").exits(0)
		run := runIDs(t, w)[0]
		stranger := newTechnician(t)
		stranger.inventory("inventory.yaml", "site", "", machines...)
		site(stranger, "")
		stranger.fitout("trust", "--yes").exits(0)
		stranger.fitout("undo", run, "--yes").exits(1).says("no run", "hint:")
		stranger.fitout("undo", run, "--yes", "-i", "inventory.yaml", "--device", "lt-1").exits(0).
			says("not undone: files//srv/secret: ", "the controller that holds the key is not here")
		holds(t, m, strings.Replace(was, "token=old", "token=canary-token", 1))
		w.fitout("undo", run, "--yes").exits(0)
		holds(t, m, was)
		holds(t, other, was)
	})
	t.Run("old contents are gone", func(t *testing.T) {
		w := w.in(t)
		reset()
		site(w, "")
		w.fitout("apply", "--yes", "lt-1").exits(0)
		run := runIDs(t, w)[0]
		m.Run(t, "rm -r /var/lib/fitout/store /var/lib/fitout/runs/*/kept")
		w.fitout("undo", run, "--yes").exits(0).says("not undone: files//srv/a: its old content isn't there any more")
		holds(t, m, "new a\nnew b\ntoken=old")
		m.Run(t, "rm -rf /var/lib/fitout")
		w.fitout("undo", run, "--yes").exits(3).says("the device has no journal of run "+run, "hint:")
	})
	t.Run("more than is kept", func(t *testing.T) {
		w := w.in(t)
		reset()
		m.Run(t, "head -c 70000000 /dev/zero >/srv/a")
		site(w, "")
		if got := w.fitout("plan", "--json", "lt-1").exits(2).noUndo("lt-1"); len(got) != 1 || !strings.Contains(got["files//srv/a"], "too large") && !strings.Contains(got["files//srv/a"], "no more than 64") {
			t.Errorf("the plan says of these that they can't be undone: %v", got)
		}
		w.fitout("apply", "--yes", "lt-1").exits(0)
		w.fitout("undo", "last", "--yes").exits(0).says("not undone: files//srv/a")
		holds(t, m, "new a\nolder\ntoken=old")
	})
}

// noUndo is what a plan in JSON says that can't be undone, and why.
func (r *result) noUndo(device string) map[string]string {
	r.t.Helper()
	out := map[string]string{}
	for line := range strings.Lines(r.out) {
		var e struct {
			Type, Device string
			Plan         struct {
				Resources []struct{ Address, NoUndo string }
			}
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			r.t.Fatalf("not JSON: %v: %s", err, line)
		}
		for _, p := range e.Plan.Resources {
			if e.Device == device && p.NoUndo != "" {
				out[p.Address] = p.NoUndo
			}
		}
	}
	return out
}

// runIDs are the runs that the technician has begun, the newest first.
func runIDs(t *testing.T, w *technician) []string {
	t.Helper()
	var out []string
	for line := range strings.Lines(w.fitout("runs", "--json").exits(0).out) {
		var r struct{ ID string }
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		out = append(out, r.ID)
	}
	return out
}

// noise is what a snapshot leaves out, and why.
var noise = []string{
	"/var/lib/fitout",                            // fitout's own
	"/var/cache", "/var/log", "/tmp", "/var/tmp", // caches, logs, and what is temporary
	"/var/lib/dpkg/status",                                                                                                          // asked of dpkg, which writes it in an order of its own
	"/var/lib/dpkg/*-old", "/var/lib/dpkg/lock*", "/var/lib/dpkg/triggers/Lock", "/var/lib/apt/lists/lock", "/var/lib/apt/periodic", // backups and locks of the package management
	"/etc/passwd-", "/etc/shadow-", "/etc/group-", "/etc/gshadow-", "/etc/subuid-", "/etc/subgid-", "/etc/.pwd.lock", // backups and the lock of the account databases
	"/var/lib/systemd/random-seed", "/var/lib/systemd/timers", "/var/lib/systemd/timesync", // systemd's own state
}

// snapshot is all of a machine that should be as before: every file with its content, mode, owner, target and extended
// attributes, and what the machine's own tools say.
func snapshot(t *testing.T, m *lab.Machine) map[string]string {
	t.Helper()
	var prune []string
	for _, p := range noise {
		prune = append(prune, "-path '"+p+"'")
	}
	skip := `\( ` + strings.Join(prune, " -o ") + ` \) -prune -o`
	out := map[string]string{}
	add := func(script string, cut *regexp.Regexp) {
		for line := range strings.Lines(m.Run(t, script)) {
			if f := cut.FindStringSubmatch(strings.TrimRight(line, "\n")); f != nil {
				out[f[2]] += f[1] + " "
			} else {
				t.Fatalf("unexpected line %q", line)
			}
		}
	}
	add(`find / -xdev `+skip+` -printf '%y %m %U:%G %l|%p\n'`, regexp.MustCompile(`^([^|]*)\|(.*)$`))
	add(`find / -xdev `+skip+` -type f -print0 | xargs -0 sha256sum`, regexp.MustCompile(`^\\?([0-9a-f]{64})  (.*)$`))
	add(`find / -xdev `+skip+` \( -type f -o -type d \) -print0 | xargs -0 getfattr -hd -m - --absolute-names 2>/dev/null | sed -n 's/^# file: /=/p; /^[a-z].*=/p' | awk '/^=/{f=substr($0,2);next}{print $0 "|" f}'`, regexp.MustCompile(`^(.*)\|([^|]*)$`))
	for name, script := range map[string]string{
		"packages": `dpkg-query -Wf '${Package} ${Version} ${db:Status-Abbrev}\n'`,
		"holds":    "apt-mark showhold", "automatic": "apt-mark showauto",
		"passwd": "getent passwd", "group": "getent group", "shadow": "getent shadow", "gshadow": "getent gshadow",
		"unit files": "systemctl list-unit-files --no-legend", "services": "systemctl list-units --all --type service --no-legend --plain one.service two.service three.service sleeper.service | awk '{print $1,$3,$4}'",
		"sysctl":   "sysctl -a 2>/dev/null | grep '^net.ipv4.\\(ip_forward\\|conf.all\\|conf.default\\)'",
		"hostname": "hostname; hostnamectl --static", "time zone": "readlink -f /etc/localtime; date +%Z",
	} {
		out["("+name+")"] = m.Run(t, script)
	}
	return out
}

func without(s map[string]string, names ...string) map[string]string {
	for _, n := range names {
		delete(s, n)
	}
	return s
}

// diff names what differs.
func diff(a, b map[string]string) []string {
	all := map[string]bool{}
	for _, m := range []map[string]string{a, b} {
		for k := range m {
			if a[k] != b[k] {
				all[k] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(all))
}
