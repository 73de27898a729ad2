//go:build linux

package integration

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/fitout-dev/fitout/integration/lab"
	"github.com/fitout-dev/fitout/integration/lab/winrm"
)

// windowsCanaries fails where it says so, and where Wine can't do what is asked.
const windowsCanaries = `profile: canaries
run: {minDisk: 1MB}
environment:
  - {name: API_KEY, value: "${secrets.environment}"}
  - {name: PATH, add: ['C:\${secrets.entry}']}
registry:
  - {path: HKLM\SOFTWARE\Example, name: Token, type: string, value: "${secrets.registry}"}
  - {path: HKLM\SOFTWARE\Example, name: Tokens, type: multiString, value: ["x-${secrets.registry}", y]}
directories: [{path: 'C:\Canaries'}]
files:
  - {path: 'C:\Canaries\token', content: "token=${secrets.content}\r\n", backup: true}
  - {path: 'C:\Canaries\pem', content: "${secrets.pem}"}
  - {path: 'C:\Canaries\rendered', template: token.tmpl}
  - {path: 'C:\Canaries\folder.ini', content: "${secrets.failing}"}
lines:
  - {path: 'C:\Canaries\app.ini', line: "key=${secrets.line}", id: key, match: "${secrets.match}"}
services:
  - {name: agent, program: 'C:\windows\system32\lab.exe service agent', description: "${secrets.description}", displayName: "${secrets.display}"}
  - {name: other, program: 'C:\windows\system32\lab.exe service other', account: "LT\\${secrets.account}", password: "${secrets.service}"}
shortcuts:
  - {path: 'C:\users\Public\Desktop\Canary.lnk', target: 'C:\${secrets.target}', workingDirectory: 'C:\${secrets.folder}', icon: 'C:\${secrets.icon}.ico', description: "${secrets.shortcut}"}
tasks:
  - {name: Canary, program: 'C:\windows\system32\lab.exe', description: "${secrets.task}", user: nobody, password: "${secrets.taskpassword}"}
certificates:
  - {name: vpn, store: My, location: user, pfx: "${secrets.pfx}", password: "${secrets.pfxpassword}", friendlyName: "${secrets.friendly}"}
printers:
  - {name: Office, port: 'C:\${secrets.port}', driver: none, comment: "${secrets.comment}"}
users:
  - {name: nobody-here, password: "${secrets.password}"}
installers:
  - {name: Canary, path: 'C:\${secrets.installer}', hash: "${secrets.hash}", entry: "${secrets.entryname}", registry: 'HKLM\SOFTWARE\${secrets.value}\x'}
commands:
  - {name: uses, run: [cmd.exe, /d, /c, 'more >nul & echo used>C:\Canaries\used'], creates: 'C:\Canaries\used', environment: {KEY: "${secrets.command}", IS_CANARY: "1"}, stdin: "${secrets.stdin}"}
  - {name: waits, run: [cmd.exe, /d, /c, 'echo x>C:\waiting & for /l %i in (1,0,2) do if exist C:\go (echo x>C:\Canaries\waited & exit 0)'], creates: 'C:\Canaries\waited', environment: {KEY: "${secrets.command}", IS_CANARY: "1"}, after: [commands/uses]}
  - {name: prints, run: [cmd.exe, /d, /c, 'echo it is %KEY% & set & exit 3'], creates: 'C:\never', environment: {KEY: "${secrets.printed}", IS_CANARY: "1"}, after: [commands/waits]}
  - {name: guarded, run: [cmd.exe, /d, /c, 'echo %KEY% & exit 4'], unless: [cmd.exe, /d, /c, 'echo %KEY% & exit 1'], environment: {KEY: "${secrets.printed}", IS_CANARY: "1"}, after: [commands/waits]}
`

// TestSecretsStayWhereTheyBelongOnWindows is the hunt of TestSecretsStayWhereTheyBelong on a Windows machine, over WinRM.
func TestSecretsStayWhereTheyBelongOnWindows(t *testing.T) {
	t.Parallel()
	m := lab.New(t).Machine(t, lab.Wine)
	h := newHunter()
	for _, name := range []string{"environment", "entry", "registry", "number", "content", "template", "failing", "line", "match", "description", "display", "account", "service", "folder", "shortcut", "icon", "target", "entryname", "value",
		"task", "taskpassword", "pfxpassword", "friendly", "port", "comment", "password", "installer", "command", "printed", "stdin", "admin"} {
		h.canary(name, "")
	}
	h.pem()
	hash := make([]byte, 32)
	rand.Read(hash)
	h.add("hash", hex.EncodeToString(hash))
	h.add("pfx", pfx(t, h.texts["pfxpassword"]))

	w := m.WinRMServer(t, winrm.Config{Users: map[string]winrm.User{lab.WindowsUser: {Password: h.texts["admin"]}}})
	s := newWinRMSite(t, m, w, "auth: ntlm, tls: false", windowsCanaries)
	s.write("token.tmpl", "key {{.secrets.template}}\n")
	s.write("wrong.yaml", `profile: wrong
registry: [{path: HKLM\SOFTWARE\Example, name: Number, type: dword, value: "${secrets.number}"}]
certificates: [{name: x, store: My, pfx: "${secrets.number}"}]
`)
	for _, name := range h.names {
		s.env = append(s.env, "FITOUT_SECRET_"+strings.ToUpper(name)+"="+h.texts[name])
	}
	stop := h.processes(func(argv, environ []byte) []string {
		if strings.Contains(string(environ), "FITOUT_SECRET_ADMIN=") { // the technician's own
			return []string{"*"}
		}
		return nil
	})
	say := func(r *result) *result {
		h.text(r.line, []byte(r.out+r.stderr))
		return r
	}
	run := func(code int, args ...string) *result { t.Helper(); return say(s.fitout(args...)).exits(code) }
	damage := func() {
		for _, name := range []string{"used", "waited", "pem"} {
			os.Remove(m.WindowsPath(`C:\Canaries\` + name))
		}
		os.Remove(m.WindowsPath(`C:\waiting`))
		os.Remove(m.WindowsPath(`C:\go`))
		s.put(`C:\Canaries\token`, "damaged")
		m.RunWindows(t, "reg", "add", `HKLM\SOFTWARE\Example`, "/v", "Token", "/d", "damaged", "/f")
	}
	waits := func() { until(t, "the run to stand still", func() bool { return s.has(`C:\waiting`) }) }
	drive := m.WindowsPath(`C:\`)
	device := func(what string) { h.tree(t, "device ("+what+")", drive, h.onWindowsDevice) }

	lab.Must(t, os.MkdirAll(m.WindowsPath(`C:\Canaries\folder.ini`), 0o755)) // is in a file's way
	run(1, "plan", "-p", "wrong.yaml", "-v")
	run(0, "check", "-v", "inventory.yaml")
	for _, args := range [][]string{{}, {"-v"}, {"--json", "-v"}, {"--out", "plan.json", "-v"}} {
		run(2, append([]string{"plan"}, args...)...)
	}

	// With failures, everything told.
	s.put(`C:\go`, "")
	r := run(3, "apply", "--plan", "plan.json", "--yes", "-v", "--json")
	first := runID(t, r)
	for name, want := range map[string]string{"token": "token=" + h.texts["content"] + "\r\n", "rendered": "key " + h.texts["template"] + "\n", "pem": h.texts["pem"]} {
		if got := string(mustRead(t, m.WindowsPath(`C:\Canaries\`+name))); got != want {
			t.Errorf("%s holds %q\n%s", name, got, r)
		}
	}
	if out := m.RunWindows(t, "reg", "query", `HKLM\SOFTWARE\Example`, "/v", "Token"); !strings.Contains(out, h.texts["registry"]) {
		t.Errorf("the registry holds %q", out)
	}
	for _, address := range []string{`files/C:\Canaries\folder.ini`, "commands/prints", "commands/guarded", "installers/Canary", "printers/Office"} {
		quoted, _ := json.Marshal(address)
		if !regexp.MustCompile(`"address":` + regexp.QuoteMeta(string(quoted)) + `,"status":"failed"`).MatchString(r.out) {
			t.Errorf("%s did not fail:\n%s", address, r)
		}
	}
	device("after a run")

	// The controller is killed, and the next one follows.
	damage()
	c := s.start("apply", "--yes", "--json")
	waits()
	c.Process.Signal(syscall.SIGKILL)
	say(c.wait())
	device("in the middle of a run")
	c = s.start("attach", "-v")
	s.put(`C:\go`, "")
	say(c.wait()).exits(3)

	// The executor is killed.
	damage()
	c = s.start("apply", "--yes", "-v")
	waits()
	m.Run(t, `kill -9 $(pgrep -f 'executor.*-run [^ ]*' | head -1)`)
	s.put(`C:\go`, "")
	say(c.wait()).exits(3)
	device("after a crash")

	// The way back, and what is known of all this.
	run(0, "undo", "last", "--yes", "-v", "--force")
	run(0, "undo", first, "--yes", "--json", "-v", "--force")
	run(0, "runs", "--json")
	for _, id := range []string{"last", first} {
		run(0, "runs", "show", id, "-v")
		run(0, "runs", "show", id, "--json")
	}
	device("at the end")
	if n := stop(); n < 20 {
		t.Errorf("only %d processes were seen, which proves nothing", n)
	}
	h.tree(t, "controller", s.dir, nil)
	h.tree(t, "controller", s.home, nil)
	if h.files < 50 {
		t.Errorf("only %d files were searched, which proves nothing", h.files)
	}
	t.Logf("%d files, %d canaries", h.files, len(h.names))
	h.ends(t)
}

// onWindowsDevice are the places on drive C where the profile itself puts a secret.
func (h *hunter) onWindowsDevice(path string) []string {
	switch {
	case strings.HasPrefix(path, "/Canaries/token"): // and its backups
		return []string{"content"}
	case path == "/Canaries/pem":
		return []string{"pem"}
	case path == "/Canaries/rendered":
		return []string{"template"}
	case path == "/Canaries/app.ini":
		return []string{"line", "match"}
	case path == "/users/Public/Desktop/Canary.lnk":
		return []string{"folder", "shortcut", "icon", "target"}
	case strings.HasPrefix(path, "/windows/system32/tasks/"):
		return []string{"task"}
	case path == "/winrm.json": // the lab's own
		return []string{"admin"}
	}
	return nil
}

// pfx makes a certificate with its key, as base64 of a PFX file.
func pfx(t *testing.T, password string) string {
	t.Helper()
	dir := t.TempDir()
	lab.Must(t, os.WriteFile(filepath.Join(dir, "password"), []byte(password), 0o600))
	for _, args := range [][]string{
		{"req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=vpn", "-keyout", "key", "-out", "cert"},
		{"pkcs12", "-export", "-in", "cert", "-inkey", "key", "-out", "pfx", "-passout", "file:password", "-certpbe", "PBE-SHA1-3DES", "-keypbe", "PBE-SHA1-3DES", "-macalg", "sha1"},
	} {
		c := exec.Command("openssl", args...)
		c.Dir = dir
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("openssl: %v\n%s", err, out)
		}
	}
	return base64.StdEncoding.EncodeToString(mustRead(t, filepath.Join(dir, "pfx")))
}
