package integration

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/integration/lab"
)

// TestTheExampleOfTheDesign brings two fresh machines to the state that the design's example declares, asks the machines'
// own tools, and repairs all of it after damage.
func TestTheExampleOfTheDesign(t *testing.T) {
	l := lab.New(t)
	repo, security := l.AptRepo(t), l.AptRepo(t, lab.Security)
	repo.Fetch(t, "nano", "curl", "telnet")
	repo.Build(t, lab.Deb{Name: "ledger", Version: "1.0"})
	repo.Build(t, lab.Deb{Name: "ca-certificates", Version: "20990101"}) // of the archive and newer: no security update
	repo.Publish(t)
	security.Build(t, lab.Deb{Name: "ledger", Version: "1.1"})
	security.Publish(t)
	machines := l.Machines(t, 2, lab.Debian)
	for _, m := range machines {
		repo.Use(t, m)
		m.Run(t, "apt-get update -qq; apt-get install -qq -y ledger telnet; useradd -m formeremployee")
		security.Use(t, m)
		m.Run(t, "apt-get update -qq")
	}
	w := newTechnician(t)
	if err := os.CopyFS(w.dir, os.DirFS(filepath.Join(here(), "testdata/example"))); err != nil {
		t.Fatal(err)
	}
	w.env = append(w.env, "FITOUT_SECRET_ALICE=correct horse battery")
	inv := w.inventory("inventory.yaml", "sales-laptop", "", machines...)
	w.fitout("trust", "--yes").exits(0)

	plan := w.fitout("plan", "--json").exits(2)
	declared := plan.pending()["lt-1"]
	if len(declared) < 25 {
		t.Errorf("a plan for a fresh machine has only %d resources: %s", len(declared), inv)
	}
	w.fitout("apply", "--yes").exits(0)
	for i, m := range machines {
		verify(t, fmt.Sprintf("lt-%d", i+1), m)
	}
	for name, d := range w.fitout("apply", "--yes", "--json").exits(0).summary().Devices {
		if d.Status != "converged" || d.Changed != 0 {
			t.Errorf("the second apply of %s: %+v", name, d)
		}
	}

	// Damage everything on one machine.
	m := machines[0]
	want := damage(t, m)
	plan = w.fitout("plan", "--json").exits(2)
	got := slices.Sorted(maps.Keys(plan.pending()["lt-1"]))
	slices.Sort(want)
	for _, a := range want {
		if !slices.Contains(got, a) {
			t.Errorf("the damage of %s is not seen", a)
		}
	}
	if other := plan.pending()["lt-2"]; len(other) > 0 {
		t.Errorf("the other machine has something to do: %v", other)
	}
	w.fitout("apply", "--yes").exits(0)
	verify(t, "lt-1", m)
	w.fitout("plan").exits(0).says("nothing to do")
}

// verify asks the machine itself whether it is as the example says.
func verify(t *testing.T, name string, m *lab.Machine) {
	t.Helper()
	for what, check := range map[string]struct{ script, want string }{
		"hostname":    {"hostname; cat /etc/hostname", name + "\n" + name},
		"timezone":    {"readlink -f /etc/localtime; date +%Z", "/usr/share/zoneinfo/Europe/Luxembourg\nCE"},
		"sysctl":      {"sysctl -n net.ipv4.ip_forward net.ipv4.conf.all.accept_redirects; grep -rh ip_forward /etc/sysctl.d", "0\n0\nnet.ipv4.ip_forward"},
		"environment": {"grep HTTP_PROXY /etc/environment", "HTTP_PROXY="},
		"packages": {`dpkg-query -Wf '${Package} ${db:Status-Abbrev}\n' nano curl; apt-mark showhold; dpkg -s telnet 2>/dev/null | grep ^Status || echo gone; curl -V | cut -c1-6`,
			"curl hi \nnano ii \ncurl\n"},
		"groups":   {"getent group sales | cut -d: -f4 | tr , '\\n' | sort | xargs", "alice ben cara dan"},
		"alice":    {"getent passwd alice | cut -d: -f5-; id -nG alice; cat ~alice/.ssh/authorized_keys; stat -c '%a %U' ~alice/.ssh/authorized_keys", "Alice Example:/home/alice:/bin/bash\nalice sales\nssh-ed25519 AAAA... alice\n600 alice"},
		"pupils":   {"id -nG ben; id -nG cara; id -nG dan", "ben sales\ncara sales\ndan sales"},
		"former":   {"getent passwd formeremployee || echo none; ls -d /home/formeremployee 2>/dev/null || echo none", "none\nnone"},
		"folder":   {"stat -c '%U %G %a' /srv/sales", "alice sales 750"},
		"motd":     {"cat /etc/motd; stat -c %a /etc/motd", "Property of Example S.A.\n644"},
		"sshd":     {"sshd -T | grep -i clientaliveinterval", "clientaliveinterval 30"},
		"issue":    {"cat /etc/issue; ls /etc/issue?*", "Example S.A.: " + name + " (debian 12)\npupil ben\npupil cara\npupil dan\n"},
		"hosts":    {`grep -c 'nas$' /etc/hosts; grep 'nas$' /etc/hosts`, "1\n10.0.0.5 nas"},
		"editor":   {"readlink /usr/local/bin/editor; editor --version | head -1 | cut -c2-9", "/usr/bin/nano\nGNU nano"},
		"service":  {"systemctl is-enabled ssh; systemctl is-active ssh", "enabled\nactive"},
		"command":  {"test -s /var/lib/first-day && echo there", "there"},
		"updates":  {`dpkg-query -Wf '${Version}' ledger`, "1.1"},
		"password": {`perl -e '$h = (getpwnam("alice"))[1]; print crypt("correct horse battery", $h) eq $h ? "right" : "wrong"'`, "right"},
		"baseline": {"stat -c %a /root; dpkg -s ca-certificates | grep -c 'ok installed'", "700\n1"},
	} {
		out := m.Run(t, check.script)
		if !strings.HasPrefix(out, check.want) && out != check.want {
			t.Errorf("%s: %s: it is\n%q\nnot\n%q", name, what, out, check.want)
		}
	}
}

// damage breaks what the example declares, all of it, and says which resources it broke.
func damage(t *testing.T, m *lab.Machine) []string {
	t.Helper()
	broken := []string{}
	for _, d := range []struct{ addresses, script string }{
		{"hostname", "hostname other; echo other >/etc/hostname"},
		{"timezone", "ln -sf /usr/share/zoneinfo/Asia/Tokyo /etc/localtime; rm -f /etc/timezone"},
		{"sysctl/net.ipv4.ip_forward", "sysctl -qw net.ipv4.ip_forward=1"},
		{"sysctl/net.ipv4.conf.all.accept_redirects", "sysctl -qw net.ipv4.conf.all.accept_redirects=1"},
		{"environment/HTTP_PROXY", "sed -i s/3128/3129/ /etc/environment"},
		{"packages/nano", "apt-get remove -qq -y nano"},
		{"packages/curl", "apt-mark unhold curl"},
		{"packages/telnet", "apt-get install -qq -y telnet"},
		{"packages/ca-certificates", "dpkg --remove --force-depends ca-certificates"},
		{"users/alice", "usermod -s /bin/sh -c Mallory alice; echo alice:guessed | chpasswd; : >~alice/.ssh/authorized_keys"},
		{"users/ben", "userdel ben"},
		{"users/cara", "gpasswd -d cara sales"},
		{"users/formeremployee", "useradd -m formeremployee"},
		{"directories//srv/sales", "chmod 777 /srv/sales; chown root /srv/sales"},
		{"directories//root", "chmod 755 /root"},
		{"files//etc/motd", "sed -i s/Property/properly/ /etc/motd"},
		{"files//etc/ssh/sshd_config.d/10-site.conf", "rm /etc/ssh/sshd_config.d/10-site.conf"},
		{"files//etc/issue", "chmod 600 /etc/issue; echo x >>/etc/issue"},
		{"lines//etc/hosts/nas", "sed -i 's/.*nas$/10.0.0.6 nas/' /etc/hosts"},
		{"links//usr/local/bin/editor", "ln -sf /bin/true /usr/local/bin/editor"},
		{"services/ssh", "systemctl disable -q ssh"},
		{"commands/first-day", "rm /var/lib/first-day"},
	} {
		m.Run(t, d.script)
		broken = append(broken, d.addresses)
	}
	return broken
}
