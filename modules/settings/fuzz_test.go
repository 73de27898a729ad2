package settings

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/fuzzing"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/google/go-cmp/cmp"
)

// rootOf makes a root folder with these files.
func rootOf(t *testing.T, files map[string]string) *host.Host {
	t.Helper()
	h := host.New(t.TempDir())
	for name, text := range files {
		p := filepath.Join(h.Root(), name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// lines are those that f picks, without their ends.
func lines(text string, f func(line string) bool) []string {
	var out []string
	for l := range strings.Lines(text) {
		if f(l) {
			out = append(out, strings.TrimSuffix(l, "\n"))
		}
	}
	return out
}

// others are the lines that aren't ours.
func others(text string, ours func(line string) bool) []string {
	return lines(text, func(l string) bool { return !ours(l) })
}

// Lines of other settings stay byte for byte, in their order, whether one is written or removed.
func FuzzForeignLines(f *testing.F) {
	f.Add("# c\nA=1\r\n\nB=2", "A", "net.ipv4.ip_forward", "0", false)
	f.Add("net/ipv4/ip_forward=1\n-net.ipv4.ip_forward = 2\nkernel.*=3\nexport A='x # y'\n", "A", "net.ipv4.ip_forward", "1", true)
	f.Fuzz(func(t *testing.T, text, variable, setting, value string, remove bool) {
		if len(text) > fuzzing.Most || (Environments{}).Check(Environment{Name: variable, Value: &value}) != nil ||
			(Sysctls{}).Check(Sysctl{Name: setting, Value: &value}) != nil || !regexp.MustCompile(`^[A-Za-z0-9_:@/.-]+$`).MatchString(setting) {
			t.Skip()
		}
		fuzzing.Soon(func() {
			line := ""
			if !remove {
				line = variable + "=" + quoteEnvironment(value) + "\n"
			}
			isVariable := func(l string) bool { n, _, ok := environmentLine(l); return ok && n == variable }
			next := setEnvironmentLine(text, variable, line)
			if d := cmp.Diff(others(text, isVariable), others(next, isVariable)); d != "" {
				t.Fatalf("environment: %q became %q:\n%s", text, next, d)
			}
			if n := len(lines(next, isVariable)); n > 1 || remove && n > 0 {
				t.Fatalf("environment: %q became %q: %d lines", text, next, n)
			}
			if again := setEnvironmentLine(next, variable, line); again != next {
				t.Fatalf("environment: %q became %q, then %q", text, next, again)
			}
			key := sysctlKey(setting)
			if line = ""; !remove {
				line = setting + " = " + blanks(value) + "\n"
			}
			isSetting := func(l string) bool { k, _, ok := sysctlLine(l); return ok && k == key }
			next = setSysctlLine(text, key, line)
			if d := cmp.Diff(others(text, isSetting), others(next, isSetting)); d != "" {
				t.Fatalf("sysctl: %q became %q:\n%s", text, next, d)
			}
			if n := len(lines(next, isSetting)); n > 1 || remove && n > 0 {
				t.Fatalf("sysctl: %q became %q: %d lines", text, next, n)
			}
			if v, ok := parseSysctl(next)[key]; ok == remove || v != blanks(value) && !remove {
				t.Fatalf("sysctl: %q has %q for %s", next, v, key)
			}
		})
	})
}

// Whatever the two files hold, the name is set once, and all lines but those of the machine's own address stay.
func FuzzHostname(f *testing.F) {
	f.Add("old\n", "127.0.0.1\tlocalhost\n127.0.1.1\told.example.lan old # mine\n\n::1 ip6-localhost\n", "lt-042")
	f.Add("# c\n\nold.example.lan\r\n", "127.0.1.1 a\r\n127.0.1.1 b\r\n10.0.0.1 lt-042\r\n", "new.example.lan")
	f.Add("", "127.0.0.1 localhost", "a")
	f.Fuzz(func(t *testing.T, static, hosts, name string) {
		valid := regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$`)
		want := Hostname{Name: &name}
		if len(static)+len(hosts) > fuzzing.Most || !valid.MatchString(name) || (Hostnames{}).Check(want) != nil {
			t.Skip()
		}
		h := rootOf(t, map[string]string{hostnameFile: static, hostsFile: hosts})
		fuzzing.Soon(func() {
			after := set(t, h, Hostnames{}, want)
			if after.Name == nil || *after.Name != name {
				t.Fatalf("%q and %q: the name is %v", static, hosts, after)
			}
			text, _ := readOptional(h, hostsFile)
			own := func(l string) bool {
				l, _, _ = strings.Cut(l, "#")
				fields := strings.Fields(l)
				return len(fields) > 1 && fields[0] == selfAddress
			}
			if d := cmp.Diff(others(hosts, own), others(text, own)); d != "" && !strings.HasSuffix(hosts, "\r") {
				t.Fatalf("%q became %q:\n%s", hosts, text, d)
			}
			if was, is := lines(hosts, own), lines(text, own); len(was) > 1 && (len(is) != len(was) || !cmp.Equal(was[1:], is[1:])) {
				t.Fatalf("%q became %q: more than the first entry changed", hosts, text)
			}
			set(t, h, Hostnames{}, want)
			if again, _ := readOptional(h, hostsFile); again != text {
				t.Fatalf("%q became %q", text, again)
			}
		})
	})
}

// set observes, applies and observes again.
func set[T any](t *testing.T, h *host.Host, r modules.Resource[T], want T) T {
	t.Helper()
	have, err := r.Observe(t.Context(), h, want)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Apply(t.Context(), h, want, have); err != nil {
		t.Fatal(err)
	}
	h.Forget()
	if have, err = r.Observe(t.Context(), h, want); err != nil {
		t.Fatal(err)
	}
	return have
}

// Whatever the zone is, and the file that repeats it, the wanted one is set at once.
func FuzzTimezone(f *testing.F) {
	f.Add("/usr/share/zoneinfo/Etc/UTC", "Etc/UTC\n")
	f.Add("../usr/share/zoneinfo/Europe/Luxembourg", "Europe/Berlin\r\n# x")
	f.Add("../../../../zoneinfo/../../etc/passwd", "")
	f.Add("", "\xff")
	f.Fuzz(func(t *testing.T, link, text string) {
		if len(link) > 4000 || len(text) > fuzzing.Most || strings.ContainsRune(link, 0) {
			t.Skip()
		}
		const zone = "Europe/Luxembourg"
		h := rootOf(t, map[string]string{timezoneFile: text, zoneinfo + "/" + zone: "TZif2"})
		if link != "" {
			if err := os.Symlink(link, filepath.Join(h.Root(), localtimeLink)); err != nil {
				t.Skip()
			}
		}
		want := Timezone{Name: modules.Ptr(zone)}
		fuzzing.Soon(func() {
			if have, err := (Timezones{}).Observe(t.Context(), h, Timezone{}); err != nil || have.Name != nil && *have.Name != "UTC" && *have.Name != zone && !h.Exists(zoneinfo+"/"+*have.Name) {
				t.Fatalf("%q is the zone %q: %v", link, *have.Name, err)
			}
			if have := set(t, h, Timezones{}, want); have.Name == nil || *have.Name != zone || have.Timezone != zone {
				t.Fatalf("%q and %q became %+v", link, text, have)
			}
		})
	})
}
