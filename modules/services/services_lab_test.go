package services

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/integration/lab"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/fitout-dev/fitout/modules/moduletest"
)

// On a machine these variables have the tests' program notify a service, or time an observation.
const (
	notifyRequest  = "FITOUT_TEST_NOTIFY"
	observeRequest = "FITOUT_TEST_OBSERVE"
	onMachine      = "/usr/local/lib/fitout-module.test"
)

func TestMain(m *testing.M) {
	if raw := os.Getenv(notifyRequest); raw != "" {
		var want Service
		err := json.Unmarshal([]byte(raw), &want)
		if err == nil {
			err = (Services{}).Notified(context.Background(), host.New("/"), want)
		}
		if err != nil {
			fmt.Println(hint.Text(err))
		}
		return
	}
	if names := os.Getenv(observeRequest); names != "" {
		fmt.Println(timeObserve(strings.Fields(names)))
		return
	}
	moduletest.Main(m, typ)
}

// timeObserve is how long it takes to observe services where no program may be started.
func timeObserve(names []string) time.Duration {
	var wants []Service
	for _, name := range names {
		wants = append(wants, Service{Name: name, Running: modules.Ptr(true)})
	}
	h := host.New("/", host.WithRunner(noPrograms{}))
	best := time.Hour
	for range 200 { // systemd 252 can hang those who talk too early
		start := time.Now()
		h.Forget()
		for i, o := range (Services{}).ObserveAll(context.Background(), h, wants) {
			if o.Err != nil {
				fmt.Println(wants[i].Name, o.Err)
			}
		}
		best = min(best, time.Since(start))
	}
	return best
}

// machine is a lab machine with units of every kind.
type machine struct {
	t *testing.T
	m *lab.Machine
	d *moduletest.Device
}

func (x machine) in(t *testing.T) machine { return machine{t, x.m, x.d.In(t)} }

// says asks the machine's own tools.
func (x machine) says(script, want string) {
	x.t.Helper()
	if got := x.m.Run(x.t, script); got != want {
		x.t.Errorf("%s\nsays %q, want %q", script, got, want)
	}
}

func (x machine) converged(want string) {
	x.t.Helper()
	for i, r := range x.d.Converge("services", want) {
		if r.Error != "" || r.Again != modules.Same {
			x.t.Errorf("%s: %d: %s, then %s %v: %s", want, i, r.Op, r.Again, r.After, r.Error)
		}
	}
}

func (x machine) plans(want string, ops ...modules.Op) {
	x.t.Helper()
	for i, r := range x.d.Plan("services", want) {
		if r.Op != ops[i] {
			x.t.Errorf("%s: %d: %s %v %v, want %s; %s", want, i, r.Op, r.Changes, r.Have, ops[i], r.Error)
		}
	}
}

func (x machine) fails(want string, texts ...string) {
	x.t.Helper()
	r := x.d.Converge("services", want)
	if len(r) != 1 || r[0].Error == "" {
		x.t.Errorf("%s: no error: %+v", want, r)
		return
	}
	for _, text := range texts {
		if !strings.Contains(r[0].Error, text) {
			x.t.Errorf("%s: %q is not in: %s", want, text, r[0].Error)
		}
	}
}

func (x machine) notify(want string) string {
	x.t.Helper()
	return x.m.Run(x.t, notifyRequest+"='"+want+"' "+onMachine)
}

// Every kind of unit, with systemctl asked about what we did and what we say.
func TestOnMachine(t *testing.T) {
	units, err := os.ReadFile("testdata/units.sh")
	if err != nil {
		t.Fatal(err)
	}
	l := lab.New(t)
	m := l.Machine(t, lab.Debian)
	all := machine{t, m, moduletest.OnMachine(t, m)}
	m.Run(t, string(units))
	for _, test := range []struct {
		name string
		run  func(machine)
	}{
		{"enabled", testEnabled}, {"alias", testAlias}, {"changed behind our back", testDrift}, {"masked", testMasked}, {"starting", testStarting}, {"impossible", testImpossible},
		{"init script", testInitScript}, {"new and changed files", testNewFiles}, {"notified", testNotified}, {"what systemctl says", testAllUnits}, {"cheap", testCheap}, {"undo", testUndo},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(all.in(t)) })
	}
}

func testEnabled(x machine) {
	x.converged(`[{"name": "plain", "enabled": true}, {"name": "inst@one", "enabled": true, "running": true}, {"name": "tick.timer", "enabled": true, "running": true},
		{"name": "door.socket", "enabled": true, "running": true}, {"name": "away", "enabled": true}]`)
	x.says("systemctl is-enabled plain plainer inst@one tick.timer door.socket away", "enabled\nalias\nenabled\nenabled\nenabled\nenabled")
	x.says("systemctl is-active inst@one tick.timer door.socket; systemctl is-active plain || true", "active\nactive\nactive\ninactive")
	x.converged(`[{"name": "plain", "enabled": false}, {"name": "inst@one", "enabled": false, "running": false}]`)
	x.says("systemctl is-enabled plain || true; systemctl is-active inst@one || true; ls /etc/systemd/system/plainer.service 2>/dev/null || echo gone", "disabled\ninactive\ngone")
}

func testAlias(x machine) {
	x.converged(`{"name": "plain", "enabled": true}`)
	x.plans(`[{"name": "plainer", "enabled": true, "running": false}, {"name": "plainer", "running": true}]`, modules.Same, modules.Update)
	x.converged(`{"name": "plainer", "running": true}`)
	x.says("systemctl is-active plain", "active")
}

func testDrift(x machine) {
	x.converged(`{"name": "other", "enabled": true, "running": true}`)
	x.m.Run(x.t, "rm /etc/systemd/system/multi-user.target.wants/other.service")
	x.plans(`{"name": "other", "enabled": true, "running": true}`, modules.Update)
	x.m.Run(x.t, `ln -s /etc/systemd/system/other.service /etc/systemd/system/multi-user.target.wants/other.service; systemctl kill -s KILL other
		n=0; while systemctl -q is-active other; do n=$((n+1)); test $n -lt 1000 || exit 1; done`)
	x.plans(`[{"name": "other", "enabled": true}, {"name": "other", "running": true}]`, modules.Same, modules.Update)
	x.converged(`{"name": "other", "running": true}`)
	x.m.Run(x.t, "systemctl disable -q other; systemctl enable -q --runtime other")
	x.plans(`[{"name": "other", "enabled": true}, {"name": "other", "enabled": false}]`, modules.Update, modules.Update)
	x.converged(`{"name": "other", "enabled": false}`)
	x.says("systemctl is-enabled other || true", "disabled")
}

func testMasked(x machine) {
	x.m.Run(x.t, "cp /etc/systemd/system/other.service /usr/lib/systemd/system/hidden.service; systemctl daemon-reload; systemctl enable -q --now hidden")
	x.converged(`{"name": "hidden", "masked": true, "running": false}`)
	x.says("systemctl is-enabled hidden || true; systemctl is-active hidden || true", "masked\ninactive")
	x.plans(`[{"name": "hidden", "masked": true, "enabled": false}, {"name": "hidden", "masked": false}]`, modules.Same, modules.Update)
	x.fails(`{"name": "hidden", "running": true}`, "hidden.service is masked", "hint: add `masked: false`")
	x.converged(`{"name": "hidden", "masked": false, "enabled": true, "running": true}`)
	x.says("systemctl is-enabled hidden; systemctl is-active hidden", "enabled\nactive")
	x.m.Run(x.t, "systemctl disable -q hidden; systemctl mask -q --runtime hidden")
	x.says("systemctl is-enabled hidden || true", "masked-runtime")
	x.plans(`[{"name": "hidden", "masked": true}, {"name": "hidden", "masked": false}]`, modules.Update, modules.Update)
	x.converged(`{"name": "hidden", "masked": false}`)
	x.converged(`{"name": "not-there", "masked": true}`)
	x.says("systemctl is-enabled not-there || true", "masked")
	x.fails(`{"name": "plain", "masked": true}`, "mask plain.service", "already exists", "hint: ")
}

func testStarting(x machine) {
	x.converged(`{"name": "slow", "running": true}`)
	x.says("systemctl is-active slow", "active")
	x.converged(`[{"name": "stays", "running": true}, {"name": "static", "running": true}]`)
	x.fails(`{"name": "broken", "running": true}`, "start broken.service: exit-code, status 7", "the port is taken", "systemctl status broken.service")
	x.plans(`[{"name": "broken", "running": false}, {"name": "broken", "running": true}]`, modules.Same, modules.Update)
	x.fails(`{"name": "nobinary", "running": true}`, "no-such-program", "status 203")
	x.fails(`{"name": "loop", "running": true}`, "start loop.service", "crashed")
	x.fails(`{"name": "once", "running": true}`, "did its work and ended", "RemainAfterExit")
	x.fails(`{"name": "conditional", "running": true}`, "condition")
	x.fails(`{"name": "dependent", "running": true}`, "start dependent.service: dependency")
	x.fails(`{"name": "unreadable", "running": true}`, "unreadable.service", "bad unit file setting", "systemd-analyze verify")
	x.m.Run(x.t, "systemctl stop slow")
	if r := x.d.ConvergeWithin(300*time.Millisecond, "services", `{"name": "slow", "running": true}`); len(r) != 1 || !strings.Contains(r[0].Error, "deadline") {
		x.t.Errorf("slow within 300 ms: %+v", r)
	}
	x.plans(`{"name": "slow", "running": true}`, modules.Update) // starting is not running
	x.converged(`{"name": "slow", "running": true}`)
	x.converged(`{"name": "loop", "running": false}`)
	x.says("systemctl is-active loop || true", "inactive")
}

func testImpossible(x machine) {
	x.fails(`{"name": "static", "enabled": true}`, "static.service can't be enabled", "hint: leave `enabled` out")
	x.plans(`{"name": "static", "enabled": false}`, modules.Same)
	x.fails(`{"name": "plian", "running": true}`, "no unit plian.service", "did you mean plain?")
	x.plans(`[{"name": "inst@", "enabled": false}, {"name": "ssh.", "enabled": false}, {"name": "a@b@c", "enabled": false}, {"name": "plain", "enabled": true}]`,
		modules.Same, modules.Same, modules.Same, modules.Same) // odd names spoil nothing for the others
	x.plans(`{"name": "bluetooth", "enabled": false, "running": false}`, modules.Same)
}

func testInitScript(x machine) {
	x.plans(`{"name": "oldstyle", "enabled": false, "running": false}`, modules.Same)
	x.converged(`{"name": "oldstyle", "enabled": true, "running": true}`)
	x.says("systemctl is-enabled oldstyle 2>/dev/null; systemctl is-active oldstyle; cat /run/oldstyle; ls /etc/rc5.d | grep -c oldstyle", "enabled\nactive\nx\n1")
	x.converged(`{"name": "oldstyle", "enabled": false, "running": false}`)
	x.says("systemctl is-enabled oldstyle 2>/dev/null || true; ls /run/oldstyle 2>/dev/null || echo gone", "disabled\ngone")
}

func testNewFiles(x machine) {
	x.m.Run(x.t, "printf '[Service]\nExecStart=/bin/sleep 1000\n[Install]\nWantedBy=multi-user.target\n' > /etc/systemd/system/fresh.service")
	x.converged(`{"name": "fresh", "enabled": true, "running": true}`)
	x.m.Run(x.t, "sed -i s/1000/2000/ /etc/systemd/system/fresh.service; touch -d +1minute /etc/systemd/system/fresh.service")
	x.says("systemctl show -P NeedDaemonReload fresh", "yes")
	x.notify(`{"name": "fresh", "running": true}`)
	x.says(`n=0; until test "$(cat /proc/$(systemctl show -P MainPID fresh)/comm)" = sleep; do n=$((n+1)); test $n -lt 100 || exit 1; done
		tr '\0' ' ' < /proc/$(systemctl show -P MainPID fresh)/cmdline`, "/bin/sleep 2000 ")
}

func testNotified(x machine) {
	x.converged(`{"name": "plain", "running": true}`)
	x.m.Run(x.t, "rm /run/plain.log")
	pid := x.m.Run(x.t, "systemctl show -P MainPID plain")
	x.notify(`{"name": "plain", "onNotify": "reload"}`)
	x.says("cat /run/plain.log; systemctl show -P MainPID plain", "reloaded\n"+pid)
	x.notify(`{"name": "plain", "onNotify": "reloadOrRestart"}`)
	x.says("cat /run/plain.log; systemctl show -P MainPID plain", "reloaded\nreloaded\n"+pid)
	x.notify(`{"name": "plain"}`)
	x.says("cat /run/plain.log", "reloaded\nreloaded\nstarted")
	if now := x.m.Run(x.t, "systemctl show -P MainPID plain"); now == pid {
		x.t.Error("plain was not restarted")
	}
	if out := x.notify(`{"name": "static", "onNotify": "reload", "running": true}`); !strings.Contains(out, "can't reload") || !strings.Contains(out, "hint: ") {
		x.t.Errorf("static: %s", out)
	}
	x.m.Run(x.t, "systemctl stop plain static")
	if out := x.notify(`{"name": "plain"}`) + x.notify(`{"name": "static", "running": false}`); out != "" {
		x.t.Error(out)
	}
	x.says("systemctl is-active plain static || true", "inactive\ninactive")
	if out := x.notify(`{"name": "broken", "running": true}`); !strings.Contains(out, "the port is taken") {
		x.t.Errorf("broken: %s", out)
	}
}

func testAllUnits(x machine) {
	names := strings.Fields(x.m.Run(x.t, "{ systemctl list-unit-files --no-legend --plain | awk '$1 !~ /@\\./ {print $1}'; systemctl list-units --all --no-legend --plain | awk '{print $1}'; } | sort -u"))
	script := "one() { id=$(systemctl show -P Id -- \"$1\"); echo \"$id|$(systemctl is-enabled -- \"$id\" 2>/dev/null)|$(systemctl is-active -- \"$1\")\"; }\n"
	var wants []string
	for _, n := range names {
		b, _ := json.Marshal(map[string]any{"name": n, "running": false})
		wants = append(wants, string(b))
		script += "one '" + n + "'\n"
	}
	want := strings.Split(x.m.Run(x.t, script), "\n")
	compared := map[string]int{}
	for i, r := range x.d.Plan("services", "["+strings.Join(wants, ",")+"]") {
		if r.Error != "" || r.Have["enablement"] == "not-found" {
			if !strings.Contains(want[i], "||") && !strings.Contains(want[i], "not-found") {
				x.t.Errorf("%s is %v %s, systemctl says %s", names[i], r.Have, r.Error, want[i])
			}
			continue
		}
		enablement, _ := r.Have["enablement"].(string)
		active, _, _ := strings.Cut(fmt.Sprint(r.Have["active"]), " ")
		if got := fmt.Sprintf("%s|%s|%s", r.Have["unit"], enablement, active); got != want[i] {
			x.t.Errorf("%s is %s, systemctl says %s", names[i], got, want[i])
		}
		compared[enablement]++
	}
	x.t.Logf("%d units: %v", len(names), compared)
	if len(names) < 100 || len(compared) < 5 {
		x.t.Errorf("only %d units of %d kinds", len(names), len(compared))
	}
}

func testCheap(x machine) {
	for _, names := range []string{"ssh", "ssh dbus systemd-logind systemd-journald inst@one tick.timer door.socket slow stays plain"} {
		out := x.m.Run(x.t, observeRequest+"='"+names+"' timeout 60 "+onMachine+" | tail -1")
		if _, err := time.ParseDuration(out); err != nil {
			x.t.Error(out)
		}
		x.t.Logf("%d services: %s", len(strings.Fields(names)), out)
	}
	// Without root's rights, over the system bus.
	if out := x.m.Run(x.t, "cd /; runuser -u nobody -- env "+observeRequest+"='ssh dbus' timeout 60 "+onMachine); strings.Contains(out, "\n") {
		x.t.Errorf("as nobody: %s", out)
	}
}

// Undo of what was done, with what systemctl says and the links that it reads.
func testUndo(x machine) {
	x.m.Run(x.t, `mkdir -p /etc/systemd/system/odd.target.wants
		for u in back1 back2 back3; do printf '[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\nAlias=%s-alias.service\n' $u > /usr/lib/systemd/system/$u.service; done
		ln -s /lib/systemd/system/back2.service /etc/systemd/system/odd.target.wants/back2.service
		systemctl daemon-reload; systemctl start back2; systemctl enable --now back3 2>/dev/null`)
	state := `systemctl is-enabled back1 back2 back3 || :; systemctl is-active back1 back2 back3 || :; systemctl show -p NeedDaemonReload back1 back2 back3
		find /etc/systemd/system /run/systemd/system -name '*back*' -printf '%p %l\n' | sort; ls -d /etc/systemd/system/*.wants`
	for _, want := range []string{
		`[{"name": "back1", "enabled": true, "running": true}, {"name": "back2", "enabled": false, "running": false}]`,
		`[{"name": "back3", "enabled": false, "running": false}, {"name": "back2", "masked": true, "running": false}]`,
	} {
		x.d.TakesBack("services", want, state)
		x.m.Run(x.t, "systemctl unmask back2 2>/dev/null; systemctl start back2; systemctl disable --now back1 2>/dev/null; systemctl enable --now back3 2>/dev/null")
	}
	x.m.Run(x.t, "systemctl mask --runtime back1 2>/dev/null; systemctl enable --runtime back2 2>/dev/null")
	x.d.TakesBack("services", `[{"name": "back1", "masked": false, "enabled": true, "running": true}, {"name": "back2", "enabled": true}]`, state)
}
