package ssh

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestConfiguration(t *testing.T) {
	home := t.TempDir()
	writeFile(t, filepath.Join(home, ".ssh", "config"), `
# comment
Host alias "quoted alias" tab	separated
	HostName %h.example.lan
	Port=2222
	IdentityFile "~/.ssh/with space"
	IdentityFile %d/keys/%r
Host *.lan !not.lan
	User lanuser # trailing
Host *
	Include conf.d/*.conf
Match originalhost matched user someone
	Port 1
Match host matched.example.lan
	Port 2
	ProxyJump gate
Match exec "touch /tmp/never"
	User evil
Match !host other,elsewhere originalhost negated
	User negated
Match final host matched.example.lan
	IdentityFile final
Match final host alias.example.lan
	HostKeyAlias second-pass
Host once
	Port 7
	Port 8
Host matched
	HostName matched.example.lan
Host proxied
	ProxyCommand nc %h %p
Host *
	User fallback
`)
	writeFile(t, filepath.Join(home, ".ssh", "conf.d", "10.conf"), "User included\nHost inner\n Port 99\n")
	writeFile(t, filepath.Join(home, ".ssh", "conf.d", "20.conf"), "Host second\nIdentitiesOnly yes\n")
	if err := os.Mkdir(filepath.Join(home, ".ssh", "conf.d", "folder.conf"), 0o755); err != nil {
		t.Fatal(err)
	}
	_ = os.Symlink("nowhere", filepath.Join(home, ".ssh", "conf.d", "gone.conf")) // as far as the platform lets us
	type result struct {
		Host, Port, User, Jump, Name string
		Identities                   []string
		Only                         bool
	}
	for name, want := range map[string]result{
		"alias":    {Host: "alias.example.lan", Port: "2222", User: "included", Name: "second-pass", Identities: []string{home + "/.ssh/with space", home + "/keys/included"}},
		"tab":      {Host: "tab.example.lan", Port: "2222", User: "included", Name: "[tab.example.lan]:2222", Identities: []string{home + "/.ssh/with space", home + "/keys/included"}},
		"x.lan":    {Host: "x.lan", Port: "22", User: "lanuser", Name: "x.lan"},
		"not.lan":  {Host: "not.lan", Port: "22", User: "included", Name: "not.lan"},
		"inner":    {Host: "inner", Port: "99", User: "included", Name: "[inner]:99"},
		"second":   {Host: "second", Port: "22", User: "included", Name: "second", Only: true},
		"once":     {Host: "once", Port: "7", User: "included", Name: "[once]:7"},
		"x.lan:24": {Host: "x.lan", Port: "24", User: "lanuser", Name: "[x.lan]:24"},
		"[::1]:24": {Host: "::1", Port: "24", User: "included", Name: "[::1]:24"},
		"::1":      {Host: "::1", Port: "22", User: "included", Name: "::1"},
		// Match host sees the HostName, if need be in the second pass that Match final brings about.
		"matched":             {Host: "matched.example.lan", Port: "2", User: "included", Jump: "gate", Name: "[matched.example.lan]:2", Identities: []string{"final"}},
		"matched.example.lan": {Host: "matched.example.lan", Port: "2", User: "lanuser", Jump: "gate", Name: "[matched.example.lan]:2", Identities: []string{"final"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := &caches{}
			o := Options{Address: name, HomeDir: home}
			ds, err := c.configuration(o)
			if err != nil {
				t.Fatal(err)
			}
			h, jump, err := c.resolveHop(o, ds)
			if err != nil {
				t.Fatal(err)
			}
			got := result{h.host, h.port, h.user, jump, h.hostKeyName, h.identities, h.identitiesOnly}
			for i, p := range got.Identities {
				got.Identities[i] = filepath.ToSlash(p)
			}
			for i, p := range want.Identities {
				want.Identities[i] = filepath.ToSlash(p)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	if _, err := (&caches{}).resolve(Options{Address: "proxied", HomeDir: home}); err == nil || !strings.Contains(err.Error(), "ProxyCommand") {
		t.Errorf("ProxyCommand: %v", err)
	}
	if _, err := os.Stat("/tmp/never"); err == nil {
		t.Error("Match exec was executed")
	}

	// What was asked for explicitly prevails.
	h, err := (&caches{}).resolve(Options{Address: "alias", Port: 5, User: "me", IdentityFile: "~/mine", HomeDir: home, Jump: "a,you@b:6"})
	if err != nil {
		t.Fatal(err)
	}
	if h.port != "5" || h.user != "me" || h.identities[0] != filepath.Join(home, "mine") || h.via.user != "you" || h.via.address() != "b:6" || h.via.via.address() != "a:22" || h.via.via.via != nil {
		t.Errorf("resolved to %+v", h)
	}

	for text, want := range map[string]string{
		"Host \"a\n":           "config:1: host: a quotation mark is missing",
		"# x\nPort\n":          "config:2: Port: a value is missing",
		"Include loop\nHost a": "too many nested includes",
	} {
		file := filepath.Join(home, ".ssh", "loop")
		writeFile(t, file, "Include loop\n")
		file = filepath.Join(t.TempDir(), "config")
		writeFile(t, file, text)
		if _, err := (&caches{}).resolve(Options{Address: "a", HomeDir: home, ConfigFile: file}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// A configuration is read again when one of its files has changed, and only then.
func TestCache(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	var c fileCache[string]
	loads := 0
	get := func() string {
		v, _ := c.get("key", func(read func(string) ([]byte, error)) (string, error) {
			loads++
			b, err := read(file)
			return string(b), err
		})
		return v
	}
	get()
	writeFile(t, file, "one")
	if got := get(); got != "one" || loads != 2 {
		t.Errorf("got %q after %d loads", got, loads)
	}
	get()
	if loads != 2 {
		t.Errorf("%d loads, want 2", loads)
	}
	writeFile(t, file, "three")
	if got := get(); got != "three" {
		t.Errorf("got %q", got)
	}
}
