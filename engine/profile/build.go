package profile

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-multierror"
	"go.yaml.in/yaml/v4"

	"github.com/fitout-dev/fitout/engine/profile/expression"
	"github.com/fitout-dev/fitout/engine/secret"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/schema"
)

// built is one resource on its way: complete but for its edges.
type built struct {
	res           Resource
	entry         *entry
	typ           *modules.Type
	decoded       any
	state         string
	after, notify []target
	refs, paths   []string
	blobs         map[string]Content
	uncertain     bool // whether its when holds can't be known yet
}

// target is an address in after or notify, and where it is written.
type target struct {
	address string
	at      *expression.Value
}

func (b *built) skipped() bool { return b.res.Skip != "" }
func (b *built) absent() bool  { return b.state != modules.Present }

// errUnknownKey says that a resource can't be named yet.
var errUnknownKey = errors.New("unknown key")

// build makes the resources of an entry. What can't be known yet is left out. A nil entry in the result is a resource
// whose address isn't known yet.
func (p *Profile) build(e *entry, s *expression.Scope) ([]*built, error) {
	if e.forEach == nil {
		b, err := p.buildOne(e, s)
		return []*built{b}, err
	}
	if err := e.nameable(e.forEach, s, "forEach"); err != nil {
		return []*built{nil}, err
	}
	over, err := e.forEach.Eval(s)
	if err != nil && e.broken {
		return []*built{nil}, nil
	} else if err != nil {
		return []*built{nil}, err
	}
	var items []any
	switch x := over.(type) {
	case []any:
		items = x
	case map[string]any:
		for _, k := range names(x) {
			items = append(items, map[string]any{"key": k, "value": x[k]})
		}
	case expression.Unknown:
		return []*built{nil}, nil
	default:
		return nil, e.forEach.Problem("", "gives %s, not a list or a map", kindOf(over))
	}
	var faults *multierror.Error
	var out []*built
	for _, item := range items {
		b, err := p.buildOne(e, s.WithItem(expression.Var{Value: item}))
		if err != nil {
			faults = multierror.Append(faults, err)
		}
		out = append(out, b)
	}
	return out, faults.ErrorOrNil()
}

func (p *Profile) buildOne(e *entry, s *expression.Scope) (*built, error) {
	b := &built{typ: e.typ, entry: e}
	b.res = Resource{Type: e.typ.Name, Position: position(e.at)}
	if e.when != nil {
		if e.when.Tainted(s) {
			return nil, e.when.Problem("plans show conditions; use a variable that holds none", "a condition can't depend on a secret")
		}
		holds, unknown, err := e.when.Condition(s)
		if err != nil && e.broken {
			unknown = expression.UntilFacts
		} else if err != nil {
			return nil, err
		}
		b.uncertain = unknown != expression.Known
		if !holds && !b.uncertain {
			b.res.Skip = "when: " + e.when.Text()
		}
	}
	if b.res.Skip == "" {
		b.res.Skip = platformSkip(e.typ, s)
	}
	declared, err := e.declared(s, b.skipped())
	var faults *multierror.Error
	fault := func(err error) bool {
		if err != nil {
			faults = multierror.Append(faults, err)
		}
		return err != nil
	}
	incomplete := fault(err) || e.broken
	if b.skipped() || incomplete || special(declared) {
		err := p.name(b, declared, incomplete)
		if errors.Is(err, errUnknownKey) {
			return nil, faults.ErrorOrNil()
		}
		fault(err)
	}
	b.after, err = e.targets(e.after, s, "after")
	fault(err)
	if b.skipped() {
		b.res.Want = map[string]any{}
		for _, f := range e.typ.Fields {
			if x, ok := declared[f.Name]; ok && f.Role == modules.Key {
				b.res.Want[f.Name] = x
			}
		}
		return b, faults.ErrorOrNil()
	}
	b.notify, err = e.targets(e.notify, s, "notify")
	fault(err)
	fault(b.keywords(s))
	b.state = modules.Present
	if !incomplete {
		fault(p.complete(b, declared, s))
	}
	if b.res.Address == "" {
		return nil, faults.ErrorOrNil()
	}
	return b, faults.ErrorOrNil()
}

// platformSkip says why a device's platform has no such resources.
func platformSkip(t *modules.Type, s *expression.Scope) string {
	device, _ := s.Data()["device"].(map[string]any)
	os, _ := device["os"].(string)
	if platforms := t.Platforms(); os != "" && !slices.Contains(platforms, os) {
		return strings.Join(platforms, " and ") + " only"
	}
	return ""
}

// declared evaluates the properties: secrets are secret.Values, and what is unknown is an expression.Unknown. Of a
// skipped resource only its name counts.
func (e *entry) declared(s *expression.Scope, skipped bool) (map[string]any, error) {
	var faults *multierror.Error
	out := make(map[string]any, len(e.names))
	for _, name := range e.names {
		v := e.fields[name]
		f, known := e.typ.Field(name)
		if !known && blobNames(e.typ, name) == nil {
			continue // the schema has said so
		}
		if known && f.Role == modules.Key {
			if err := e.nameable(v, s, "a key"); err != nil {
				faults = multierror.Append(faults, err)
				continue
			}
		}
		if skipped && !isText(f) {
			continue
		}
		if why := public(f, name); why != "" && v.Tainted(s) {
			remedy := ""
			if f.Argv {
				remedy = "hand it over by stdin or environment"
			}
			faults = multierror.Append(faults, v.Problem(remedy, "a secret can't be used here: %s", why))
			continue
		}
		x, err := v.Eval(s)
		if err != nil {
			if !e.broken && (!skipped || f.Role == modules.Key) {
				faults = multierror.Append(faults, err)
			}
			continue
		}
		if x != nil {
			out[name] = x
		}
	}
	return out, faults.ErrorOrNil()
}

// public says why everyone may see a property's value, or "".
func public(f modules.Field, name string) string {
	switch {
	case f.Role == modules.Key:
		return "it is the resource's name, which is shown everywhere"
	case f.Argv:
		return "every user of the device can read a program's arguments"
	case f.Path, name == "source", name == "template":
		return "it is a path"
	case f.Tag.Get("ref") != "":
		return "it names another resource"
	}
	return ""
}

// nameable refuses what can't be part of an address: addresses are shown, and known before any contact.
func (e *entry) nameable(v *expression.Value, s *expression.Scope, what string) error {
	switch {
	case v.Tainted(s):
		return v.Problem("", "%s can't depend on a secret: addresses are shown everywhere", what)
	case v.Unknown(s) == expression.UntilFacts:
		return v.Problem("use variables, or what the inventory says of the device",
			"%s can't depend on facts: addresses are known before any contact", what)
	}
	return nil
}

// What stands in a text for a part that must not be in an address.
const (
	secretMark = "\x00secret\x00"
	factsMark  = "\x00facts\x00"
	deviceMark = "\x00device\x00"
)

// special says whether a text can't be shown or known, so that the address needs care.
func special(declared map[string]any) bool {
	for _, x := range declared {
		switch x.(type) {
		case secret.Value, expression.Unknown:
			return true
		}
	}
	return false
}

// name finds a resource's address from its texts alone, for types that are named by other properties than their keys.
func (p *Profile) name(b *built, declared map[string]any, incomplete bool) error {
	texts := map[string]any{}
	for name, x := range declared {
		if f, ok := b.typ.Field(name); !ok || !isText(f) {
			continue
		}
		switch v := x.(type) {
		case string:
			texts[name] = v
		case secret.Value:
			texts[name] = secretMark
		case expression.Unknown:
			texts[name] = deviceMark
			if v == expression.UntilFacts {
				texts[name] = factsMark
			}
		}
	}
	decoded, err := decode(b.typ, texts)
	if err != nil {
		return errUnknownKey
	}
	key := b.typ.KeyOf(decoded)
	switch {
	case strings.Contains(key, secretMark):
		return b.entry.at.Problem("give it an id", "its address would hold a secret")
	case strings.Contains(key, factsMark):
		return b.entry.at.Problem("give it an id", "its address would depend on facts, and addresses are known before any contact")
	case strings.Contains(key, deviceMark), incomplete && key == "" && !b.typ.Singleton():
		return errUnknownKey
	}
	b.res.Address = address(b.typ, key)
	return nil
}

func decode(t *modules.Type, values map[string]any) (any, error) {
	raw, err := json.Marshal(values)
	if err != nil {
		return nil, err
	}
	return t.Decode(raw)
}

// targets evaluates after or notify.
func (e *entry) targets(v *expression.Value, s *expression.Scope, what string) ([]target, error) {
	if v == nil {
		return nil, nil
	}
	items := v.Items()
	if !v.IsList() {
		items = []*expression.Value{v}
	}
	var out []target
	for _, item := range items {
		if err := e.nameable(item, s, what); err != nil {
			return out, err
		}
		x, err := item.Eval(s)
		if err != nil && e.broken {
			continue
		} else if err != nil {
			return out, err
		}
		switch a := x.(type) {
		case string:
			out = append(out, target{a, item})
		case []any: // ${vars.addresses}
			for _, a := range a {
				out = append(out, target{fmt.Sprint(a), item})
			}
		case expression.Unknown:
		default:
			return out, item.Problem("", "%s takes addresses such as services/ssh", what)
		}
	}
	return out, nil
}

func (b *built) keywords(s *expression.Scope) error {
	if v := b.entry.timeout; v != nil {
		x, err := v.Eval(s)
		if err != nil && !b.entry.broken {
			return err
		}
		if text, ok := x.(string); ok {
			if b.res.Timeout, err = time.ParseDuration(text); (err != nil || b.res.Timeout <= 0) && !b.entry.broken {
				return v.Problem("write 30s, 5m or 1h30m", "%q is no length of time", text)
			}
		}
	}
	if v := b.entry.retries; v != nil {
		x, err := v.Eval(s)
		if err != nil && !b.entry.broken {
			return err
		}
		if n, ok := x.(int64); ok {
			if n < 0 && !b.entry.broken {
				return v.Problem("", "retries can't be negative")
			}
			b.res.Retries = int(n)
		}
	}
	return nil
}

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
	b.state, b.refs, b.paths = t.StateOf(b.decoded), t.Refs(b.decoded), t.Paths(b.decoded)
	if !whole {
		return nil
	}
	return e.checkType(b.decoded, want, tainted)
}

// checkType asks the type about what the schema can't express. What it says of a secret isn't shown: it may quote it.
func (e *entry) checkType(shown any, want map[string]any, tainted bool) error {
	revealed := shown
	if tainted {
		var err error
		if revealed, err = decode(e.typ, expression.Reveal(want).(map[string]any)); err != nil {
			return e.at.Problem("", "what is made of a secret is not accepted here")
		}
	}
	err := e.typ.Check(revealed)
	if err == nil {
		return nil
	}
	if tainted {
		if same := e.typ.Check(shown); same == nil || same.Error() != err.Error() || hint.Of(same) != hint.Of(err) {
			at, _ := e.checked(err)
			return at.Problem("", "the type doesn't accept it; the reason is not shown, since a secret is in it")
		}
	}
	at, msg := e.checked(err)
	return at.Problem(hint.Of(err), "%s", msg)
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

// checked finds the property that a type's own check complains about: its errors begin with the name.
func (e *entry) checked(err error) (*expression.Value, string) {
	msg := err.Error()
	if name, rest, ok := strings.Cut(msg, ": "); ok && e.fields[name] != nil {
		return e.fields[name], rest
	}
	return e.at, msg
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

func position(v *expression.Value) Position {
	return Position{v.Source.File, v.Node.Line, v.Node.Column}
}

func kindOf(x any) string {
	switch x.(type) {
	case string, secret.Value:
		return "a text"
	case int64, float64:
		return "a number"
	case bool:
		return "true or false"
	case nil:
		return "nothing"
	}
	return "something else"
}
