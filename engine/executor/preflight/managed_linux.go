package preflight

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"golang.org/x/sys/unix"
)

// manager is a configuration tool, and what tells that it manages a machine.
type manager struct {
	name     string
	units    []string // systemd's
	programs []string // as the kernel names their processes
	pids     []string // files that hold a process ID
	calls    []string // what crontabs and units of the site's own run: a program, and the word behind it where that matters
	homes    []string // files in users' homes
	paused   []string // files that say that it does nothing at present
	remedy   string
}

var managers = []manager{
	{name: "Puppet", units: []string{"puppet.service", "pe-puppet.service", "puppet-run.timer", "puppet-run.service"}, programs: []string{"puppet"},
		pids:  []string{"/run/puppetlabs/agent.pid", "/run/puppet/agent.pid"},
		calls: []string{"puppet agent", "puppet apply"},
		paused: []string{"/opt/puppetlabs/puppet/cache/state/agent_disabled.lock", "/var/cache/puppet/state/agent_disabled.lock",
			"/var/lib/puppet/state/agent_disabled.lock"},
		remedy: "`puppet agent --disable` before the run and `puppet agent --enable` after it keep them apart"},
	{name: "Chef", units: []string{"chef-client.service", "chef-client.timer", "cinc-client.service", "cinc-client.timer"}, programs: []string{"chef-client", "cinc-client"},
		pids: []string{"/run/chef/client.pid", "/run/cinc/client.pid"}, calls: []string{"chef-client", "cinc-client"},
		remedy: "`systemctl stop chef-client` before the run and `systemctl start chef-client` after it keep them apart"},
	{name: "Salt", units: []string{"salt-minion.service", "venv-salt-minion.service"}, programs: []string{"salt-minion", "venv-salt-minion"},
		pids: []string{"/run/salt-minion.pid", "/run/venv-salt-minion.pid"}, calls: []string{"salt-call"},
		remedy: "`systemctl stop salt-minion` before the run and `systemctl start salt-minion` after it keep them apart"},
	{name: "CFEngine", units: []string{"cfengine3.service", "cf-execd.service", "rudder-agent.service", "rudder-cf-execd.service"}, programs: []string{"cf-execd", "cf-agent"},
		pids:   []string{"/var/cfengine/cf-execd.pid", "/var/lib/cfengine3/cf-execd.pid", "/var/rudder/cfengine-community/cf-execd.pid"},
		calls:  []string{"cf-agent", "cf-execd", "rudder agent"},
		remedy: "`systemctl stop cfengine3` (`rudder agent disable`) before the run and its start after it keep them apart"},
	{name: "ansible-pull", units: []string{"ansible-pull.service", "ansible-pull.timer"}, programs: []string{"ansible-pull"}, calls: []string{"ansible-pull"},
		remedy: "stop its timer, or comment its line of the crontab out, for the run"},
	{name: "Microsoft Intune", units: []string{"intune-daemon.service"}, programs: []string{"intune-agent", "intune-daemon"},
		homes:  []string{".config/intune/registration.toml"},
		remedy: "see in Intune's policies that they ask for nothing else than the profile"},
}

// managed names the other tools that manage this machine: what they and the profile both declare would change to and fro.
//
// A unit that is active has a link in /run/systemd/units, so that one folder tells all. Processes are looked for one by one
// only where there is no systemd: each costs three system calls, and a machine may have thousands.
func (d device) managed(o Options) []wire.Finding {
	signs := d.signs()
	var found []wire.Finding
	for _, m := range managers {
		if slices.ContainsFunc(m.paused, d.Exists) {
			continue
		}
		if why := d.why(&m, signs); why != "" {
			found = append(found, wire.Finding{Check: Managed, Text: fmt.Sprintf("%s manages this machine, too: %s", m.name, why),
				Remedy: "declare each thing in one of the two only; " + m.remedy})
		}
	}
	return found
}

// signs are what the system as a whole tells, read once.
type signs struct {
	active, enabled map[string]bool // units
	processes       map[string]int
	jobs            map[string]string // the text of crontabs and of what cron runs
	homes           []string
}

func (d device) signs() signs {
	s := signs{active: map[string]bool{}, enabled: map[string]bool{}, jobs: map[string]string{}, homes: []string{"/root"}}
	if d.living {
		for _, link := range d.names("/run/systemd/units") {
			if unit, ok := strings.CutPrefix(link, "invocation:"); ok {
				s.active[unit] = true
			}
		}
		if !d.Exists("/run/systemd/system") {
			s.processes = d.processes()
		}
	}
	for _, target := range []string{"multi-user", "timers", "default", "graphical"} {
		for _, unit := range d.names("/etc/systemd/system/" + target + ".target.wants") {
			s.enabled[unit] = true
		}
	}
	for _, file := range []string{"/etc/crontab", "/etc/anacrontab"} {
		s.jobs[file] = d.read(file)
	}
	for _, dir := range []string{"/etc/cron.d", "/etc/cron.hourly", "/etc/cron.daily", "/etc/cron.weekly", "/var/spool/cron/crontabs", "/var/spool/cron"} {
		for _, name := range d.names(dir) {
			if !strings.HasPrefix(name, ".") {
				s.jobs[dir+"/"+name] = d.read(dir + "/" + name)
			}
		}
	}
	for _, user := range d.names("/home") {
		s.homes = append(s.homes, "/home/"+user)
	}
	return s
}

func (d device) names(dir string) []string {
	names, _ := d.ReadDir(dir)
	return names
}

// why is the first sign of a tool, the strongest first, or "".
func (d device) why(m *manager, s signs) string {
	for _, u := range m.units {
		if s.active[u] {
			return "the unit " + u + " is running"
		}
	}
	if d.living {
		for _, file := range m.pids {
			if pid, err := strconv.Atoi(d.read(file)); err == nil && m.runs(d.program(pid)) {
				return fmt.Sprintf("process %d is running, says %s", pid, file)
			}
		}
	}
	for _, p := range m.programs {
		if pid := s.processes[kernelName(p)]; pid != 0 {
			return fmt.Sprintf("%s is running (process %d)", p, pid)
		}
	}
	for _, u := range m.units {
		if s.enabled[u] && !d.masked(u) {
			return "the unit " + u + " is enabled"
		}
	}
	for _, file := range slices.Sorted(maps.Keys(s.jobs)) {
		for _, call := range m.calls {
			if calls(s.jobs[file], call) {
				return file + " runs " + call
			}
		}
	}
	for _, home := range s.homes {
		for _, file := range m.homes {
			if d.Exists(home + "/" + file) {
				return home + "/" + file + " says that it is registered"
			}
		}
	}
	return ""
}

func (d device) masked(unit string) bool {
	i, err := d.Lstat("/etc/systemd/system/" + unit)
	return err == nil && i.Target == "/dev/null"
}

// runs says whether a process may be the tool's, and its ID not another's by now. Some are named after their interpreter.
func (m *manager) runs(program string) bool {
	return strings.HasPrefix(program, "ruby") || strings.HasPrefix(program, "python") ||
		slices.ContainsFunc(m.programs, func(p string) bool { return program == kernelName(p) })
}

// kernelName is what the kernel keeps of a program's name.
func kernelName(program string) string { return program[:min(len(program), 15)] }

func (d device) program(pid int) string { return d.read(fmt.Sprintf("/proc/%d/comm", pid)) }

// processes are those of this machine by name, without its containers'.
func (d device) processes() map[string]int {
	watched := map[string]bool{}
	for _, m := range managers {
		for _, p := range m.programs {
			watched[kernelName(p)] = true
		}
	}
	namespace := func(pid string) string {
		var buf [64]byte
		n, _ := unix.Readlink(d.local("/proc/"+pid+"/ns/pid"), buf[:])
		return string(buf[:max(n, 0)])
	}
	own := namespace("self")
	found := map[string]int{}
	for _, name := range d.names("/proc") {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if p := d.program(pid); watched[p] && namespace(name) == own {
			found[p] = pid
		}
	}
	return found
}

// calls says whether a script or a crontab runs a program, maybe with a first argument: "puppet agent". A mention of it in
// a comment, or as a file's name (/var/log/puppet), is none.
func calls(text, call string) bool {
	program, argument, _ := strings.Cut(call, " ")
	if !strings.Contains(text, program) {
		return false
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		words := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t\n;&|()`'\"", r) })
		for i, w := range words {
			if path.Base(w) != program || strings.Contains(w, "/") && !strings.HasSuffix(path.Dir(w), "bin") {
				continue
			}
			if argument == "" || i+1 < len(words) && words[i+1] == argument {
				return true
			}
		}
	}
	return false
}
