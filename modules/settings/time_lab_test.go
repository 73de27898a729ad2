package settings

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/integration/lab"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/moduletest"
)

// In a container nothing may set the clock; the services themselves run there all the same once their units let them.
func TestTimeOnMachine(t *testing.T) {
	l := lab.New(t)
	repo := l.AptRepo(t)
	repo.Fetch(t, "systemd-timesyncd")
	repo.Fetch(t, "chrony")
	repo.Publish(t)
	m := l.Machine(t, lab.Debian)
	repo.Use(t, m)
	m.Run(t, `apt-get -qq update
		for unit in systemd-timesyncd chrony; do
			mkdir -p /etc/systemd/system/$unit.service.d
			printf '[Unit]\nConditionVirtualization=\nConditionCapability=\n[Service]\nAmbientCapabilities=\nCapabilityBoundingSet=~\n' >/etc/systemd/system/$unit.service.d/lab.conf
		done`)
	all := machine{t, m, moduletest.OnMachine(t, m)}
	for _, test := range []struct {
		name string
		run  func(machine)
	}{{"nothing", testNoTime}, {"timesyncd", testTimesyncd}, {"chrony", testChrony}} {
		t.Run(test.name, func(t *testing.T) { test.run(all.in(t)) })
	}
}

func testNoTime(x machine) {
	x.fails("time", `{"servers": ["ntp.example.lan"]}`, "nothing on this device keeps its clock", "hint: install the package systemd-timesyncd")
	x.fails("time", `{"automatic": true}`, "nothing on this device keeps its clock")
	x.plans("time", `{"automatic": false}`, modules.Same)
}

// timesyncdNow tells what is so of timesyncd: the servers are those that the process itself has.
const timesyncdNow = `systemctl is-enabled systemd-timesyncd || :; systemctl is-active systemd-timesyncd && timedatectl show-timesync -p SystemNTPServers --value || :
	ls -d /etc/systemd/timesyncd.conf.d || :; cat /etc/systemd/timesyncd.conf.d/*`

func testTimesyncd(x machine) {
	x.m.Run(x.t, "apt-get -qq -y install systemd-timesyncd >/dev/null 2>&1")
	now := func(want string) { x.t.Helper(); x.says("{ "+timesyncdNow+"; } 2>/dev/null | sed -n 1,3p", want) }
	pid := func() string { return x.m.Run(x.t, "systemctl show -p MainPID --value systemd-timesyncd") }
	both := `{"servers": ["ntp.example.lan", "192.0.2.1"], "automatic": true}`
	const script = timesyncdNow + " || :"
	reset := func() {
		x.m.Run(x.t, "rm -rf /etc/systemd/timesyncd.conf.d; systemctl -q disable systemd-timesyncd; systemctl stop systemd-timesyncd")
	}
	reset()
	x.d.TakesBack("time", both, script)
	now("enabled\nactive\nntp.example.lan 192.0.2.1")
	before := pid()
	x.plans("time", both, modules.Same)
	x.plans("time", `{"automatic": false}`, modules.Update)
	x.converged("time", both, modules.Same)
	if after := pid(); after != before || after == "0" {
		x.t.Errorf("the process was %s and is %s: nothing was to do", before, after)
	}
	x.d.TakesBack("time", `{"servers": ["192.0.2.2"]}`, script) // it runs all the time
	now("enabled\nactive\n192.0.2.2")
	x.d.TakesBack("time", `{"automatic": false}`, script)
	x.says("systemctl is-enabled systemd-timesyncd || :; systemctl is-active systemd-timesyncd || :", "disabled\ninactive")
	x.d.TakesBack("time", `{"servers": ["192.0.2.3"]}`, script)
	x.says("systemctl is-active systemd-timesyncd || :", "inactive") // servers alone start nothing
	x.d.Interrupted("time", both, reset, script)

	reset()
	x.m.Run(x.t, "systemctl start systemd-timesyncd")
	x.plans("time", `{"automatic": true}`, modules.Update) // it wouldn't start with the machine
	x.d.Interrupted("time", `{"servers": ["192.0.2.4"]}`, func() { reset(); x.m.Run(x.t, "systemctl start systemd-timesyncd") }, script)
	now("disabled\nactive\n192.0.2.4")

	// Odd files are read as the service itself reads them.
	x.m.Run(x.t, `cp /etc/systemd/timesyncd.conf /root; rm -r /etc/systemd/timesyncd.conf.d; mkdir -p /etc/systemd/timesyncd.conf.d /usr/lib/systemd/timesyncd.conf.d
		printf '\357\273\277[Time]\r\nNTP=a.example \\\n# comment\n  b.example\n[Other]\nNTP=never.example\n [Time] \nFallbackNTP=x.example\n;NTP=\nNTP : y.example\n' >/etc/systemd/timesyncd.conf
		printf '[Time]\nNTP = A.example a.example\tc.example\nNTP=d.example\\' >/etc/systemd/timesyncd.conf.d/20.conf
		printf 'NTP=\n[Time]\nntp=z.example\nNTP=e.example' >/usr/lib/systemd/timesyncd.conf.d/10.conf
		printf '[Time]\nNTP=\nNTP=hidden.example' >/usr/lib/systemd/timesyncd.conf.d/20.conf
		systemctl restart systemd-timesyncd`)
	servers := fmt.Sprint(x.d.Plan("time", `{"automatic": true}`)[0].Have["servers"])
	x.says("timedatectl show-timesync -p SystemNTPServers --value", strings.Trim(servers, "[]"))
	if want := "[a.example b.example e.example A.example c.example d.example]"; servers != want {
		x.t.Errorf("the servers are %s, want %s", servers, want)
	}
	x.m.Run(x.t, `cp /root/timesyncd.conf /etc/systemd; rm -r /usr/lib/systemd/timesyncd.conf.d /etc/systemd/timesyncd.conf.d`)
	x.converged("time", `{"servers": ["192.0.2.4"]}`)

	// Written, and not read.
	x.m.Run(x.t, "sed -i s/192.0.2.4/192.0.2.5/ /etc/systemd/timesyncd.conf.d/fitout.conf")
	r := x.d.Plan("time", `{"servers": ["192.0.2.5"]}`)[0]
	if r.Op != modules.Update || r.Have["current"] != false {
		x.t.Errorf("a file that wasn't read: %s %v %s", r.Op, r.Have, r.Error)
	}
	x.converged("time", `{"servers": ["192.0.2.5"]}`, modules.Update)
	now("disabled\nactive\n192.0.2.5")
	x.m.Run(x.t, "mkdir -p /run/systemd/timesyncd.conf.d; printf '[Time]\nNTP=site.example.lan\n' >/run/systemd/timesyncd.conf.d/z.conf")
	x.fails("time", `{"servers": ["192.0.2.5"]}`, "/run/systemd/timesyncd.conf.d/z.conf names time servers, too", "hint: ")
	x.m.Run(x.t, "rm /run/systemd/timesyncd.conf.d/z.conf")

	x.m.Run(x.t, "systemctl -q mask --now systemd-timesyncd")
	x.fails("time", `{"automatic": true}`, "systemd-timesyncd.service is masked", "hint: ")
	x.plans("time", `{"automatic": false}`, modules.Same)
	x.m.Run(x.t, "systemctl -q unmask systemd-timesyncd; mv /etc/systemd/system/systemd-timesyncd.service.d /root; systemctl daemon-reload")
	x.fails("time", `{"automatic": true}`, "a condition in its unit isn't met", "hint: this is a container")
}

// What a file has is one thing; what chronyd itself says, another.
func testChrony(x machine) {
	x.m.Run(x.t, `apt-get -qq -y install chrony >/dev/null 2>&1; echo 'DAEMON_OPTS="-x -F 0"' >/etc/default/chrony`)
	reset := func() {
		x.m.Run(x.t, "rm -f /etc/chrony/sources.d/fitout.sources; sed -i '/^pool/d' /etc/chrony/chrony.conf; systemctl -q enable chrony; systemctl restart chrony")
	}
	const script = `systemctl is-enabled chrony || :; systemctl is-active chrony && chronyc -n -c sources | cut -d, -f3 | sort || :; cat /etc/chrony/sources.d/fitout.sources || :`
	want := `{"servers": ["192.0.2.2", "192.0.2.1"], "automatic": true}`
	x.fails("time", want, "/etc/chrony/chrony.conf names the time server 2.debian.pool.ntp.org", "hint: take it out under lines: {path: /etc/chrony/chrony.conf,")
	reset()
	x.d.TakesBack("time", want, script)
	x.says("systemctl is-active chrony; chronyc -n -c sources | cut -d, -f3 | sort", "active\n192.0.2.1\n192.0.2.2")
	x.plans("time", want, modules.Same)
	x.plans("time", `{"servers": ["192.0.2.1", "192.0.2.2"]}`, modules.Same) // the order is nothing to chrony
	x.d.Interrupted("time", want, reset, script)
	x.d.TakesBack("time", `{"automatic": false}`, script)
	x.says("systemctl is-enabled chrony || :; systemctl is-active chrony || :", "disabled\ninactive")
	x.m.Run(x.t, `cp /etc/chrony/chrony.conf /root; mkdir -p /etc/chrony/a /etc/chrony/b
		printf '  SERVER 192.0.2.11 iburst\r\n#server 192.0.2.12\n%%server 192.0.2.13\npool\t192.0.2.14 maxsources 1\nconfdir /etc/chrony/a /etc/chrony/b\ninclude /etc/chrony/b/*.inc\n' >>/etc/chrony/chrony.conf
		echo 'server 192.0.2.15' >/etc/chrony/a/x.conf; echo 'server 192.0.2.16' >/etc/chrony/b/x.conf; echo 'peer 192.0.2.17' >/etc/chrony/b/y.conf; echo 'server 192.0.2.18' >/etc/chrony/b/z.inc
		printf 'server 192.0.2.19\n\n! c\nserver 192.0.2.20' >/etc/chrony/sources.d/site.sources; systemctl restart chrony`)
	list, _ := x.d.Plan("time", `{"automatic": true}`)[0].Have["servers"].([]any)
	var servers []string
	for _, s := range list {
		servers = append(servers, fmt.Sprint(s))
	}
	slices.Sort(servers)
	x.says("chronyc -n -c sources | cut -d, -f3 | sort", strings.Join(servers, "\n"))
	if len(servers) < 7 {
		x.t.Errorf("the servers are %q", servers)
	}
	x.fails("time", `{"servers": ["192.0.2.1 iburst"]}`, "more than one server's name", "hint: ")
}
