package apt

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fitout-dev/fitout/modules/host"
)

func database(t *testing.T, files map[string]string) (*Database, error) {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"/var/lib/dpkg/updates"} {
		if err := os.MkdirAll(root+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range files {
		if err := os.WriteFile(root+name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Read(host.New(root))
}

func TestRead(t *testing.T) {
	long := "Description: " + strings.Repeat("x", 200<<10) + "\n Version: 9\n"
	d, err := database(t, map[string]string{"/var/lib/dpkg/status": strings.ReplaceAll(
		"Package: dpkg\nEssential: yes\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\n\n"+
			"Package: big\nStatus: install ok installed\n"+long+"Architecture: all\nVersion: 2\n\n"+
			"Package: crlf\r\nStatus: hold ok installed\r\nArchitecture: amd64\r\nVersion: 3\r\n\r\n"+
			"Package: m\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 4\n\n"+
			"Package: m\nStatus: install ok installed\nArchitecture: i386\nVersion: 5\n\n"+
			"Package: p\nStatus: install ok triggers-pending\nArchitecture: amd64\nVersion: 6\nProvides: v (= 2.0), w\n\n"+
			"Package: q\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 6\nProvides: gone\n\n"+
			"Package: last\nStatus: install ok installed\nArchitecture: amd64\nVersion: 7", "\n\n\n", "\n\n")})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, name := range []string{"dpkg", "big", "big:amd64", "crlf", "m", "m:amd64", "m:i386", "p", "last", "last:i386", "nosuch"} {
		p := d.Find(name)
		if p == nil {
			got = append(got, name+" unknown")
			continue
		}
		got = append(got, fmt.Sprintf("%s %s %s present=%v held=%v broken=%v essential=%v", name, p.Arch, p.Version, p.Present(), p.Held(), p.Broken(), p.Essential))
	}
	want := []string{
		"dpkg amd64 1 present=true held=false broken=false essential=true",
		"big all 2 present=true held=false broken=false essential=false",
		"big:amd64 all 2 present=true held=false broken=false essential=false",
		"crlf amd64 3 present=true held=true broken=false essential=false",
		"m i386 5 present=true held=false broken=false essential=false",
		"m:amd64 amd64 4 present=false held=false broken=false essential=false",
		"m:i386 i386 5 present=true held=false broken=false essential=false",
		"p amd64 6 present=true held=false broken=true essential=false",
		"last amd64 7 present=true held=false broken=false essential=false",
		"last:i386 unknown",
		"nosuch unknown",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	any, two := Constraint{}, func(s string) Constraint { c, _ := ParseConstraint(s); return c }
	for _, c := range []struct {
		name string
		c    Constraint
		want string
	}{{"v", any, "p"}, {"w", any, "p"}, {"gone", any, ""}, {"v", two(">= 2"), "p"}, {"v", two("3"), ""}, {"w", two("*"), ""}} {
		if got := d.Provider(c.name, c.c); got != c.want {
			t.Errorf("provider of %s %s: %q, want %q", c.name, c.c, got, c.want)
		}
	}
	if !d.Interrupted {
		t.Error("a trigger is pending, but nothing is said of an interruption")
	}
}

// The journal is what dpkg was doing when it was killed.
func TestReadJournal(t *testing.T) {
	const installed = "Package: a\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n"
	d, err := database(t, map[string]string{
		"/var/lib/dpkg/status":        installed,
		"/var/lib/dpkg/updates/0001":  "Package: a\nStatus: install ok unpacked\nArchitecture: amd64\nVersion: 2\n",
		"/var/lib/dpkg/updates/0000":  "Package: a\nStatus: install ok half-installed\nArchitecture: amd64\nVersion: 1\n",
		"/var/lib/dpkg/updates/tmp.i": "Package: a\nSta",
	})
	if err != nil || !d.Interrupted || d.Find("a").Status != "unpacked" || d.Find("a").Version != "2" {
		t.Errorf("%+v, %v", d, err)
	}
	if d, err = database(t, map[string]string{"/var/lib/dpkg/status": installed}); err != nil || d.Interrupted {
		t.Errorf("%+v, %v", d, err)
	}
}

// BenchmarkRead reads a database of 5 MB and 4,000 packages.
func BenchmarkRead(b *testing.B) {
	var s strings.Builder
	for i := range 4000 {
		fmt.Fprintf(&s, "Package: package-%d\nStatus: install ok installed\nPriority: optional\nMaintainer: Someone <someone@example.org>\nArchitecture: amd64\nVersion: 1.%d-1\n"+
			"Depends: libc6 (>= 2.34)\nConffiles:\n%sDescription: a package\n%s\n", i, i, strings.Repeat(" /etc/some/file 0123456789abcdef0123456789abcdef\n", 10), strings.Repeat(" Some text that nobody reads here.\n", 18))
	}
	b.SetBytes(int64(s.Len()))
	for b.Loop() {
		d := &Database{packages: map[string][]*Package{}, provides: map[string][]provider{}}
		if err := parseStatus(strings.NewReader(s.String()), d.put); err != nil {
			b.Fatal(err)
		}
		d.index()
	}
}

// A wreck has to be unpacked anew; what only waits to be configured has not.
func TestWrecks(t *testing.T) {
	var status strings.Builder
	for i, words := range []string{"install ok installed", "install reinstreq half-installed", "deinstall ok half-installed", "hold reinstreq unpacked",
		"install ok unpacked", "install ok half-configured", "deinstall ok config-files", "purge ok not-installed"} {
		fmt.Fprintf(&status, "Package: p%d\nStatus: %s\nArchitecture: %s\nVersion: 1\n\n", i, words, []string{"amd64", "i386"}[i/3%2])
	}
	d, err := database(t, map[string]string{"/var/lib/dpkg/status": status.String() + "Package: dpkg\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range d.wrecks() {
		got = append(got, p.name(d))
	}
	if diff := cmp.Diff([]string{"p1", "p2", "p3:i386"}, got); diff != "" || !d.Interrupted {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
