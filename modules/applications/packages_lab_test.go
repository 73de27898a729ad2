package applications

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/integration/lab"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/moduletest"
)

// aptMachine is a machine with a repository of small packages as its only source.
type aptMachine struct {
	*testing.T
	*moduletest.Device
	repo *lab.AptRepo
}

func newAptMachine(t *testing.T) *aptMachine {
	l := lab.New(t)
	m := l.Machine(t, lab.Debian)
	m.Run(t, "rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*")
	a := &aptMachine{t, moduletest.OnMachine(t, m), l.AptRepo(t)}
	a.repo.Use(t, m)
	a.build("plain 1.0", "plain 1.1", "plain 2.0", "epoch 1:1.0", "epoch 1:2.0",
		"lib 1.0", "user 1.0\nDepends: lib", "user2 1.0\nDepends: lib (>= 1.0)", "fixed 1.0",
		"needs 1.0\nDepends: nowhere", "fights 1.0\nConflicts: plain", "mail-a 1.0\nProvides: mail-agent", "rec 1.0\nRecommends: plain",
		"conf 1.0\nconffile: text", "conf 2.0\nconffile: text",
		"kernel 1.0\npostinst: touch /run/reboot-required; echo kernel >>/run/reboot-required.pkgs",
		"fails 1.0\npostinst: echo the licence is missing; [ -e /run/licence ]",
		"slow 1.0\npostinst: touch /run/slow; while [ ! -e /run/go ]; do sleep 0.05; done")
	return a
}

// in gives a subtest its own failures, and a machine without the packages of others.
func (a *aptMachine) in(name string, f func(*aptMachine)) {
	a.Run(name, func(t *testing.T) {
		b := &aptMachine{t, a.Device.In(t), a.repo}
		b.sh(`touch /run/go /run/licence; dpkg --configure -a >/dev/null
			for p in $(dpkg-query -W -f '${Maintainer}|${Package}\n' | sed -n 's/^lab <[^|]*|//p'); do echo $p install | dpkg --set-selections; set -- "$@" $p; done
			[ $# = 0 ] || dpkg --purge "$@" >/dev/null 2>&1
			rm -f /run/go /run/slow /run/licence /run/reboot-required* /etc/*.conf.dpkg-*; : >/var/log/apt/history.log`)
		f(b)
	})
}

func (a *aptMachine) build(packages ...string) {
	a.Helper()
	moduletest.Build(a.T, a.repo, packages...)
}

func (a *aptMachine) withdraw(name, version string) {
	a.Helper()
	lab.Must(a.T, a.repo.Withdraw(name, version))
}

func (a *aptMachine) sh(script string) string { a.Helper(); return a.M.Run(a.T, script) }

// versions are those that dpkg knows as installed, with "h" where held: "plain=1.0 lib=1.0h".
func (a *aptMachine) versions() string {
	a.Helper()
	return a.sh(`dpkg-query -W -f '${Maintainer}|${Package}=${Version} ${db:Status-Want} ${db:Status-Status}\n' | sed -n 's/^lab <[^|]*|//p' |
		sed -n 's/ hold installed$/h/p; s/ install installed$//p' | sort -t= -k1,1 | tr '\n' ' ' | sed 's/ $//'`)
}

func (a *aptMachine) installed(want string) {
	a.Helper()
	if got := a.versions(); got != want {
		a.Errorf("installed: %q, want %q", got, want)
	}
}

// converges wants the named operations, no errors, and nothing to do afterwards.
func (a *aptMachine) converges(want string, ops ...modules.Op) []moduletest.Report {
	a.Helper()
	reports := a.Converge("packages", want)
	for i, r := range reports {
		if r.Error != "" || r.Again != modules.Same || len(ops) != len(reports) || r.Op != ops[i] {
			a.Errorf("%d: %+v", i, r)
		}
	}
	return reports
}

// fails wants errors that contain these texts, "" for none.
func (a *aptMachine) fails(want string, texts ...string) []moduletest.Report {
	a.Helper()
	reports := a.Converge("packages", want)
	a.errors(reports, texts...)
	return reports
}

func (a *aptMachine) errors(reports []moduletest.Report, texts ...string) {
	a.Helper()
	if len(reports) != len(texts) {
		a.Fatalf("%d reports: %+v", len(reports), reports)
	}
	for i, r := range reports {
		if (texts[i] == "") != (r.Error == "") || !strings.Contains(r.Error, texts[i]) {
			a.Errorf("%d: error %q, want %q", i, r.Error, texts[i])
		}
	}
}

// transactions is how often apt has changed the machine.
func (a *aptMachine) transactions(want int) {
	a.Helper()
	if got := a.sh("grep -c ^Start-Date /var/log/apt/history.log || :"); got != fmt.Sprint(want) {
		a.Errorf("%s transactions, want %d:\n%s", got, want, a.sh("cat /var/log/apt/history.log"))
	}
}

const stampOf = "stat -c %y,%i /var/lib/apt/periodic/update-success-stamp"

func TestApt(t *testing.T) {
	a := newAptMachine(t)
	const same, create, update, remove = modules.Same, modules.Create, modules.Update, modules.Delete

	a.in("one transaction", func(a *aptMachine) {
		a.converges(`[{"name":"plain","version":"1.*","hold":true},{"name":"user"},{"name":"epoch","version":">= 1:1.0, < 1:2"}]`, create, create, create)
		a.installed("epoch=1:1.0 lib=1.0 plain=1.1h user=1.0")
		a.transactions(1)
		stamp := a.sh(stampOf)
		a.converges(`[{"name":"plain","version":"1.*","hold":true},{"name":"user","hold":false},{"name":"user2","state":"absent"}]`, same, same, same)
		a.converges(`[{"name":"plain","version":"2.0"},{"name":"user","state":"absent"},{"name":"epoch","version":"latest"},{"name":"user2"}]`, update, remove, update, create)
		a.installed("epoch=1:2.0 lib=1.0 plain=2.0h user2=1.0") // a hold stays where it isn't declared
		a.transactions(2)
		a.converges(`{"name":"plain","version":"<= 1.0","hold":false}`, update)
		a.installed("epoch=1:2.0 lib=1.0 plain=1.0 user2=1.0")
		if now := a.sh(stampOf); now != stamp {
			a.Errorf("the lists were fetched again: %s, %s", stamp, now)
		}
	})
	a.in("what can't be had", func(a *aptMachine) {
		a.fails(`[{"name":"plain"},{"name":"nosuch"},{"name":"epoch","version":"3.*"},{"name":"needs"},{"name":"mail-agent"},{"name":"pla.n"}]`,
			"", "no package nosuch in the package lists", `no version of epoch meets "3.*"; available: 1:2.0, 1:1.0`, "Depends: nowhere", "", "no package pla.n")
		a.installed("mail-a=1.0 plain=2.0")
	})
	a.in("new in the archive", func(a *aptMachine) {
		a.build("fresh 1.0")
		a.converges(`[{"name":"fresh"},{"name":"plain"}]`, create, create)
		a.build("fresh 3.0")
		a.converges(`{"name":"fresh","version":"3.*"}`, update)
	})
	a.in("stale lists", func(a *aptMachine) {
		a.build("moves 1.0")
		a.converges(`{"name":"moves"}`, create)
		a.sh("dpkg --purge moves; apt-get clean")
		a.withdraw("moves", "1.0")
		a.build("moves 1.1")
		a.converges(`{"name":"moves"}`, create)
		a.installed("moves=1.1")
	})
	a.in("failing script", func(a *aptMachine) {
		reports := a.fails(`[{"name":"plain"},{"name":"fails"},{"name":"user"}]`, "", "the licence is missing", "")
		if len(reports) == 3 && reports[1].After["state"] != "half-configured" {
			a.Errorf("a broken package is not shown as such: %+v", reports[1])
		}
		a.fails(`[{"name":"fails"},{"name":"epoch"}]`, "the licence is missing", "")
		a.sh("touch /run/licence")
		a.converges(`[{"name":"fails"},{"name":"plain"}]`, create, same)
	})
	a.in("failing removal", func(a *aptMachine) {
		a.build("stays 1.0\nprerm: [ ! -e /run/stay ] || { echo it is in use; exit 1; }")
		a.converges(`{"name":"stays"}`, create)
		a.sh("touch /run/stay")
		a.fails(`[{"name":"stays","state":"purged"},{"name":"plain"},{"name":"lib"}]`, "it is in use", "", "")
		a.installed("lib=1.0 plain=2.0 stays=1.0")
		a.sh("rm /run/stay")
		a.converges(`[{"name":"stays","state":"purged"},{"name":"plain"}]`, remove, same)
	})
	a.in("removals", func(a *aptMachine) {
		a.converges(`[{"name":"user"},{"name":"user2"},{"name":"plain"}]`, create, create, create)
		a.fails(`[{"name":"lib","state":"absent"},{"name":"plain","state":"absent"}]`, "it would also remove user, user2", "")
		a.fails(`[{"name":"fights"},{"name":"plain"}]`, "", "fights : Conflicts: plain")
		a.installed("fights=1.0 lib=1.0 user=1.0 user2=1.0")
	})
	a.in("dependents", func(a *aptMachine) {
		a.converges(`[{"name":"user"},{"name":"user2"}]`, create, create)
		a.converges(`[{"name":"lib","state":"absent"},{"name":"user","state":"absent"},{"name":"user2","state":"absent"}]`, remove, remove, remove)
		a.transactions(2)
		a.converges(`[{"name":"user"},{"name":"user2"}]`, create, create)
		a.converges(`{"name":"lib","state":"absent","removeDependents":true}`, remove)
		a.installed("")
		a.fails(`[{"name":"dpkg","state":"absent"},{"name":"plain"}]`, "dpkg is essential", "")
		a.fails(`{"name":"libc6","state":"absent","removeDependents":true}`, "apt can't do it")
		a.sh("dpkg -s libc6 dpkg >/dev/null")
	})
	a.in("declared packages stay", func(a *aptMachine) {
		a.converges(`[{"name":"user"},{"name":"user2"},{"name":"mail-agent"}]`, create, create, create)
		a.build("mail-base 1.0", "mail-c 1.0\nDepends: mail-base\nProvides: mail-relay")
		a.converges(`{"name":"mail-c"}`, create)
		r := a.Converge("packages", `[{"name":"user"},{"name":"lib","state":"absent","removeDependents":true},{"name":"mail-relay"},
			{"name":"mail-base","state":"absent","removeDependents":true},{"name":"plain"}]`)
		a.errors(r, "", "it would remove user, declared as present", "", "it would remove mail-c, declared as present", "")
		a.installed("lib=1.0 mail-a=1.0 mail-base=1.0 mail-c=1.0 plain=2.0 user=1.0 user2=1.0")
	})
	a.in("declared packages are manual", func(a *aptMachine) {
		a.converges(`{"name":"user"}`, create)
		a.converges(`{"name":"lib"}`, same)
		if got := a.sh("apt-mark showauto lib; apt-mark showauto user"); got != "lib" {
			a.Errorf("automatic: %q", got)
		}
		a.converges(`[{"name":"lib"},{"name":"user","state":"absent"}]`, same, remove)
		a.sh("apt-get -y autoremove")
		a.installed("lib=1.0")
	})
	a.in("holds", func(a *aptMachine) {
		a.converges(`[{"name":"fixed","hold":true},{"name":"plain","version":"1.0","hold":true}]`, create, create)
		a.build("fixed 2.0", "newer 1.0\nDepends: fixed (>= 2.0)")
		a.sh("apt-get update")
		a.fails(`[{"name":"newer"},{"name":"plain","version":"1.1"}]`, "fixed is held", "")
		a.installed("fixed=1.0h plain=1.1h")
		a.converges(`[{"name":"newer"},{"name":"fixed","hold":false,"version":"2.*"},{"name":"plain","hold":false}]`, create, update, update)
		a.installed("fixed=2.0 newer=1.0 plain=1.1")
	})
	a.in("configuration", func(a *aptMachine) {
		a.converges(`{"name":"conf","version":"1.0"}`, create)
		a.sh("echo mine >/etc/conf.conf")
		a.converges(`{"name":"conf","version":"2.0"}`, update)
		if got := a.sh("cat /etc/conf.conf"); got != "mine" {
			a.Errorf("the administrator's file was replaced: %s", got)
		}
		a.converges(`{"name":"conf","state":"absent"}`, remove)
		a.sh("test -e /etc/conf.conf")
		a.converges(`[{"name":"conf","state":"purged"},{"name":"plain","state":"purged"}]`, remove, same)
		a.sh("test ! -e /etc/conf.conf")
		a.converges(`[{"name":"conf"},{"name":"plain"}]`, create, create)
		a.converges(`[{"name":"conf","state":"purged"},{"name":"plain","state":"absent"}]`, remove, remove)
		a.sh("test ! -e /etc/conf.conf; ! dpkg -s conf 2>/dev/null")
	})
	a.in("virtual", func(a *aptMachine) {
		a.converges(`{"name":"mail-agent"}`, create)
		a.installed("mail-a=1.0")
		a.converges(`[{"name":"mail-agent"},{"name":"mail-agent","state":"absent"}]`, same, same)
		a.build("mail-b 1.0\nProvides: mail-agent")
		a.sh("dpkg --purge mail-a; apt-get update")
		a.fails(`{"name":"mail-agent"}`, "mail-b")
	})
	a.in("recommends", func(a *aptMachine) {
		a.converges(`[{"name":"rec","recommends":false},{"name":"lib"}]`, create, create)
		a.installed("lib=1.0 rec=1.0")
		a.sh("dpkg --purge rec")
		a.converges(`{"name":"rec","recommends":true,"version":"latest"}`, create)
		a.installed("lib=1.0 plain=2.0 rec=1.0")
	})
	a.in("reboot", func(a *aptMachine) {
		r := a.converges(`[{"name":"plain"},{"name":"kernel"}]`, create, create)
		if r[0].Reboot+r[1].Reboot != "requested by kernel" {
			a.Errorf("reboot: %+v", r)
		}
	})
	const state = `dpkg-query -W -f '${Package} ${Version} ${Status}\n' | sort; apt-mark showhold; cat /etc/conf.conf || :`
	a.in("undo", func(a *aptMachine) {
		a.build("deep 1.0", "middle 1.0\nDepends: deep", "top 1.0\nDepends: middle\nRecommends: plain", "old-lib 1.0", "old-user 1.0\nDepends: old-lib")
		a.sh("apt-get update; apt-get -y install old-user; apt-get -y remove old-user") // old-lib is needed by nothing already
		a.TakesBack("packages", `[{"name":"top"},{"name":"conf","version":"1.0"},{"name":"fixed","hold":true}]`, state)
		a.sh("dpkg-query -W deep middle top old-lib conf fixed; dpkg --purge top")
		a.TakesBack("packages", `[{"name":"conf","version":"2.0"},{"name":"fixed","hold":false},{"name":"old-lib","state":"absent"},{"name":"middle","state":"purged"}]`, state)
		a.sh("dpkg --purge conf; apt-get -y install conf=1.0 top")
		a.TakesBack("packages", `[{"name":"conf","state":"absent"},{"name":"top","state":"absent"}]`, state)
	})
	a.in("undo of what is gone", func(a *aptMachine) {
		a.build("leaves 1.0")
		a.converges(`{"name":"leaves"}`, create)
		a.withdraw("leaves", "1.0")
		a.build("leaves 2.0")
		a.sh("apt-get update")
		a.converges(`{"name":"plain","version":"1.0"}`, create)
		doubts := a.Plan("packages", `[{"name":"leaves","version":"2.0"},{"name":"plain","version":"2.0"},{"name":"conf","version":"1.0"},{"name":"leaves","version":"1.*","hold":true}]`)
		for i, want := range []string{"no package source has version 1.0 of leaves any more", "", "", ""} {
			if doubts[i].NoUndo != want {
				a.Errorf("%d: %q, not %q", i, doubts[i].NoUndo, want)
			}
		}
		if r := a.Plan("packages", `{"name":"leaves","state":"absent"}`); r[0].NoUndo != "no package source has version 1.0 of leaves any more" {
			a.Errorf("removing: %+v", r)
		}
		r := a.converges(`{"name":"leaves","version":"2.0"}`, update)
		a.errors(a.Plan("packages", string(r[0].Back)), "version 1.0 of leaves, which was there before, is no longer available; there is 2.0")
		a.converges(`{"name":"conf","version":"1.0"}`, create)
		a.sh("echo mine >/etc/conf.conf")
		if r := a.Converge("packages", `{"name":"conf","state":"purged"}`); r[0].NoUndo != "what was changed in /etc/conf.conf would be lost" {
			a.Errorf("%+v", r)
		}
	})
	a.in("another dpkg", func(a *aptMachine) {
		a.sh("systemd-run -q apt-get -y install slow; while [ ! -e /run/slow ]; do :; done")
		start := time.Now()
		reports := a.ConvergeWithin(2*time.Second, "packages", `{"name":"plain"}`)
		a.errors(reports, "packages are locked by apt-get (process ")
		if took := time.Since(start); took > 5*time.Second {
			a.Errorf("gave up after %s", took)
		}
		done := make(chan []moduletest.Report, 1)
		go func() { done <- a.Converge("packages", `{"name":"plain"}`) }()
		a.sh("while ! pgrep -f fitout-module >/dev/null; do :; done; touch /run/go")
		a.errors(<-done, "")
		a.installed("plain=2.0 slow=1.0")
	})
	a.in("killed", func(a *aptMachine) {
		done := make(chan error, 1)
		go func() {
			_, err := a.Try("packages", `[{"name":"slow"},{"name":"plain"}]`)
			done <- err
		}()
		a.sh(`while [ ! -e /run/slow ]; do :; done; kill -9 $(pidof fitout-module.test apt-get dpkg)`)
		if err := <-done; err == nil {
			a.Error("the kill came too late")
		}
		a.sh("kill -9 $(pidof -x slow.postinst); touch /run/go")
		if r := a.Plan("packages", `{"name":"slow"}`); r[0].Have["state"] != "half-configured" {
			a.Errorf("%+v", r)
		}
		a.converges(`[{"name":"slow"},{"name":"plain"},{"name":"lib"}]`, create, same, create)
		a.installed("lib=1.0 plain=2.0 slow=1.0")
	})
	a.in("disk full while unpacking", func(a *aptMachine) {
		a.build("fills 1.0\npreinst: [ ! -e /run/fill ] || cat /dev/zero >/var/lib/dpkg/fill || :", "fills 2.0\npreinst: [ ! -e /run/fill ] || cat /dev/zero >/var/lib/dpkg/fill || :", "on-it 1.0\nDepends: fills")
		a.sh(`apt-get update; mkdir -p /run/dpkg; mount -t tmpfs -o size=$(($(du -sk /var/lib/dpkg | cut -f1) + 4096))k tmpfs /run/dpkg
			cp -a /var/lib/dpkg/. /run/dpkg; mount --bind /run/dpkg /var/lib/dpkg`)
		defer a.sh("rm -f /run/fill; cp -a /run/dpkg/. /tmp/dpkg; umount /var/lib/dpkg /run/dpkg; cp -a /tmp/dpkg/. /var/lib/dpkg; rm -rf /tmp/dpkg")
		wreck := func(want string) {
			a.Helper()
			a.sh("touch /run/fill")
			a.fails(want, "make room on the device")
			a.sh("rm -f /run/fill /var/lib/dpkg/fill")
			if r := a.Plan("packages", `{"name":"fills"}`); r[0].Have["state"] != "reinstreq" {
				a.Errorf("a wreck is not seen: %+v", r)
			}
		}
		wreck(`{"name":"fills","version":"1.0"}`)
		a.converges(`{"name":"fills"}`, create) // at the version that it has
		a.installed("fills=1.0")
		wreck(`{"name":"fills","version":"2.0"}`)
		a.converges(`{"name":"fills","version":"2.0"}`, create)
		wreck(`{"name":"fills","version":"1.0"}`)
		a.converges(`[{"name":"plain"},{"name":"on-it"}]`, create, create) // nobody has declared the wreck
		a.installed("fills=2.0 on-it=1.0 plain=2.0")
		wreck(`{"name":"fills","version":"1.0"}`)
		a.converges(`[{"name":"on-it","state":"absent"},{"name":"fills","state":"purged"}]`, remove, remove)
		a.installed("plain=2.0")
		wreck(`{"name":"fills","version":"1.0"}`)
		a.withdraw("fills", "1.0")
		a.repo.Publish(a.T)
		a.sh("apt-get update; apt-get clean")
		a.converges(`{"name":"fills"}`, create) // its version is gone
		a.installed("fills=2.0 plain=2.0")
		a.converges(`{"name":"fills","state":"purged"}`, remove)
		wreck(`{"name":"fills"}`)
		a.withdraw("fills", "2.0")
		a.repo.Publish(a.T)
		a.sh("apt-get update; apt-get clean")
		a.fails(`{"name":"fills"}`, "can't find an archive for it")
		a.converges(`{"name":"fills","state":"absent"}`, remove)
	})
	a.in("no space", func(a *aptMachine) {
		a.sh("apt-get clean; mount -t tmpfs -o size=4k tmpfs /var/cache/apt/archives; mkdir -p /var/cache/apt/archives/partial")
		defer a.sh("umount /var/cache/apt/archives")
		a.fails(`[{"name":"plain"},{"name":"lib"}]`, "make room on the device", "make room on the device")
	})
	a.in("no network", func(a *aptMachine) {
		a.sh("apt-get clean; sed -i.old 's,:[0-9][0-9]*/,:1/,' /etc/apt/sources.list.d/*.list; apt-get update || :")
		defer a.sh("cd /etc/apt/sources.list.d; for f in *.old; do mv $f ${f%.old}; done; apt-get update")
		a.fails(`{"name":"plain"}`, "Could not connect")
	})
	a.in("a plan changes nothing", func(a *aptMachine) {
		a.converges(`{"name":"plain","version":"1.0"}`, create)
		a.sh("rm -f /var/cache/apt/*.bin")
		tree := func() string {
			return a.sh("find / -xdev -path /proc -prune -o -path /sys -prune -o -path /run -prune -o -path /var/tmp -prune -o -path /var/log/journal -prune -o -printf '%p %s %T@ %C@ %i\n' | sort | sha256sum")
		}
		before := tree()
		r := a.Plan("packages", `[{"name":"plain","version":"latest"},{"name":"user"},{"name":"nosuch","version":"latest"},{"name":"lib","state":"purged"}]`)
		if after := tree(); after != before || len(r) != 4 || r[0].Op != update || r[1].Op != create || r[0].Have["newest"] != "2.0" {
			a.Errorf("%s\n%s\n%+v", before, after, r)
		}
	})
}
