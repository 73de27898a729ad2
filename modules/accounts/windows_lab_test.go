package accounts

import (
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/integration/lab"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/moduletest"
)

// Wine keeps accounts for as long as a process lives, knows neither full names nor local groups, and aborts a program that
// changes an account. So this shows an account that is made and found; all else of Windows is experimental.
func TestWindowsAccount(t *testing.T) {
	d := moduletest.OnMachine(t, lab.New(t).Machine(t, lab.Wine))
	converged(t, d, "users", `{"name": "Alice Example", "locked": false}`)
	converged(t, d, "users", `{"name": "bob", "state": "absent"}`)
}

func TestWhatWindowsTakes(t *testing.T) {
	typ := modules.Define("users", Users{})
	for _, c := range []struct {
		os   string
		user User
		want string // part of the problem; "" is none
	}{
		{"windows", User{Name: "Alice Example", Groups: []string{"S-1-5-32-544", "Remote Desktop Users"}, Password: modules.Ptr("Correct horse 1")}, ""},
		{"linux", User{Name: "Alice Example"}, `user name "Alice Example" is not valid; at most 32 lower-case`},
		{"", User{Name: "Alice Example"}, ""}, // a device may turn out to be one with Windows
		{"", User{Name: "a/b"}, `"a/b" is not valid`},
		{"windows", User{Name: "a/b"}, `"a/b" is not valid; at most 20 characters`},
		{"windows", User{Name: "twentyone-characters-"}, "is not valid"},
		{"windows", User{Name: "dot."}, "is not valid"},
		{"windows", User{Name: "\u200balice"}, "is not valid"},
		{"windows", User{Name: "alice", Password: modules.Ptr("$6$saltsalt$" + strings.Repeat("a", 86))}, "Windows takes no hash; give the password itself"},
		{"windows", User{Name: "alice", Expires: modules.Ptr("2031-02-30")}, "2031-02-30"},
		{"", User{Name: "Alice Example", UID: modules.Ptr(-1)}, "uid -1"},
	} {
		err := typ.CheckOn(c.os, c.user)
		got := ""
		if err != nil {
			got = err.Error() + "; " + hint.Of(err)
		}
		if (c.want == "") != (err == nil) || !strings.Contains(got, c.want) {
			t.Errorf("%s: %+v: %q, want %q", c.os, c.user, got, c.want)
		}
	}
}

func TestWhatUndoesAnAccount(t *testing.T) {
	have := User{Name: "alice", State: modules.Present, SID: modules.Ptr("S-1-5-21-1-2-3-1001"), FullName: modules.Ptr("Old"), Locked: modules.Ptr(true), Groups: []string{"Users"}}
	back, err := Users{}.Inverse(User{Name: "alice", FullName: modules.Ptr("New"), Groups: []string{"Administrators"}}, have)
	if err != nil || *back.FullName != "Old" || back.Locked != nil || !back.GroupsExact || back.Groups[0] != "Users" {
		t.Errorf("%+v, %v", back, err)
	}
	for _, want := range []User{{Name: "alice", State: modules.Absent}, {Name: "alice", Password: modules.Ptr("new")}} {
		if _, err := (Users{}).Inverse(want, have); err == nil {
			t.Errorf("%+v could be undone", want)
		}
	}
}
