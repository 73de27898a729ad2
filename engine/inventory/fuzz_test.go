package inventory

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-multierror"
	"golang.org/x/tools/txtar"

	"github.com/fitout-dev/fitout/engine/profile/expression"
	"github.com/fitout-dev/fitout/engine/secret"
	"github.com/fitout-dev/fitout/modules/fuzzing"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/schema"
)

const fuzzSecret = "Korrekt&Pferd<1>'Batterie"

// Whatever an inventory holds: each mistake has its place in it; its devices are the same each time, can be chosen, and
// are reached in a way that there is; and no secret is anywhere but where one may be.
func FuzzInventory(f *testing.F) {
	cases, _ := filepath.Glob("testdata/*.txtar")
	if len(cases) == 0 {
		f.Fatal("no cases")
	}
	for _, path := range cases {
		a, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range a.Files {
			if file.Name == "inventory.yaml" {
				f.Add(string(file.Data))
			}
		}
	}
	f.Add("defaults: {profile: site, connect: {transport: ssh, port: \"${env.PORT}\"}}\ndevices:\n  a: {groups: [x, y, x], variables: {n: {b: \"${secrets.a}\"}}}\n  b:\ngroups:\n  x: {connect: {sudo: \"${env.PORT}\", sudoPassword: \"${secrets.a}\", timeout: 3s}, variables: {n: {a: 1}}}\n  y: {connect: winrm, variables: {n: null}}\n")
	f.Add("devices: {a: {user: \"${secrets.a}\", address: ssh://x, connect: {hostKey: \"${secrets.a}\"}}, b: {address: \"a@b:1\"}}\nsecrets: \"${env.X}\"\n")
	f.Add("devices: {a: {variables: {\"${secrets.a}\": x, y: \"${ {(secrets.a): \\\"x\\\"} }\"}}}\n")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > fuzzing.Most {
			t.Skip()
		}
		dir := t.TempDir()
		for name, text := range map[string]string{"inventory.yaml": text, "site.yaml": "groups: [a]\n"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		fuzzing.Soon(func() { checkInventory(t, filepath.Join(dir, "inventory.yaml"), text) })
	})
}

func checkInventory(t *testing.T, path, text string) {
	innocent := !strings.Contains(text, fuzzSecret)
	load := func() (*Inventory, error) {
		return Load(path, Options{Keys: secret.Keys{Home: filepath.Dir(path)}, Env: func(name string) (string, bool) {
			switch {
			case name == "PORT":
				return "22", true
			case strings.HasPrefix(name, "FITOUT_SECRET_"):
				return fuzzSecret, true
			}
			return "", false
		}})
	}
	inv, err := load()
	if err != nil {
		placed(t, path, text, err, innocent)
		return
	}
	again, err := load()
	if err != nil {
		t.Fatalf("loaded, and a second time: %v", err)
	}
	shown := func(inv *Inventory) string {
		var out strings.Builder
		for _, d := range inv.Devices {
			fmt.Fprintf(&out, "%+v\n", d)
			d.Variables, _ = expression.Reveal(d.Variables).(map[string]any)
			fmt.Fprintf(&out, "%v\n", d.Variables)
		}
		return out.String()
	}
	if d := cmp.Diff(shown(inv), shown(again)); d != "" {
		t.Fatalf("loaded one and another time:\n%s", d)
	}
	if !slices.IsSorted(inv.Groups) || !slices.IsSorted(inv.Variables) {
		t.Fatalf("not sorted: %q, %q", inv.Groups, inv.Variables)
	}
	for _, d := range inv.Devices {
		if told := fmt.Sprintf("%+v", d); strings.Contains(told, fuzzSecret) && innocent {
			t.Fatalf("a secret is told: %s", told)
		}
		c := d.Connect
		if !slices.Contains(Transports, c.Transport) || c.Port < 0 || c.Port > 65535 || c.Timeout < 0 || d.Address == "" || d.User != c.User {
			t.Fatalf("%+v can't be reached", d)
		}
		if !inside(text, d.Position.Line, d.Position.Col) {
			t.Fatalf("%s is at %s, which isn't in the file", d.Name, d.Position)
		}
		for _, g := range d.Groups {
			if !slices.Contains(inv.Groups, g) {
				t.Fatalf("%s is in %s, which isn't among %q", d.Name, g, inv.Groups)
			}
		}
		for name := range d.Variables {
			if !slices.Contains(inv.Variables, name) {
				t.Fatalf("the variable %s isn't among %q", name, inv.Variables)
			}
		}
		if strings.Contains(d.Name, ",") || d.Name == "" {
			continue
		}
		if some, err := inv.Select(d.Name); err != nil || len(some) != 1 || some[0].Name != d.Name {
			t.Fatalf("%q stands for %d devices: %v", d.Name, len(some), err)
		}
	}
	if all, err := inv.Select(); err != nil || len(all) != len(inv.Devices) {
		t.Fatalf("%d of %d devices: %v", len(all), len(inv.Devices), err)
	}
}

// inside says whether there is such a place in a text; what misses at its end is due just behind it. The YAML library counts
// a lone carriage return as the end of a line in some of its errors, and not in others.
func inside(text string, line, col int) bool {
	text = strings.ReplaceAll(strings.TrimPrefix(text, "\uFEFF"), "\r\n", "\n")
	for _, text := range []string{text, strings.ReplaceAll(text, "\r", "\n")} {
		lines := append(strings.Split(text, "\n"), "")
		if line >= 1 && line <= len(lines) && col >= 1 && col <= utf8.RuneCountInString(lines[line-1])+1 {
			return true
		}
	}
	return false
}

func placed(t *testing.T, path, text string, err error, innocent bool) {
	t.Helper()
	all := []error{err}
	if many, ok := errors.AsType[*multierror.Error](err); ok {
		all = many.Errors
	}
	for _, err := range all {
		if strings.Contains(hint.Text(err), fuzzSecret) && innocent {
			t.Fatalf("a secret is told: %s", hint.Text(err))
		}
		p, ok := errors.AsType[*schema.Problem](err)
		if !ok && err.Error() == "and more problems" {
			continue
		}
		if !ok || p.File != path || !inside(text, p.Line, p.Col) {
			t.Fatalf("its place isn't in the file: %v", err)
		}
	}
}

// A device on the command line is the one that its address names, and no error repeats a password in it.
func FuzzOneOff(f *testing.F) {
	for _, address := range []string{"ssh://root@10.0.3.42:2222", "ssh://a@[fe80::1%25eth0]:22", `winrm://EXAMPLE%5Cadmin@10.0.3.43`, "local", "local://", "root:hunter2@x:22", "ssh://root:hunter2@x", "ssh://x:99999", "http://x", "ssh://u:hunter2@x y", "ssh://a@b:hunter2@x/%zz", "ssh:/u:hunter2@x", "ssh://u:hunter2@x@\x7f"} {
		f.Add(address)
	}
	f.Fuzz(func(t *testing.T, address string) {
		if len(address) > fuzzing.Most {
			t.Skip()
		}
		d, err := OneOff(address)
		if err != nil {
			for _, before := range []string{address, "ssh://" + address} { // the password, wherever one would look for it
				if u, parseErr := url.Parse(before); parseErr == nil {
					password, _ := u.User.Password()
					if len(password) > 3 && !strings.Contains(strings.Replace(before, password, "", 1), password) && strings.Contains(hint.Text(err), password) &&
						!strings.Contains("write ssh://USER@ADDRESS:PORT, winrm://USER@ADDRESS or local", password) && !strings.Contains(strconv.Quote(u.User.Username()+"@"+u.Host), password) {
						t.Fatalf("%q: the password is told: %s", address, hint.Text(err))
					}
				}
			}
			return
		}
		if d.Connect.Transport == "local" {
			return
		}
		if d.Address == "" || d.Name != d.Address || d.Connect.Port < 0 || d.Connect.Port > 65535 || !slices.Contains(Transports, d.Connect.Transport) {
			t.Fatalf("%q is %+v", address, d)
		}
		u := url.URL{Scheme: d.Connect.Transport, Host: d.Address}
		if u.Host = strings.ReplaceAll(d.Address, "%", "%25"); strings.Contains(d.Address, ":") {
			u.Host = "[" + u.Host + "]"
		}
		if d.Connect.Port > 0 {
			u.Host = net.JoinHostPort(strings.Trim(u.Host, "[]"), strconv.Itoa(d.Connect.Port))
		}
		if d.User != "" {
			u.User = url.User(d.User)
		}
		spelled := u.Scheme + "://"
		if u.User != nil {
			spelled += u.User.String() + "@"
		}
		again, err := OneOff(spelled + u.Host)
		if diff := cmp.Diff(d, again, cmp.AllowUnexported(secret.Value{})); diff != "" || err != nil {
			t.Fatalf("%q, written as %q: %v\n%s", address, spelled+u.Host, err, diff)
		}
	})
}
