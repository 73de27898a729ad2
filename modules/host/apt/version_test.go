package apt

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

var versions = strings.Fields(`0 1 1.0 1.00 1.01 1.1 1.10 1.9 1.0-0 1.0-1 1.0-1+b1 1.0-1~bpo1 1.0~rc1 1.0~rc1-1 1.0~~ 1.0~ 1.0+ 1.0+dfsg 1.0+dfsg-1
	1:0 1:1.0 0:1.0 2:0.1 10:1 1.0a 1.0A 1.0b 1.0.a 1.0-a 7.88.1-10+deb12u14 7.88.1-10+deb12u5 7.88.1-10 2.36-9+deb12u7 2.36-9+deb12u14
	1:9.2p1-2 1:9.2p1-2+deb12u10 9.2p1 5.36.0-7+deb12u4 4:12.2.0-3 12.4+deb12u11 0.0~git20240101.abc 0.0~git20231231.abd 1.2-3-4 1.2-3-10
	1.0-1ubuntu1 1.0-1ubuntu0.22.04.1 20230311 20230311-1 99999999999999999999 100000000000000000000 1.0+~ 1.0~+ 001 1.2.3`)

// dpkg itself is asked about each pair of neighbours in our order; being an order, it agrees with the rest then.
func TestCompareAsDpkg(t *testing.T) {
	if _, err := exec.LookPath("dpkg"); err != nil {
		t.Skip("no dpkg here")
	}
	sorted := slices.Clone(versions)
	slices.SortStableFunc(sorted, Compare)
	for i, b := range sorted[1:] {
		a, relation := sorted[i], "lt"
		if Compare(a, b) == 0 {
			relation = "eq"
		}
		if err := exec.Command("dpkg", "--compare-versions", a, relation, b).Run(); err != nil {
			t.Errorf("dpkg denies %s %s %s: %v", a, relation, b, err)
		}
	}
}

func sign(n int) int { return min(1, max(-1, n)) }

func TestConstraint(t *testing.T) {
	for _, c := range []struct {
		constraint string
		yes, no    string
	}{
		{"7.88.1-10", "7.88.1-10 0:7.88.1-10", "7.88.1 7.88.1-11 1:7.88.1-10"},
		{"= 1.0", "1.0 1.0-0", "1.0-1"},
		{"== 1.0", "1.0", "1.1"},
		{"7.*", "7.88.1-10+deb12u14 7.0 1:7.2", "8.0 17.0 7"},
		{"*", "1 2:3", ""},
		{"1:7.*", "1:7.2", "7.2 2:7.2"},
		{"7.*-1", "7.2-1", "7.2-2"},
		{">= 7.2, < 8", "7.2 7.10 8~rc1", "7.1 8 7.2~rc1"},
		{">=7.2,<8", "7.2", "8"},
		{"> 1.0", "1.0-1 1.1", "1.0 1.0~rc1"},
		{">> 1.0, << 2", "1.5", "1.0 2"},
		{"<= 2", "2 2~rc1", "2.0.1"},
		{"7.*, != 7.3", "7.2", "7.3 8"},
		{"7.*, != 7.3*", "7.2", "7.3 7.3-1 8"},
		{"latest", "1 2", ""},
	} {
		parsed, err := ParseConstraint(c.constraint)
		if err != nil {
			t.Errorf("%q: %v", c.constraint, err)
			continue
		}
		for _, v := range strings.Fields(c.yes) {
			if !parsed.Match(v) {
				t.Errorf("%q does not match %q", c.constraint, v)
			}
		}
		for _, v := range strings.Fields(c.no) {
			if parsed.Match(v) {
				t.Errorf("%q matches %q", c.constraint, v)
			}
		}
	}
	for _, bad := range []string{"", " ", ">=", "<> 1", ">= 1.*", "1,", "1 2", "1/2", "[12]", "=> 1", "1.?", "~> 1_0"} {
		if _, err := ParseConstraint(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
