package updates

import (
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/integration/lab"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/moduletest"
)

func TestAptUpdates(t *testing.T) {
	l := lab.New(t)
	m := l.Machine(t, lab.Debian)
	d := moduletest.OnMachine(t, m)
	m.Run(t, "rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*")
	main, secure := l.AptRepo(t), l.AptRepo(t, lab.Security)
	main.Use(t, m)
	secure.Use(t, m)
	const security, all, none = `{"install":"security"}`, `{"install":"all"}`, `{"install":"none"}`
	const versions = "dpkg-query -W -f '${Maintainer}|${Package}=${Version}\n' | sed -n 's/^lab <[^|]*|//p' | sort -t= -k1,1 | tr '\n' ' '"
	installed := func(want string) {
		t.Helper()
		if got := strings.TrimSpace(m.Run(t, versions)); got != want {
			t.Errorf("installed: %s; want %s", got, want)
		}
	}
	one := func(reports []moduletest.Report, op modules.Op, install string) moduletest.Report {
		t.Helper()
		if len(reports) != 1 {
			t.Fatalf("%+v", reports)
		}
		r := reports[0]
		if have, _ := r.Have["install"].(string); r.Op != op || !strings.HasPrefix(have, install) {
			t.Errorf("%s, found %q; want %s, %q (%+v)", r.Op, have, op, install, r)
		}
		return r
	}
	converged := func(r moduletest.Report) {
		t.Helper()
		if r.Error != "" || r.Again != modules.Same {
			t.Errorf("%+v", r)
		}
	}

	// Lists that nobody has fetched yet tell nothing; fetching them is for apply alone.
	moduletest.Build(t, main, "app 1.0", "tool 1.0", "kept 1.0", "meta 1.0")
	m.Run(t, "apt-get update; apt-get install -y app tool kept meta; echo kept hold | dpkg --set-selections; rm -rf /var/lib/apt/lists/* /var/lib/apt/periodic; apt-get clean")
	one(d.Plan("updates", none), modules.Same, "none")
	r := one(d.Plan("updates", security), modules.Update, "unknown: there are no package lists")
	if r.Changes[0].After != "security" {
		t.Errorf("%+v", r.Changes)
	}
	m.Run(t, "! ls /var/lib/apt/lists/*Release /var/cache/apt/*.bin 2>/dev/null")
	converged(one(d.Converge("updates", all), modules.Update, "unknown"))
	converged(one(d.Converge("updates", all), modules.Same, "all"))

	// A newer version outside the security archive does not hide the one inside, and isn't installed with it.
	moduletest.Build(t, secure, "app 1.1", "kept 1.1")
	moduletest.Build(t, main, "app 2.0", "tool 1.1", "extra 1.0", "meta 1.1\nDepends: extra")
	one(d.Plan("updates", security), modules.Same, "security") // the lists are new enough
	one(d.Plan("updates", `{"install":"security","refreshAfter":"0.001s"}`), modules.Update, "unknown: the package lists are")
	m.Run(t, "touch -d '3 days ago' /var/lib/apt/periodic/update-success-stamp")
	m.Run(t, "touch -d '4 days ago' /etc/apt/sources.list.d/* /etc/apt/sources.list.d")
	one(d.Plan("updates", security), modules.Update, "unknown: the package lists are 3 days old")
	converged(one(d.Converge("updates", security), modules.Update, "unknown"))
	installed("app=1.1 kept=1.0 meta=1.0 tool=1.0")
	converged(one(d.Converge("updates", security), modules.Same, "security"))
	r = one(d.Plan("updates", all), modules.Update, "4 pending: ")
	if got := r.Have["pending"]; len(got.([]any)) != 4 || got.([]any)[0] != "app 1.1 -> 2.0" {
		t.Errorf("pending: %v", got)
	}
	converged(one(d.Converge("updates", all), modules.Update, "4 pending"))
	installed("app=2.0 extra=1.0 kept=1.0 meta=1.1 tool=1.1")

	// A new source makes the lists old. A package that fails leaves the others updated.
	moduletest.Build(t, secure, "tool 1.2\npreinst: echo broken archive; exit 1", "app 2.1",
		"meta 1.2\npostinst: echo kernel >>/run/reboot-required.pkgs; touch /run/reboot-required")
	m.Run(t, "touch /etc/apt/sources.list.d/*")
	r = one(d.Converge("updates", security), modules.Update, "unknown: the package sources have changed")
	if !strings.Contains(r.Error, "broken archive") || r.Again == modules.Same || r.Reboot != "requested by kernel" {
		t.Errorf("%+v", r)
	}
	installed("app=2.1 extra=1.0 kept=1.0 meta=1.2 tool=1.1")
	r = one(d.Converge("updates", all), modules.Update, "1 pending: tool 1.1 -> 1.2")
	if !strings.Contains(r.Error, "broken archive") {
		t.Errorf("%+v", r)
	}
	moduletest.Build(t, secure, "tool 1.3")
	m.Run(t, "touch /etc/apt/sources.list.d/*")
	converged(one(d.Converge("updates", security), modules.Update, "unknown"))
	installed("app=2.1 extra=1.0 kept=1.0 meta=1.2 tool=1.3")
	r = one(d.Plan("updates", none), modules.Same, "none")
	if r.Have["rebootPending"] != "requested by kernel" {
		t.Errorf("%+v", r)
	}

	// A source that can't be reached: what the others have is installed, and the resource is not called converged.
	moduletest.Build(t, secure, "app 2.2")
	m.Run(t, "echo 'deb [trusted=yes] http://127.0.0.1:1/main ./' >/etc/apt/sources.list.d/dead.list")
	r = one(d.Converge("updates", security), modules.Update, "unknown")
	if !strings.Contains(r.Error, "could not be refreshed") || r.Again == modules.Same {
		t.Errorf("%+v", r)
	}
	installed("app=2.2 extra=1.0 kept=1.0 meta=1.2 tool=1.3")
}
