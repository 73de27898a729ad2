package profile

import (
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/go-multierror"

	"github.com/fitout-dev/fitout/engine/profile/expression"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/registry"
	"github.com/fitout-dev/fitout/schema"
)

// entry is what a profile says of one resource, or with forEach of several.
type entry struct {
	typ    *modules.Type
	at     *expression.Value
	fields map[string]*expression.Value // its properties
	names  []string                     // of fields, sorted
	index  int                          // in the profile's order of its type

	when, forEach, after, notify, timeout, retries, reboot, connect *expression.Value

	merged bool   // from several files: the schema hasn't seen it as a whole
	broken bool   // the schema has something against it; it is not checked further
	fixed  *built // what it is for every device
}

// check makes the entries of what was merged and finds what is wrong with them. faults are those of the schema.
func (p *Profile) check(m *merged, faults []error) error {
	all := &multierror.Error{Errors: slices.Clone(faults)}
	add := func(err error) {
		if err != nil {
			all = multierror.Append(all, err)
		}
	}
	p.dropped = m.dropped
	slices.Sort(p.dropped)
	var fresh []*entry
	for _, t := range registry.Types {
		for i, d := range m.types[t] {
			// Thousands of profiles may extend the same one: what they take from it as it stands there is theirs together.
			if d.entry == nil || d.entry.index != i {
				d.entry = newEntry(d, i, faults)
				fresh = append(fresh, d.entry)
			}
			p.entries = append(p.entries, d.entry)
		}
	}
	p.run = m.run
	maps.DeleteFunc(p.run, func(_ string, v *expression.Value) bool { return faulty(v, faults) })
	add(p.sortVariables(m))
	add(p.checkNames())
	for _, e := range fresh {
		if e.constant() {
			b, err := p.build(e, expression.NewScope(nil, false, nil, nil, true))
			if err == nil && b[0] != nil { // else compile reports it
				e.fixed = b[0]
			}
		}
	}
	_, err := p.compile(nil)
	add(err)
	return all.ErrorOrNil()
}

func newEntry(d *declaration, index int, faults []error) *entry {
	e := &entry{typ: d.typ, at: d.at, fields: maps.Clone(d.fields), index: index, merged: d.merged}
	take := func(name string) *expression.Value {
		if _, own := d.typ.Field(name); own {
			return nil
		}
		v := e.fields[name]
		delete(e.fields, name)
		if v != nil && v.IsNull() {
			return nil
		}
		return v
	}
	e.when, e.forEach = take("when"), take("forEach")
	e.after, e.notify = take("after"), take("notify")
	e.timeout, e.retries = take("timeout"), take("retries")
	e.reboot, e.connect = take("reboot"), take("connect")
	take("managed")
	e.names = names(e.fields)
	e.broken = faulty(d.at, faults)
	return e
}

// faulty says whether something is wrong in a value already.
func faulty(v *expression.Value, faults []error) bool {
	last := lastLine(v)
	return slices.ContainsFunc(faults, func(err error) bool {
		f, ok := err.(*schema.Problem)
		return ok && f.File == v.Source.File && f.Line >= v.Node.Line && f.Line <= last
	})
}

func lastLine(v *expression.Value) int {
	line := v.Node.Line + strings.Count(v.Node.Value, "\n")
	for _, c := range v.Items() {
		line = max(line, lastLine(c))
	}
	for _, k := range v.Keys() {
		line = max(line, lastLine(v.Field(k)))
	}
	return line
}

// constant says whether the entry is the same for every device.
func (e *entry) constant() bool {
	return e.forEach == nil && !e.broken && !slices.ContainsFunc(e.values(), func(v *expression.Value) bool {
		return !v.Constant() || v.Name() == "template" && blobNames(e.typ, "template") != nil
	})
}

// values are all that may hold expressions, in a stable order.
func (e *entry) values() []*expression.Value {
	var vs []*expression.Value
	for _, v := range []*expression.Value{e.forEach, e.when, e.after, e.notify, e.timeout, e.retries, e.reboot, e.connect} {
		if v != nil {
			vs = append(vs, v)
		}
	}
	for _, n := range e.names {
		vs = append(vs, e.fields[n])
	}
	return vs
}
