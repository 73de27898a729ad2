package inventory

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/fitout-dev/fitout/engine/secret"
	"github.com/fitout-dev/fitout/modules/hint"
)

var update = flag.Bool("update", false, "write what is found into testdata")

// TestGolden loads each case of testdata and compares the devices, or the errors, with those in the file. The secrets of a
// case are in secrets.json; variables of the environment in env.json.
func TestGolden(t *testing.T) {
	cases, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(cases) == 0 {
		t.Fatal("no cases", err)
	}
	for _, path := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			env, secrets := map[string]string{}, map[string]string{}
			var inputs []txtar.File
			var want string
			for _, f := range a.Files {
				switch f.Name {
				case "want":
					want = string(f.Data)
					continue
				case "env.json":
					err = json.Unmarshal(f.Data, &env)
				case "secrets.json":
					err = json.Unmarshal(f.Data, &secrets)
				default:
					path := filepath.Join(dir, f.Name)
					if err = os.MkdirAll(filepath.Dir(path), 0o755); err == nil {
						err = os.WriteFile(path, f.Data, 0o644)
					}
				}
				if err != nil {
					t.Fatal(err)
				}
				inputs = append(inputs, f)
			}
			keys := secret.Keys{Home: t.TempDir(), Env: func(string) (string, bool) { return "", false }}
			file := &secret.File{Path: filepath.Join(dir, "secrets.age"), Keys: keys}
			for name, text := range secrets {
				if err := file.Set(name, text); err != nil {
					t.Fatal(err)
				}
			}
			lookup := func(name string) (string, bool) { text, ok := env[name]; return text, ok }
			t.Setenv("HOME", "/home/me")
			got := strings.ReplaceAll(result(filepath.Join(dir, "inventory.yaml"), Options{Env: lookup, Keys: keys}),
				dir+string(filepath.Separator), "")
			if *update {
				a.Files = append(inputs, txtar.File{Name: "want", Data: []byte(got)})
				if err := os.WriteFile(path, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func result(path string, o Options) string {
	inv, err := Load(path, o)
	if err != nil {
		return err.Error() + "\n"
	}
	var out strings.Builder
	for _, d := range inv.Devices {
		shown := map[string]any{"address": d.Address, "profile": d.Profile, "at": d.Position.String(), "transport": d.Connect.Transport}
		for name, x := range map[string]string{"user": d.User, "identityFile": d.Connect.IdentityFile, "jump": d.Connect.Jump,
			"hostKey": d.Connect.HostKey, "auth": d.Connect.Auth, "fingerprint": d.Connect.Fingerprint,
			"caFile": d.Connect.CAFile, "realm": d.Connect.Realm, "keytab": d.Connect.Keytab} {
			if x != "" {
				shown[name] = x
			}
		}
		for name, x := range map[string]secret.Value{"password": d.Connect.Password, "sudoPassword": d.Connect.SudoPassword} {
			if !x.IsZero() {
				shown[name] = "secret of " + string(rune('0'+len(x.Reveal())))
			}
		}
		if d.Connect.Port != 0 {
			shown["port"] = d.Connect.Port
		}
		if d.Connect.Sudo {
			shown["sudo"] = true
		}
		if d.Connect.TLS != nil {
			shown["tls"] = *d.Connect.TLS
		}
		if d.Connect.NoPull {
			shown["pull"] = false
		}
		if d.Connect.Timeout != 0 {
			shown["timeout"] = d.Connect.Timeout.String()
		}
		if len(d.Variables) > 0 {
			shown["variables"] = d.Variables
		}
		if len(d.Groups) > 0 {
			shown["groups"] = d.Groups
		}
		b, err := json.Marshal(shown)
		if err != nil {
			return err.Error()
		}
		out.WriteString(d.Name + " " + string(b) + "\n")
	}
	out.WriteString("groups: " + strings.Join(inv.Groups, " ") + "\nvariables: " + strings.Join(inv.Variables, " ") + "\n")
	return out.String()
}

func site(t *testing.T, text string) *Inventory {
	t.Helper()
	path := filepath.Join(t.TempDir(), "inventory.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	inv, err := Load(path, Options{Env: func(string) (string, bool) { return "", false }, Keys: secret.Keys{Home: t.TempDir()}})
	if err != nil {
		t.Fatal(err)
	}
	return inv
}

func TestSelect(t *testing.T) {
	inv := site(t, "devices: {c: {groups: [x]}, a: {groups: [x, y]}, b: }\ngroups: {z: }\nsecrets: nowhere.age\n")
	for args, want := range map[string]string{"": "c a b", "a": "a", "x": "c a", "b x": "c a b", "y,b": "a b", "z": ""} {
		devices, err := inv.Select(strings.Fields(args)...)
		var names []string
		for _, d := range devices {
			names = append(names, d.Name)
		}
		if err != nil || strings.Join(names, " ") != want {
			t.Errorf("%q: %v, %v", args, names, err)
		}
	}
	inv = site(t, "devices: {laptop-1: {groups: [laptops]}}")
	_, err := inv.Select("laptop-2", "laptop", "xyz")
	want := `has no device or group "laptop-2"
hint: did you mean "laptop-1"?
has no device or group "laptop"
hint: did you mean "laptops"?
has no device or group "xyz"`
	if err == nil || strings.ReplaceAll(err.Error(), inv.File+" ", "") != want {
		t.Error(err)
	}
}

func TestOneOff(t *testing.T) {
	for address, want := range map[string]Device{
		"ssh://root@10.0.3.42:2222":         {Name: "10.0.3.42", Address: "10.0.3.42", User: "root", Connect: Connect{Transport: "ssh", Port: 2222, User: "root"}},
		"ssh://web":                         {Name: "web", Address: "web", Connect: Connect{Transport: "ssh"}},
		"ssh://a@[fe80::1%25eth0]:22":       {Name: "fe80::1%eth0", Address: "fe80::1%eth0", User: "a", Connect: Connect{Transport: "ssh", Port: 22, User: "a"}},
		"winrm://Administrator@10.0.3.43":   {Name: "10.0.3.43", Address: "10.0.3.43", User: "Administrator", Connect: Connect{Transport: "winrm", User: "Administrator"}},
		"winrm://EXAMPLE%5Cadmin@10.0.3.43": {Name: "10.0.3.43", Address: "10.0.3.43", User: `EXAMPLE\admin`, Connect: Connect{Transport: "winrm", User: `EXAMPLE\admin`}},
		"local":                             {Name: "local", Address: "localhost", Connect: Connect{Transport: "local"}},
	} {
		got, err := OneOff(address)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", address, err, diff)
		}
	}
	for _, address := range []string{"", "root@10.0.3.42", "10.0.3.42", "http://x", "ssh://", "ssh://x/path", "ssh://x:99999",
		"ssh://root:hunter2@x", "root:hunter2@x:22", "local://x"} {
		_, err := OneOff(address)
		if err == nil || strings.Contains(hint.Text(err), "hunter2") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// TestManyDevices: an inventory of 10,000 devices is read in a blink.
func TestManyDevices(t *testing.T) {
	if testing.Short() {
		t.Skip("measures time, which the race detector stretches")
	}
	var text strings.Builder
	text.WriteString("groups: {lu: {variables: {region: lu}}}\ndefaults: {profile: baseline-linux}\ndevices:\n")
	for i := range 10000 {
		d := string(rune('a'+i%26)) + "-" + time.Duration(i).String()
		text.WriteString("  " + d + ": {address: 10.0.0.1, groups: [lu], variables: {tag: x}}\n")
	}
	start := time.Now()
	inv := site(t, text.String())
	if took := time.Since(start); len(inv.Devices) != 10000 || took > 5*time.Second {
		t.Error(len(inv.Devices), took)
	}
}
