package settings

import (
	"strings"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/host"
)

// The variables of Linux are lines of /etc/environment.

func observeEnvironmentFile(h *host.Host, want Environment) (Environment, error) {
	have := Environment{Name: want.Name, State: modules.Absent}
	text, err := readOptional(h, environmentFile)
	if err != nil {
		return have, err
	}
	if have.Part, err = readPart(h, environmentFile, want.sets); err != nil {
		return have, err
	}
	for line := range strings.Lines(text) {
		if name, value, ok := environmentLine(line); ok && name == want.Name {
			have.Value, have.State = modules.Ptr(value), modules.Present // the last one counts
		}
	}
	return have, nil
}

func applyEnvironmentFile(h *host.Host, want Environment) error {
	if want.Part != nil {
		return want.Part.write(h, environmentFile, want.sets)
	}
	line := ""
	if want.State != modules.Absent {
		line = want.Name + "=" + quoteEnvironment(*want.Value) + "\n"
	}
	text, err := readOptional(h, environmentFile)
	if err != nil {
		return err
	}
	if next := setEnvironmentLine(text, want.Name, line); next != text {
		return writeThrough(h, environmentFile, next)
	}
	return nil
}

// sets says whether a line sets the variable.
func (e Environment) sets(line string) bool {
	name, _, ok := environmentLine(line)
	return ok && name == e.Name
}

// setEnvironmentLine puts line in the place of the first that sets name, or at the end, and removes the others.
func setEnvironmentLine(text, name, line string) string {
	var out strings.Builder
	for l := range strings.Lines(text) {
		if n, _, ok := environmentLine(l); ok && n == name {
			out.WriteString(line)
			line = ""
			continue
		}
		out.WriteString(l)
		if !strings.HasSuffix(l, "\n") && line != "" {
			out.WriteString("\n")
		}
	}
	return out.String() + line
}

// environmentLine reads a line as pam_env does: # ends it wherever it is, a quote at the value's beginning opens a
// quoted value, and one at its end is dropped. A carriage return is part of the value.
func environmentLine(line string) (name, value string, ok bool) {
	line = strings.TrimLeft(strings.TrimRight(line, "\n"), " \t")
	line = strings.TrimPrefix(line, "export ")
	line, _, _ = strings.Cut(line, "#")
	name, value, ok = strings.Cut(line, "=")
	if !ok || !isVariable(name) {
		return "", "", false
	}
	if value != "" && (value[0] == '"' || value[0] == '\'') {
		value = value[1:]
		if n := len(value); n > 0 && (value[n-1] == '"' || value[n-1] == '\'') {
			value = value[:n-1]
		}
	}
	return name, value, true
}

// quoteEnvironment writes a value so that pam_env, and as far as possible shells and systemd, read it back.
func quoteEnvironment(value string) string {
	plain := strings.IndexFunc(value, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-+=:,./@%~^", r) || r > 127)
	}) < 0
	switch {
	case plain:
		return value
	case strings.ContainsAny(value, `"$`+"`\\") && !strings.Contains(value, "'"):
		return "'" + value + "'"
	}
	return `"` + value + `"`
}
