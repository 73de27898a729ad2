package applications

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/moduletest"
)

func TestPackages(t *testing.T) {
	moduletest.Run(t, modules.Define("packages", Packages{}), "testdata/packages/*.txtar")
}

func TestCheck(t *testing.T) {
	p := modules.Ptr[string]
	for _, c := range []struct {
		want Package
		ok   bool
	}{
		{Package{Name: "a"}, true},
		{Package{Name: "a", Version: p(">= 1, < 2")}, true},
		{Package{Name: "a", Version: p("latest"), Hold: modules.Ptr(true)}, true},
		{Package{Name: "a", Version: p("~> 1 2")}, false},
		{Package{Name: "a", Version: p("")}, false},
		{Package{Name: "a", State: "absent"}, true},
		{Package{Name: "a", State: "absent", Version: p("1")}, false},
		{Package{Name: "a", State: "purged", Hold: modules.Ptr(false)}, false},
	} {
		if err := (Packages{}).Check(c.want); (err == nil) != c.ok {
			t.Errorf("Check(%+v) = %v", c.want, err)
		}
	}
}

func TestInverse(t *testing.T) {
	p, hold := modules.Ptr[string], modules.Ptr[bool]
	for _, c := range []struct {
		name             string
		want, have, back Package
		err              bool
	}{
		{name: "installed", want: Package{Name: "a"}, have: Package{Name: "a", State: "absent"}, back: Package{Name: "a", State: "purged", Back: true, Along: true}},
		{name: "removed", want: Package{Name: "a", State: "absent"}, have: Package{Name: "a", State: "present", Version: p("1"), Hold: hold(false)},
			back: Package{Name: "a", Version: p("1"), Recommends: hold(false), Back: true}},
		{name: "removed while held", want: Package{Name: "a", State: "purged"}, have: Package{Name: "a", State: "present", Version: p("1"), Hold: hold(true)},
			back: Package{Name: "a", Version: p("1"), Hold: hold(true), Recommends: hold(false), Back: true}},
		{name: "upgraded", want: Package{Name: "a", Version: p("2.*")}, have: Package{Name: "a", State: "present", Version: p("1"), Hold: hold(false)},
			back: Package{Name: "a", Version: p("1"), Back: true}},
		{name: "held", want: Package{Name: "a", Hold: hold(true)}, have: Package{Name: "a", State: "present", Version: p("1"), Hold: hold(false)},
			back: Package{Name: "a", Hold: hold(false), Back: true}},
		{name: "installed again", want: Package{Name: "a"}, have: Package{Name: "a", State: "absent", ConfigFiles: true}, back: Package{Name: "a", State: "absent", Back: true, Along: true}},
		{name: "installed, undone", want: Package{Name: "a", State: "purged", Back: true, Along: true}, have: Package{Name: "a", State: "present", Version: p("1"), Hold: hold(false)},
			back: Package{Name: "a", Version: p("1"), Back: true, Along: true}},
		{name: "removed, undone", want: Package{Name: "a", Version: p("1"), Recommends: hold(false), Back: true}, have: Package{Name: "a", State: "absent", ConfigFiles: true},
			back: Package{Name: "a", State: "absent", Recommends: hold(false), Back: true}},
		{name: "edited configuration purged", want: Package{Name: "a", State: "purged"}, have: Package{Name: "a", State: "present", Version: p("1"), Edited: []string{"/etc/a"}}, err: true},
		{name: "configuration purged", want: Package{Name: "a", State: "purged"}, have: Package{Name: "a", State: "absent", ConfigFiles: true}, err: true},
		{name: "was broken", want: Package{Name: "a"}, have: Package{Name: "a", State: "half-configured"}, err: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			back, err := (Packages{}).Inverse(c.want, c.have)
			if c.err {
				if err == nil {
					t.Fatalf("no error, but %+v", back)
				}
				return
			}
			if d := cmp.Diff(c.back, back); d != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, d)
			}
		})
	}
}
