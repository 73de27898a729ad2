package apt

import (
	"slices"
	"strings"
)

// Policy is what apt knows of a package: the versions that it could install, and the one that it would.
type Policy struct {
	Candidate string
	Versions  []string // newest first; what only dpkg's database has is left out
}

// ParsePolicy reads what `apt-cache policy NAME...` prints. A name that apt does not know is missing from the result.
func ParsePolicy(out string) map[string]Policy {
	policies := map[string]Policy{}
	var name, version string
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, "\r\n")
		f := strings.Fields(line)
		switch {
		case line == "" || len(f) == 0:
		case line[0] != ' ':
			name, version = strings.TrimSuffix(line, ":"), ""
			if name != "" {
				policies[name] = Policy{}
			}
		case name == "":
		case f[0] == "Candidate:" && len(f) == 2:
			if p := policies[name]; f[1] != "(none)" {
				p.Candidate = f[1]
				policies[name] = p
			}
		case strings.HasPrefix(line, "     ") && !strings.HasPrefix(line, "      ") || f[0] == "***":
			version = strings.TrimPrefix(strings.TrimSpace(line), "*** ")
			version, _, _ = strings.Cut(version, " ")
		case strings.HasPrefix(line, "      ") && version != "" && len(f) > 1 && f[1] != statusFile:
			p := policies[name]
			if !slices.Contains(p.Versions, version) {
				p.Versions = append(p.Versions, version)
				policies[name] = p
			}
		}
	}
	return policies
}

// Step is one line of a simulation.
type Step struct {
	Name     string
	Old, New string // versions; "" where there is none
	Origins  string // "Debian-Security:12/oldstable-security, Debian:12.15/oldstable"
}

// Security says whether the version comes from a security archive, going by its label or suite.
func (s Step) Security() bool {
	for origin := range strings.SplitSeq(s.Origins, ", ") {
		label, archive, _ := strings.Cut(origin, ":")
		if strings.HasSuffix(label, "-Security") || strings.HasSuffix(archive, "-security") || strings.HasSuffix(archive, "-Security") {
			return true
		}
	}
	return false
}

// Simulation is what apt would do.
type Simulation struct {
	Install, Remove []Step
}

// ParseSimulation reads what `apt-get -s` prints:
//
//	Inst libperl5.36 [5.36.0-7+deb12u2] (5.36.0-7+deb12u4 Debian-Security:12/oldstable-security [amd64]) [perl:amd64 ]
//	Remv curl [7.88.1-10+deb12u14]
func ParseSimulation(out string) Simulation {
	var s Simulation
	for line := range strings.Lines(out) {
		verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if verb != "Inst" && verb != "Remv" && verb != "Purg" {
			continue
		}
		var step Step
		step.Name, rest, _ = strings.Cut(rest, " ")
		if strings.HasPrefix(rest, "[") {
			step.Old, rest, _ = strings.Cut(rest[1:], "]")
			rest = strings.TrimSpace(rest)
		}
		if step.Name == "" {
			continue
		}
		if verb != "Inst" {
			s.Remove = append(s.Remove, step)
			continue
		}
		if strings.HasPrefix(rest, "(") {
			rest, _, _ = strings.Cut(rest[1:], ")")
			step.New, rest, _ = strings.Cut(rest, " ")
			if i := strings.LastIndex(rest, " ["); i >= 0 {
				rest = rest[:i]
			}
			step.Origins = rest
		}
		s.Install = append(s.Install, step)
	}
	return s
}

// cause is why a run of apt-get failed, as far as others than the named packages may have to do with it.
type cause int

const (
	unknown     cause = iota
	locked            // another program holds a lock
	interrupted       // dpkg did not finish what it last began
	outdated          // the lists name files that the archive no longer has
	missing           // a package, or one of its versions, is not in the lists
	wrecked           // a package that must be unpacked anew is not in the lists
	unmet             // dependencies can't be met
	noSpace
	noNetwork
	untrusted // a signature is wrong or missing
)

// diagnosis is what apt-get's output says of a failure.
type diagnosis struct {
	cause  cause
	failed map[string]string // packages whose scripts or files failed, and what was said of each
	text   string            // apt's own words
}

var signs = []struct {
	cause cause
	words []string
}{
	{locked, []string{"Could not get lock", "Unable to acquire the dpkg frontend lock", "Unable to lock", "is another process using it"}},
	{interrupted, []string{"dpkg was interrupted"}},
	{noSpace, []string{"No space left on device", "You don't have enough free space", "failed to write (No space"}},
	{untrusted, []string{"is not signed", "NO_PUBKEY", "BADSIG", "EXPKEYSIG", "signatures couldn't be verified", "signatures were invalid",
		"cannot be authenticated", "unauthenticated packages", "Release file for"}},
	{outdated, []string{"404  Not Found", "404 Not Found", "Hash Sum mismatch", "File has unexpected size", "File not found"}},
	{noNetwork, []string{"Could not resolve", "Temporary failure resolving", "Unable to connect", "Could not connect", "Connection timed out",
		"Connection failed", "Cannot initiate the connection", "Unable to fetch some archives", "Failed to fetch"}},
	{wrecked, []string{"needs to be reinstalled, but I can't find an archive for it"}},
	{missing, []string{"Unable to locate package", "has no installation candidate", "was not found"}},
	{unmet, []string{"unmet dependencies", "held broken packages", "pkgProblemResolver::Resolve"}},
}

// diagnose reads the whole output of a failed apt-get or dpkg, both streams in the order they were written.
func diagnose(out string) diagnosis {
	d := diagnosis{failed: map[string]string{}}
	lines := strings.Split(strings.ReplaceAll(out, "\r", "\n"), "\n")
	begun := 0 // where the work on a package last began
	var words, processed []string
	for i, line := range lines {
		switch trimmed := strings.TrimSpace(line); {
		case hasAny(line, "Setting up ", "Unpacking ", "Preparing to unpack ", "Removing ", "Purging configuration files for ", "Processing triggers for "):
			begun = i + 1
		case strings.HasPrefix(line, "dpkg: error processing "):
			name := subject(line)
			reason := ""
			if i+1 < len(lines) {
				reason = strings.TrimSpace(lines[i+1])
			}
			said := lines[min(begun, i):i]
			if n := len(said); n > 8 {
				said = said[n-8:]
			}
			if text := strings.TrimSpace(strings.Join(said, "\n")); text != "" {
				reason += ":\n" + text
			}
			if d.failed[name] == "" {
				d.failed[name] = reason
			}
			begun = i + 2
		case strings.HasPrefix(line, "Errors were encountered while processing:"):
			for _, l := range lines[i+1:] {
				if !strings.HasPrefix(l, " ") {
					break
				}
				processed = append(processed, packageOf(strings.TrimSpace(l)))
			}
		case strings.HasPrefix(line, "Package ") && strings.Contains(line, " is a virtual package provided by:"):
			var providers []string
			for _, l := range lines[i+1:] {
				f := strings.Fields(l)
				if len(f) == 0 || !strings.HasPrefix(l, " ") {
					break
				}
				providers = append(providers, f[0])
			}
			words = append(words, strings.Fields(line)[1]+" is virtual, provided by "+strings.Join(providers, ", "))
		case hasAny(trimmed, "E: ", "dpkg: error: ") || strings.HasPrefix(line, " ") && strings.Contains(line, " : "):
			if said := strings.TrimPrefix(strings.TrimPrefix(trimmed, "E: "), "W: "); !slices.Contains(words, said) {
				words = append(words, said)
			}
		}
	}
	for _, name := range processed {
		if d.failed[name] == "" && name != "" {
			d.failed[name] = "dpkg could not process it"
		}
	}
	if len(words) > 8 {
		words = append(words[:7:7], words[len(words)-1])
	}
	d.text = strings.Join(words, "\n")
	if d.text == "" && len(d.failed) == 0 {
		d.text = lastLines(lines, 8)
	}
	for _, s := range signs {
		if slices.ContainsFunc(s.words, func(w string) bool {
			return strings.Contains(d.text, w) || s.cause == noSpace && strings.Contains(out, w)
		}) {
			d.cause = s.cause
			break
		}
	}
	return d
}

func hasAny(s string, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}

// subject is the package that a line of dpkg's names: "dpkg: error processing package NAME (--configure):" or
// "dpkg: error processing archive /var/cache/apt/archives/NAME_VERSION_ARCH.deb (--unpack):".
func subject(line string) string {
	f := strings.Fields(line)
	for i, w := range f {
		if (w == "package" || w == "archive") && i+1 < len(f) {
			return packageOf(f[i+1])
		}
	}
	return ""
}

// packageOf takes a package's name out of an archive's path.
func packageOf(s string) string {
	if strings.HasSuffix(s, ".deb") {
		s = s[strings.LastIndexByte(s, '/')+1:]
		if i, rest, ok := strings.Cut(s, "-"); ok && strings.Trim(i, "0123456789") == "" { // apt-dpkg-install-X/03-NAME_...
			s = rest
		}
		s, _, _ = strings.Cut(s, "_")
	}
	return s
}

func lastLines(lines []string, n int) string {
	var kept []string
	for _, l := range slices.Backward(lines) {
		if l = strings.TrimSpace(l); l != "" && len(kept) < n {
			kept = append(kept, l)
		}
	}
	slices.Reverse(kept)
	return strings.Join(kept, "\n")
}
