package profile

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/go-multierror"
	"go.yaml.in/yaml/v4"

	"github.com/fitout-dev/fitout/engine/profile/expression"
	"github.com/fitout-dev/fitout/engine/secret"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/schema"
)

// complete validates what is declared and makes it what the device is asked for.
func (p *Profile) complete(b *built, declared map[string]any, s *expression.Scope) error {
	e, t := b.entry, b.typ
	whole, tainted := true, false
	want := make(map[string]any, len(declared)+2)
	for name, x := range declared {
		known, secrets := true, false
		expression.Walk(x, func(leaf any) {
			switch leaf.(type) {
			case expression.Unknown:
				known = false
			case secret.Value:
				secrets = true
			}
		})
		tainted = tainted || secrets
		if !known {
			whole = false
			continue
		}
		if secrets {
			b.res.Secret = append(b.res.Secret, name)
		}
		want[name] = x
	}
	if whole && e.unproven(want) {
		if err := e.validate(want, tainted); err != nil {
			return err
		}
	}
	if err := p.contents(b, want, s, &whole); err != nil {
		return err
	}
	for name, x := range defaultsOf(t) {
		if _, set := declared[name]; !set {
			want[name] = x
		}
	}
	slices.Sort(b.res.Secret)
	b.res.Secret = slices.Compact(b.res.Secret)
	b.res.Want = want
	var err error
	if b.decoded, err = decode(t, want); err != nil {
		return e.at.Problem("", "%s", strings.TrimPrefix(err.Error(), t.Name+": "))
	}
	if b.res.Address == "" {
		b.res.Address = address(t, t.KeyOf(b.decoded))
	}
	if policy, own := want["reboot"].(string); own { // of a type with a property of its own, as updates has
		b.res.Reboot = policy
	}
	b.state, b.refs, b.paths = t.StateOf(b.decoded), t.Refs(b.decoded), t.Paths(b.decoded)
	if !whole {
		return nil
	}
	return e.checkType(osOf(s), b.decoded, want, tainted)
}

// checkType asks the type about what the schema can't express. What it says of a secret isn't shown: it may quote it.
func (e *entry) checkType(os string, shown any, want map[string]any, tainted bool) error {
	revealed := shown
	if tainted {
		var err error
		if revealed, err = decode(e.typ, expression.Reveal(want).(map[string]any)); err != nil {
			return e.at.Problem("", "what is made of a secret is not accepted here")
		}
	}
	err := e.typ.CheckOn(os, revealed)
	if err == nil {
		return nil
	}
	if tainted {
		if same := e.typ.CheckOn(os, shown); same == nil || same.Error() != err.Error() || hint.Of(same) != hint.Of(err) {
			at, _ := e.checked(err)
			return at.Problem("", "the type doesn't accept it; the reason is not shown, since a secret is in it")
		}
	}
	at, msg := e.checked(err)
	remedy := hint.Of(err)
	if text, ok := at.Literal(); ok && remedy == "" {
		if text, ok := text.(string); ok {
			remedy = schema.Strange(text)
		}
	}
	return at.Problem(remedy, "%s", msg)
}

// unproven says whether the schema has still something to say: it has seen what is written in one file, and a free text
// is right whatever an expression gives.
func (e *entry) unproven(want map[string]any) bool {
	if e.merged {
		return true
	}
	return slices.ContainsFunc(e.names, func(name string) bool {
		if e.fields[name].Constant() {
			return false
		}
		f, known := e.typ.Field(name)
		free := name == "content" || known && f.Role != modules.Key && isText(f) &&
			f.Tag.Get("pattern") == "" && f.Tag.Get("enum") == "" && f.Tag.Get("format") == ""
		switch want[name].(type) {
		case string, secret.Value:
			return !free
		}
		return true
	})
}

var beginning = regexp.MustCompile(`^(\w+)(?:\[(\d+)\])?(: | )(.*)$`)

// checked finds the property that a type's own check complains about: its errors begin with the name.
func (e *entry) checked(err error) (*expression.Value, string) {
	msg := err.Error()
	m := beginning.FindStringSubmatch(msg)
	if m == nil {
		return e.at, msg
	}
	name, index, separator, rest := m[1], m[2], m[3], m[4]
	v := e.fields[name]
	if v == nil {
		if _, known := e.typ.Field(name); known && rest == "is missing" {
			return e.at, fmt.Sprintf("the key %q is missing", name)
		}
		return e.at, msg
	}
	if index != "" {
		v = v.At([]string{index})
	}
	first, _, _ := strings.Cut(rest, " ")
	if separator == ": " || slices.Contains([]string{"is", "has", "holds", "must", "can't"}, first) || strings.ContainsAny(rest[:1], `"0123456789`) {
		return v, rest
	}
	return v, msg
}

// validate asks the schema about values as they are after all expressions. Secrets pass there; whether they are right is
// asked apart, and told without the reason, which quotes them.
func (e *entry) validate(want map[string]any, tainted bool) error {
	var faults *multierror.Error
	at := func(path []string) *expression.Value {
		if len(path) > 0 && e.fields[path[0]] != nil {
			return e.fields[path[0]].At(path[1:])
		}
		return e.at
	}
	for _, v := range schema.ValidateResource(e.typ, want) {
		faults = multierror.Append(faults, at(v.Path).Problem(v.Hint, "%s", v.Message))
	}
	if faults == nil && tainted {
		for _, v := range schema.ValidateResource(e.typ, expression.Reveal(want).(map[string]any)) {
			faults = multierror.Append(faults, at(v.Path).Problem("", "the secret's text is not accepted here"))
		}
	}
	return faults.ErrorOrNil()
}

var defaults sync.Map // *modules.Type → map[string]any

// defaultsOf are the values that a type's behaviour has where a profile says nothing.
func defaultsOf(t *modules.Type) map[string]any {
	if d, ok := defaults.Load(t); ok {
		return d.(map[string]any)
	}
	d := map[string]any{}
	for _, f := range t.Fields {
		text, ok := f.Tag.Lookup("default")
		if !ok {
			continue
		}
		if isText(f) {
			d[f.Name] = text
			continue
		}
		var n yaml.Node
		if err := yaml.Unmarshal([]byte(text), &n); err != nil || len(n.Content) == 0 {
			panic(fmt.Sprintf("profile: %s.%s has the default %q, which can't be read", t.Name, f.Name, text))
		}
		d[f.Name] = schema.Value(n.Content[0])
	}
	defaults.Store(t, d)
	return d
}
