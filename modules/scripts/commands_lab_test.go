package scripts

import (
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/integration/lab"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/moduletest"
)

func TestMain(m *testing.M) { moduletest.Main(m, typ) }

// Commands of another user, with GNU's tools and with busybox's.
func TestOnMachine(t *testing.T) {
	l := lab.New(t)
	for _, kind := range []lab.Kind{lab.Debian, lab.Dropbear} {
		t.Run(string(kind), func(t *testing.T) {
			m := l.Machine(t, kind)
			d := moduletest.OnMachine(t, m)
			m.Run(t, "useradd -m -s /bin/sh alice && usermod -a -G users alice")
			converged := func(want string, op modules.Op) {
				t.Helper()
				for _, r := range d.Converge("commands", want) {
					if r.Op != op || r.Again != modules.Same || r.Error != "" {
						t.Errorf("%s: %s, then %s: %s", want, r.Op, r.Again, r.Error)
					}
				}
			}
			first := `{"name": "first-day", "run": ["/bin/sh", "-c", "date > /var/lib/first-day"], "creates": "/var/lib/first-day"}`
			converged(first, modules.Create)
			converged(first, modules.Same)

			alice := `{"name": "a", "user": "alice", "environment": {"WHERE": "who"}, "stdin": "from stdin", "unless": ["/bin/sh", "-c", "test \"$(id -un)\" = alice && test -e $WHERE"],
				"run": ["/bin/sh", "-c", "{ id -un; id -Gn; pwd; echo $HOME; cat; } > $WHERE"]}`
			converged(alice, modules.Create)
			converged(alice, modules.Same)
			if got, want := m.Run(t, "cat /home/alice/who; stat -c ' %U' /home/alice/who"), "alice\nalice users\n/home/alice\n/home/alice\nfrom stdin alice"; got != want {
				t.Errorf("alice's command left %q, want %q", got, want)
			}
			if r := d.Converge("commands", `{"name": "n", "user": "nobody-such", "run": ["true"]}`); len(r) != 1 || !strings.Contains(r[0].Error, "nobody-such") {
				t.Errorf("an unknown user: %+v", r)
			}
		})
	}
}
