package accounts

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/fitout-dev/fitout/integration/lab"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/moduletest"
)

func TestMain(m *testing.M) {
	moduletest.Main(m, modules.Define("groups", Groups{}), modules.Define("users", Users{}))
}

// What is declared, asked of the machine's own tools.
func TestOnMachine(t *testing.T) {
	l := lab.New(t)
	for _, kind := range []lab.Kind{lab.Debian, lab.Dropbear} {
		t.Run(string(kind), func(t *testing.T) {
			booted, err := l.Boot(t.Context(), 1, kind)
			if errors.Is(err, errors.ErrUnsupported) {
				t.Skip(err)
			}
			lab.Must(t, err)
			m := booted[0]
			t.Cleanup(func() { lab.Must(t, m.Remove()) })
			d := moduletest.OnMachine(t, m)
			complaints := m.Run(t, "{ pwck -r; grpck -r; } 2>&1 || true")
			public, signer := newKey(t)
			converged(t, d, "groups", `[{"name": "sales"}, {"name": "fixed", "gid": 5000}, {"name": "daemons", "system": true}]`)
			converged(t, d, "users", fmt.Sprintf(`[
				{"name": "alice", "fullName": "Alice Example", "shell": "/bin/bash", "groups": ["sales"], "password": "correct horse: ß$1", "sshKeys": [%q]},
				{"name": "ben", "groups": ["sales"]},
				{"name": "cara", "uid": 4321, "group": "fixed", "password": "secret", "locked": true, "expires": "2031-05-06", "home": "/srv/people/cara"},
				{"name": "svc", "system": true, "shell": "/usr/sbin/nologin"}]`, public))

			says(t, m, "getent passwd alice", "alice:x:1000:5001:Alice Example:/home/alice:/bin/bash")
			says(t, m, "id alice", "uid=1000(alice) gid=5001(alice) groups=5001(alice),1000(sales)")
			says(t, m, "id -Gn ben", "ben sales")
			says(t, m, "getent passwd cara", "cara:x:4321:5000::/srv/people/cara:/bin/sh")
			says(t, m, "test $(id -u svc) -lt 1000 && ! test -e /home/svc && ! grep -q svc /etc/subuid && echo yes", "yes")
			says(t, m, "stat -c '%U:%G %a' /home/alice/.ssh /home/alice/.ssh/authorized_keys /home/alice/.profile", "alice:alice 700\nalice:alice 600\nalice:alice 644")
			says(t, m, "stat -c '%a %U:%G' /etc/passwd /etc/shadow /etc/group /etc/gshadow /etc/shadow-", "644 root:root\n640 root:shadow\n644 root:root\n640 root:shadow\n640 root:shadow")
			says(t, m, "diff -r /etc/skel /home/ben && stat -c %U:%G /srv/people/cara && echo same", "cara:fixed\nsame")
			says(t, m, "passwd -S alice | cut -d' ' -f2; passwd -S cara | cut -d' ' -f2; passwd -S ben | cut -d' ' -f2", "P\nL\nL")
			says(t, m, "chage -l cara | grep 'Account expires'", "Account expires\t\t\t\t\t\t: May 06, 2031")
			says(t, m, "getent shadow alice | cut -d: -f2 | cut -c1-7", "$y$j9T$")
			says(t, m, "printf '%s\\n' 'correct horse: ß$1' | runuser -u ben -- su alice -c 'id -un' 2>/dev/null", "alice")
			says(t, m, "printf 'wrong\\n' | runuser -u ben -- su alice -c 'id -un' 2>/dev/null || echo refused", "refused")
			says(t, m, "printf 'secret\\n' | runuser -u ben -- su cara -c 'id -un' 2>/dev/null || echo refused", "refused")
			says(t, m, "cut -d: -f1 /etc/subuid | sort", "alice\nben\ncara")
			if got := m.Run(t, "{ pwck -r; grpck -r; } 2>&1 || true"); got != complaints {
				t.Errorf("pwck and grpck complain of:\n%s\nbefore:\n%s", got, complaints)
			}
			logsOn(t, m, "alice", signer)
			takesBack(d, public)

			// The machine's own tools change what we made, and we what they did.
			m.Run(t, "echo cara:other | chpasswd && usermod -G '' ben && useradd -m dan && passwd -q -l alice")
			op(t, d.Plan("users", `{"name": "cara", "password": "secret", "locked": true}`), modules.Update)
			op(t, d.Plan("users", `{"name": "ben", "groups": ["sales"]}`), modules.Update)
			op(t, d.Plan("users", `[{"name": "alice", "password": "correct horse: ß$1"}, {"name": "alice", "locked": false}]`), modules.Same, modules.Update)
			converged(t, d, "users", `[{"name": "dan", "password": "new", "groups": ["sales", "sudo"]}, {"name": "alice", "locked": false}]`)
			says(t, m, "printf '%s\\n' 'correct horse: ß$1' | runuser -u ben -- su alice -c 'id -un' 2>/dev/null", "alice")
			says(t, m, "printf '%s\\n' new | runuser -u ben -- su dan -c 'id -un' 2>/dev/null", "dan")

			// Who is there can neither be removed nor renumbered.
			m.Run(t, "setsid runuser -u dan -- sh -c 'echo $$ > /tmp/dan; exec sleep 600' >/dev/null 2>&1 </dev/null &\n"+until("grep -qs sleep /proc/$(cat /tmp/dan)/comm"))
			for _, want := range []string{`{"name": "dan", "state": "absent", "removeHome": true}`, `{"name": "dan", "uid": 7777}`} {
				if r := d.Converge("users", want); len(r) != 1 || !strings.Contains(r[0].Error, "sleep") || !strings.Contains(r[0].Error, "hint: ") {
					t.Errorf("%s: %+v", want, r)
				}
			}
			m.Run(t, "kill $(cat /tmp/dan)\n"+until("! test -e /proc/$(cat /tmp/dan)"))
			m.Run(t, "su dan -c 'mkdir ~/d; echo x > ~/d/f; ln -s /etc/shadow ~/link; ln -s d ~/dlink'; touch ~dan/roots; chown root ~dan/roots")
			converged(t, d, "users", `{"name": "dan", "uid": 7777, "home": "/home/daniel", "moveHome": true, "groups": ["sales"], "groupsExact": true}`)
			says(t, m, "stat -c '%U %n' /home/daniel /home/daniel/d/f /home/daniel/link /home/daniel/roots /etc/shadow", "dan /home/daniel\ndan /home/daniel/d/f\ndan /home/daniel/link\nroot /home/daniel/roots\nroot /etc/shadow")
			says(t, m, "id -Gn dan", "dan sales")

			// A user's tricks with links reach nothing of root's.
			m.Run(t, "su dan -c 'ln -s /root/.ssh ~/.ssh'; su ben -c 'mkdir ~/.ssh; ln -s /etc/shadow ~/.ssh/authorized_keys'; sha256sum /etc/shadow /root/.ssh/* > /run/before")
			for _, u := range []string{"dan", "ben"} {
				if r := d.Converge("users", fmt.Sprintf(`{"name": %q, "sshKeys": [%q]}`, u, public)); len(r) != 1 || !strings.Contains(r[0].Error, "is a link") {
					t.Errorf("%s: %+v", u, r)
				}
			}
			m.Run(t, "sha256sum -c /run/before")

			// Beside useradd at work, no entry is lost.
			m.Run(t, "(for i in 1 2 3 4 5 6 7 8 9 10 11 12; do useradd -m other$i || exit 1; done; echo done) >/run/useradd 2>&1 & echo started")
			var many []string
			for i := range 12 {
				many = append(many, fmt.Sprintf(`{"name": "ours%d", "groups": ["sales"]}`, i))
			}
			converged(t, d, "users", "["+strings.Join(many, ",")+"]")
			m.Run(t, until("grep -q done /run/useradd"))
			says(t, m, "cat /run/useradd; getent passwd | grep -c '^ours\\|^other'; getent passwd | cut -d: -f3 | sort | uniq -d", "done\n24")

			m.Run(t, "echo mail > /var/mail/dan; chown dan /var/mail/dan")
			converged(t, d, "users", `[{"name": "dan", "state": "absent", "removeHome": true}, {"name": "ben", "state": "absent"}]`)
			says(t, m, "getent passwd dan ben; getent group dan ben; getent shadow dan ben; grep -l '\\<dan\\>\\|\\<ben\\>' /etc/passwd /etc/shadow /etc/group /etc/gshadow /etc/subuid /etc/subgid; ls -d /home/daniel /home/dan /var/mail/dan 2>/dev/null; ls -d /home/ben", "/home/ben")
			if r := d.Converge("groups", `{"name": "fixed", "state": "absent"}`); len(r) != 1 || !strings.Contains(r[0].Error, "primary group of cara") {
				t.Errorf("%+v", r)
			}
			converged(t, d, "groups", `[{"name": "sales", "state": "absent"}, {"name": "fixed", "gid": 6000}]`)
			says(t, m, "getent group sales; id -gn cara; id -g cara", "fixed\n6000")
			if got := m.Run(t, "{ pwck -r; grpck -r; } 2>&1 || true"); got != complaints {
				t.Errorf("pwck and grpck complain of:\n%s\nbefore:\n%s", got, complaints)
			}
		})
	}
}

// takesBack undoes changes of users and groups, made with the machine's own tools in part, and asks those tools.
func takesBack(d *moduletest.Device, public string) {
	d.M.Run(d.T(), `groupadd team; useradd -m -c 'Old Name,Room 7' -s /bin/sh -G team,sales old; useradd -M -d /nowhere sys1; usermod -aG team ben
		usermod -p '$6$saltsalt$qFmFH.bQmmtXzyBY0s9v7Oicd2z4XSIecDlB5KiA2/jctKu9YterLp8wwnSq.qc.eoxqOmSuNp2xS0ktL3nh/' old; chage -d 2020-02-02 -M 90 -E 2040-01-01 old
		mkdir -m 755 ~old/.ssh; printf '# mine\n' > ~old/.ssh/authorized_keys; chmod 640 ~old/.ssh/authorized_keys; chown -R old:old ~old/.ssh; gpasswd -A old team`)
	state := `for db in passwd group shadow gshadow; do getent $db; done; cat /etc/subuid /etc/subgid; id old; passwd -S old; chage -l old
		find /home -printf '%p %M %u %g %l\n' | sort; cat /home/old/.ssh/authorized_keys`
	d.TakesBack("users", fmt.Sprintf(`[{"name": "new", "groups": ["team"], "password": "x", "sshKeys": [%q]}, {"name": "new2", "system": true}]`, public), state)
	d.TakesBack("users", fmt.Sprintf(`{"name": "old", "fullName": "New Name", "shell": "/bin/bash", "groups": ["sales"], "groupsExact": true, "password": "changed",
		"locked": true, "expires": "never", "sshKeys": [%q]}`, public), "("+state+") 2>&1 || :")
	d.TakesBack("users", `{"name": "old", "uid": 6543, "home": "/home/older", "moveHome": true}`, "("+state+") 2>&1 || :")
	d.TakesBack("users", `[{"name": "old", "state": "absent"}, {"name": "sys1", "state": "absent"}]`, "("+state+") 2>&1 || :")
	d.TakesBack("groups", `[{"name": "fresh"}, {"name": "team", "state": "absent"}, {"name": "fixed", "gid": 5555}]`, "("+state+") 2>&1 || :")
	d.Converge("groups", `[{"name": "fresh", "state": "absent"}, {"name": "fixed", "gid": 5000}]`)
	d.M.Run(d.T(), "userdel -r new; userdel new2; rm -rf /home/old /home/older")
}

// converged applies, and wants nothing left to do.
func converged(t *testing.T, d *moduletest.Device, typ, want string) {
	t.Helper()
	for i, r := range d.Converge(typ, want) {
		if r.Error != "" || r.Again != modules.Same {
			t.Errorf("%s %d: %+v", typ, i, r)
		}
	}
}

func op(t *testing.T, reports []moduletest.Report, want ...modules.Op) {
	t.Helper()
	for i, r := range reports {
		if r.Op != want[i] || r.Error != "" {
			t.Errorf("%d: want %s, got %+v", i, want[i], r)
		}
	}
}

// until waits on the machine for a condition.
func until(condition string) string {
	return "n=0; until " + condition + "; do n=$((n+1)); test $n -lt 3000 || exit 1; sleep 0.01; done"
}

// says asks the machine.
func says(t *testing.T, m *lab.Machine, script, want string) {
	t.Helper()
	got, err := m.Exec(t.Context(), "{ "+script+"\n} || true")
	if err != nil {
		t.Errorf("%s: %v", script, err)
	}
	if got != want {
		t.Errorf("%s\ngot  %q\nwant %q", script, got, want)
	}
}

func newKey(t *testing.T) (public string, signer ssh.Signer) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if signer, err = ssh.NewSignerFromKey(key); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))) + " a comment", signer
}

func logsOn(t *testing.T, m *lab.Machine, user string, key ssh.Signer) {
	t.Helper()
	config := &ssh.ClientConfig{
		HostKeyAlgorithms: []string{ssh.KeyAlgoED25519}, // Dropbear dies of being asked for an RSA key that it doesn't have
		User:              user, Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, Timeout: 30 * time.Second,
		HostKeyCallback: func(string, net.Addr, ssh.PublicKey) error { return nil }, // the lab's own machine, on its own bridge
	}
	c, err := ssh.Dial("tcp", net.JoinHostPort(m.Addr, "22"), config)
	if err != nil {
		out, _ := m.Exec(t.Context(), "journalctl -n 5 --no-pager -o cat -t sshd -t dropbear")
		t.Errorf("log on as %s with its key: %v\n%s", user, err, out)
		return
	}
	c.Close()
}
