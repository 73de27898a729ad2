//go:build linux

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/fitout-dev/fitout/integration/lab"
)

// resource is one declaration, and what the machine's own tools say of it.
type resource struct {
	address string
	entry   string // in the profile
	probe   string // shell that prints one line: what there is
	want    string // that line, once it is as declared
	damage  string // shell that makes it otherwise; "" where nothing can
}

// site is what a machine is to be: a few dozen small resources of all types. Each release has other contents, and what one
// release has, the next may lack.
type site struct {
	release   int
	resources []resource
}

const (
	logs  = "/var/lib/storm/log/"
	token = "storm-token-5d1f"
)

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// big is a file that takes a while to write.
func big(release int) string {
	return strings.Repeat(fmt.Sprintf("line of the content number %d\n", release%2), 20_000)
}

// program is what both services run: it tells which configuration it has read. Without that it doesn't start.
const program = `#!/bin/sh -e
# storm-run SERVICE [reload]
sum=$(sha256sum </etc/storm/$1.conf)
echo "$(date +%s%N) $sum" >>` + logs + `$1
[ -n "$2" ] || exec sleep infinity
`

func unit(name, description string) string {
	return fmt.Sprintf("[Unit]\nDescription=%s\n[Service]\nType=exec\nExecStart=/usr/local/sbin/storm-run %s\nExecReload=/usr/local/sbin/storm-run %[2]s reload\nTimeoutStopSec=5\n[Install]\nWantedBy=multi-user.target\n", description, name)
}

// counted is a command that tells when it begins and when it has ended.
func counted(name, do string) string {
	return fmt.Sprintf(`set -e; echo "b $(date +%%s%%N)" >>%[1]s%[2]s; sleep 0.1; %[3]s; echo "e $(date +%%s%%N)" >>%[1]s%[2]s`, logs, name, do)
}

func newSite(release int) *site {
	s := &site{release: release}
	v := fmt.Sprintf("r%d", release)
	pick := func(even, odd string) string {
		if release%2 == 0 {
			return even
		}
		return odd
	}
	add := func(address, entry, probe, want, damage string) {
		s.resources = append(s.resources, resource{address, entry, probe, want, damage})
	}

	host := pick("storm-even", "storm-odd")
	add("hostname", host, `echo "$(hostname) $(cat /etc/hostname)"`, host+" "+host, "hostname other; echo other >/etc/hostname")
	zone := pick("Europe/Berlin", "America/Lima")
	add("timezone", zone, `readlink /etc/localtime | sed 's/.*zoneinfo.//'`, zone, "ln -sfn /usr/share/zoneinfo/Asia/Tokyo /etc/localtime")
	for i, name := range []string{"net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout"} {
		value := fmt.Sprint([]int{7000, 50}[i] + release%40)
		add("sysctl/"+name, fmt.Sprintf(`{name: %s, value: "%s"}`, name, value),
			fmt.Sprintf(`echo "$(sysctl -n %s) $(sed -n 's/^%s *= *//p' /etc/sysctl.d/60-fitout.conf)"`, name, strings.ReplaceAll(name, ".", "[./]")),
			value+" "+value, "sysctl -qw "+name+"=43")
	}
	for _, e := range [][2]string{{"STORM_RELEASE", v}, {"STORM_KIND", pick("even", "odd")}} {
		add("environment/"+e[0], fmt.Sprintf("{name: %s, value: %s}", e[0], e[1]), fmt.Sprintf(`sed -n 's/^%s=//p' /etc/environment | tr -d '"'`, e[0]), e[1],
			"sed -i '/^"+e[0]+"=/d' /etc/environment")
	}

	installed := func(name string) string {
		return fmt.Sprintf(`dpkg-query -W -f '${db:Status-Status} ${db:Status-Want} ${Version}\n' %s 2>/dev/null | grep ^installed || echo none`, name)
	}
	version := pick("1.0", "2.0")
	add("packages/storm-tool", fmt.Sprintf(`{name: storm-tool, version: "%s"}`, version), installed("storm-tool"), "installed install "+version, "dpkg --purge storm-tool")
	add("packages/storm-conf", `{name: storm-conf}`, installed("storm-conf"), "installed install 1.0", "dpkg --purge storm-conf")
	add("packages/storm-held", `{name: storm-held, hold: true}`, installed("storm-held"), "installed hold 1.0", "apt-mark unhold storm-held")
	add("packages/storm-extra", pick(`{name: storm-extra}`, `{name: storm-extra, state: purged}`), installed("storm-extra"), pick("installed install 1.0", "none"), "")

	add("groups/storm-a", `{name: storm-a}`, "getent group storm-a | cut -d: -f1", "storm-a", "groupdel storm-a")
	gid := pick("700", "701")
	add("groups/storm-b", fmt.Sprintf("{name: storm-b, gid: %s}", gid), "getent group storm-b | cut -d: -f3", gid, "groupmod -g 709 storm-b")
	add("groups/storm-old", pick(`{name: storm-old, state: absent}`, `{name: storm-old}`), "getent group storm-old | cut -d: -f1", pick("", "storm-old"), "")

	groups := pick("storm-a", "storm-b")
	add("users/storm1", fmt.Sprintf("{name: storm1, shell: /bin/bash, fullName: Storm %s, groups: [storm-a]}", v),
		`getent passwd storm1 | cut -d: -f5,7; id -nG storm1 | grep -ow storm-a; stat -c %U /home/storm1`, "Storm "+v+":/bin/bash storm-a storm1", "usermod -s /bin/sh storm1")
	add("users/storm2", fmt.Sprintf("{name: storm2, shell: %s, groups: [%s], groupsExact: true}", pick("/bin/bash", "/bin/sh"), groups),
		`getent passwd storm2 | cut -d: -f7; id -nG storm2; grep -c ^storm2: /etc/shadow`, pick("/bin/bash", "/bin/sh")+" storm2 "+groups+" 1", "userdel storm2")
	add("users/storm3", pick(`{name: storm3}`, `{name: storm3, state: absent, removeHome: true}`),
		`getent passwd storm3 | cut -d: -f1; grep -s ^storm3: /etc/shadow /etc/group | cut -d: -f2; ls -d /home/storm3 2>/dev/null`, pick("storm3 storm3 storm3 /home/storm3", ""), "")

	directory := func(path, rest, want string) {
		add("directories/"+path, "{path: "+path+rest+"}", "stat -c '%F %U %G %a' "+path+" 2>/dev/null", want, "")
	}
	directory("/srv/storm", `, owner: storm1, group: storm-a, mode: "`+pick("0750", "0755")+`"`, "directory storm1 storm-a "+pick("750", "755"))
	directory("/srv/storm/sub", `, mode: "0755"`, "directory root root 755")
	directory("/srv/storm/odd", pick(", state: absent", ""), pick("", "directory root root 755"))
	directory("/etc/storm", "", "directory root root 755")
	directory("/var/lib/storm", "", "directory root root 755")
	directory("/var/lib/storm/log", "", "directory root root 755")

	file := func(path, content, rest, want, damage string) {
		if want == "" {
			want = "root root 644"
		}
		entry := fmt.Sprintf("{path: %s, content: %q%s}", path, content, rest)
		if len(content) > 10_000 {
			entry = fmt.Sprintf("{path: %s, source: big-%d%s}", path, release%2, rest)
		}
		content = strings.ReplaceAll(content, "${secrets.token}", token)
		add("files/"+path, entry, fmt.Sprintf(`[ ! -e %s ] || echo "$(stat -c '%%F %%U %%G %%a' %[1]s) $(sha256sum <%[1]s | cut -d' ' -f1)"`, path), "regular file "+want+" "+digest(content), damage)
	}
	file("/usr/local/sbin/storm-run", program, `, mode: "0755"`, "root root 755", "chmod 700 /usr/local/sbin/storm-run")
	file("/etc/systemd/system/storm-app.service", unit("app", "storm "+v), ", notify: [services/storm-app]", "", "echo >>/etc/systemd/system/storm-app.service")
	file("/etc/systemd/system/storm-reload.service", unit("reload", "storm"), "", "", "")
	file("/etc/storm/app.conf", "release "+v+"\n", ", notify: [services/storm-app]", "", "rm -f /etc/storm/app.conf")
	file("/etc/storm/reload.conf", "release "+v+"\n", ", notify: [services/storm-reload]", "", "echo damaged >/etc/storm/reload.conf")
	file("/etc/storm/index", "index "+v+"\n", ", notify: [commands/index]", "", "echo damaged >/etc/storm/index")
	file("/etc/storm/token", "token=${secrets.token} "+v+"\n", `, mode: "0600"`, "root root 600", "echo damaged >/etc/storm/token")
	file("/srv/storm/notes", "notes "+v+"\n", `, owner: storm1, mode: "0640"`, "storm1 root 640", "chown root /srv/storm/notes")
	file("/srv/storm/sub/big", big(release), "", "", "truncate -s 1000 /srv/storm/sub/big")
	add("files//etc/storm/optional", pick(`{path: /etc/storm/optional, state: absent}`, `{path: /etc/storm/optional, content: there}`), "cat /etc/storm/optional 2>/dev/null", pick("", "there"), "")

	list := "/etc/storm/hosts"
	add("lines/"+list+"/one", fmt.Sprintf(`{path: %s, id: one, line: "one %s", match: "^one "}`, list, v), "grep -s '^one ' "+list, "one "+v, "sed -i '/^one /d' "+list)
	add("lines/"+list+"/always", fmt.Sprintf(`{path: %s, id: always, line: always}`, list), "cat "+list+" 2>/dev/null | grep -c ^always", "1", "echo else >"+list)
	add("lines/"+list+"/gone", fmt.Sprintf(`{path: %s, id: gone, line: gone%s}`, list, pick(", state: absent", "")), "cat "+list+" 2>/dev/null | grep -c ^gone", pick("0", "1"), "")

	link := func(path, target string) {
		add("links/"+path, fmt.Sprintf("{path: %s, target: %s}", path, target), "readlink "+path, target, "ln -sfn /nowhere "+path)
	}
	link("/etc/storm/current", "/srv/storm/"+v)
	link("/usr/local/bin/storm-link", "../sbin/storm-run")

	state := func(name string) string {
		return fmt.Sprintf(`echo "$(systemctl is-enabled %s 2>/dev/null) $(systemctl is-active %[1]s)"`, name)
	}
	add("services/storm-app", "{name: storm-app, enabled: true, running: true}", state("storm-app"), "enabled active", "systemctl stop storm-app")
	add("services/storm-reload", fmt.Sprintf("{name: storm-reload, enabled: %s, running: true, onNotify: reload}", pick("true", "false")), state("storm-reload"), pick("enabled active", "disabled active"), "systemctl kill -s KILL storm-reload")

	command := func(name, script, rest, probe, want, damage string) {
		add("commands/"+name, fmt.Sprintf("{name: %s, run: [sh, -c, %q]%s}", name, script, rest), probe, want, damage)
	}
	command("setup", counted("setup", "touch /var/lib/storm/setup."+v), ", creates: /var/lib/storm/setup."+v, "ls /var/lib/storm/setup."+v+"", "/var/lib/storm/setup."+v, "rm -f /var/lib/storm/setup."+v)
	command("level", counted("level", "echo "+v+" >/var/lib/storm/level"), ", unless: [grep, -qx, "+v+", /var/lib/storm/level]", "cat /var/lib/storm/level 2>/dev/null", v, "rm -f /var/lib/storm/level")
	// What a guard asks for appears last, in one step: on a full disk it would be there, and empty.
	secret := fmt.Sprintf("printf %%s $TOKEN | sha256sum >/var/lib/storm/secret.new; mv /var/lib/storm/secret.new /var/lib/storm/secret.%s", v)
	command("secretly", counted("secretly", secret), ", creates: /var/lib/storm/secret."+v+`, environment: {TOKEN: "${secrets.token}"}`, "cut -d' ' -f1 /var/lib/storm/secret."+v+" 2>/dev/null", digest(token), "")
	command("index", "set -e; sha256sum </etc/storm/index >/var/lib/storm/index.new; mv /var/lib/storm/index.new /var/lib/storm/index", ", onNotifyOnly: true", "cut -d' ' -f1 /var/lib/storm/index 2>/dev/null", digest("index "+v+"\n"), "")
	command("always", counted("always", ":"), "", "", "", "")
	return s
}

// profile is the site as fitout reads it.
func (s *site) profile() string {
	var b strings.Builder
	b.WriteString("profile: storm\n")
	last := ""
	for _, r := range s.resources {
		typ, _, keyed := strings.Cut(r.address, "/")
		switch {
		case !keyed:
			fmt.Fprintf(&b, "%s: %s\n", typ, r.entry)
		case typ != last:
			fmt.Fprintf(&b, "%s:\n", typ)
			fallthrough
		default:
			fmt.Fprintf(&b, "  - %s\n", r.entry)
		}
		last = typ
	}
	return b.String()
}

// probe is a script that prints a line for each resource: its number, a tab and what there is.
func (s *site) probe() string {
	var b strings.Builder
	for i, r := range s.resources {
		if r.probe != "" {
			fmt.Fprintf(&b, "printf '%d\\t%%s\\n' \"$( ( %s ) 2>/dev/null | tr '\\n' ' ')\"\n", i, r.probe)
		}
	}
	return b.String()
}

// read takes apart what the probe printed.
func (s *site) read(out string) map[string]string {
	have := map[string]string{}
	for line := range strings.Lines(out) {
		var i int
		number, text, ok := strings.Cut(line, "\t")
		if _, err := fmt.Sscan(number, &i); ok && err == nil && i < len(s.resources) {
			have[s.resources[i].address] = strings.TrimSpace(text)
		}
	}
	return have
}

// clean is a script that takes away all that a site of any release brings.
const clean = `set +e; exec >/dev/null 2>&1 </dev/null
systemctl stop storm-app storm-reload; systemctl disable storm-app storm-reload
rm -rf /etc/systemd/system/storm-* /usr/local/sbin/storm-run /usr/local/bin/storm-link /etc/storm /srv/storm /var/lib/storm /etc/sysctl.d/60-fitout.conf
systemctl daemon-reload; systemctl reset-failed
apt-mark unhold storm-held; dpkg --purge storm-tool storm-conf storm-held storm-extra storm-lib
userdel -r storm1; userdel -r storm2; userdel -r storm3; groupdel storm-a; groupdel storm-b; groupdel storm-old
: >/etc/environment; ln -sfn /usr/share/zoneinfo/Etc/UTC /etc/localtime; echo Etc/UTC >/etc/timezone
hostname storm; echo storm >/etc/hostname; printf '127.0.0.1 localhost\n127.0.1.1 storm\n' >/etc/hosts
sysctl -w net.ipv4.tcp_keepalive_time=7200 net.ipv4.tcp_fin_timeout=60
:`

// debs are the packages of the machines' repository. Their scripts take a while, as real ones do.
var debs = []lab.Deb{
	{Name: "storm-lib", Version: "1.0", Files: map[string]string{"/usr/share/storm/lib": "lib\n"}},
	{Name: "storm-tool", Version: "1.0", Fields: map[string]string{"Depends": "storm-lib"}, Files: map[string]string{"/usr/bin/storm-tool": "#!/bin/sh\necho 1.0\n"}},
	{Name: "storm-tool", Version: "2.0", Fields: map[string]string{"Depends": "storm-lib"}, Files: map[string]string{"/usr/bin/storm-tool": "#!/bin/sh\necho 2.0\n"}},
	{Name: "storm-conf", Version: "1.0", Files: map[string]string{"/etc/storm-conf.d/site": "site\n"}, Scripts: map[string]string{"postinst": "sleep 0.2"}},
	{Name: "storm-held", Version: "1.0", Files: map[string]string{"/usr/share/storm/held": "held\n"}},
	{Name: "storm-extra", Version: "1.0", Files: map[string]string{"/etc/storm-extra": "extra\n"}, Scripts: map[string]string{"preinst": "sleep 0.1"}},
}
