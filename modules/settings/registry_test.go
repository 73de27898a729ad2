package settings

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host/registry"
)

// What a technician may get wrong is told before any device is asked.
func TestRegistryCheck(t *testing.T) {
	values, keys := modules.Define("registry", RegistryValues{}), modules.Define("registryKeys", RegistryKeys{})
	for _, test := range []struct{ want, says string }{
		{`"path": "HKLM\\SOFTWARE\\X", "type": "dword", "value": 4294967295`, ""},
		{`"path": "HKLM\\SOFTWARE\\X", "type": "dword", "value": 4294967296`, "value: 4294967296 is outside of a dword, which is from 0 to 4294967295"},
		{`"path": "HKLM\\SOFTWARE\\X", "type": "dword", "value": "0x1ffffffff"`, "value: 0x1ffffffff is outside of a dword"},
		{`"path": "HKLM\\SOFTWARE\\X", "type": "dword", "value": -1`, "value: -1 is outside of a dword"},
		{`"path": "HKLM\\SOFTWARE\\X", "type": "dword", "value": 1.5`, "value: 1.5 is no whole number"},
		{`"path": "HKLM\\SOFTWARE\\X", "type": "dword", "value": "yes"`, `value: "yes" is no number` + "\nhint: write digits"},
		{`"path": "HKLM\\SOFTWARE\\X", "type": "qword", "value": 9007199254740994`, "write it between quotes"},
		{`"path": "HKLM\\SOFTWARE\\X", "type": "qword", "value": "18446744073709551615"`, ""},
		{`"path": "HKLM\\SOFTWARE\\X", "type": "qword", "value": "18446744073709551616"`, "is outside of a qword, which is from 0 to 18446744073709551615"},
		{`"path": "HKLM\\SOFTWARE\\X", "type": "string", "value": 1`, "value: 1 is no text\nhint: write it between quotes"},
		{`"path": "HKLM\\SOFTWARE\\X", "type": "binary", "value": "00 FF"`, ""},
		{`"path": "HKLM\\SOFTWARE\\X", "type": "binary", "value": "0"`, `value: "0" has an odd number of hexadecimal digits`},
		{`"path": "HKLM\\SOFTWARE\\X", "type": "binary", "value": "0g"`, `value: "0g" is not hexadecimal`},
		{`"path": "HKLM\\SOFTWARE\\X", "type": "multiString", "value": "a"`, "value: a multiString is a list of texts"},
		{`"path": "HKLM\\SOFTWARE\\X", "type": "multiString", "value": ["a", ""]`, "value: a list of texts can't hold an empty one"},
		{`"path": "HKLM\\SOFTWARE\\X"`, "type: missing\nhint: a key without a value"},
		{`"path": "HKLM\\SOFTWARE\\X", "type": "string"`, "value: missing"},
		{`"path": "HKLN\\SOFTWARE\\X", "type": "none"`, `path: "HKLN\\SOFTWARE\\X" begins with no hive` + "\nhint: did you mean HKLM?"},
		{`"path": "C:\\SOFTWARE\\X", "type": "none"`, "begins with one of HKLM, HKCU, HKU, HKCR"},
		{`"path": "HKLM/SOFTWARE/X", "type": "none"`, "has / between its parts"},
		{`"path": "HKLM\\\\SOFTWARE", "type": "none"`, "has an empty part"},
		{`"path": "HKLM", "type": "none"`, `path: "HKLM" names no key below HKLM`},
		{`"path": "HKCU\\X", "type": "none"`, "user: HKCU\\X is in HKCU, which each user has another of\nhint: add `user:`"},
		{`"path": "HKLM\\X", "user": "alice", "type": "none"`, "user: HKLM\\X is no user's"},
		{`"path": "HKLM\\X", "view": 48, "type": "none"`, "view: 48 is neither 64 nor 32"},
	} {
		v, err := values.Decode([]byte("{" + test.want + "}"))
		if err != nil {
			t.Fatalf("%s: %v", test.want, err)
		}
		switch err := values.Check(v); {
		case test.says == "" && err != nil:
			t.Errorf("%s: %v", test.want, err)
		case test.says != "" && (err == nil || !strings.Contains(hint.Text(err), test.says)):
			t.Errorf("%s: says %v, want %s", test.want, err, test.says)
		}
	}
	for _, path := range []string{`HKLM\Software\Microsoft`, `HKU\S-1-5-18`} {
		if err := keys.Check(RegistryKey{Path: path, State: modules.Absent}); err == nil || !strings.Contains(err.Error(), "Windows can't do without") {
			t.Errorf("removal of %s: %v", path, err)
		}
	}
}

// However a hive is written, it is the same resource; users and views are others.
func TestRegistryKey(t *testing.T) {
	for _, test := range []struct {
		v    RegistryValue
		want string
	}{
		{RegistryValue{Path: `HKEY_LOCAL_MACHINE\SOFTWARE\X`, Name: "a"}, `HKLM\SOFTWARE\X/a`},
		{RegistryValue{Path: `hklm:\SOFTWARE\X`}, `HKLM\SOFTWARE\X`},
		{RegistryValue{Path: `HKLM\SOFTWARE\X`, Name: "a", View: 32}, `HKLM\SOFTWARE\X (32)/a`},
		{RegistryValue{Path: `HKCU\X`, Name: "a", User: "alice"}, `alice:HKCU\X/a`},
	} {
		if got := (RegistryValues{}).Key(test.v); got != test.want {
			t.Errorf("%+v is %s, want %s", test.v, got, test.want)
		}
	}
}

// What is stored can be declared, and stores the same; whatever its bytes are, they come back through a journal.
func FuzzRegistryValue(f *testing.F) {
	for typ := range uint32(13) {
		f.Add(typ, []byte("a\x00b\x00\x00\x00"))
		f.Add(typ, []byte{1, 0, 0, 0})
		f.Add(typ, []byte{0, 0, 0, 0, 0, 0, 0x20, 0})
	}
	f.Fuzz(func(t *testing.T, typ uint32, data []byte) {
		v := registry.Value{Type: typ, Data: data}
		name, value := declared(v)
		if again, err := storedValue(name, value); err == nil && !sameValue(v, again) && strings.ContainsRune(name, 'S') {
			if s, ok := value.(string); !ok || !strings.ContainsRune(s, 0xfffd) { // no UTF-16, which no profile can hold
				t.Errorf("%v is declared as %s %v, which stores %v", v, name, value, again)
			}
		} else if err == nil && (name == "dword" || name == "qword" || name == "binary" || name == "none") && !v.Equal(again) {
			t.Errorf("%v is declared as %s %v, which stores %v", v, name, value, again)
		}
		b, err := json.Marshal(KeptValue{Stored: &v})
		if err != nil {
			t.Fatal(err)
		}
		var back KeptValue
		if err := json.Unmarshal(b, &back); err != nil || !back.Stored.Equal(v) {
			t.Errorf("%v comes back as %v, %v", v, back.Stored, err)
		}
	})
}

func TestPathEntries(t *testing.T) {
	for _, test := range []struct {
		list        string
		add, remove []string
		want        string
	}{
		{"", []string{`C:\a`}, nil, `C:\a`},
		{`C:\a;`, []string{`C:\b`}, nil, `C:\a;C:\b`},
		{`"C:\a;b";C:\c`, nil, []string{`b"`}, `"C:\a;b";C:\c`},
		{`"C:\a b\";C:\c`, []string{`c:\A B`, `C:\C\`}, nil, `"C:\a b\";C:\c`},
		{`C:\;C:\c`, []string{`c:`}, []string{`C:\c\`}, `C:\`},
		{`C:\a;;C:\A\;C:\b`, nil, []string{`C:\a`}, `;C:\b`},
		{`\;C:\a`, []string{`\`}, nil, `\;C:\a`},
	} {
		if got := changeEntries(test.list, test.add, test.remove); got != test.want {
			t.Errorf("%s with %q without %q is %s, want %s", test.list, test.add, test.remove, got, test.want)
		} else if again := changeEntries(got, test.add, test.remove); again != got {
			t.Errorf("a second time %s becomes %s", got, again)
		}
	}
	for want, says := range map[string]string{
		`{"name": "PATH"}`: "value: missing",
		`{"name": "PATH", "value": "a", "add": ["b"]}`:              "value says already",
		`{"name": "PATH", "add": ["a;b"]}`:                          `add: "a;b" can't be one entry of PATH`,
		`{"name": "PATH", "add": ["C:\\a"], "remove": ["c:\\A\\"]}`: "is in both",
	} {
		typ := modules.Define("environment", Environments{})
		v, err := typ.Decode([]byte(want))
		if err != nil {
			t.Fatal(err)
		}
		if err := typ.Check(v); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %s", want, err, says)
		}
	}
}

func TestWindowsZones(t *testing.T) {
	windows, iana := windowsZones()
	for zone, want := range map[string]string{"Europe/Luxembourg": "W. Europe Standard Time", "Asia/Kolkata": "India Standard Time", "Asia/Calcutta": "India Standard Time",
		"UTC": "UTC", "Europe/London": "GMT Standard Time", "America/Argentina/Buenos_Aires": "Argentina Standard Time"} {
		if windows[zone] != want {
			t.Errorf("%s is %q, want %q", zone, windows[zone], want)
		}
	}
	for name, zone := range iana {
		if windows[zone] != name {
			t.Errorf("%s stands for %s, which is %s", zone, name, windows[zone])
		}
	}
	if len(iana) < 130 || len(windows) < 550 {
		t.Errorf("%d zones of Windows, %d of IANA", len(iana), len(windows))
	}
}
