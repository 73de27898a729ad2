package elevate_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fitout-dev/fitout/engine/transport"
	"github.com/fitout-dev/fitout/engine/transport/elevate"
	"github.com/fitout-dev/fitout/engine/transport/local"
	"github.com/fitout-dev/fitout/engine/transport/ssh"
	"github.com/fitout-dev/fitout/engine/transport/transporttest"
	"github.com/fitout-dev/fitout/integration/lab"
	"github.com/fitout-dev/fitout/modules/hint"
)

var (
	_ elevate.Inner = (*ssh.Transport)(nil)
	_ elevate.Inner = (*local.Transport)(nil)
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// password has what shells and terminals might trip over.
const password = `pä'ss $(w) "or\d`

const setup = `
set -e
for u in sudopass sudonopass stranger ttypass ttynopass doaspass doasnopass; do
  useradd -m -s /bin/bash $u
  install -d -m 700 -o $u /home/$u/.ssh
  install -m 600 -o $u /root/.ssh/authorized_keys /home/$u/.ssh/authorized_keys
  printf '%%s:%%s\n' $u %s | chpasswd
done
cat >/etc/sudoers.d/test <<'EOF'
sudopass ALL=(ALL:ALL) ALL
sudonopass ALL=(ALL:ALL) NOPASSWD: ALL
Defaults:ttypass requiretty
ttypass ALL=(ALL:ALL) ALL
Defaults:ttynopass requiretty
ttynopass ALL=(ALL:ALL) NOPASSWD: ALL
EOF
chmod 440 /etc/sudoers.d/test
cat >/etc/doas.conf <<'EOF'
permit doaspass
permit nopass doasnopass
EOF
chmod 400 /etc/doas.conf
`

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func given(s string) func() (string, error) { return func() (string, error) { return s, nil } }

func TestElevation(t *testing.T) {
	l := lab.New(t)
	m := l.Machine(t, lab.Debian)
	repo := l.AptRepo(t)
	repo.Fetch(t, "doas")
	repo.Publish(t)
	repo.Use(t, m)
	m.Run(t, "apt-get update && apt-get install -y doas")
	m.Run(t, fmt.Sprintf(setup, shellQuote(password)))

	open := func(t *testing.T, user string, o elevate.Options) *elevate.Transport {
		t.Helper()
		inner, err := ssh.Dial(t.Context(), ssh.Options{Address: m.Addr, User: user, IdentityFile: m.KeyFile, KnownHosts: m.KnownHosts, ConfigFile: "none", HomeDir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		e := elevate.New(inner, o)
		t.Cleanup(func() { e.Close() })
		return e
	}

	for _, c := range []struct {
		name, user string
		options    elevate.Options
	}{
		{"sudo without password", "sudonopass", elevate.Options{}},
		{"sudo with password", "sudopass", elevate.Options{Password: given(password)}},
		{"sudo that asks for none though there is one", "sudonopass", elevate.Options{Password: given(password)}},
		{"sudo with requiretty and password", "ttypass", elevate.Options{Method: elevate.Sudo, Password: given(password)}},
		{"sudo with requiretty", "ttynopass", elevate.Options{}},
		{"doas without password", "doasnopass", elevate.Options{Method: elevate.Doas}},
		{"doas with password", "doaspass", elevate.Options{Method: elevate.Doas, Password: given(password)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := open(t, c.user, c.options)
			for _, elevated := range []bool{false, true} {
				want := "0\n"
				if !elevated {
					want = m.Run(t, "id -u "+c.user) + "\n"
				}
				if got := output(t, e, transport.Command{Line: "id -u", Elevate: elevated}); got != want {
					t.Errorf("id -u, elevated %v: %q, want %q", elevated, got, want)
				}
			}
			transporttest.Run(t, transporttest.Target{
				Open:    func(t *testing.T) transport.Transport { return open(t, c.user, c.options) },
				Elevate: true,
			})
			// The suite has ended; what it started must have too, and its FIFOs be gone.
			await(t, "no process left", func() bool {
				return m.Run(t, "pgrep -l -U "+c.user+" | grep -v -e sshd -e systemd -e sd-pam || :") == "" && m.Run(t, "pgrep -x sleep || :") == ""
			})
			await(t, "no folder left", func() bool { return m.Run(t, "find /tmp -name 'fitout-*'") == "" })
		})
	}

	for _, c := range []struct {
		name, user string
		options    elevate.Options
		want, hint string
	}{
		{"wrong password", "sudopass", elevate.Options{Password: given("wrong")}, "the password is wrong", "sudoPassword"},
		{"wrong password for doas", "doaspass", elevate.Options{Method: elevate.Doas, Password: given("wrong")}, "the password is wrong", "sudoPassword"},
		{"wrong password at a terminal", "ttypass", elevate.Options{Password: given("wrong")}, "the password is wrong", "sudoPassword"},
		{"no password", "sudopass", elevate.Options{}, "sudo wants a password", "sudoPassword"},
		{"no password for doas", "doaspass", elevate.Options{Method: elevate.Doas}, "doas wants a password", "sudoPassword"},
		{"not in sudoers", "stranger", elevate.Options{Password: given(password)}, "may not become administrator", "connect as another user"},
		{"not in doas.conf", "stranger", elevate.Options{Method: elevate.Doas, Password: given(password)}, "may not become administrator", "connect as another user"},
		{"no password to give", "sudopass", elevate.Options{Password: func() (string, error) { return "", errors.New("vault is sealed") }}, "vault is sealed", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.options.Device = "lt-042"
			e := open(t, c.user, c.options)
			began := time.Now()
			p, err := e.Start(t.Context(), transport.Command{Line: "id -u", Elevate: true})
			if err == nil {
				out, _ := io.ReadAll(p.Stdout())
				if len(out) > 0 {
					t.Errorf("it ran: %q", out)
				}
				_, err = p.Wait()
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("took %v", took)
			}
			if transporttest.KindOf(err) != transport.Elevation || !strings.Contains(err.Error(), c.want) || !strings.Contains(hint.Of(err), c.hint) {
				t.Errorf("got kind %v: %v, hint %q; want kind Elevation, %q, hint %q", transporttest.KindOf(err), err, hint.Of(err), c.want, c.hint)
			}
			if strings.Contains(fmt.Sprint(err, hint.Of(err)), password) {
				t.Errorf("the error has the password in it: %v", err)
			}
		})
	}

	t.Run("the password is in no command line and no environment", func(t *testing.T) {
		for user, method := range map[string]elevate.Method{"sudopass": elevate.Sudo, "doaspass": elevate.Doas} {
			e := open(t, user, elevate.Options{Method: method, Password: given(password)})
			p, err := e.Start(t.Context(), transport.Command{Line: "echo on; cat", Elevate: true})
			if err != nil {
				t.Fatal(err)
			}
			io.ReadFull(p.Stdout(), make([]byte, 3))
			m.Run(t, "printf %s "+shellQuote(password)+" >/tmp/word")
			if found := m.Run(t, "grep -aFlf /tmp/word /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null || :"); found != "" {
				t.Errorf("%s: %s", user, found)
			}
			p.Kill()
			p.Wait()
		}
	})

	t.Run("neither sudo nor doas", func(t *testing.T) {
		m.Run(t, "mv /usr/bin/sudo /usr/bin/sudo.away; mv /usr/bin/doas /usr/bin/doas.away")
		e := open(t, "sudonopass", elevate.Options{})
		p, err := e.Start(t.Context(), transport.Command{Line: "id -u", Elevate: true})
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, p.Stdout())
		_, err = p.Wait()
		if transporttest.KindOf(err) != transport.Elevation || !strings.Contains(err.Error(), "neither sudo nor doas") {
			t.Errorf("got %v", err)
		}
		m.Run(t, "mv /usr/bin/doas.away /usr/bin/doas")
		if got := output(t, open(t, "doasnopass", elevate.Options{}), transport.Command{Line: "id -u", Elevate: true}); got != "0\n" {
			t.Errorf("with doas alone: id -u is %q", got)
		}
		m.Run(t, "mv /usr/bin/sudo.away /usr/bin/sudo")
	})

	t.Run("no round trip without a password", func(t *testing.T) {
		proxy := lab.NewProxy(t, m.Addr+":22")
		inner, err := ssh.Dial(t.Context(), ssh.Options{Address: proxy.Addr(), User: "sudonopass", IdentityFile: m.KeyFile, HostKey: m.HostKeys[0], ConfigFile: "none", HomeDir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		e := elevate.New(inner, elevate.Options{})
		defer e.Close()
		// turns is how often the direction changes while a program answers to what it is sent at once.
		turns := func(elevated bool) int {
			least := 1000
			for range 5 {
				proxy.ResetStats()
				p, err := e.Start(t.Context(), transport.Command{Line: "cat", Elevate: elevated})
				if err != nil {
					t.Fatal(err)
				}
				io.WriteString(p.Stdin(), "hello")
				io.ReadFull(p.Stdout(), make([]byte, 5))
				least = min(least, proxy.Stats().Turns)
				p.Stdin().Close()
				io.Copy(io.Discard, p.Stdout())
				p.Wait()
			}
			return least
		}
		if plain, elevated := turns(false), turns(true); elevated > plain {
			t.Errorf("the direction changes %d times for an elevated program, %d for a plain one", elevated, plain)
		}
	})

	t.Run("root needs neither", func(t *testing.T) {
		if got := output(t, open(t, "root", elevate.Options{}), transport.Command{Line: "id -u; echo $SUDO_USER", Elevate: true}); got != "0\n\n" {
			t.Errorf("got %q", got)
		}
	})
}

func output(t *testing.T, tr transport.Transport, cmd transport.Command) string {
	t.Helper()
	p, err := tr.Start(t.Context(), cmd)
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(p.Stdout())
	if err != nil {
		t.Fatal(err)
	}
	if exit, err := p.Wait(); err != nil || exit.Code != 0 {
		t.Fatalf("%s: %+v, %v", cmd.Line, exit, err)
	}
	return string(out)
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for !done() {
		if ctx.Err() != nil {
			t.Fatalf("%s: not so after 20 s", what)
		}
	}
}
