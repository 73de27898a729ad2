package security

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/integration/lab"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host/sddl"
	"github.com/fitout-dev/fitout/modules/moduletest"
)

func TestKeyAccessCheck(t *testing.T) {
	const text = "MIIBAAAA" // no certificate: what is found before that is the key's
	access := func(pairs ...string) []KeyAccess {
		out := []KeyAccess{}
		for i := 0; i < len(pairs); i += 2 {
			out = append(out, KeyAccess{pairs[i], pairs[i+1]})
		}
		return out
	}
	for _, test := range []struct {
		c    Certificate
		says string
	}{
		{Certificate{KeyAccess: access("NETWORK SERVICE", "read", "SYSTEM", "full")}, "certificate: it is damaged"},
		{Certificate{KeyAccess: access(), KeyAccessExact: true}, "certificate: it is damaged"},
		{Certificate{KeyAccessExact: true}, "no keyAccess that could be exact"},
		{Certificate{KeyAccess: access("alice", "read"), State: modules.Absent}, "with state: absent"},
		{Certificate{KeyAccess: access("alice", "read"), Location: "user"}, "nobody else can use a user's key"},
		{Certificate{KeyAccess: access("alice", "modify")}, `"modify" are no rights`},
		{Certificate{KeyAccess: access(`nt authority\system`, "read")}, "would lose control"},
		{Certificate{KeyAccess: access("s-1-5-32-544", "read")}, "would lose control"},
		{Certificate{KeyAccess: access("", "read")}, "keyAccess: who: is empty"},
		{Certificate{KeyAccess: access("alice", "read", "ALICE", "full")}, "are the same account"},
		{Certificate{KeyAccess: access("NETWORK SERVICE", "read", "S-1-5-20", "read")}, "are the same account"},
	} {
		test.c.Store, test.c.Certificate = "My", modules.Ptr(text)
		if err := (Certificates{}).Check(test.c); err == nil || !strings.Contains(hint.Text(err), test.says) {
			t.Errorf("%+v: %v, want %q", test.c.KeyAccess, err, test.says)
		}
	}
}

// german is a device whose accounts have other names.
type german struct{}

func (german) SID(account string) (string, error) {
	if is, _ := sddl.IsSID(account); is {
		return account, nil
	}
	if account == "Administratoren" {
		return "S-1-5-32-544", nil
	}
	if sid := sddl.Known(account); sid != "" {
		return sid, nil
	}
	return "", errors.New("no account " + account)
}

func (german) Account(sid string) (name, canonical string) {
	switch sid {
	case "SY":
		sid = "S-1-5-18"
	case "BA":
		sid = "S-1-5-32-544"
	case "NS":
		sid = "S-1-5-20"
	case "WD":
		sid = "S-1-1-0"
	}
	return sid, sid
}

func TestKeyAccess(t *testing.T) {
	service := []KeyAccess{{"NETWORK SERVICE", "read"}}
	const system, admins, read = "(A;;FA;;;SY)", "(A;;FA;;;BA)", "(A;;0x120089;;;S-1-5-20)"
	for name, test := range map[string]struct {
		want  []KeyAccess
		exact bool
		old   string
		next  string // or what is wrong
		have  string
	}{
		"added":            {service, false, "D:P" + system + admins, "D:P" + system + admins + read, "[{S-1-5-18 full} {S-1-5-32-544 full}]"},
		"there":            {service, false, "D:P" + system + "(A;;GR;;;NS)", "D:P" + system + "(A;;GR;;;NS)", "[{NETWORK SERVICE read} {S-1-5-18 full}]"},
		"more":             {service, false, "D:(A;;FA;;;NS)(D;;SD;;;NS)", "D:" + read, "[{S-1-5-20 full, (D;;SD;;;NS)}]"},
		"inherited":        {service, false, "D:AI(A;ID;FA;;;SY)(A;ID;FA;;;NS)", "D:" + system + read, "[{S-1-5-18 full} {S-1-5-20 full}]"},
		"no list at all":   {service, false, "D:NO_ACCESS_CONTROL", "D:(A;OICI;0x1f01ff;;;WD)" + read, "[{S-1-1-0 full}]"},
		"exact":            {service, true, "D:P" + system + admins + "(A;;FR;;;WD)", "D:P" + read + "(A;;0x1f01ff;;;S-1-5-18)(A;;0x1f01ff;;;S-1-5-32-544)", "[{S-1-1-0 read}]"},
		"exact, there":     {service, true, "D:P" + system + admins + "(A;;FR;;;NS)", "D:P" + read + "(A;;0x1f01ff;;;S-1-5-18)(A;;0x1f01ff;;;S-1-5-32-544)", "[{NETWORK SERVICE read}]"},
		"exact, locked":    {service, true, "D:P(A;;FR;;;NS)(A;;FR;;;SY)", "D:P" + read + "(A;;0x1f01ff;;;S-1-5-18)(A;;0x1f01ff;;;S-1-5-32-544)", "[{NETWORK SERVICE read} {S-1-5-32-544 none} {S-1-5-18 read}]"},
		"exact, by name":   {[]KeyAccess{{"Administratoren", "full"}}, true, "D:P" + system, "D:P(A;;0x1f01ff;;;S-1-5-32-544)(A;;0x1f01ff;;;S-1-5-18)", "[]"},
		"its own name":     {[]KeyAccess{{"Administratoren", "read"}}, false, "D:" + admins, "Administratoren would lose control", ""},
		"nobody":           {[]KeyAccess{{"nobody", "read"}}, false, "D:" + admins, "keyAccess: no account nobody", "[{S-1-5-32-544 full}]"},
		"the same account": {[]KeyAccess{{"Administratoren", "full"}, {"Administrators", "full"}}, false, "D:" + admins, "are the same account", ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := Certificate{KeyAccess: test.want, KeyAccessExact: test.exact}
			old, err := parseKey(test.old)
			lab.Must(t, err)
			next, err := c.nextKey(german{}, old)
			if err == nil && next != test.next || err != nil && !strings.Contains(hint.Text(err), test.next) {
				t.Errorf("%s (%v), want %s", next, err, test.next)
			}
			have, err := c.spellKey(german{}, old)
			if got := fmt.Sprint(have); err == nil && got != test.have || (err == nil) == (test.have == "") {
				t.Errorf("there is %s (%v), want %s", got, err, test.have)
			}
			if met := keyAccessMet(c.KeyAccess, c.KeyAccessExact, have); met != strings.HasSuffix(name, "there") {
				t.Errorf("met: %v", met)
			}
			if strings.HasPrefix(next, "D:") { // what was set is what is wanted
				d, err := parseKey(next)
				lab.Must(t, err)
				if again, err := c.spellKey(german{}, d); err != nil || !keyAccessMet(c.KeyAccess, c.KeyAccessExact, again) {
					t.Errorf("then there is %v (%v)", again, err)
				}
			}
		})
	}
}

func TestKeyAccessInverse(t *testing.T) {
	had := modules.Ptr("D:P(A;;FA;;;SY)")
	have := Certificate{Store: "My", HasKey: true, KeySecurity: had}
	for name, want := range map[string]Certificate{
		"changed": {Certificate: modules.Ptr("x"), KeyAccess: []KeyAccess{{"alice", "read"}}},
		"undone":  {Certificate: modules.Ptr("x"), KeySecurity: modules.Ptr("D:P")},
		"removed": {PFX: modules.Ptr("x"), State: modules.Absent},
	} {
		back, err := (Certificates{}).Inverse(want, have)
		if err != nil || back.KeySecurity != had || back.KeyAccess != nil {
			t.Errorf("%s: %+v, %v", name, back, err)
		}
	}
	if back, err := (Certificates{}).Inverse(Certificate{Certificate: modules.Ptr("x"), FriendlyName: modules.Ptr("a")}, have); err != nil || back.KeySecurity != nil {
		t.Errorf("what wasn't asked for: %+v, %v", back, err)
	}
}

// The rights to a key of CryptoAPI, asked back by another program. Wine keeps them in its registry while it runs.
func TestKeyAccessOnWindows(t *testing.T) {
	m := lab.New(t).Machine(t, lab.Wine)
	d := moduletest.OnMachine(t, m)
	build := exec.Command("go", "build", "-o", m.WindowsPath(`C:\keyrights.exe`), "./testdata/keyrights")
	build.Env = append(os.Environ(), "GOOS=windows", "GOARCH=amd64", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, pfx := made(t, "Example")
	declare := func(c Certificate, access ...KeyAccess) string {
		c.Name, c.Store, c.KeyAccess = "x", "My", access
		b, err := json.Marshal(c)
		lab.Must(t, err)
		return string(b)
	}
	// gives asks the other program, whose answer holds all that is named: what begins with "-" it must not hold.
	gives := func(c Certificate, access []KeyAccess, named ...string) {
		t.Helper()
		r := d.Converge("certificates", declare(c, access...))[0]
		out := m.RunWindows(t, `C:\keyrights.exe`)
		if r.Error != "" || r.Op != modules.Update || r.Again != modules.Same {
			t.Errorf("%v: %s, then %s %v: %s", access, r.Op, r.Again, r.After["keyAccess"], r.Error)
		}
		for _, entry := range named {
			bare, not := strings.CutPrefix(entry, "-")
			if strings.Contains(out, bare) == not {
				t.Errorf("%v: want %s in %s", access, entry, out)
			}
		}
	}
	fails := func(c Certificate, access []KeyAccess, says string) {
		t.Helper()
		if r := d.Converge("certificates", declare(c, access...))[0]; !strings.Contains(r.Error, says) {
			t.Errorf("%v: %q, want %q", access, r.Error, says)
		}
	}
	planned := func(c Certificate, access []KeyAccess, op modules.Op) {
		t.Helper()
		if r := d.Plan("certificates", declare(c, access...))[0]; r.Op != op {
			t.Errorf("%v: %s, want %s; %s", access, r.Op, op, r.Error)
		}
	}
	service, everyone := []KeyAccess{{"NETWORK SERVICE", "read"}}, []KeyAccess{{"Everyone", "read"}}
	plain, withKey := Certificate{Certificate: &text}, Certificate{PFX: &pfx, Password: "opensesame"}

	// Where there is no key, or nobody of that name, nothing happens.
	m.RunWindows(t, "reg", "add", `HKLM\SOFTWARE\Microsoft\SystemCertificates\My\Certificates`, "/f")
	fails(plain, service, "has no private key of certificate")
	fails(withKey, []KeyAccess{{"nobodyhere", "read"}}, `no account "nobodyhere"`)
	planned(plain, nil, modules.Create)
	d.Converge("certificates", declare(plain))
	fails(plain, service, "has no private key of certificate")
	absent := plain
	absent.State = modules.Absent
	d.Converge("certificates", declare(absent))

	// Wine's import makes a key of the machine, and says that it is a user's.
	fails(withKey, service, "one user's, not the machine's")
	m.RunWindows(t, `C:\keyrights.exe`, "machine")

	gives(withKey, service, "(A;;FR;;;NS)", ";;;BA)", "-;;;WD)")
	planned(withKey, []KeyAccess{{"S-1-5-20", "read"}}, modules.Same)
	planned(plain, []KeyAccess{{`nt authority\network service`, "read"}}, modules.Same)
	planned(withKey, []KeyAccess{{"NETWORK SERVICE", "full"}}, modules.Update)
	fails(withKey, append(everyone, KeyAccess{"nobodyhere", "read"}), `no account "nobodyhere"`)
	fails(withKey, []KeyAccess{{"root", "read"}, {"S-1-5-21-0-0-0-1000", "full"}}, "are the same account")
	gives(withKey, everyone, "(A;;FR;;;NS)", "(A;;FR;;;WD)")
	exact := withKey
	exact.KeyAccessExact = true
	d.TakesBack("certificates", declare(exact, everyone...), `C:\keyrights.exe`)
	planned(exact, everyone, modules.Same)
	gives(exact, service, "(A;;FR;;;NS)", "(A;;FA;;;SY)", "(A;;FA;;;BA)", "-;;;WD)", "-;;;BU)")
	gives(exact, []KeyAccess{}, "D:(A;;FA;;;SY)(A;;FA;;;BA)")
	d.TakesBack("certificates", declare(plain, KeyAccess{"Everyone", "full"}, service[0]), `C:\keyrights.exe`)
	d.Interrupted("certificates", declare(withKey, everyone...), func() { d.Converge("certificates", declare(exact, []KeyAccess{}...)) }, `C:\keyrights.exe`)
}
