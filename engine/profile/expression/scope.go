package expression

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/fitout-dev/fitout/engine/secret"
)

// Unknown stands for a value that can't be known yet.
type Unknown int

const (
	Known       Unknown = iota
	UntilDevice         // it depends on the device, and there is none yet
	UntilFacts          // it depends on facts, and there was no contact yet
)

// Var is the value of a variable, or of item.
type Var struct {
	Value   any // plain: secrets revealed
	Tainted bool
	Unknown Unknown
}

// Facts are the names under device that come from the device itself; the others the inventory says.
var (
	Facts = []string{"os", "distribution", "version", "arch", "kernel", "hostname", "cpus", "memory", "model", "serial",
		"virtual", "bootTime", "facts"}
	Inventory = []string{"name", "address", "groups", "user"}
)

// Scope is what expressions read. It is complete when it is made: make another one for another device or item.
type Scope struct {
	Broken bool // names that it should have are missing, which was reported

	env           map[string]any
	vars          map[string]Var
	item          *Var
	device, facts bool // known
	open          bool // variables that are missing here may come from an inventory
	anyTainted    bool
}

// NewScope makes a scope. device is nil where there is none yet; facts says whether it holds them. Of secrets and env
// only the names that the expressions mention are needed. open says that unknown variables may still be defined.
func NewScope(device map[string]any, facts bool, secrets, env map[string]any, open bool) *Scope {
	return &Scope{device: device != nil, facts: facts, open: open, vars: map[string]Var{}, env: map[string]any{
		"device": device, "vars": map[string]any{}, "secrets": secrets, "env": env}}
}

// Set defines a variable. It belongs to making the scope.
func (s *Scope) Set(name string, v Var) {
	s.vars[name] = v
	s.env["vars"].(map[string]any)[name] = v.Value
	s.anyTainted = s.anyTainted || v.Tainted
}

// Var returns a variable.
func (s *Scope) Var(name string) (Var, bool) {
	v, ok := s.vars[name]
	return v, ok
}

// WithItem is the scope of one turn of forEach.
func (s *Scope) WithItem(item Var) *Scope {
	t := *s
	t.item = &item
	t.env = make(map[string]any, len(s.env)+1)
	for k, v := range s.env {
		t.env[k] = v
	}
	t.env["item"] = item.Value
	return &t
}

// Data is what a template reads, under the names of the expressions.
func (s *Scope) Data() map[string]any { return s.env }

// Tainted says whether a name holds a secret. It is decided without looking at values: what mentions a secret is one.
func (s *Scope) Tainted(r Ref) bool {
	switch r.Root {
	case "secrets":
		return true
	case "vars":
		if r.Name == "" {
			return s.anyTainted
		}
		return s.vars[r.Name].Tainted
	case "item":
		return s.item != nil && s.item.Tainted
	}
	return false
}

// Unknown says whether a name's value can't be known yet.
func (s *Scope) Unknown(r Ref) Unknown {
	switch r.Root {
	case "device":
		isFact := r.Name == "" || slices.Contains(Facts, r.Name)
		switch {
		case isFact && !s.facts:
			return UntilFacts
		case !s.device:
			return UntilDevice
		}
	case "vars":
		if r.Name == "" {
			u := Known
			for _, v := range s.vars {
				u = max(u, v.Unknown)
			}
			if s.open {
				u = max(u, UntilDevice)
			}
			return u
		}
		v, ok := s.vars[r.Name]
		if !ok && s.open {
			return UntilDevice
		}
		return v.Unknown
	case "item":
		if s.item != nil {
			return s.item.Unknown
		}
	}
	return Known
}

// Tainted says whether what the value gives is made of a secret.
func (v *Value) Tainted(s *Scope) bool {
	tainted := false
	v.Programs(func(_ *Program, r Ref, _ func(string, string) error) { tainted = tainted || s.Tainted(r) })
	return tainted
}

// Unknown says whether the value can be known yet.
func (v *Value) Unknown(s *Scope) Unknown {
	u := Known
	v.Programs(func(_ *Program, r Ref, _ func(string, string) error) { u = max(u, s.Unknown(r)) })
	return u
}

// Eval gives the value in a scope: JSON's values, with a secret.Value for each text that is made of a secret, or an
// Unknown for each scalar that can't be known yet.
func (v *Value) Eval(s *Scope) (any, error) {
	switch v.kind {
	case list:
		out := make([]any, 0, len(v.items))
		for _, c := range v.items {
			x, err := c.Eval(s)
			if err != nil {
				return nil, err
			}
			out = append(out, x)
		}
		return out, nil
	case mapping:
		out := make(map[string]any, len(v.keys))
		for _, k := range v.keys {
			x, err := v.fields[k].Eval(s)
			if err != nil {
				return nil, err
			}
			out[k] = x
		}
		return out, nil
	case scalar:
		return v.evalScalar(s)
	}
	return v.lit, nil
}

func (v *Value) evalScalar(s *Scope) (any, error) {
	if u := v.Unknown(s); u != Known {
		return u, nil
	}
	whole := len(v.parts) == 1
	var mixed []byte
	tainted := false
	for _, p := range v.parts {
		if p.prog == nil {
			mixed = append(mixed, p.text...)
			continue
		}
		x, dirty, err := s.run(p.prog)
		if err != nil {
			return nil, v.problem(p, err)
		}
		tainted = tainted || dirty
		if whole {
			if x == nil && !p.prog.nils {
				return nil, v.problem(p, nothing)
			}
			if dirty {
				if x, err = s.taint(x); err != nil {
					return nil, v.problem(p, err)
				}
			}
			return x, nil
		}
		t, err := text(x)
		if err != nil {
			return nil, v.problem(p, err)
		}
		mixed = append(mixed, t...)
	}
	if tainted {
		return secret.New(string(mixed)), nil
	}
	return string(mixed), nil
}

var nothing = &syntaxError{msg: "gives nothing on this device", hint: "give another value with ?? , or nil where the property is to be left alone"}

func (s *Scope) run(p *Program) (x any, tainted bool, err error) {
	for _, r := range p.Refs {
		tainted = tainted || s.Tainted(r)
		if r.Root == "vars" && r.Name != "" && !r.Optional {
			if _, ok := s.vars[r.Name]; !ok {
				return nil, tainted, &syntaxError{r.offset, fmt.Sprintf("variable %q is not defined for this device", r.Name),
					"define it under variables, of the profile, the device, its groups or the defaults"}
			}
		}
		if r.Root == "item" && s.item == nil {
			return nil, tainted, &syntaxError{r.offset, "item is known in an entry with forEach only", ""}
		}
	}
	x, err = p.eval(s.env)
	if err != nil && tainted { // what the machine says may quote the secret
		err = &syntaxError{msg: "can't be evaluated; the reason is not shown, since a secret is in it"}
	}
	return x, tainted, err
}

// taint makes secrets of all texts in x. The names in a map can't be hidden.
func (s *Scope) taint(x any) (any, error) {
	switch v := x.(type) {
	case nil:
		return nil, nil
	case string:
		return secret.New(v), nil
	case []any:
		for i := range v {
			var err error
			if v[i], err = s.taint(v[i]); err != nil {
				return nil, err
			}
		}
		return v, nil
	case map[string]any:
		for k := range v {
			if s.tells(k) {
				return nil, &syntaxError{msg: "a secret can't be a name in a map", hint: "names are shown in plans; make it a value"}
			}
			var err error
			if v[k], err = s.taint(v[k]); err != nil {
				return nil, err
			}
		}
		return v, nil
	}
	return nil, &syntaxError{msg: "what is made of a secret has to be text", hint: "a number or a yes and no can't be kept secret"}
}

// tells says whether a name is made of a secret's text. Shorter texts than 4 bytes are in many names by chance.
func (s *Scope) tells(name string) bool {
	found := false
	check := func(leaf any) {
		t, _ := leaf.(string)
		found = found || t != "" && (name == t || len(t) >= 4 && strings.Contains(name, t))
	}
	Walk(s.env["secrets"], check)
	for _, v := range s.vars {
		if v.Tainted {
			Walk(v.Value, check)
		}
	}
	if s.item != nil && s.item.Tainted {
		Walk(s.item.Value, check)
	}
	return found
}

// text is a value inside a text.
func text(x any) (string, error) {
	switch v := x.(type) {
	case string:
		return v, nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), nil
	case bool:
		return strconv.FormatBool(v), nil
	case int:
		return strconv.Itoa(v), nil
	case nil:
		return "", nothing
	case []any:
		return "", &syntaxError{msg: "gives a list in the middle of a text", hint: "use join(..., \", \")"}
	}
	return "", &syntaxError{msg: fmt.Sprintf("gives %s in the middle of a text", describe(x)), hint: "take one of its values"}
}

// Condition evaluates a yes or no.
func (v *Value) Condition(s *Scope) (bool, Unknown, error) {
	x, err := v.Eval(s)
	if err != nil {
		return false, Known, err
	}
	switch b := x.(type) {
	case bool:
		return b, Known, nil
	case Unknown:
		return false, b, nil
	}
	return false, Known, v.Problem("compare it with something: ... == ...", "the condition gives %s, not true or false", describe(x))
}

func describe(x any) string {
	switch x.(type) {
	case nil:
		return "nothing"
	case string:
		return "a text"
	case int64, float64:
		return "a number"
	case []any:
		return "a list"
	case map[string]any:
		return "a map"
	}
	return "something else"
}

// Reveal returns x with its secrets as plain texts, for what checks a value and for the scope of further expressions.
// It keeps x as it is.
func Reveal(x any) any {
	switch v := x.(type) {
	case secret.Value:
		return v.Reveal()
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = Reveal(v[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k := range v {
			out[k] = Reveal(v[k])
		}
		return out
	}
	return x
}

// Walk calls f for every scalar in x.
func Walk(x any, f func(any)) {
	switch v := x.(type) {
	case []any:
		for _, c := range v {
			Walk(c, f)
		}
	case map[string]any:
		for _, c := range v {
			Walk(c, f)
		}
	default:
		f(x)
	}
}

// Merge lays over on top of base: maps are merged key by key, all else is replaced. Neither is changed.
func Merge(base, over any) any {
	b, ok := base.(map[string]any)
	o, also := over.(map[string]any)
	if !ok || !also {
		return over
	}
	out := maps.Clone(b)
	for k, v := range o {
		if was, ok := out[k]; ok {
			v = Merge(was, v)
		}
		out[k] = v
	}
	return out
}
