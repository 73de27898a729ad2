package integration

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/integration/lab"
)

// tree lists what is on the machine with all that changes when it is changed, the inode's own time included, which nobody
// can set. Left out is what a login alone writes, and fitout's folder.
const tree = `find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /var/tmp -o -path /var/lib/fitout \
	-o -path /var/log/journal -o -path /var/log/wtmp -o -path /var/log/lastlog -o -path /var/log/btmp \) -prune -o \
	-path /var/lib -printf '' -o -printf '%p %y %m %U %G %n %i %s %l %C@\n' | sort`

// content hashes what is there, and what the kernel and systemd hold.
const content = `find /etc /root /home /srv /usr/local /var/lib /var/spool -xdev -path /var/lib/fitout -prune -o -type f -print0 | sort -z | xargs -0 sha256sum
	hostname; sysctl -a 2>/dev/null | grep -E '^net.ipv4.(ip_forward|conf.(all|default)|tcp_syncookies|icmp_echo)'; systemctl list-units --all --plain --no-legend --type=service,timer,socket | grep -v 'ssh@\|user@\|user-runtime\|trace.service' | awk '{print $1, $3, $4}'`

// TestAPlanChangesNothing looks at everything there is on a machine before and after a plan in which each type has something
// to do, and at every system call of the session in between.
func TestAPlanChangesNothing(t *testing.T) {
	l := lab.New(t)
	repo := l.AptRepo(t)
	repo.Fetch(t, "nano", "curl", "telnet", "strace")
	repo.Build(t, lab.Deb{Name: "ledger", Version: "1.0"})
	repo.Publish(t)
	security := l.AptRepo(t, lab.Security)
	security.Build(t, lab.Deb{Name: "ledger", Version: "1.1"})
	security.Publish(t)
	m := l.Machine(t, lab.Debian)
	repo.Use(t, m)
	m.Run(t, `apt-get update -qq; apt-get install -qq -y ledger telnet strace; useradd -m formeremployee
		printf '[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n' >/etc/systemd/system/ticker.service; systemctl daemon-reload`)
	security.Use(t, m)
	m.Run(t, "apt-get update -qq")
	w := newTechnician(t)
	if err := os.CopyFS(w.dir, os.DirFS(filepath.Join(here(), "testdata/example"))); err != nil {
		t.Fatal(err)
	}
	w.env = append(w.env, "FITOUT_SECRET_ALICE=correct horse battery")
	w.write("all.yaml", "profile: all\nextends: [./sales-laptop.yaml]\nservices: [{name: ticker, enabled: true, running: true}]\n")
	w.inventory("inventory.yaml", "all", "", m)
	w.fitout("trust", "--yes").exits(0)

	before := m.Run(t, tree+"\n"+content)
	m.Run(t, `systemd-run -q --unit=trace strace -f -qq -y -s 256 -o /run/trace -e trace=%file,%desc,sethostname,settimeofday,clock_settime,kill,mount,umount2,reboot,ioctl -p "$(cat /run/sshd.pid)"`)
	until(t, "strace", func() bool { return m.Run(t, "grep TracerPid /proc/$(cat /run/sshd.pid)/status") != "TracerPid:\t0" })
	plan := w.fitout("plan", "--json").exits(2)
	m.Run(t, "systemctl stop trace")
	trace := m.Run(t, "cat /run/trace")
	after := m.Run(t, tree+"\n"+content)

	pending := plan.pending()["lt-1"]
	for _, typ := range strings.Fields("hostname timezone sysctl environment packages groups users directories files lines links services commands updates") {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(pending)), func(a string) bool { return a == typ || strings.HasPrefix(a, typ+"/") }) {
			t.Errorf("nothing of type %s is pending: this test proves nothing of it", typ)
		}
	}
	if d := difference(before, after); d != "" {
		t.Errorf("the plan changed the machine:\n%s", d)
	}
	for _, c := range changing(trace) {
		t.Errorf("a plan must not do this: %s", c)
	}
	if t.Failed() {
		t.Log(plan.stderr)
	}
}

// difference lists the lines that only one of two texts has.
func difference(before, after string) string {
	was, is := map[string]bool{}, map[string]bool{}
	for l := range strings.Lines(before) {
		was[l] = true
	}
	for l := range strings.Lines(after) {
		is[l] = true
	}
	var out []string
	for l := range was {
		if !is[l] {
			out = append(out, l[:max(0, len(l)-1)]+"  (before)")
		}
	}
	for l := range is {
		if !was[l] {
			out = append(out, l[:max(0, len(l)-1)]+"  (after)")
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

var (
	started  = regexp.MustCompile(`^(\d+) +execve\("([^"]*)", \[(.*?)\]`)
	forked   = regexp.MustCompile(`^(\d+) +(?:clone3?|v?fork)\(.*= (\d+)$`)
	writing  = regexp.MustCompile(`^(\d+) +(?:openat?2?\(.*(?:O_WRONLY|O_RDWR|O_CREAT|O_TRUNC).*|(?:un)?link(?:at)?\(.*|rename(?:at2?)?\(.*|mkdir(?:at)?\(.*|rmdir\(.*|symlink(?:at)?\(.*|f?chmod(?:at2?)?\(.*|l?f?chown(?:at)?\(.*|f?truncate\(.*|utimensat\(.*|mknod(?:at)?\(.*|l?f?(?:set|remove)xattr\(.*|(?:sethostname|settimeofday|clock_settime|kill|mount|umount2|reboot)\(.*)`)
	harmless = regexp.MustCompile(`"/var/lib/fitout[/"]|"/dev/(null|tty)"|"/tmp/fitout-|mkdir\("(fitout|bin)"|</var/lib/fitout[/>]|"/proc/(self|\d+)/|= -1 E|</dev/pts`)
)

// changing returns the calls of a trace by which our processes would have changed something outside fitout's own folder.
func changing(trace string) (bad []string) {
	ours := map[string]string{} // processes from our shell on: what they run
	parent := map[string]string{}
	for l := range strings.Lines(trace) {
		l = strings.TrimSuffix(l, "\n")
		if f := forked.FindStringSubmatch(l); f != nil {
			parent[f[2]] = f[1]
			if ours[f[1]] != "" {
				ours[f[2]] = ours[f[1]]
			}
			continue
		}
		if e := started.FindStringSubmatch(l); e != nil && !strings.HasSuffix(l, "ENOENT (No such file or directory)") {
			if ours[e[1]] != "" || strings.Contains(e[3], "/var/lib/fitout") || strings.HasSuffix(e[2], "/executor") {
				ours[e[1]] = e[2]
			}
			if ours[e[1]] != "" && !slices.Contains([]string{"bash", "sh", "stat", "executor", "uname", "id", "mkdir", "chmod", "gzip", "sha256sum", "rm", "mv"}, filepath.Base(e[2])) {
				bad = append(bad, "start "+e[2]+" "+e[3])
			}
			continue
		}
		if w := writing.FindStringSubmatch(l); w != nil && ours[w[1]] != "" && !harmless.MatchString(l) {
			bad = append(bad, fmt.Sprintf("%s: %s", ours[w[1]], l))
		}
	}
	if len(ours) == 0 {
		bad = append(bad, "the trace saw no process of ours, which proves nothing")
	}
	return bad
}

// TestNoDamageIsOverlooked damages each of 57 resources in a way that keeps sizes, times and inodes where there is a file: a
// plan that believes such things would find little.
func TestNoDamageIsOverlooked(t *testing.T) {
	l := lab.New(t)
	m := l.Machine(t, lab.Debian)
	w := newTechnician(t)
	profile, err := os.ReadFile(filepath.Join(here(), "testdata/site57.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	w.write("site.yaml", string(profile))
	w.inventory("inventory.yaml", "site", "", m)
	w.fitout("trust", "--yes").exits(0)
	s := w.fitout("apply", "--yes", "--json").exits(0).summary().Devices["lt-1"]
	if s.Changed+s.Unchanged != 57 {
		t.Fatalf("not 57 resources: %+v", s)
	}
	w.fitout("plan").exits(0)
	m.Run(t, `same() { cp -p "$1" /run/was; sed "$2" /run/was >"$1"; touch -r /run/was "$1"; ! cmp -s "$1" /run/was; }
		for i in 0 1 2 3 4 5 6 7 8 9; do
			same /etc/passwd "s/:User $i:/:Usex $i:/"
			same /etc/group "s/^grp$i:/grq$i:/"
			same /etc/gshadow "s/^grp$i:/grq$i:/"
			same /etc/environment "s/^VAR$i=.*/VAR$i=x/"
		done
		for i in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19; do same /etc/app$i.conf 's/setting=./setting=x/'; done
		for i in 0 1 2 3 4; do chmod 705 /srv/d$i; done
		same /etc/hostname s/lt/tl/
		systemctl disable -q ssh`)
	got := w.fitout("plan", "--json").exits(2).pending()["lt-1"]
	if len(got) != 57 {
		t.Errorf("%d of 57 damages were found: %v", len(got), slices.Sorted(maps.Keys(got)))
	}
	w.fitout("apply", "--yes").exits(0)
	w.fitout("plan").exits(0).says("nothing to do", "57 in desired state")
}
