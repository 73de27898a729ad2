package ssh

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
)

// directive is one line of an OpenSSH client configuration. An Include holds what it included.
type directive struct {
	key      string // in lower case
	args     []string
	included []directive
}

// settings are what a configuration says about one host: the first value of a keyword counts, except for those that add
// up. Keys are in lower case.
type settings map[string][]string

func (s settings) first(key string) string {
	if v := s[key]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// addsUp are the keywords whose values accumulate.
var addsUp = []string{"identityfile", "certificatefile"}

const maxIncludeDepth = 16

// parseConfig reads a configuration and all that it includes. read is called for each file; relative Includes are looked
// up in folder, as OpenSSH does it.
func parseConfig(path, home, folder string, depth int, read func(string) ([]byte, error)) ([]directive, error) {
	text, err := read(path)
	if err != nil {
		return nil, err
	}
	var ds []directive
	for i, line := range strings.Split(string(text), "\n") {
		key, args, err := splitDirective(line)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, i+1, err)
		}
		if key == "" {
			continue
		}
		d := directive{key: key, args: args}
		if key == "include" {
			if depth >= maxIncludeDepth {
				return nil, fmt.Errorf("%s:%d: too many nested includes", path, i+1)
			}
			for _, pattern := range args {
				pattern = expandHome(pattern, home)
				if !filepath.IsAbs(pattern) {
					pattern = filepath.Join(folder, pattern)
				}
				files, _ := filepath.Glob(pattern) // sorted
				for _, f := range files {
					if info, err := os.Stat(f); err == nil && info.IsDir() { // to OpenSSH an empty file
						continue
					}
					sub, err := parseConfig(f, home, folder, depth+1, read)
					if isMissing(err) { // a link that leads nowhere
						continue
					}
					if err != nil {
						return nil, err
					}
					// Each file begins as if nothing had been matched yet, inside the block that includes it.
					d.included = append(d.included, directive{key: "include", included: sub})
				}
			}
		}
		ds = append(ds, d)
	}
	return ds, nil
}

// splitDirective takes a line apart: `Key value "quoted value" # comment`, or `Key=value`.
func splitDirective(line string) (key string, args []string, err error) {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' {
		return "", nil, nil
	}
	end := strings.IndexAny(line, " \t=")
	if end < 0 {
		return "", nil, fmt.Errorf("%s: a value is missing", line)
	}
	key, rest := strings.ToLower(line[:end]), strings.TrimSpace(line[end:])
	rest = strings.TrimSpace(strings.TrimPrefix(rest, "="))
	for rest != "" && rest[0] != '#' {
		var arg strings.Builder
		quoted := false
		i := 0
		for ; i < len(rest) && (quoted || rest[i] != ' ' && rest[i] != '\t'); i++ {
			switch {
			case rest[i] == '"':
				quoted = !quoted
			case rest[i] == '\\' && i+1 < len(rest) && strings.IndexByte(`"\ `, rest[i+1]) >= 0:
				i++
				arg.WriteByte(rest[i])
			default:
				arg.WriteByte(rest[i])
			}
		}
		if quoted {
			return "", nil, fmt.Errorf("%s: a quotation mark is missing", key)
		}
		args = append(args, arg.String())
		rest = strings.TrimLeft(rest[i:], " \t")
	}
	if len(args) == 0 {
		return "", nil, fmt.Errorf("%s: a value is missing", key)
	}
	return key, args, nil
}

// lookup evaluates a configuration for one host. name is what the user called it; loginName is the user that was asked for
// explicitly, or "".
func lookup(ds []directive, name, loginName string) settings {
	s := settings{}
	if loginName != "" {
		s["user"] = []string{loginName}
	}
	e := evaluation{name: strings.ToLower(name), settings: s}
	e.run(ds, true)
	if e.sawFinal {
		e.final = true
		e.run(ds, true)
	}
	return s
}

type evaluation struct {
	name            string
	settings        settings
	final, sawFinal bool
}

func (e *evaluation) run(ds []directive, active bool) {
	block := active
	for _, d := range ds {
		switch d.key {
		case "host":
			block = active && matchPatterns(d.args, e.name)
		case "match":
			block = active && e.match(d.args)
		case "include":
			e.run(d.included, block)
		default:
			if !block {
				continue
			}
			have := e.settings[d.key]
			if slices.Contains(addsUp, d.key) {
				if !slices.Contains(have, d.args[0]) {
					e.settings[d.key] = append(have, d.args[0])
				}
			} else if have == nil {
				e.settings[d.key] = d.args
			}
		}
	}
}

// match evaluates the criteria of a Match line. `exec` is never met: looking at a configuration starts no programs.
// Neither are criteria that this package doesn't know.
func (e *evaluation) match(args []string) bool {
	met := true
	for i := 0; i < len(args); i++ {
		criterion, value, joined := strings.Cut(args[i], "=")
		criterion, negated := strings.CutPrefix(strings.ToLower(criterion), "!")
		var ok bool
		switch criterion {
		case "all":
			ok = true
		case "final", "canonical":
			e.sawFinal = true
			ok = e.final
		default:
			if !joined {
				if i++; i == len(args) {
					return false
				}
				value = args[i]
			}
			switch patterns := strings.Split(value, ","); criterion {
			case "host":
				ok = matchPatterns(patterns, e.hostName())
			case "originalhost":
				ok = matchPatterns(patterns, e.name)
			case "user":
				u := e.settings.first("user")
				if u == "" {
					u = localUser()
				}
				ok = matchPatterns(patterns, u)
			case "localuser":
				ok = matchPatterns(patterns, localUser())
			default:
				return false
			}
		}
		met = met && ok != negated
	}
	return met
}

func (e *evaluation) hostName() string {
	if h := e.settings.first("hostname"); h != "" {
		return strings.ToLower(strings.NewReplacer("%%", "%", "%h", e.name).Replace(h))
	}
	return e.name
}

// matchPatterns says whether a name is in a list of patterns with * and ?; one that is negated by ! excludes it.
func matchPatterns(patterns []string, name string) bool {
	found := false
	for _, p := range patterns {
		p, negated := strings.CutPrefix(p, "!")
		if wildcard(strings.ToLower(p), name) {
			if negated {
				return false
			}
			found = true
		}
	}
	return found
}

// wildcard matches * and ?, and backtracks only to the last *: time is bounded by len(pattern) * len(s).
func wildcard(pattern, s string) bool {
	star, back := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, back = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			back++
			p, i = star+1, back
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

func localUser() string {
	if u, err := user.Current(); err == nil {
		// On Windows: DOMAIN\user.
		return u.Username[strings.LastIndexByte(u.Username, '\\')+1:]
	}
	return os.Getenv("USER")
}

func expandHome(path, home string) string {
	if path == "~" {
		return home
	}
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		return filepath.Join(home, rest)
	}
	return path
}
