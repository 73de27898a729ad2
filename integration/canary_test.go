//go:build linux

package integration

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"github.com/fitout-dev/fitout/engine/secret"
	"github.com/fitout-dev/fitout/integration/lab"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/registry"
)

// onWindows is why a property isn't hunted for here: windowsCanaries uses those that Windows alone has and that can hold any text.
const onWindows = "-only Windows has it"

// takesSecret are the properties that accept a secret's text: the canary that the hunt puts there, or why it can't be one. What
// the schema knows besides fails TestEveryPropertyThatTakesASecretIsHunted.
var takesSecret = map[string]string{
	"environment.value":          "environment",
	"sysctl.value":               "sysctl",
	"users.password":             "password",
	"users.fullName":             "fullname",
	"users.home":                 "home",
	"users.shell":                "shell",
	"users.sshKeys":              "sshkey",
	"users.expires":              "-it is a date",
	"files.content":              "content",
	"files.mode":                 "-it is four digits",
	"directories.mode":           "-it is four digits",
	"lines.line":                 "line",
	"lines.match":                "match",
	"lines.insertAfter":          "after",
	"lines.insertBefore":         "before",
	"links.target":               "target",
	"commands.environment":       "command",
	"commands.stdin":             "stdin",
	"hostname.name":              "-the machine tells it to everyone",
	"timezone.name":              "-it is one of a few hundred names",
	"packages.version":           "-it is in the package's file name",
	"updates.refreshAfter":       "-it is a length of time",
	"environment.add":            onWindows,
	"environment.remove":         onWindows,
	"registry.value":             onWindows,
	"services.account":           onWindows,
	"services.dependencies":      onWindows,
	"services.description":       onWindows,
	"services.displayName":       onWindows,
	"services.password":          onWindows,
	"services.recovery":          onWindows,
	"shortcuts.arguments":        onWindows,
	"shortcuts.description":      onWindows,
	"shortcuts.hotkey":           onWindows,
	"shortcuts.icon":             onWindows,
	"shortcuts.target":           onWindows,
	"shortcuts.workingDirectory": onWindows,
	"tasks.description":          onWindows,
	"tasks.password":             onWindows,
	"tasks.triggers":             onWindows,
	"tasks.workingDirectory":     onWindows,
	"installers.file":            onWindows,
	"installers.hash":            onWindows,
	"installers.version":         onWindows,
	"installers.url":             onWindows,
	"installers.path":            onWindows,
	"installers.productCode":     onWindows,
	"installers.entry":           onWindows,
	"installers.registry":        onWindows,
	"printers.port":              onWindows,
	"printers.comment":           onWindows,
	"printers.driver":            onWindows,
	"printers.location":          onWindows,
	"certificates.pfx":           onWindows,
	"certificates.store":         onWindows,
	"certificates.certificate":   onWindows,
	"certificates.friendlyName":  onWindows,
	"certificates.thumbprint":    onWindows,
	"certificates.password":      onWindows,
	"files.attributes":           onWindows,
	"directories.attributes":     onWindows,
	"hosts.address":              "-it is an address",
	"hosts.aliases":              "-they are names of hosts",
	"time.servers":               "-they are names of hosts",
	"connect.password":           "connect",
	"inventory.password":         "ssh",
	"inventory.sudoPassword":     "sudo",
}

// TestEveryPropertyThatTakesASecretIsHunted asks fitout itself which properties refuse a secret: the others must be in
// takesSecret.
func TestEveryPropertyThatTakesASecretIsHunted(t *testing.T) {
	t.Parallel()
	w := newTechnician(t)
	h := newHunter()
	w.env = append(w.env, "FITOUT_SECRET_ANY="+h.canary("any", `"<ö>%`))
	lines := []string{"profile: probe"}
	at := map[int]string{} // by line
	probe := func(name, format string, args ...any) {
		lines = append(lines, fmt.Sprintf(format, args...))
		at[len(lines)] = name
	}
	const expression = `"${secrets.any}"`
	for _, typ := range registry.Types {
		var texts []string // properties with an expression as their value
		var keys string
		for _, f := range typ.Fields {
			k := f.Type
			for k.Kind() == reflect.Pointer {
				k = k.Elem()
			}
			switch {
			case f.Role == modules.Key:
				keys += f.Name + ": " + map[bool]string{true: "/probe/%[1]d", false: "probe%[1]d"}[f.Path] + ", "
			case f.Role == modules.Observed, f.Enum() != nil, f.Name == "state":
			case f.IsBlob():
				for _, b := range f.Blob {
					texts = append(texts, b+": "+expression)
				}
			case k.Kind() == reflect.String, k.Kind() == reflect.Interface:
				texts = append(texts, f.Name+": "+expression)
			case k.Kind() == reflect.Slice && k.Elem().Kind() == reflect.String:
				texts = append(texts, f.Name+": ["+expression+"]")
			case k.Kind() == reflect.Map:
				texts = append(texts, f.Name+": {A: "+expression+"}")
			case !slices.Contains([]reflect.Kind{reflect.Bool, reflect.Int, reflect.Slice}, k.Kind()):
				t.Errorf("%s.%s: this test doesn't know how to declare %s", typ.Name, f.Name, f.Type)
			}
		}
		lines = append(lines, typ.Name+":")
		for i, text := range texts {
			name, _, _ := strings.Cut(text, ":")
			if typ.Singleton() {
				probe(typ.Name+"."+name, "  %s", text)
				continue
			}
			if typ.Name == "commands" && name != "run" {
				text += ", run: [x]"
			}
			probe(typ.Name+"."+name, "  - {"+strings.ReplaceAll(keys, "%[1]d", strconv.Itoa(i))+"%s}", text)
		}
		if len(texts) == 0 { // it can be declared by its key alone
			lines = lines[:len(lines)-1]
		}
	}
	lines = append(lines, "run:")
	for _, name := range []string{"reboot", "rebootWindow", "rebootDelay", "afterPowerCut", "minDisk", "waitFor", "confirmWithin"} {
		probe("run."+name, "  %s: %s", name, expression)
	}
	r := w.fitout("check", w.write("probe.yaml", strings.Join(lines, "\n")+"\n")).exits(1)
	accepts := func(line int, r *result) bool {
		said := regexp.MustCompile(fmt.Sprintf(`(?m)^\S+\.yaml:%d:\d+: .*$`, line)).FindString(r.out + r.stderr)
		return !strings.Contains(said, "a secret can't be used here") && !strings.Contains(said, "can't depend on a secret") && !strings.Contains(said, "can't have an expression")
	}
	taken := map[string]bool{"connect.password": true}
	for line, name := range at {
		taken[name] = accepts(line, r)
	}
	inventory, inventoryAt := []string{"defaults:", "  connect:"}, map[int]string{}
	for _, name := range []string{"user", "password", "identityFile", "jump", "sudoPassword", "hostKey", "auth", "fingerprint", "caFile", "realm", "keytab"} {
		inventory = append(inventory, "    "+name+": "+expression)
		inventoryAt[len(inventory)] = "inventory." + name
	}
	inventory = append(inventory, "devices: {lt-1: {address: 10.0.0.1}}")
	ri := w.fitout("check", w.write("inventory.yaml", strings.Join(inventory, "\n")+"\n")).exits(1)
	for line, name := range inventoryAt {
		taken[name] = accepts(line, ri)
	}
	for name, yes := range taken {
		if yes && takesSecret[name] == "" {
			t.Errorf("%s takes a secret, and the hunt for canaries doesn't know of it", name)
		}
	}
	for name := range takesSecret {
		if !taken[name] {
			t.Errorf("%s takes no secret: the hunt doesn't use it", name)
		}
	}
	// The profile is wrong in many ways, and no message may show the text.
	for _, args := range [][]string{{"check", "probe.yaml"}, {"plan", "-p", "probe.yaml", "--device", "local", "-v"}, {"plan", "-p", "probe.yaml", "--device", "local", "--json", "-v"}, {"check", "-v", "inventory.yaml"}} {
		r := w.fitout(args...).exits(1)
		h.text(r.line, []byte(r.out+r.stderr))
	}
	h.ends(t)
	if t.Failed() {
		t.Log(r, ri)
	}
}

const canaries = `profile: canaries
run: {minDisk: 1MB}
variables: {composed: "x-${secrets.variable}"}
environment: [{name: API_KEY, value: "${secrets.environment}"}]
sysctl:
  - {name: net.ipv4.ip_local_reserved_ports, value: "${secrets.sysctl}"}
  - {name: net.ipv4.ip_default_ttl, value: "${secrets.refused}"}
users:
  - {name: alice, password: "${secrets.password}", fullName: "${secrets.fullname}", home: "/srv/${secrets.home}", shell: "/bin/${secrets.shell}", sshKeys: ["${secrets.sshkey}"]}
files:
  - {path: /etc/token, content: "token=${secrets.content}\n", mode: "0600", backup: true}
  - {path: /etc/pem, content: "${secrets.pem}", mode: "0600"}
  - {path: /etc/rendered, template: token.tmpl, mode: "0600"}
  - {path: /etc/composed, content: "${vars.composed} ${vars.frominventory} ${secrets.variable2}", mode: "0600"}
  - {path: /etc/motd/below, content: "${secrets.failing}"}
lines:
  - {path: /etc/app.conf, line: "key=${secrets.line}", id: key, match: "${secrets.match}", insertAfter: "${secrets.after}"}
  - {path: /etc/app.conf, line: "other=${secrets.line}", id: other, insertBefore: "${secrets.before}"}
links:
  - {path: /srv/link, target: "/srv/${secrets.target}"}
commands:
  - {name: uses, run: [sh, -c, "cat; echo $KEY >&2; sleep 0.2; touch /srv/used"], creates: /srv/used, environment: {KEY: "${secrets.command}", IS_CANARY: "1"}, stdin: "${secrets.stdin}"}
  - {name: waits, run: [sh, -c, "cat >/dev/null; touch /run/waiting; while [ ! -e /run/go ]; do sleep 0.05; done; rm -f /run/waiting /run/go; touch /srv/waited"], creates: /srv/waited, environment: {KEY: "${secrets.command}", IS_CANARY: "1"}, stdin: "${secrets.stdin}", after: [commands/uses]}
  - {name: prints, run: [sh, -c, "echo \"it is $KEY\"; cat /proc/self/environ; exit 3"], creates: /srv/never, environment: {KEY: "${secrets.printed}", IS_CANARY: "1"}, after: [commands/waits]}
  - {name: encodes, run: [sh, /srv/encode], creates: /srv/never, environment: {KEY: "${secrets.printed}", PEM: "${secrets.pem}", IS_CANARY: "1"}, after: [commands/waits]}
  - {name: guarded, run: [sh, -c, "echo $KEY; exit 4"], unless: [sh, -c, "echo $KEY >&2; exit 1"], environment: {KEY: "${secrets.printed}", IS_CANARY: "1"}, after: [commands/waits]}
`

// encodes prints what it is given in all forms that tools have, a line each: a failure shows the last eight.
const encodes = `exec >&2
printf %s "$KEY" | base64 -w0; echo " $(printf 'u:%s' "$KEY" | base64 -w0)"
printf 'us:%s' "$KEY" | base64 -w0; echo " $(echo "$KEY" | base64 -w0)"
printf %s "$KEY" | od -An -v -tx1 | tr -d ' \n'; echo
printf %s "$KEY" | od -An -v -tx1 | tr -d ' \n' | tr a-f A-F; echo
printf %s "$KEY" | iconv -t UTF-16LE; printf %s "$KEY" | iconv -t UTF-16BE; echo
printf %s "$PEM" | sed 's/^/   /' | head -n 2
printf %s "$PEM" | base64 | head -n 2
exit 5
`

// pem is a secret of several lines, as keys are.
func (h *hunter) pem() string {
	b := make([]byte, 90)
	rand.Read(b)
	text := base64.StdEncoding.EncodeToString(b)
	return h.add("pem", "-----BEGIN KEY-----\n"+h.head+text[:60]+"\n"+text[60:]+h.tail+"\n-----END KEY-----\n")
}

func (h *hunter) sshKey(t *testing.T) string {
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return h.add("sshkey", strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))+" "+h.head+"sshkey"+h.tail)
}

// onDevice are the places where the profile itself puts a secret, and nothing else may have one.
func (h *hunter) onDevice(path string) []string {
	switch {
	case strings.HasPrefix(path, "/etc/token"): // and its backups
		return []string{"content"}
	case path == "/etc/pem":
		return []string{"pem"}
	case path == "/etc/rendered":
		return []string{"template"}
	case path == "/etc/composed":
		return []string{"variable", "variable2", "frominventory"}
	case path == "/etc/app.conf":
		return []string{"line", "match", "after", "before"}
	case path == "/etc/environment":
		return []string{"environment"}
	case path == "/etc/passwd", path == "/etc/passwd-":
		return []string{"fullname", "home", "shell"}
	case path == "/etc/sysctl.d/60-fitout.conf":
		return []string{"sysctl", "refused"}
	case path == "/srv/"+h.texts["home"]:
		return []string{"home"}
	case path == "/srv/"+h.texts["home"]+"/.ssh/authorized_keys":
		return []string{"sshkey"}
	case path == "/bin/"+h.texts["shell"], path == "/usr/bin/"+h.texts["shell"]:
		return []string{"shell"}
	case path == "/srv/link":
		return []string{"target"}
	}
	return nil
}

// inEnvironment are the processes whose environment may hold one: the profile's own commands, the sessions to which
// /etc/environment applies, and the command that got one so by its user.
func (w *technician) inEnvironment(argv, environ []byte) (may []string) {
	if bytes.Contains(environ, []byte("IS_CANARY=1")) {
		may = append(may, "command", "printed", "pem")
	}
	if bytes.Contains(environ, []byte("API_KEY=")) {
		may = append(may, "environment")
	}
	if bytes.Contains(argv, []byte(w.exe)) || bytes.HasPrefix(argv, []byte("stty\x00")) {
		may = append(may, "variable2")
	}
	return may
}

// TestSecretsStayWhereTheyBelong uses a secret in each place that takes one, in runs that end in every way a run can end, and
// looks for them everywhere else: on the device, with the technician, in all that was printed and in all processes.
func TestSecretsStayWhereTheyBelong(t *testing.T) {
	t.Parallel() // it mostly waits
	l := lab.New(t)
	m := l.Machine(t, lab.Debian, lab.Disk(256<<20))
	w := newTechnician(t)
	h := newHunter()

	for _, name := range []string{"password", "fullname", "content", "template", "variable", "frominventory", "line", "command", "stdin", "connect", "ssh", "sudo", "printed", "failing", "environment", "variable2", "refused"} {
		h.canary(name, map[bool]string{true: `'"<&>%$ `, false: ""}[name != "fullname" && name != "environment"])
	}
	for _, name := range []string{"home", "shell", "match", "after", "before", "target"} {
		h.canary(name, "")
	}
	h.add("sysctl", ports())
	h.pem()
	h.sshKey(t)
	tmp := t.TempDir()
	w.env = append(w.env, "TMPDIR="+tmp, secret.Variable("variable2")+"="+h.texts["variable2"])
	w.startWith(strings.NewReader(h.texts["password"]), "secret", "set", "password").wait().exits(0)
	file := secret.File{Path: filepath.Join(w.dir, "secrets.age"), Keys: secret.Keys{Home: w.home}}
	for _, name := range h.names {
		if name == "password" || name == "variable2" {
			continue
		}
		if err := file.Set(name, h.texts[name]); err != nil {
			t.Fatal(err)
		}
	}
	quote := func(name string) string { return "'" + strings.ReplaceAll(h.texts[name], "'", `'\''`) + "'" }
	m.Run(t, `useradd -m -s /bin/bash tech; printf 'Defaults rootpw\ntech ALL=(ALL:ALL) ALL\n' >/etc/sudoers.d/test; chmod 440 /etc/sudoers.d/test
		printf 'tech:%s\nroot:%s\n' `+quote("ssh")+" "+quote("sudo")+` | chpasswd
		printf '# %s\n# %s\n%s=old\n' `+quote("after")+" "+quote("before")+" "+quote("match")+` >/etc/app.conf
		ln -s /bin/bash /bin/`+h.texts["shell"]+`; touch /etc/motd
		cat >/srv/encode <<'EOF'
`+encodes+"\nEOF")
	w.write("token.tmpl", "key {{.secrets.template}}\n")
	w.write("site.yaml", canaries)
	w.write("unattended.yaml", "profile: unattended\nextends: [./site.yaml]\nrun: {unattended: true}\n")
	w.write("moved.yaml", "profile: moved\nusers: [{name: tech, password: \"${secrets.connect}\", connect: {password: \"${secrets.connect}\"}}]\n")
	w.write("inventory.yaml", fmt.Sprintf(`secrets: secrets.age
defaults: {profile: site, connect: {password: "${secrets.ssh}", sudo: true, sudoPassword: "${secrets.sudo}"}}
devices: {lt-1: {address: %s, user: tech, variables: {frominventory: "${secrets.frominventory}"}}}
`, m.Addr))

	stop := h.processes(w.inEnvironment)
	say := func(r *result) *result {
		h.text(r.line, []byte(r.out+r.stderr))
		return r
	}
	run := func(code int, args ...string) *result { t.Helper(); return say(w.fitout(args...)).exits(code) }
	quick := func() { m.Run(t, "touch /run/go") }
	damage := func() {
		m.Run(t, `rm -f /srv/waited /srv/used /srv/link /etc/pem /run/go /run/waiting; echo damaged >/etc/token; usermod -p x -c x alice
			grep -v API_KEY /etc/environment >/run/e || :; cat /run/e >/etc/environment; echo 1 >/proc/sys/net/ipv4/ip_local_reserved_ports`)
	}
	waits := func() {
		t.Helper()
		until(t, "the run to wait", func() bool { return m.Run(t, "[ -e /run/waiting ] && echo yes || :") == "yes" })
	}
	free := func() {
		t.Helper()
		until(t, "the device to be released", func() bool { return m.Run(t, "flock -n /var/lib/fitout/lock echo free || :") == "free" })
	}
	device := func(what string) {
		t.Helper()
		m.Run(t, "sync; journalctl --sync 2>/dev/null || :")
		h.tree(t, "device ("+what+")", inside(t, m), h.onDevice)
		h.text("the system's journal", []byte(m.Run(t, "journalctl -o export --all")))
	}
	killed := func(c *running) {
		c.Process.Signal(syscall.SIGKILL)
		say(c.wait())
	}

	run(0, "trust", "--yes")
	run(0, "check", "-v", "inventory.yaml")
	for _, args := range [][]string{{}, {"-v"}, {"--json"}, {"--json", "-v"}, {"--out", "plan.json", "-v"}} {
		run(2, append([]string{"plan"}, args...)...)
	}

	// As planned, with failures, everything told.
	quick()
	r := run(3, "apply", "--plan", "plan.json", "--yes", "-v", "--json")
	first := runID(t, r)
	want := "token=" + h.texts["content"] + "\nkey " + h.texts["template"] + "\nx-" + h.texts["variable"] + " " + h.texts["frominventory"] + " " + h.texts["variable2"]
	if got := m.Run(t, "cat /etc/token /etc/rendered /etc/composed"); got != want {
		t.Errorf("the secrets did not arrive where they belong: %q\n%s", got, r)
	}
	for _, address := range []string{"sysctl/net.ipv4.ip_default_ttl", "files//etc/motd/below", "commands/prints", "commands/encodes", "commands/guarded"} {
		if !regexp.MustCompile(regexp.QuoteMeta(`"address":"` + address + `","status":"failed"`)).MatchString(r.out) {
			t.Errorf("%s did not fail:\n%s", address, r)
		}
	}
	device("after a run")

	// On a terminal.
	damage()
	quick()
	h.text("a terminal", w.onTerminal("apply --yes --reconnect 1m"))

	// Detached, and the runner crashes where cores are wanted.
	damage()
	m.Run(t, "systemctl set-environment GOTRACEBACK=crash")
	run(0, "apply", "--yes", "--detach", "-v")
	waits()
	crash(t, m)
	m.Run(t, "rm -f /run/waiting")
	device("after a crash")
	c := w.start("attach", "-v")
	defer func() {
		if t.Failed() {
			t.Logf("%s\n%s%s\non the device:\n%s", c.r.line, c.out.String(), c.stderr.String(), m.Run(t, "journalctl -o cat -n 40 --no-pager; ps axf; ls -l /run/go /run/waiting /srv 2>&1 || :"))
		}
	}()
	waits()
	quick()
	say(c.wait()).exits(3)

	// The controller is killed, the machine too: the run waits for the key.
	damage()
	c = w.start("apply", "--yes", "--json")
	waits()
	killed(c)
	lab.Must(t, m.Crash())
	lab.Must(t, m.Start(t.Context()))
	device("after a restart")
	c = w.start("attach", "--json", "-v")
	waits()
	quick()
	say(c.wait()).exits(3)

	// Without anybody: the key is on the device for that long.
	damage()
	c = w.start("apply", "-p", "unattended.yaml", "--yes", "-v")
	waits()
	killed(c)
	keys := m.Run(t, "stat -c '%a %U %n' /var/lib/fitout/runs/*/key")
	if !regexp.MustCompile(`^600 root \S+$`).MatchString(keys) {
		t.Errorf("keys on the device: %q", keys)
	}
	key, err := os.ReadFile(filepath.Join(inside(t, m), strings.Fields(keys + " x x x")[2]))
	if err != nil {
		t.Fatal(err)
	}
	device("unattended")
	boot, err := m.BootID(t.Context())
	lab.Must(t, err)
	root := inside(t, m)
	_, _ = m.Exec(t.Context(), "systemctl reboot")
	until(t, "the machine to go down", func() bool {
		c, err := net.Dial("tcp", m.Addr+":22")
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	_ = os.WriteFile(root+"run/go", nil, 0o600) // the command at work may end, and what is left is for the next boot
	lab.Must(t, m.WaitReboot(t.Context(), boot))
	free() // nobody is there
	until(t, "the key to go", func() bool { return m.Run(t, "ls /var/lib/fitout/runs/*/key 2>/dev/null || :") == "" })
	h.add("key", string(key))
	run(3, "attach", "-v")

	// The disk is full half-way.
	damage()
	c = w.start("apply", "--yes", "-v")
	waits()
	m.Run(t, `fallocate -l "$(df --output=avail -k / | tail -n 1)K" /fill || :; dd if=/dev/zero of=/fill2 bs=1k 2>/dev/null || :; touch /run/go`)
	say(c.wait()).exits(3)
	m.Run(t, "rm -f /fill /fill2")
	quick()
	run(3, "apply", "--yes")

	// The way back, and what is known of all this.
	run(3, "apply", "--yes", "--only", "files,commands")
	say(w.fitout("undo", "last", "--yes", "-v", "--force"))
	say(w.fitout("undo", first, "--yes", "--json", "-v", "--force"))
	run(0, "runs")
	run(0, "runs", "--json")
	for _, id := range []string{"last", first} {
		run(0, "runs", "show", id, "-v")
		run(0, "runs", "show", id, "--json")
	}
	run(0, "apply", "-p", "moved.yaml", "--yes", "-v")
	device("at the end")

	if n := stop(); n < 50 {
		t.Errorf("only %d processes were seen, which proves nothing", n)
	}
	h.raw(t, filepath.Join(filepath.Dir(m.Root()), "disk.img"), "password", "stdin", "command", "printed", "ssh", "sudo", "connect")
	h.tree(t, "controller", w.dir, nil)
	h.tree(t, "controller", w.home, func(path string) []string {
		if strings.Contains(filepath.Base(path), ".db") { // what opens the devices' journals is kept here
			return []string{"key"}
		}
		return nil
	})
	h.tree(t, "controller", tmp, nil)
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	h.tree(t, "controller", filepath.Join(cache, "fitout", "executors"), nil)
	if h.files < 100 {
		t.Errorf("only %d files were searched, which proves nothing", h.files)
	}
	t.Logf("%d files, %d canaries", h.files, len(h.names))
	h.ends(t)
}

// ports is a list of ports that nobody else would write down.
func ports() string {
	b := make([]byte, 16)
	rand.Read(b)
	var list []string
	for i, at := 0, 20000; i < len(b); i++ {
		at += 2 + int(b[i])
		list = append(list, strconv.Itoa(at))
	}
	return strings.Join(list, ",")
}

// runID is the run that a command in JSON tells of.
func runID(t *testing.T, r *result) string {
	t.Helper()
	id := regexp.MustCompile(`"run":"([^"]+)"`).FindStringSubmatch(r.out)
	if id == nil {
		id = regexp.MustCompile(`\b(\d{8}-\d{6}-[0-9a-f]{6})\b`).FindStringSubmatch(r.out + r.stderr)
	}
	if id == nil {
		t.Fatalf("no run's id:\n%s", r)
	}
	return id[1]
}

// inside is a machine's root folder as its own processes see it, /run and /tmp included.
func inside(t *testing.T, m *lab.Machine) string {
	t.Helper()
	for _, pid := range m.PIDs() {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if regexp.MustCompile(`(?m)^NSpid:\s+\d+\s+1$`).Match(status) {
			return fmt.Sprintf("/proc/%d/root/", pid)
		}
	}
	t.Fatal("the machine is down")
	return ""
}

// onTerminal runs the command on a terminal of its own and returns all that was drawn there.
func (w *technician) onTerminal(args string) []byte {
	w.t.Helper()
	c := exec.CommandContext(w.t.Context(), "script", "-qec", "stty cols 120 rows 40; "+w.exe+" "+args, "/dev/null")
	c.Dir, c.Env = w.dir, append(slices.Clone(w.env), "TERM=xterm-256color")
	out, err := c.CombinedOutput()
	if !bytes.Contains(out, []byte("\x1b[")) || !bytes.Contains(out, []byte("commands/prints")) {
		w.t.Errorf("no live table: %v\n%q", err, out)
	}
	return out
}

// crash has the runner abort, with nothing in the way of a core dump but its own doing.
func crash(t *testing.T, m *lab.Machine) {
	t.Helper()
	unlimited := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	runner := 0
	for _, pid := range m.PIDs() {
		argv, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if bytes.Contains(argv, []byte("/executor\x00")) && bytes.Contains(argv, []byte("\x00-run\x00")) {
			runner = pid
		}
	}
	if runner == 0 {
		t.Fatal("there is no runner")
	}
	_ = unix.Prlimit(runner, unix.RLIMIT_CORE, &unlimited, nil)
	if err := syscall.Kill(runner, syscall.SIGABRT); err != nil {
		t.Fatal(err)
	}
	until(t, "the runner's end", func() bool { return syscall.Kill(runner, 0) != nil })
	if got := m.Run(t, "journalctl --sync; journalctl -o cat --all | grep 'fitout-run.*code=' || :"); strings.Contains(got, "dumped") {
		t.Errorf("a core dump was written: %s", got)
	} else if !strings.Contains(got, "code=killed") {
		t.Errorf("the runner did not crash: %s", got)
	}
}
