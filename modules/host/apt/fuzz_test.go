package apt

import (
	"bufio"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/fitout-dev/fitout/modules/fuzzing"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/tools/txtar"
)

// recorded adds what tools really said.
func recorded(f *testing.F, patterns ...string) {
	for _, pattern := range patterns {
		files, _ := filepath.Glob(pattern)
		if len(files) == 0 {
			f.Fatalf("no files match %s", pattern)
		}
		for _, file := range files {
			a, err := txtar.ParseFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(a.Files[0].Data))
		}
	}
}

// However the file comes, its entries are the same; written out they are read back as they were, and each is found.
func FuzzStatus(f *testing.F) {
	f.Add("Package: a\nStatus: install ok installed\nVersion: 1\nProvides: b (= 1), c\n\n")
	f.Add("Status: install ok installed\n\n")
	f.Add("Package: dpkg\nEssential: yes\nStatus: install ok installed\nPriority: required\nArchitecture: amd64\nVersion: 1.21.22\nDescription: x\n Package: not this\n\n" +
		"Package: libc6\r\nStatus: hold ok half-configured\r\nArchitecture: i386\r\nVersion: 2.36-9\r\n\r\n\n\nPackage: libc6\nProtected: yes\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 2.36-9+deb12u10")
	f.Add("Package: a\nStatus: bad\n")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > fuzzing.Most {
			t.Skip()
		}
		fuzzing.Soon(func() { checkStatus(t, text) })
	})
}

func checkStatus(t *testing.T, text string) {
	var whole, pieces, again []*Package
	err := parseStatus(strings.NewReader(text), func(p *Package) { whole = append(whole, p) })
	halves := parseStatus(bufio.NewReader(iotest.OneByteReader(strings.NewReader(text))), func(p *Package) { pieces = append(pieces, p) })
	same := cmp.AllowUnexported(Package{})
	if d := cmp.Diff(whole, pieces, same); d != "" || (err == nil) != (halves == nil) {
		t.Fatalf("%v, and byte by byte %v:\n%s", err, halves, d)
	}
	if err != nil {
		return
	}
	var out strings.Builder
	d := &Database{packages: map[string][]*Package{}, provides: map[string][]provider{}}
	for _, p := range whole {
		yes := map[bool]string{true: "yes", false: "no"}[p.Essential]
		fmt.Fprintf(&out, "Package: %s\nVersion: %s\nArchitecture: %s\nProvides: %s\nEssential: %s\n", p.Name, p.Version, p.Arch, p.provides, yes)
		if p.Status != "" {
			fmt.Fprintf(&out, "Status: %s %s %s\n", p.Want, p.Flag, p.Status)
		}
		out.WriteString("\n")
		d.put(p)
	}
	if err := parseStatus(strings.NewReader(out.String()), func(p *Package) { again = append(again, p) }); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(whole, again, same); d != "" {
		t.Fatalf("written as %q:\n%s", out.String(), d)
	}
	d.index()
	for _, p := range whole {
		if p.Name == "" {
			t.Fatalf("a package without a name: %+v", p)
		}
	}
	for _, p := range slices.Concat(slices.Collect(maps.Values(d.packages))...) { // of those that are listed twice, the last
		if strings.Contains(p.Name, ":") {
			continue
		}
		found := d.Find(p.Name)
		if found == nil || found.Name != p.Name || p.Present() && found.Arch == p.Arch && found.Version == "" && p.Version != "" {
			t.Fatalf("%+v is found as %+v", p, found)
		}
		if p.Arch != "" && !strings.Contains(p.Arch, ":") && d.Find(p.Name+":"+p.Arch) == nil {
			t.Fatalf("%+v isn't found by its architecture", p)
		}
	}
	for name := range d.provides {
		if by := d.Provider(name, Constraint{}); by != "" && !strings.Contains(by, ":") && !d.Find(by).Present() {
			t.Fatalf("%s is provided by %s, which isn't there", name, by)
		}
	}
}

// Packages that came for others' sake alone have a name, and are those that the file says so of.
func FuzzAutomatic(f *testing.F) {
	f.Add("Package: libcurl4\nArchitecture: amd64\nAuto-Installed: 1\n\nPackage: curl\nArchitecture: amd64\nAuto-Installed: 0\n\n")
	f.Add("Auto-Installed: 1\r\nPackage: x\r\n\r\nAuto-Installed: 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		before := parseAutomatic(text)
		after := parseAutomatic(text + "\n\nPackage: zz\nArchitecture: amd64\nAuto-Installed: 1\n")
		if d := cmp.Diff(append(slices.Clone(before), "zz:amd64"), after, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("%q and one more:\n%s", text, d)
		}
		for _, n := range before {
			if strings.HasPrefix(n, ":") {
				t.Errorf("%q has no name", n)
			}
		}
	})
}

// A simulation's steps have names and nothing of the line around them; written out they are read back as they were.
func FuzzSimulation(f *testing.F) {
	recorded(f, "testdata/simulation.txtar", "testdata/upgrade.txtar")
	f.Add("Inst libperl5.36 [5.36.0-7+deb12u2] (5.36.0-7+deb12u4 Debian-Security:12/oldstable-security [amd64]) [perl:amd64 ]\nRemv curl [7.88.1-10+deb12u14]\r\nPurg x\nInst y (1 )\nInst\n")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > fuzzing.Most {
			t.Skip()
		}
		fuzzing.Soon(func() {
			sim := ParseSimulation(text)
			var out strings.Builder
			for _, s := range sim.Install {
				if s.Name == "" || strings.ContainsAny(s.Name+s.New, " \n") {
					t.Fatalf("a step of %q: %+v", text, s)
				}
				s.Security()
				fmt.Fprintf(&out, "Inst %s", s.Name)
				if s.Old != "" {
					fmt.Fprintf(&out, " [%s]", s.Old)
				}
				fmt.Fprintf(&out, " (%s %s [amd64])\n", s.New, s.Origins)
			}
			for _, s := range sim.Remove {
				fmt.Fprintf(&out, "Remv %s [%s]\n", s.Name, s.Old)
			}
			if d := cmp.Diff(sim, ParseSimulation(out.String())); d != "" {
				t.Fatalf("%q, written as %q:\n%s", text, out.String(), d)
			}
		})
	})
}

// Each package of a policy has a name, and the versions come from the text.
func FuzzPolicy(f *testing.F) {
	recorded(f, "testdata/policy.txtar")
	f.Add("curl:\n  Installed: (none)\n  Candidate: 7.88.1-10+deb12u14\n  Version table:\n     7.88.1-10+deb12u14 500\n        500 http://deb.debian.org/debian bookworm/main amd64 Packages\n *** 7.88.1-10 100\n        100 /var/lib/dpkg/status\n")
	f.Add(":\n  Candidate: x\n     \n      y\n")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > fuzzing.Most {
			t.Skip()
		}
		fuzzing.Soon(func() {
			for name, p := range ParsePolicy(text) {
				if name == "" {
					t.Fatalf("%q: a package without a name", text)
				}
				for _, v := range append(slices.Clone(p.Versions), p.Candidate) {
					if !strings.Contains(text, v) || strings.ContainsAny(v, " \n") || v == "(none)" {
						t.Fatalf("%q: %s has a version %q", text, name, v)
					}
				}
			}
		})
	})
}

// Whatever apt and dpkg say of a failure, there is an error, and it isn't longer than what they said.
func FuzzDiagnose(f *testing.F) {
	recorded(f, "testdata/diagnose/*.txtar")
	f.Add("dpkg: error processing package")
	f.Add("dpkg: error processing archive /var/cache/apt/archives/x_1_all.deb (--unpack):\r no space\nErrors were encountered while processing:\n a\n /tmp/03-b_1_all.deb\nE: x\nE: x\n a : Depends: b\n")
	f.Add(strings.Repeat(" a is a virtual package provided by:\n", 300))
	f.Fuzz(func(t *testing.T, out string) {
		if len(out) > fuzzing.Most {
			t.Skip()
		}
		fuzzing.Soon(func() {
			d := diagnose(out)
			err := d.error("x")
			if err == nil {
				t.Fatal("no error")
			}
			if n := len(err.Error()); n > 4*len(out)+1000 {
				t.Fatalf("%d bytes became an error of %d", len(out), n)
			}
			if n := strings.Count(d.text, "\n"); n > 64 {
				t.Fatalf("an error of %d lines: %q", n, d.text)
			}
		})
	})
}

// Versions are in one order, and a constraint means what it says.
func FuzzVersion(f *testing.F) {
	for i, v := range versions {
		f.Add(v, versions[len(versions)-1-i], versions[(i*7)%len(versions)])
	}
	f.Add(">= 7.2, < 8", "7.5", "7.*")
	f.Add("!= 1:7.*", "1:7", "latest")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		if len(a)+len(b)+len(c) > 4<<10 {
			t.Skip()
		}
		fuzzing.Soon(func() {
			if sign(Compare(a, b)) != -sign(Compare(b, a)) || Compare(a, a) != 0 {
				t.Fatalf("%q and %q: not antisymmetric", a, b)
			}
			if Compare(a, b) <= 0 && Compare(b, c) <= 0 && Compare(a, c) > 0 {
				t.Fatalf("%q, %q, %q: not transitive", a, b, c)
			}
			if Compare(a+"~", a) >= 0 || Compare(a, a+"+") >= 0 {
				t.Fatalf("%q isn't between its own pre-release and successor", a)
			}
			checkConstraint(t, a, b)
		})
	})
}

func checkConstraint(t *testing.T, text, v string) {
	c, err := ParseConstraint(text)
	if err != nil {
		return
	}
	again, err := ParseConstraint(c.String())
	if err != nil || again.Match(v) != c.Match(v) || again.Latest() != c.Latest() || again.Any() != c.Any() {
		t.Fatalf("%q is read back as %q: %v", text, again, err)
	}
	if len(c.terms) != 1 {
		return
	}
	version := c.terms[0].version
	if strings.Contains(version, "*") {
		of := v
		if !strings.Contains(version, ":") {
			_, after, epoch := strings.Cut(v, ":")
			if epoch {
				of = after
			}
		}
		pattern := regexp.MustCompile("^(?s)" + strings.ReplaceAll(regexp.QuoteMeta(version), `\*`, "[^/]*") + "$")
		if got, want := c.Match(v), pattern.MatchString(of) == (c.terms[0].op == "="); got != want {
			t.Fatalf("%q matches %q: %v", text, v, got)
		}
		return
	}
	less, err1 := ParseConstraint("< " + version)
	more, err2 := ParseConstraint(">= " + version)
	equal, err3 := ParseConstraint(version)
	if version == Latest {
		return
	}
	if err1 != nil || err2 != nil || err3 != nil || less.Match(v) == more.Match(v) || equal.Match(v) && less.Match(v) || !equal.Match(version) {
		t.Fatalf("%q: below %v, from it on %v, it %v", version, less.Match(v), more.Match(v), equal.Match(v))
	}
}
