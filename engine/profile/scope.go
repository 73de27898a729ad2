package profile

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/go-multierror"

	"github.com/fitout-dev/fitout/engine/profile/expression"
	"github.com/fitout-dev/fitout/engine/secret"
	"github.com/fitout-dev/fitout/modules/hint"
)

// Device is what a profile is compiled for.
type Device struct {
	Name, Address, User string
	Groups              []string
	// Variables are what the inventory defines for it; they win over the profile's. Texts may be secret.Values.
	Variables map[string]any
	// Facts are nil before the first contact. Then what depends on them is left out and not checked.
	Facts map[string]any
}

// data is the device as expressions see it.
func (d *Device) data() map[string]any {
	groups := make([]any, len(d.Groups))
	for i, g := range d.Groups {
		groups[i] = g
	}
	m := map[string]any{"facts": map[string]any{}}
	for k, v := range d.Facts {
		m[k] = v
	}
	m["name"], m["address"], m["user"], m["groups"] = d.Name, d.Address, d.User, groups
	return m
}

// scope makes what the expressions of the profile read for a device, or without one yet.
func (p *Profile) scope(d *Device) (*expression.Scope, error) {
	var data, given map[string]any
	facts := false
	if d != nil {
		data, given, facts = d.data(), d.Variables, d.Facts != nil
	}
	s := expression.NewScope(data, facts, p.taken.SecretTexts, p.taken.EnvTexts, d == nil)
	own := map[string]bool{}
	for _, v := range p.variables {
		own[v.name] = true
	}
	for name, x := range given {
		if !own[name] {
			s.Set(name, variableOf(x))
		}
	}
	var faults *multierror.Error
	for _, v := range p.variables {
		over, overridden := given[v.name]
		if _, isMap := over.(map[string]any); overridden && !isMap {
			s.Set(v.name, variableOf(over))
			continue
		}
		if v.value.IsNull() { // declared here, defined elsewhere
			if overridden {
				s.Set(v.name, variableOf(over))
			}
			continue
		}
		x, err := v.value.Eval(s)
		if err != nil {
			faults = multierror.Append(faults, err)
			continue
		}
		if overridden {
			x = expression.Merge(x, over)
		}
		is := variableOf(x)
		is.Tainted = is.Tainted || v.value.Tainted(s)
		s.Set(v.name, is)
	}
	return s, faults.ErrorOrNil()
}

func variableOf(x any) expression.Var {
	v := expression.Var{}
	expression.Walk(x, func(leaf any) {
		switch l := leaf.(type) {
		case secret.Value:
			v.Tainted = true
		case expression.Unknown:
			v.Unknown = max(v.Unknown, l)
		}
	})
	v.Value = expression.Reveal(x)
	return v
}

// sortVariables puts each variable after those that it reads.
func (p *Profile) sortVariables(m *merged) error {
	var faults *multierror.Error
	const visiting, done = 1, 2
	state := map[string]int{}
	var chain []string
	var visit func(name string)
	visit = func(name string) {
		v := m.variables[name]
		if v == nil || state[name] == done {
			return
		}
		if state[name] == visiting {
			round := append(slices.Clone(chain[slices.Index(chain, name):]), name)
			faults = multierror.Append(faults, v.Problem("", "the variable is made of itself: %s", strings.Join(round, " → ")))
			return
		}
		state[name] = visiting
		chain = append(chain, name)
		v.Programs(func(_ *expression.Program, r expression.Ref, fault func(string, string) error) {
			switch {
			case r.Root == "vars" && r.Name == "":
				faults = multierror.Append(faults, fault("a variable can't be made of all variables", "name those that it needs"))
			case r.Root == "vars":
				visit(r.Name)
			}
		})
		chain = chain[:len(chain)-1]
		state[name] = done
		p.variables = append(p.variables, variable{name, v})
	}
	for _, name := range m.names {
		visit(name)
	}
	return faults.ErrorOrNil()
}

// checkNames finds names that nothing defines, and takes the secrets and the environment variables that are mentioned.
func (p *Profile) checkNames() error {
	var faults *multierror.Error
	known := slices.Clone(p.loader.Variables)
	for _, v := range p.variables {
		known = append(known, v.name)
	}
	p.taken = expression.Names{Secrets: p.loader.Secrets, Env: p.loader.Env}
	check := func(v *expression.Value, item bool) (ok bool) {
		ok = true
		v.Programs(func(_ *expression.Program, r expression.Ref, fault func(string, string) error) {
			f := p.checkName(r, known, item)
			ok = ok && f == nil
			if f != nil && f.Msg != "" {
				faults = multierror.Append(faults, fault(f.Msg, f.Hint))
			}
		})
		return ok
	}
	p.variables = slices.DeleteFunc(p.variables, func(v variable) bool { return !check(v.value, false) })
	maps.DeleteFunc(p.run, func(_ string, v *expression.Value) bool { return !check(v, false) })
	for _, e := range p.entries {
		for _, v := range e.values() {
			if !check(v, e.forEach != nil && v != e.forEach) {
				e.broken = true
			}
			if v.Name() != "template" || blobNames(e.typ, "template") == nil || e.broken {
				continue
			}
			t, err := p.template(v)
			if err == nil {
				err = t.check(p, known, e.forEach != nil)
			}
			if err != nil {
				e.broken = true
				faults = multierror.Append(faults, err)
			}
		}
	}
	return faults.ErrorOrNil()
}

// didYouMean is a hint: the name that is probably meant, or what else to do.
func didYouMean(word string, among []string, otherwise string) string {
	if s := hint.Near(word, among); s != "" {
		return fmt.Sprintf("did you mean %q?", s)
	}
	return otherwise
}

// template is the template that an entry names.
func (p *Profile) template(v *expression.Value) (*template, error) {
	name, ok := v.Literal()
	if !ok {
		return nil, v.Problem("decide inside the template, or use several entries with when", "the name of a template can't have an expression")
	}
	return p.loader.template(v, fmt.Sprint(name))
}

func (p *Profile) checkName(r expression.Ref, known []string, item bool) *expression.Fault {
	switch r.Root {
	case "vars":
		if r.Name != "" && !r.Optional && !slices.Contains(known, r.Name) {
			return &expression.Fault{Msg: fmt.Sprintf("unknown variable %q", r.Name), Hint: didYouMean(r.Name, known,
				"define it under variables, or check the profile together with the inventory that does")}
		}
	case "device":
		all := slices.Concat(expression.Inventory, expression.Facts)
		if r.Name != "" && !slices.Contains(all, r.Name) {
			return &expression.Fault{Msg: fmt.Sprintf("unknown property %q of a device", r.Name), Hint: didYouMean(r.Name, all,
				"other facts are under device.facts")}
		}
	case "item":
		if !item {
			return &expression.Fault{Msg: "item is known in an entry with forEach only", Hint: "add forEach: vars.NAME to the entry"}
		}
	case "env", "secrets":
		return p.taken.Take(r)
	}
	return nil
}
