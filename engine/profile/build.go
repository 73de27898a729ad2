package profile

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/go-multierror"

	"github.com/fitout-dev/fitout/engine/profile/expression"
	"github.com/fitout-dev/fitout/engine/secret"
	"github.com/fitout-dev/fitout/modules"
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
	unnamed       []unnamed
	named         func() (*built, error) // with the names of its contents, which takes time; nil: it has them
	uncertain     bool                   // whether its when holds can't be known yet
	sound         bool                   // nothing is wrong with it by itself
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
		b.sound = !fault(p.complete(b, declared, s)) && faults == nil
	}
	if b.res.Address == "" {
		return nil, faults.ErrorOrNil()
	}
	return b, faults.ErrorOrNil()
}

// platformSkip says why a device's platform has no such resources.
func platformSkip(t *modules.Type, s *expression.Scope) string {
	os := osOf(s)
	if platforms := t.Platforms(); os != "" && !slices.Contains(platforms, os) {
		return strings.Join(platforms, " and ") + " only"
	}
	return ""
}

// osOf is the device's platform, "" where it isn't known yet.
func osOf(s *expression.Scope) string {
	device, _ := s.Data()["device"].(map[string]any)
	os, _ := device["os"].(string)
	return os
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
	case f.Path, name == "source": // a template's name may have no expression at all
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

// keywords evaluates what any entry may carry, but for what decides on its name, its edges and whether it is there.
func (b *built) keywords(s *expression.Scope) error {
	var faults *multierror.Error
	for _, k := range []struct {
		v   *expression.Value
		set func(v *expression.Value, x any) error
	}{{b.entry.timeout, b.timeout}, {b.entry.retries, b.retries}, {b.entry.reboot, b.reboot}, {b.entry.connect, b.connect}} {
		if k.v == nil {
			continue
		}
		x, err := k.v.Eval(s)
		if err == nil {
			err = k.set(k.v, x)
		}
		if err != nil && !b.entry.broken {
			faults = multierror.Append(faults, err)
		}
	}
	return faults.ErrorOrNil()
}

func (b *built) timeout(v *expression.Value, x any) (err error) {
	if text, ok := x.(string); ok {
		b.res.Timeout, err = duration(v, text)
	}
	return err
}

func (b *built) retries(v *expression.Value, x any) error {
	n, ok := x.(int64)
	if ok && n < 0 {
		return v.Problem("", "retries can't be negative")
	}
	b.res.Retries = int(n)
	return nil
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
