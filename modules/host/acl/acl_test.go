package acl

import (
	"errors"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host/sddl"
)

// device knows alice, who goes by her domain too.
type device struct{}

const alice = "S-1-5-21-1-2-3-1001"

func (device) SID(account string) (string, error) {
	if sid := sddl.Known(account); sid != "" {
		return sid, nil
	}
	switch strings.ToLower(account) {
	case "alice", `corp\alice`, strings.ToLower(alice):
		return alice, nil
	}
	return "", errors.New("no account " + account)
}

func (device) Account(sid string) (name, canonical string) {
	switch sid {
	case "BA":
		return "Administrators", "S-1-5-32-544"
	case "SY":
		return "SYSTEM", "S-1-5-18"
	case alice:
		return "alice", sid
	}
	return sid, sid
}

func TestCheck(t *testing.T) {
	read := func(names ...string) (out []Want) {
		for _, name := range names {
			out = append(out, Want{Who: name, Mask: sddl.Read})
		}
		return out
	}
	for _, test := range []struct {
		wants []Want
		says  string
	}{
		{read("alice", "bob", `CORP\alice`, alice), ""}, // which of them are the same, the device knows
		{append(read("alice"), Want{Who: "alice", Mask: sddl.Modify, Deny: true}), ""},
		{append(read("alice"), Want{Who: "alice", Mask: sddl.Modify, Below: true}), ""},
		{read(" "), "who: is empty"},
		{read("S-1-5-"), "is no SID"},
		{read("alice", "bob", "alice"), `"alice" is named twice`},
		{read("alice", "Alice"), `"alice" and "Alice" are the same account`},
		{read(`builtin\users`, "Users"), "are the same account"},
		{read("Administrators", "s-1-5-32-544"), "are the same account"},
		{read(alice, strings.ToLower(alice)), "are the same account"},
		{append(read("alice"), Want{Who: "alice", Mask: sddl.Full}), "is named twice"},
	} {
		if err := Check(test.wants); test.says == "" && err != nil || test.says != "" && (err == nil || !strings.Contains(hint.Text(err), test.says)) {
			t.Errorf("%v: %v, want %q", test.wants, err, test.says)
		}
	}
}

func TestResolve(t *testing.T) {
	if _, err := Resolve(device{}, []Want{{Who: "alice", Mask: 1}, {Who: `CORP\alice`, Mask: 2}}); err == nil || !strings.Contains(hint.Text(err), `"alice" and "CORP\\alice" are the same account`) {
		t.Errorf("one account by two names: %v", err)
	}
	w, err := Resolve(device{}, []Want{{Who: "nobody", Mask: 1}, {Who: "alice", Mask: 2}, {Who: "noone", Mask: 2}})
	if err != nil || w.Unknown == nil || !strings.Contains(w.Unknown.Error(), "nobody") || w.SIDs[0] != "" || w.SIDs[1] != alice {
		t.Errorf("%+v %v", w, err)
	}
}

func TestMerge(t *testing.T) {
	const a, sys = "(A;;0x1200a9;;;" + alice + ")", "(A;;FA;;;SY)"
	for name, test := range map[string]struct {
		old   string
		wants []Want
		exact bool
		want  string
		tells string // those that are met, then the others
	}{
		"added":         {"D:P" + sys, []Want{{Who: "alice", Mask: sddl.Read}}, false, "D:P" + sys + a, "false SYSTEM"},
		"as it is":      {"D:P(A;;FR;;;" + alice + ")" + sys, []Want{{Who: "alice", Mask: 0x120089}}, false, "D:P(A;;FR;;;" + alice + ")" + sys, "true SYSTEM"},
		"replaced":      {"D:(A;;FA;;;" + alice + ")(D;;SD;;;" + alice + ")" + sys, []Want{{Who: "alice", Mask: sddl.Read}}, false, "D:" + sys + a, "false alice SYSTEM"},
		"forbidden":     {"D:" + sys, []Want{{Who: "alice", Mask: 0x10000, Deny: true}}, false, "D:(D;;0x10000;;;" + alice + ")" + sys, "false SYSTEM"},
		"exact":         {"D:AI" + sys + "(A;ID;FA;;;BA)" + a, []Want{{Who: "alice", Mask: sddl.Read}}, true, "D:P" + a, "true SYSTEM Administrators"},
		"comes already": {"D:AI(A;ID;FA;;;" + alice + ")", []Want{{Who: "alice", Mask: sddl.Read}}, false, "D:", "true"},
		"a condition":   {"D:(XA;;FR;;;" + alice + ";(x))", []Want{{Who: "alice", Mask: 0x120089}}, false, "D:(A;;0x120089;;;" + alice + ")", "false alice"},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := sddl.Parse(test.old)
			if err != nil {
				t.Fatal(err)
			}
			w, err := Resolve(device{}, test.wants)
			if err != nil || w.Unknown != nil {
				t.Fatal(err, w.Unknown)
			}
			l := Read(device{}, d, false)
			if got := l.Merge(w, test.exact).String(); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
			met, rest := l.Tell(w, test.exact)
			var told []string
			for _, is := range met {
				told = append(told, map[bool]string{true: "true", false: "false"}[is])
			}
			for _, other := range rest {
				told = append(told, other.Who)
			}
			if got := strings.Join(told, " "); got != test.tells {
				t.Errorf("tells %s, want %s", got, test.tells)
			}
		})
	}
}
