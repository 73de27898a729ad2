package settings

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

// Environment is a variable that every login session of the machine has, from /etc/environment. See pam_env(8).
type Environment struct {
	// The variable's name.
	Name string `json:"name" fit:"key" title:"Name" pattern:"^[A-Za-z_][A-Za-z0-9_]*$" example:"HTTP_PROXY"`
	// The value, literally: nothing in it is expanded. A line break or # can't be part of it.
	Value *string `json:"value,omitzero" fit:"managed" title:"Value" pattern:"^[^\\n\\r#\\x00]*$" example:"http://proxy.example.lan:3128"`
	State string  `json:"state,omitzero" fit:"state" enum:"present,absent" title:"State"`
	// The lines that set it.
	Part *Part `json:"part,omitzero" fit:"observed,undo" title:"Lines in /etc/environment"`
}

// Environments implements Environment.
type Environments struct{}

var (
	_ modules.Resource[Environment] = Environments{}
	_ modules.Checker[Environment]  = Environments{}
	_ modules.Comparer[Environment] = Environments{}
	_ modules.Inverter[Environment] = Environments{}
)

const environmentFile = "/etc/environment"

// Platforms are where the type exists.
func (Environments) Platforms() []string { return []string{"linux"} }

// Check refuses what the file can't hold.
func (Environments) Check(want Environment) error {
	if !isVariable(want.Name) {
		return fmt.Errorf("name: %q can't be a variable's name", want.Name)
	}
	if want.State == modules.Absent {
		return nil
	}
	if want.Value == nil {
		return errors.New("value: missing")
	}
	if strings.ContainsAny(*want.Value, "\n\r#\x00") {
		return hint.New(fmt.Errorf("value of %s: %s can't hold a line break or #", want.Name, environmentFile), "# begins a comment there even between quotes; in a URL write %%23")
	}
	return nil
}

// Observe reads the variable as a session gets it.
func (Environments) Observe(_ context.Context, h *host.Host, want Environment) (Environment, error) {
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

// Apply writes or removes the variable's line and leaves all others as they are.
func (e Environments) Apply(_ context.Context, h *host.Host, want, _ Environment) (modules.Outcome, error) {
	var none modules.Outcome
	if want.Part != nil {
		return none, want.Part.write(h, environmentFile, want.sets)
	}
	if err := e.Check(want); err != nil {
		return none, err
	}
	line := ""
	if want.State != modules.Absent {
		line = want.Name + "=" + quoteEnvironment(*want.Value) + "\n"
	}
	text, err := readOptional(h, environmentFile)
	if err != nil {
		return none, err
	}
	if next := setEnvironmentLine(text, want.Name, line); next != text {
		return none, writeThrough(h, environmentFile, next)
	}
	return none, nil
}

// sets says whether a line sets the variable.
func (e Environment) sets(line string) bool {
	name, _, ok := environmentLine(line)
	return ok && name == e.Name
}

// Compare knows that lines may have moved.
func (Environments) Compare(property string, want, have Environment) (met, ok bool) {
	if property == "part" {
		return want.Part.met(have.Part), true
	}
	return false, false
}

// Inverse puts back the lines as they were.
func (Environments) Inverse(_, have Environment) (Environment, error) {
	return have, have.Part.kept(environmentFile)
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

func isVariable(name string) bool {
	for i := range len(name) {
		c := name[i]
		if !(c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || i > 0 && c >= '0' && c <= '9') {
			return false
		}
	}
	return name != ""
}
