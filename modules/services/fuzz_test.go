//go:build linux

package services

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/modules/fuzzing"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/google/go-cmp/cmp"
)

// Whatever stands in a unit's file and its drop-in, enabling it makes links below /etc/systemd/system only, it is enabled
// then, and disabling it takes away what enabling made.
func FuzzUnit(f *testing.F) {
	f.Add("cron.service", "[Unit]\nDescription=Cron\n\n[Service]\nExecStart=/usr/sbin/cron -f\n\n[Install]\nWantedBy=multi-user.target\n", "")
	f.Add("getty@tty1.service", "[Install]\nWantedBy=getty.target\nDefaultInstance=tty1\n", "[Install]\nWantedBy=\nRequiredBy=a.target \\\n b-%i.target %%\n")
	f.Add("ssh.service", "; c\n[Install]\r\nAlias=sshd.service\r\nAlso=ssh.socket ssh.service\nUpheldBy=%p.target", "[Install]\nAlias=\n")
	f.Add("x.service", "[Install]\nWantedBy=../../../../evil a/b.target /etc/x.target\nAlias=../../y.service .\n", "")
	f.Add("getty@.service", "[Install]\nAlias=getty.target.wants/getty@tty1.service dbus-org.example.service\n", "")
	f.Add("a@.timer", "[Install]\nWantedBy=timers.target\nDefaultInstance=../../b\n", "WantedBy=never.target")
	f.Fuzz(func(t *testing.T, name, text, dropIn string) {
		if len(text)+len(dropIn) > fuzzing.Most || name == "" || !isUnitName(unitName(name)) || len(name) > 200 || strings.Contains(name, "/") {
			t.Skip()
		}
		root := t.TempDir()
		unit := unitName(name)
		file := unit
		if tmpl := template(unit); tmpl != "" {
			file = tmpl
		}
		write(t, filepath.Join(root, "usr/lib/systemd/system", file), text)
		write(t, filepath.Join(root, "usr/lib/systemd/system", unit+".d", "site.conf"), dropIn)
		fuzzing.Soon(func() { checkUnit(t, root, name) })
	})
}

func checkUnit(t *testing.T, root, name string) {
	h := host.New(root)
	set := func(on bool) (Service, error) {
		want := Service{Name: name, Enabled: &on}
		have, err := (Services{}).Observe(t.Context(), h, want)
		if err != nil {
			return have, err
		}
		if _, err := (Services{}).Apply(t.Context(), h, want, have); err != nil {
			return have, err
		}
		h.Forget()
		return (Services{}).Observe(t.Context(), h, want)
	}
	before := links(t, root)
	have, err := set(true)
	on := links(t, root)
	for l := range on {
		if !strings.HasPrefix(l, "etc/systemd/system/") {
			t.Fatalf("enabling %s made %s", name, l)
		}
		for part := range strings.SplitSeq(strings.TrimPrefix(l, "etc/systemd/system/"), "/") {
			if part = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(part, ".wants"), ".requires"), ".upholds"); part == "" || !isUnitName(part) {
				t.Fatalf("enabling %s made %s, in which %q names no unit", name, l, part)
			}
		}
	}
	if err != nil {
		return
	}
	if have.Enablement == "indirect" && len(on) == 0 { // it enables others alone, and there are none
		return
	}
	if have.Enabled == nil || !*have.Enabled {
		t.Fatalf("%s isn't enabled: %+v\n%v", name, have, slices.Sorted(maps.Keys(on)))
	}
	if _, err := set(true); err != nil || !maps.Equal(links(t, root), on) {
		t.Fatalf("enabled a second time: %v\n%s", err, cmp.Diff(on, links(t, root)))
	}
	if have, err = set(false); err != nil || have.Enabled == nil || *have.Enabled {
		t.Fatalf("%s isn't disabled: %+v, %v", name, have, err)
	}
	if d := cmp.Diff(before, links(t, root)); d != "" {
		t.Fatalf("left after disabling %s (-before +after):\n%s", name, d)
	}
}

// links are all links of a root, with where they lead.
func links(t *testing.T, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err == nil && e.Type() == fs.ModeSymlink {
			target, _ := os.Readlink(p)
			rel, _ := filepath.Rel(root, p)
			out[filepath.ToSlash(rel)] = target
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
