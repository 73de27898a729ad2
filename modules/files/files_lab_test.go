package files_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/integration/lab"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/files"
	"github.com/fitout-dev/fitout/modules/moduletest"
)

func TestMain(m *testing.M) {
	moduletest.Main(m, modules.Define("directories", files.Directories{}), modules.Define("files", files.Files{}),
		modules.Define("lines", files.Lines{}), modules.Define("links", files.Links{}))
}

// What is declared, asked of the machine's own tools; the second machine's are busybox's.
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
			onMachine(t, m, moduletest.OnMachine(t, m))
		})
	}
}

func onMachine(t *testing.T, m *lab.Machine, d *moduletest.Device) {
	content := func(text string) string { t.Helper(); return `"content": ` + d.Content(text) }
	// ops of what was to be done; afterwards nothing is, and nothing was when asked again.
	converged := func(typ, want string, ops ...modules.Op) {
		t.Helper()
		for i, r := range d.Converge(typ, want) {
			if r.Error != "" || r.Again != modules.Same || r.Op != ops[i] {
				t.Errorf("%s %d: %s, then %s, want %s; %s\n%v", typ, i, r.Op, r.Again, ops[i], r.Error, r.Changes)
			}
		}
	}
	says := func(command, want string) {
		t.Helper()
		if got := strings.TrimSpace(m.Run(t, command)); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", command, got, want)
		}
	}
	m.Run(t, "useradd -u 1500 alice && groupadd -g 1501 sales")

	converged("directories", `[{"path": "/srv/sales/deep", "owner": "alice", "group": "sales", "mode": "2770"}, {"path": "/srv/plain"}]`, modules.Create, modules.Create)
	says("stat -c '%U:%G %a' /srv/sales /srv/sales/deep /srv/plain", "root:root 755\nalice:sales 2770\nroot:root 755")

	converged("files", `[{"path": "/usr/local/bin/tool", `+content("#!/bin/sh\nid -un\n")+`, "owner": "1500", "group": "sales", "mode": "6755"},
		{"path": "/etc/motd", `+content("Property of Example S.A.\n")+`}]`, modules.Create, modules.Update)
	says("stat -c '%U:%G %a' /usr/local/bin/tool; cat /etc/motd; /usr/local/bin/tool", "alice:sales 6755\nProperty of Example S.A.\nroot")

	// A program that runs is replaced; the one that runs goes on.
	m.Run(t, "cp $(readlink -f $(command -v sleep)) /usr/local/bin/sleep; (/usr/local/bin/sleep 300 & echo $! > /run/sleep.pid) >/dev/null 2>&1")
	converged("files", `{"path": "/usr/local/bin/sleep", `+content("#!/bin/sh\nexit 7\n")+`, "mode": "755"}`, modules.Update)
	says("kill $(cat /run/sleep.pid) && echo running; /usr/local/bin/sleep || echo $?", "running\n7")

	converged("lines", `[{"path": "/etc/hosts", "line": "10.0.0.5 nas.example.lan nas", "match": "\\bnas$", "id": "nas"}, {"path": "/etc/environment", "line": "A=1"}]`,
		modules.Create, modules.Create)
	says("getent hosts nas.example.lan | tr -s ' '", "10.0.0.5 nas.example.lan nas")
	m.Run(t, "sed -i 's/^10.0.0.5/10.0.0.6/' /etc/hosts")
	converged("lines", `{"path": "/etc/hosts", "line": "10.0.0.5 nas.example.lan nas", "match": "\\bnas$", "id": "nas"}`, modules.Update)
	says("grep -c nas /etc/hosts", "1")

	converged("links", `{"path": "/usr/local/bin/who", "target": "tool", "owner": "alice"}`, modules.Create)
	says("readlink /usr/local/bin/who; stat -c %U /usr/local/bin/who; /usr/local/bin/who", "tool\nalice\nroot")

	// Damage, with size and date preserved.
	m.Run(t, "touch -r /etc/motd /run/ref && sed -i s/Example/Exampel/ /etc/motd && touch -r /run/ref /etc/motd && chmod u-s /usr/local/bin/tool && ln -sfn nowhere /usr/local/bin/who && chown root /srv/sales/deep")
	converged("files", `[{"path": "/etc/motd", `+content("Property of Example S.A.\n")+`, "backup": true}, {"path": "/usr/local/bin/tool", "mode": "6755"}]`, modules.Update, modules.Update)
	converged("links", `{"path": "/usr/local/bin/who", "target": "tool"}`, modules.Update)
	converged("directories", `{"path": "/srv/sales", "owner": "alice", "recursive": true}`, modules.Update)
	says("cat /etc/motd /etc/motd.*~; stat -c '%U %a' /usr/local/bin/tool /srv/sales /srv/sales/deep", "Property of Example S.A.\nProperty of Exampel S.A.\nalice 6755\nalice 755\nalice 2770")

	// What is mounted is neither emptied nor entered.
	m.Run(t, "mkdir /srv/sales/deep/mnt && mount -t tmpfs none /srv/sales/deep/mnt && touch /srv/sales/deep/mnt/f")
	if r := d.Converge("directories", `{"path": "/srv/sales", "state": "absent", "recursive": true}`); len(r) != 1 || !strings.Contains(r[0].Error, "is a mount point") {
		t.Errorf("got %+v", r)
	}
	says("ls /srv/sales/deep/mnt && umount /srv/sales/deep/mnt && echo unmounted", "f\nunmounted")

	converged("directories", `{"path": "/srv/sales", "state": "absent", "recursive": true}`, modules.Delete)
	converged("files", `{"path": "/etc/motd", "state": "absent"}`, modules.Delete)
	converged("links", `{"path": "/usr/local/bin/who", "state": "absent"}`, modules.Delete)
	converged("lines", `{"path": "/etc/hosts", "match": "nas", "state": "absent"}`, modules.Delete)
	says("ls -d /srv/sales /etc/motd /usr/local/bin/who 2>/dev/null | wc -l; grep -c nas /etc/hosts || true", "0\n0")
}
