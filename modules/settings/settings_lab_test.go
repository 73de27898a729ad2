package settings

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/integration/lab"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/fitout-dev/fitout/modules/moduletest"
)

func TestMain(m *testing.M) {
	moduletest.Main(m, modules.Define("hostname", Hostnames{}), modules.Define("timezone", Timezones{}), modules.Define("sysctl", Sysctls{}),
		modules.Define("environment", Environments{}), modules.Define("hosts", Hosts{}), modules.Define("registry", RegistryValues{}), modules.Define("registryKeys", RegistryKeys{}),
		modules.Define("shortcuts", Shortcuts{}), modules.Define("tasks", Tasks{}), modules.Define("printers", Printers{}),
		modules.Define("time", Times{}))
}

// noPrograms fails whatever is run.
type noPrograms struct{}

func (noPrograms) Run(_ context.Context, c host.Cmd) (host.Result, error) {
	return host.Result{}, errors.New("started " + strings.Join(c.Args, " "))
}

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

func (x machine) converged(typ, want string, ops ...modules.Op) {
	x.t.Helper()
	for i, r := range x.d.Converge(typ, want) {
		if r.Error != "" || r.Again != modules.Same || len(ops) > i && r.Op != ops[i] {
			x.t.Errorf("%s: %d: %s %v, then %s %v: %s", want, i, r.Op, r.Changes, r.Again, r.After, r.Error)
		}
	}
}

func (x machine) plans(typ, want string, ops ...modules.Op) {
	x.t.Helper()
	for i, r := range x.d.Plan(typ, want) {
		if r.Op != ops[i] {
			x.t.Errorf("%s: %d: %s %v %v, want %s; %s", want, i, r.Op, r.Changes, r.Have, ops[i], r.Error)
		}
	}
}

func (x machine) fails(typ, want string, texts ...string) {
	x.t.Helper()
	r := x.d.Converge(typ, want)
	if len(r) != 1 {
		x.t.Fatalf("%s: %+v", want, r)
	}
	for _, text := range texts {
		if !strings.Contains(r[0].Error, text) {
			x.t.Errorf("%s: %q is not in: %q", want, text, r[0].Error)
		}
	}
}

// What is declared, asked of the machine's own tools; with GNU's and with busybox's.
func TestOnMachine(t *testing.T) {
	l := lab.New(t)
	for _, kind := range []lab.Kind{lab.Debian, lab.Dropbear} {
		t.Run(string(kind), func(t *testing.T) {
			m := l.Machine(t, kind)
			all := machine{t, m, moduletest.OnMachine(t, m)}
			for _, test := range []struct {
				name string
				run  func(machine)
			}{{"hostname", testHostname}, {"timezone", testTimezone}, {"sysctl", testSysctl}, {"environment", testEnvironment}, {"undo", testUndo}} {
				t.Run(test.name, func(t *testing.T) { test.run(all.in(t)) })
			}
		})
	}
}

func testHostname(x machine) {
	x.m.Run(x.t, `printf '127.0.0.1 localhost\n127.0.1.1 old\n' > /etc/hosts; echo old > /etc/hostname; hostname old`)
	x.converged("hostname", `{"name": "lt-042"}`, modules.Update)
	x.says("hostname; cat /etc/hostname /proc/sys/kernel/hostname; getent hosts lt-042 | awk '{print $1, $2}'; hostnamectl --static", "lt-042\nlt-042\nlt-042\n127.0.1.1 lt-042\nlt-042")
	x.m.Run(x.t, "hostname other")
	x.plans("hostname", `{"name": "lt-042"}`, modules.Update)
	x.converged("hostname", `{"name": "lt-042"}`)
	x.says("hostname", "lt-042")
	x.m.Run(x.t, "hostnamectl set-hostname by-hand")
	x.plans("hostname", `{"name": "lt-042"}`, modules.Update)
	x.converged("hostname", `{"name": "lt-042.example.lan"}`)
	x.says("hostname; hostname -f; hostname -s", "lt-042.example.lan\nlt-042.example.lan\nlt-042")
}

func testTimezone(x machine) {
	x.converged("timezone", `{"name": "Europe/Luxembourg"}`)
	x.says("readlink /etc/localtime; cat /etc/timezone; date -d @1700000000 +%H:%M; timedatectl show -p Timezone --value", "/usr/share/zoneinfo/Europe/Luxembourg\nEurope/Luxembourg\n23:13\nEurope/Luxembourg")
	x.m.Run(x.t, "timedatectl set-timezone Asia/Tokyo")
	x.plans("timezone", `{"name": "Europe/Luxembourg"}`, modules.Update)
	x.m.Run(x.t, "rm /etc/localtime; cp /usr/share/zoneinfo/Europe/Paris /etc/localtime")
	x.converged("timezone", `{"name": "Europe/Luxembourg"}`, modules.Update)
	x.says("date -d @1700000000 +%Z", "CET")
	x.fails("timezone", `{"name": "Europe/Luxemburg"}`, `no time zone "Europe/Luxemburg"`, `did you mean "Europe/Luxembourg"?`)
}

func testSysctl(x machine) {
	x.m.Run(x.t, "ip link add br0.1 type bridge")
	x.converged("sysctl", `[{"name": "net.ipv4.ip_forward", "value": "1"}, {"name": "net.ipv4.ping_group_range", "value": "100 200"}, {"name": "net.ipv4.conf.br0/1.forwarding", "value": "0"}]`)
	x.says("sysctl -n net.ipv4.ip_forward net.ipv4.ping_group_range; cat /proc/sys/net/ipv4/conf/br0.1/forwarding; cat /etc/sysctl.d/60-fitout.conf",
		"1\n100\t200\n0\n# Kernel settings that fitout keeps, a line each.\nnet.ipv4.ip_forward = 1\nnet.ipv4.ping_group_range = 100 200\nnet.ipv4.conf.br0/1.forwarding = 0")
	both := `[{"name": "net.ipv4.ip_forward", "value": "1"}, {"name": "net.ipv4.ping_group_range", "value": "100  200"}]`
	x.plans("sysctl", both, modules.Same, modules.Same)

	x.m.Run(x.t, "sysctl -q -w net.ipv4.ip_forward=0; sed -i /ping_group/d /etc/sysctl.d/60-fitout.conf")
	x.plans("sysctl", both, modules.Update, modules.Update)
	x.converged("sysctl", both)
	x.m.Run(x.t, "sysctl -q -w net.ipv4.ip_forward=0 net.ipv4.ping_group_range='1 0'; /lib/systemd/systemd-sysctl")
	x.says("sysctl -n net.ipv4.ip_forward net.ipv4.ping_group_range", "1\n100\t200")

	x.m.Run(x.t, "mkdir -p /run/sysctl.d; echo 'net/ipv4/ip_forward = 0' > /run/sysctl.d/70-other.conf; echo 'net.ipv4.ip_forward=0' > /usr/lib/sysctl.d/50-before.conf")
	x.fails("sysctl", `{"name": "net.ipv4.ip_forward", "value": "1"}`, "/run/sysctl.d/70-other.conf sets net.ipv4.ip_forward", "hint: ")
	x.m.Run(x.t, "ln -s /dev/null /etc/sysctl.d/70-other.conf")
	x.plans("sysctl", `{"name": "net.ipv4.ip_forward", "value": "1"}`, modules.Same)
	x.m.Run(x.t, "rm /etc/sysctl.d/70-other.conf; echo 'net.ipv4.ip_forward = 1' > /run/sysctl.d/70-other.conf")
	x.converged("sysctl", `{"name": "net.ipv4.ip_forward", "state": "absent"}`, modules.Delete)
	x.says("grep ip_forward /etc/sysctl.d/60-fitout.conf || sysctl -n net.ipv4.ip_forward", "1")
	x.plans("sysctl", `{"name": "net.ipv4.ip_forward", "value": "1"}`, modules.Same) // someone else's file says it too
	x.m.Run(x.t, "rm /run/sysctl.d/70-other.conf /usr/lib/sysctl.d/50-before.conf")

	x.converged("sysctl", `[{"name": "net.ipv4.ping_group_range", "state": "absent"}, {"name": "net.ipv4.conf.br0/1.forwarding", "state": "absent"}, {"name": "never.was", "state": "absent"}]`)
	x.says("ls /etc/sysctl.d/60-fitout.conf 2>/dev/null || echo gone", "gone")

	x.fails("sysctl", `{"name": "net.ipv4.ip_forwad", "value": "1"}`, "no setting net.ipv4.ip_forwad", "did you mean net.ipv4.ip_forward?")
	x.fails("sysctl", `{"name": "vm.swappiness", "value": "7"}`, "vm.swappiness can't be changed here", "container")
	x.fails("sysctl", `{"name": "net.ipv4.ip_forward", "value": "no-such"}`, `set net.ipv4.ip_forward to "no-such"`, "refuses")
	x.fails("sysctl", `{"name": "net.ipv4.route.flush", "value": "1"}`, "can't be read", "command")
	x.says("ls /etc/sysctl.d/60-fitout.conf 2>/dev/null || echo gone", "gone") // what the kernel refuses isn't kept
}

// pam_env itself reads what we wrote, and reads odd files as we do.
func testEnvironment(x machine) {
	values := map[string]string{
		"PLAIN": "http://proxy.example.lan:3128", "WORDS": "two words", "QUOTE": "it's", "DOUBLE": `say "hi"`, "DOLLAR": "$HOME/`id`\\", "BOTH": `a' and "b`, "EMPTY": "", "EQUALS": "a=b=c", "UMLAUT": "élan",
	}
	var wants []string
	for name, value := range values {
		b, _ := json.Marshal(map[string]string{"name": name, "value": value})
		wants = append(wants, string(b))
	}
	x.m.Run(x.t, `printf '# ours\r\nODD = 1\nexport EXPORTED="yes" # really\nTWICE=1\nTWICE=2\nUNCLOSED="x\nTRAIL=x  \n  INDENTED=1\nBAD-NAME=1\n' > /etc/environment`)
	before := x.m.Run(x.t, "cat /etc/environment")
	x.converged("environment", "["+strings.Join(wants, ",")+"]")
	session := func(name string) string {
		return strings.TrimSuffix(strings.TrimPrefix(x.m.Run(x.t, "su -l -s /bin/sh root -c 'printf \"<%s>\" \"$"+name+"\"'"), "<"), ">")
	}
	for name, value := range values {
		if got := session(name); got != value {
			x.t.Errorf("a session has %s=%q, want %q", name, got, value)
		}
	}
	if now := x.m.Run(x.t, "cat /etc/environment"); !strings.HasPrefix(now, before) {
		x.t.Errorf("the lines before changed:\n%s", now)
	}
	for _, name := range []string{"EXPORTED", "TWICE", "UNCLOSED", "TRAIL", "INDENTED", "ODD"} {
		want := session(name)
		r := x.d.Plan("environment", `{"name": "`+name+`", "value": "x"}`)
		if len(r) != 1 {
			x.t.Fatal(r)
		}
		got, _ := r[0].Have["value"].(string)
		if got != want {
			x.t.Errorf("%s is %q for us, %q in a session", name, got, want)
		}
	}
	x.converged("environment", `[{"name": "PLAIN", "state": "absent"}, {"name": "TWICE", "state": "absent"}]`, modules.Delete, modules.Delete)
	x.says("grep -c 'PLAIN\\|TWICE' /etc/environment || true", "0")
}

func testUndo(x machine) {
	for _, set := range []string{
		`printf '127.0.0.1 localhost\n127.0.1.1   before.example.lan before alias # ours\n' > /etc/hosts; printf '# a name\nbefore' > /etc/hostname; hostname before`,
		`printf '127.0.0.1 localhost' > /etc/hosts; rm /etc/hostname; hostname only-now`,
	} {
		x.m.Run(x.t, set)
		x.d.TakesBack("hostname", `{"name": "lt-043"}`, "hostname; cat /proc/sys/kernel/hostname /etc/hosts; stat -c '%n %a %U' /etc/hostname /etc/hosts || :; cat /etc/hostname || :")
	}
	zone := "readlink /etc/localtime || md5sum /etc/localtime || :; cat /etc/timezone || :; stat -c '%n %a %U %F' /etc/localtime /etc/timezone || :; date -d @1700000000 +%Z"
	for _, set := range []string{
		"ln -sf ../usr/share/zoneinfo/Asia/Tokyo /etc/localtime; echo Asia/Tokyo > /etc/timezone",
		"rm /etc/localtime; cp /usr/share/zoneinfo/Asia/Tokyo /etc/localtime; rm /etc/timezone",
		"rm -f /etc/localtime",
	} {
		x.m.Run(x.t, set)
		x.d.TakesBack("timezone", `{"name": "Europe/Luxembourg"}`, zone)
	}
	kernel := "sysctl net.ipv4.ip_forward net.ipv4.ping_group_range; cat /etc/sysctl.d/60-fitout.conf || :"
	both := `[{"name": "net.ipv4.ip_forward", "value": "1"}, {"name": "net.ipv4.ping_group_range", "value": "100 200"}]`
	for _, set := range []string{
		"rm -f /etc/sysctl.d/60-fitout.conf; sysctl -q -w net.ipv4.ip_forward=0 net.ipv4.ping_group_range='1 0'",
		"printf '# mine\nnet/ipv4/ip_forward=0\nnet.ipv4.tcp_syncookies = 1\nnet.ipv4.ping_group_range = 3 4 ' > /etc/sysctl.d/60-fitout.conf; sysctl -q -w net.ipv4.ip_forward=0 net.ipv4.ping_group_range='5 6'",
	} {
		x.m.Run(x.t, set)
		x.d.TakesBack("sysctl", both, kernel)
		x.d.TakesBack("sysctl", `[{"name": "net.ipv4.ip_forward", "state": "absent"}, {"name": "net.ipv4.ping_group_range", "state": "absent"}]`, kernel)
	}
	x.m.Run(x.t, `printf '# ours\nexport A="x y" # really\nB=1\nB=2\nC=3' > /etc/environment`)
	x.d.TakesBack("environment", `[{"name": "A", "value": "z"}, {"name": "B", "state": "absent"}, {"name": "D", "value": "new"}]`, "cat /etc/environment; stat -c '%a %U' /etc/environment")
}

// Nothing is started to look.
func TestObserveStartsNothing(t *testing.T) {
	h := host.New("/", host.WithRunner(noPrograms{}))
	for typ, want := range map[*modules.Type]any{
		modules.Define("hostname", Hostnames{}):       Hostname{Name: modules.Ptr("x")},
		modules.Define("timezone", Timezones{}):       Timezone{Name: modules.Ptr("UTC")},
		modules.Define("sysctl", Sysctls{}):           Sysctl{Name: "kernel.ostype", Value: modules.Ptr("Linux")},
		modules.Define("environment", Environments{}): Environment{Name: "X", Value: modules.Ptr("x")},
		modules.Define("time", Times{}):               Time{Servers: []string{"ntp.example.lan"}, Automatic: modules.Ptr(true)},
	} {
		if o := typ.Observe(t.Context(), h, []any{want})[0]; o.Err != nil && strings.Contains(o.Err.Error(), "started") {
			t.Errorf("%s: %v", typ.Name, o.Err)
		}
	}
	if o := modules.Define("sysctl", Sysctls{}).Observe(t.Context(), host.New(t.TempDir()), []any{Sysctl{Name: "a.b", Value: modules.Ptr("1")}})[0]; !errors.Is(o.Err, host.ErrNeedsSystem) {
		t.Errorf("sysctl in another root: %v", o.Err)
	}
}
