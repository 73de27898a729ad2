//go:build linux

package integration

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/engine/executor/bundle"
	"github.com/fitout-dev/fitout/integration/lab"
)

// windowsRelease builds fitout for Windows as a release is built, but with the executor for Linux alone.
func windowsRelease(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	bin, err := bundle.Build(t.Context(), "..", filepath.Join(dir, "executor"), "linux", "amd64")
	lab.Must(t, err)
	z, ix, err := bundle.Compress(bin)
	lab.Must(t, err)
	top, err := filepath.Abs("..")
	lab.Must(t, err)
	overlay := map[string]map[string]string{"Replace": {}}
	for name, b := range map[string][]byte{"linux-amd64.gz": z, "linux-amd64.json": ix} {
		lab.Must(t, os.WriteFile(filepath.Join(dir, name), b, 0o644))
		overlay["Replace"][filepath.Join(top, "engine/executor/bundle/dist", name)] = filepath.Join(dir, name)
	}
	j, err := json.Marshal(overlay)
	lab.Must(t, err)
	lab.Must(t, os.WriteFile(filepath.Join(dir, "overlay.json"), j, 0o644))
	exe := filepath.Join(dir, "fitout.exe")
	cmd := exec.Command("go", "build", "-tags", "release", "-overlay", filepath.Join(dir, "overlay.json"), "-o", exe, "..")
	cmd.Env = append(os.Environ(), "GOOS=windows", "GOARCH=amd64", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build fitout for Windows: %v\n%s", err, out)
	}
	return exe
}

// windowsTechnician uses fitout on a Windows machine.
type windowsTechnician struct {
	t   *testing.T
	m   *lab.Machine
	env []string
}

func newWindowsTechnician(t *testing.T, m *lab.Machine) *windowsTechnician {
	t.Helper()
	exe, err := os.ReadFile(windowsRelease(t))
	lab.Must(t, err)
	tool := m.WindowsPath(`C:\tools\fitout.exe`)
	lab.Must(t, os.MkdirAll(filepath.Dir(tool), 0o755))
	lab.Must(t, os.WriteFile(tool, exe, 0o755))
	return &windowsTechnician{t: t, m: m}
}

const windowsDesk = `C:\users\root\Desk` // where the files are, and the command is run

func (w *windowsTechnician) write(name, text string) {
	w.t.Helper()
	path := w.m.WindowsPath(windowsDesk + `\` + name)
	lab.Must(w.t, os.MkdirAll(filepath.Dir(path), 0o755))
	lab.Must(w.t, os.WriteFile(path, []byte(text), 0o600))
}

func (w *windowsTechnician) fitout(want int, args ...string) string {
	w.t.Helper()
	var out, stderr bytes.Buffer
	c := w.m.Windows(w.t.Context(), append([]string{`C:\tools\fitout.exe`}, args...)...)
	c.Dir, c.Env, c.Stdout, c.Stderr = windowsDesk, w.env, &out, &stderr
	code, err := c.Run()
	lab.Must(w.t, err)
	if code != want {
		w.t.Errorf("fitout %s: exit status %d, want %d\n%s%s", strings.Join(args, " "), code, want, &out, &stderr)
	}
	return out.String() + stderr.String()
}

// A technician whose own machine runs Windows: the same command there, with that system's paths and folders.
func TestWindowsController(t *testing.T) {
	l := lab.New(t)
	device, m := l.Machine(t, lab.Debian), l.Machine(t, lab.Wine)
	w := newWindowsTechnician(t, m)
	key, err := os.ReadFile(l.KeyFile)
	lab.Must(t, err)
	w.write("keys/id lab", string(key))
	w.write("files/motd.txt", "Property of Example S.A.\n")
	w.write("desk.yaml", `profile: desk
files:
  - {path: /etc/motd, source: files/motd.txt, mode: "0644"}
  - {path: /etc/secret.conf, content: "password=${secrets.mail}\n", mode: "0600"}
directories:
  - {path: /srv/sales, mode: "0750"}
`)
	w.write("inventory.yaml", fmt.Sprintf(`devices:
  lt-1: {address: %s, user: root, profile: desk.yaml, connect: {transport: ssh, identityFile: 'keys\id lab'}}
secrets: secrets.age
`, device.Addr))
	const inventory = windowsDesk + `\inventory.yaml`

	if got := w.fitout(0, "version"); !strings.Contains(got, "windows/amd64") {
		t.Errorf("version: %s", got)
	}
	if got := w.fitout(1, "check", `nowhere\p.yaml`); !strings.Contains(got, `nowhere\p.yaml`) {
		t.Errorf("a missing profile: %s", got)
	}
	set := m.Windows(t.Context(), `C:\tools\fitout.exe`, "secret", "set", "mail")
	set.Dir, set.Stdin = windowsDesk, strings.NewReader("s3cret value\n")
	if out, err := set.Output(); err != nil {
		t.Errorf("secret set: %v %s", err, out)
	}
	w.fitout(0, "check", "desk.yaml", "inventory.yaml")

	if got := w.fitout(3, "plan", "-i", inventory); !strings.Contains(got, "SHA256:") || !strings.Contains(got, "fitout trust") {
		t.Errorf("an unknown host key: %s", got)
	}
	w.fitout(0, "trust", "-i", inventory, "--yes")
	if got := w.fitout(2, "plan", "-i", inventory); !strings.Contains(got, "/etc/motd") || strings.Contains(got, "s3cret") {
		t.Errorf("plan: %s", got)
	}
	if got := w.fitout(0, "apply", "-i", inventory, "--yes"); strings.Contains(got, "s3cret") {
		t.Errorf("apply: %s", got)
	}
	if got := device.Run(t, "cat /etc/motd /etc/secret.conf; stat -c %a /srv/sales /etc/secret.conf"); got != "Property of Example S.A.\npassword=s3cret value\n750\n600" {
		t.Errorf("on the device: %q", got)
	}
	if got := w.fitout(0, "apply", "-i", inventory, "--yes", "--json"); !strings.Contains(got, `"status":"converged"`) {
		t.Errorf("a second apply: %s", got)
	}
	if got := w.fitout(0, "runs"); !strings.Contains(got, "1 changed") || !strings.Contains(got, "1 converged") {
		t.Errorf("runs: %s", got)
	}
	for _, file := range []string{`Local\fitout\runs.db`, `Roaming\fitout\known_hosts`} {
		if _, err := os.Stat(m.WindowsPath(`C:\users\root\AppData\` + file)); err != nil {
			t.Error(err)
		}
	}
}

// The keys of the agent that comes with Windows, a host by its name in .ssh\config, and a key file of a name that the
// device doesn't know.
func TestWindowsControllerUsesTheAgent(t *testing.T) {
	l := lab.New(t)
	device, m := l.Machine(t, lab.Debian), l.Machine(t, lab.Wine)
	w := newWindowsTechnician(t, m)
	w.write("p.yaml", "profile: p\ndirectories: [{path: /srv/agent}]\n")
	ssh := m.WindowsPath(`C:\users\root\.ssh`)
	lab.Must(t, os.MkdirAll(ssh, 0o700))
	lab.Must(t, os.WriteFile(filepath.Join(ssh, "config"), []byte("Host desk\r\n\tHostName "+device.Addr+"\r\n\tUser root\r\n"), 0o600))
	known, err := os.ReadFile(l.KnownHosts)
	lab.Must(t, err)
	lab.Must(t, os.WriteFile(filepath.Join(ssh, "known_hosts"), known, 0o600))
	plan := []string{"plan", "-p", "p.yaml", "--device", "ssh://desk"}
	if got := w.fitout(3, plan...); !strings.Contains(got, "neither a key nor a password") {
		t.Errorf("without any key: %s", got)
	}

	key, err := os.ReadFile(l.KeyFile)
	lab.Must(t, err)
	w.write("agent key", string(key))
	listening, stdout, err := os.Pipe()
	lab.Must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	t.Cleanup(func() { stop(); <-ended })
	go func() {
		defer close(ended)
		c := m.Windows(ctx, "ssh-agent.exe", windowsDesk+`\agent key`)
		c.Stdout = stdout
		_, _ = c.Run()
		stdout.Close()
	}()
	if line, err := bufio.NewReader(listening).ReadString('\n'); err != nil {
		t.Fatalf("the agent: %q, %v", line, err)
	}
	lab.Must(t, os.Remove(m.WindowsPath(windowsDesk+`\agent key`)))
	w.fitout(2, plan...)
	w.fitout(0, "apply", "-p", "p.yaml", "--device", "ssh://desk", "--yes")
	device.Run(t, "test -d /srv/agent")
}
