package services

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/fitout-dev/fitout/modules/moduletest"
)

var typ = modules.Define("services", Services{})

// noPrograms fails whatever is run.
type noPrograms struct{}

func (noPrograms) Run(_ context.Context, c host.Cmd) (host.Result, error) {
	return host.Result{}, errors.New("started " + strings.Join(c.Args, " "))
}

func TestFixtures(t *testing.T) {
	moduletest.Run(t, typ, "testdata/*.txtar", host.WithRunner(noPrograms{}))
}

// In every fixture's root, each unit is asked for and compared with what systemctl says of that root.
func TestEnablementIsSystemctls(t *testing.T) {
	if _, err := exec.LookPath("systemctl"); err != nil {
		t.Skip("needs systemctl")
	}
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	seen := map[string]bool{}
	for _, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		root := t.TempDir()
		for _, f := range a.Files {
			if name, ok := strings.CutPrefix(f.Name, "root/"); ok {
				write(t, filepath.Join(root, name), string(f.Data))
			}
			if f.Name == "setup" {
				for line := range strings.Lines(string(f.Data)) {
					if w := strings.Fields(line); w[0] == "link" {
						link(t, w[1], filepath.Join(root, w[2]))
					}
				}
			}
		}
		h := host.New(root)
		var names []string
		for _, dir := range unitDirs {
			entries, _ := h.ReadDir(dir)
			for _, e := range entries {
				if x := filepath.Ext(e); (x == ".service" || x == ".timer" || x == ".socket") && !slices.Contains(names, e) {
					names = append(names, e)
				}
			}
		}
		compare := func(when string) {
			for _, name := range names {
				out, _ := exec.Command("systemctl", "--root="+root, "is-enabled", name).Output()
				want := strings.TrimSpace(string(out))
				if want == "alias" { // we tell of the unit behind it
					continue
				}
				seen[want] = true
				if got := unitOf(h, name).files; got != want {
					t.Errorf("%s, %s: %s is %q, systemctl says %q", filepath.Base(file), when, name, got, want)
				}
			}
		}
		compare("before")
		for _, name := range names {
			if err := applyFiles(h, Service{Name: name, Enabled: modules.Ptr(true)}); err == nil {
				compare("after enabling " + name)
			}
		}
		for _, name := range names {
			if err := applyFiles(h, Service{Name: name, Enabled: modules.Ptr(false)}); err == nil {
				compare("after disabling " + name)
			}
		}
	}
	for _, s := range []string{"enabled", "enabled-runtime", "disabled", "static", "masked", "indirect"} {
		if !seen[s] {
			t.Errorf("no fixture has a unit that is %s", s)
		}
	}
}

func TestHints(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "usr/lib/systemd/system/nginx.service"), "[Service]\n")
	o := typ.Observe(t.Context(), host.New(root), []any{Service{Name: "ngnix", Enabled: modules.Ptr(true)}})[0]
	if got := hint.Of(o.Err); got != "did you mean nginx?" {
		t.Errorf("hint %q of %v", got, o.Err)
	}
}

func TestCheck(t *testing.T) {
	yes := modules.Ptr(true)
	for _, bad := range []Service{{}, {Name: "a/b"}, {Name: "@x"}, {Name: "a\nb"}, {Name: strings.Repeat("x", 300)}, {Name: "x", Masked: yes, Running: yes}, {Name: "x", Masked: yes, Enabled: yes}, {Name: "getty@", Running: yes}} {
		if err := typ.Check(bad); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
	for _, good := range []Service{{Name: "ssh", Enabled: yes, Running: yes}, {Name: "getty@tty2", Running: yes}, {Name: "getty@", Enabled: yes}} {
		if err := typ.Check(good); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
}

func TestRefs(t *testing.T) {
	refs := typ.Refs(Service{Name: "ssh"})
	for _, want := range []string{"packages/ssh", "packages/openssh-server", "files//etc/systemd/system/ssh.service", "files//etc/systemd/system/ssh.service.d/"} {
		if !slices.Contains(refs, want) {
			t.Errorf("%s is not among %q", want, refs)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, target, path string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.Symlink(target, path)); err != nil {
		t.Fatal(err)
	}
}

func TestNoWayBack(t *testing.T) {
	yes := modules.Ptr(true)
	_, err := typ.Inverse(Service{Name: "app", Running: yes}, Service{Name: "app", Unit: "app.service", Active: "activating (start)"})
	if err == nil || err.Error() != "app.service is activating (start) just now: whether it should run is not known" {
		t.Error(err)
	}
	if _, err := typ.Inverse(Service{Name: "app", Enabled: yes}, Service{Name: "app", Unit: "app.service", Active: "activating (start)"}); err != nil {
		t.Error(err)
	}
}

// What Windows alone has is checked wherever the controller runs.
func TestCheckWindows(t *testing.T) {
	for want, says := range map[string]string{
		`{"name": "Example agent$1", "start": "delayed"}`:                               "",
		`{"name": "x", "start": "auto", "enabled": true}`:                               "start: it stands instead of enabled and masked",
		`{"name": "x", "start": "disabled", "running": true}`:                           "start: a disabled service can't be running",
		`{"name": "x", "password": "p"}`:                                                "password: of no account",
		`{"name": "x", "password": "p", "account": "nt authority\\Local Service"}`:      `password: nt authority\Local Service has none`,
		`{"name": "x", "program": "C:\\Program Files\\x.exe -s"}`:                       "Windows would try C:\\Program.exe first",
		`{"name": "x", "program": "\"C:\\Program Files\\x.exe -s"}`:                     "the quotation mark has no other",
		`{"name": "x", "program": "\"C:\\Program Files\\x.exe\" -s"}`:                   "",
		`{"name": "x", "dependencies": ["X"]}`:                                          `dependencies: "X" can't be one of x`,
		`{"name": "x", "recovery": ["restart after 1m", "reboot after 1h30m", "none"]}`: "",
		`{"name": "x", "recovery": ["restart after a while"]}`:                          `recovery: "a while" is no length of time`,
		`{"name": "x", "recovery": ["explode"]}`:                                        `recovery: "explode" is none of none, restart and reboot`,
	} {
		v, err := typ.Decode([]byte(want))
		if err != nil {
			t.Fatal(err)
		}
		if err := typ.Check(v); says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("%s: %v, want %q", want, err, says)
		}
	}
}
