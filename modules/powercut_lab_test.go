package modules_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/integration/lab"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/moduletest"
	"github.com/fitout-dev/fitout/modules/registry"
)

func TestMain(m *testing.M) { moduletest.Main(m, registry.Types...) }

// What was applied is there after a power cut that comes right afterwards, and in force after the start. A container has
// neither a power cut nor kernel settings of its own.
func TestPowerCut(t *testing.T) {
	if testing.Short() {
		t.Skip("boots a virtual machine under emulation")
	}
	m := lab.New(t).Machine(t, lab.QEMU)
	d := moduletest.OnMachine(t, m)
	m.Run(t, "echo old >/etc/app.conf; chmod 640 /etc/app.conf; mkdir -p /etc/sysctl.d; echo vm.swappiness=11 >/etc/sysctl.d/10-site.conf; sync")
	converged := func(typ, want string) {
		t.Helper()
		for _, r := range d.Converge(typ, want) {
			if r.Error != "" || r.Again != modules.Same || r.Op == modules.Same {
				t.Errorf("%s: %s, then %s: %s", want, r.Op, r.Again, r.Error)
			}
		}
	}
	content := strings.Repeat("a line of the new content\n", 100_000)
	wants := [][2]string{
		{"hostname", `{"name": "renamed"}`},
		{"sysctl", `[{"name": "kernel.panic", "value": "9"}, {"name": "vm.swappiness", "value": "37"}, {"name": "kernel.printk", "value": "3 4 1 7"}]`},
		{"groups", `{"name": "sales", "gid": 4321}`},
		{"directories", `{"path": "/srv/new", "mode": "0750"}`},
		{"links", `{"path": "/srv/new/link", "target": "nowhere"}`},
		{"lines", `{"path": "/etc/hosts", "line": "10.0.0.5 nas"}`},
		{"files", fmt.Sprintf(`[{"path": "/srv/new/file", "content": %s}, {"path": "/etc/app.conf", "content": %[1]s}]`, d.Content(content))},
	}
	for _, w := range wants {
		converged(w[0], w[1])
	}
	asked := "sysctl -n kernel.panic vm.swappiness kernel.printk; hostname; stat -c '%a %s' /etc/app.conf"
	want := fmt.Sprintf("9\n37\n3\t4\t1\t7\nrenamed\n640 %d", len(content))
	before := m.Run(t, asked)
	lab.Must(t, m.Crash())
	lab.Must(t, m.Start(t.Context()))
	for when, got := range map[string]string{"before": before, "after": m.Run(t, asked)} {
		if got != want {
			t.Errorf("%s the power cut: %q, want %q", when, got, want)
		}
	}
	for _, w := range wants {
		for _, r := range d.Plan(w[0], w[1]) {
			if r.Op != modules.Same || r.Error != "" {
				t.Errorf("after the power cut: %s: %s %v %s", w[0], r.Op, r.Changes, r.Error)
			}
		}
	}
}
