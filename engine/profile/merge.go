package profile

// How profiles that extend each other become one:
//
//   - The files are taken in order, parents before children, several parents left to right, each file once.
//   - Variables, the keys of run, and an entry's properties, are taken one by one: the last file that says something wins.
//     A list or a map inside an entry is one value, taken whole. content, source and template are one property.
//   - Entries of a list are matched by their key as it is written, expressions included. An entry whose key is new is
//     added at the end. Where a key has several entries (each with its own when), an entry with the same when changes
//     that one, an entry without when changes all of them, and any other is added.
//   - null takes away what was said before: a property, a variable, a key of run or all of it, or all entries of a type.
//   - managed: false takes an entry out; managed: true in a later file takes it in again.

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	"github.com/fitout-dev/fitout/engine/profile/expression"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/registry"
)

// declaration is an entry while files are merged.
type declaration struct {
	typ    *modules.Type
	at     *expression.Value // where the last file declares it
	fields map[string]*expression.Value
	merged bool // made from several files
	named  bool
	name   string // what key gave
	entry  *entry // what entryAt gave
}

// merged is what the files say together.
type merged struct {
	variables map[string]*expression.Value
	names     []string // of variables, in the order of their first mention
	run       map[string]*expression.Value
	types     map[*modules.Type][]*declaration
	dropped   []string
}

func merge(lineage []*file) *merged {
	m := &merged{variables: map[string]*expression.Value{}, run: map[string]*expression.Value{}, types: map[*modules.Type][]*declaration{}}
	for _, f := range lineage {
		m.add(f)
	}
	for t, ds := range m.types {
		m.types[t] = slices.DeleteFunc(ds, func(d *declaration) bool {
			managed := d.fields["managed"]
			if managed == nil {
				return false
			}
			if yes, ok := managed.Literal(); ok && yes == false {
				m.dropped = append(m.dropped, address(t, d.key()))
				return true
			}
			return false
		})
	}
	return m
}

func (m *merged) add(f *file) {
	root := f.root
	if vars := root.Field("variables"); vars != nil {
		for _, name := range vars.Keys() {
			if _, seen := m.variables[name]; !seen {
				m.names = append(m.names, name)
			}
			m.variables[name] = vars.Field(name)
		}
	}
	if run := root.Field("run"); run != nil && run.IsNull() {
		clear(m.run)
	} else if run != nil {
		for _, name := range run.Keys() {
			if m.run[name] = run.Field(name); m.run[name].IsNull() {
				delete(m.run, name)
			}
		}
	}
	for _, name := range root.Keys() {
		t := registry.Find(name)
		if t == nil {
			continue
		}
		v := root.Field(name)
		if v.IsNull() {
			delete(m.types, t)
			continue
		}
		if _, read := f.declared[t]; !read {
			if f.declared == nil {
				f.declared = map[*modules.Type][]*declaration{}
			}
			f.declared[t] = declarations(t, v)
		}
		m.types[t] = mergeType(m.types[t], slices.Clone(f.declared[t]))
	}
}

// declarations reads the entries of one type in one file.
func declarations(t *modules.Type, v *expression.Value) []*declaration {
	items := v.Items()
	if !v.IsList() {
		items = []*expression.Value{v}
	}
	var out []*declaration
	for _, item := range items {
		d := &declaration{typ: t, at: item}
		switch {
		case item.IsMap():
			d.fields = make(map[string]*expression.Value, len(item.Keys()))
			for _, k := range item.Keys() {
				d.fields[k] = item.Field(k)
			}
		case item.IsNull() || item.IsList() || t.Short() == "":
			continue // the schema has said so
		default:
			d.fields = map[string]*expression.Value{t.Short(): item}
		}
		out = append(out, d)
	}
	return out
}

// key is the resource's key as it is written, its expressions as text.
func (d *declaration) key() string {
	if !d.named {
		d.named, d.name = true, d.writtenKey()
	}
	return d.name
}

func (d *declaration) writtenKey() string {
	if d.typ.Singleton() {
		return ""
	}
	texts := map[string]any{}
	for name, v := range d.fields {
		if f, ok := d.typ.Field(name); ok && isText(f) && !v.IsMap() && !v.IsList() && !v.IsNull() {
			texts[name] = v.Text()
		}
	}
	raw, err := json.Marshal(texts)
	if err != nil {
		return ""
	}
	decoded, err := d.typ.Decode(raw)
	if err != nil {
		return ""
	}
	key, _ := strings.CutPrefix(folded(d.typ.Name+"/"+d.typ.KeyOf(decoded)), d.typ.Name+"/")
	return key
}

func mergeType(have, add []*declaration) []*declaration {
	if len(have) == 0 {
		return add
	}
	byKey := map[string][]*declaration{}
	for _, d := range have {
		byKey[d.key()] = append(byKey[d.key()], d)
	}
	groups := map[string][]*declaration{}
	for _, d := range add {
		groups[d.key()] = append(groups[d.key()], d)
	}
	var out []*declaration
	placed := map[string]bool{}
	for _, d := range have {
		if group := groups[d.key()]; group == nil {
			out = append(out, d)
		} else if !placed[d.key()] {
			placed[d.key()] = true
			out = append(out, mergeKey(byKey[d.key()], group)...)
		}
	}
	for _, d := range add {
		if byKey[d.key()] == nil {
			out = append(out, d)
		}
	}
	return out
}

// mergeKey merges the entries of one key.
func mergeKey(have, add []*declaration) []*declaration {
	if len(have) == 1 {
		out := make([]*declaration, len(add))
		for i, d := range add {
			out[i] = have[0].with(d)
		}
		return out
	}
	out := slices.Clone(have)
	for _, d := range add {
		when, found := d.when(), false
		for i := range out {
			if when == "" || out[i].when() == when {
				out[i], found = out[i].with(d), true
			}
		}
		if !found {
			out = append(out, d)
		}
	}
	return out
}

func (d *declaration) when() string {
	if v := d.fields["when"]; v != nil {
		return v.Text()
	}
	return ""
}

// with is the entry with a later file's on top.
func (d *declaration) with(over *declaration) *declaration {
	out := &declaration{typ: d.typ, at: over.at, merged: true, named: d.named, name: d.name,
		fields: make(map[string]*expression.Value, len(d.fields)+len(over.fields))}
	for name, v := range d.fields {
		out.fields[name] = v
	}
	for name, v := range over.fields {
		for _, sibling := range blobNames(d.typ, name) {
			delete(out.fields, sibling)
		}
		out.fields[name] = v
	}
	return out
}

// blobNames lists what stands for the same content as the property name, if it stands for one.
func blobNames(t *modules.Type, name string) []string {
	for _, f := range t.Fields {
		if slices.Contains(f.Blob, name) {
			return f.Blob
		}
	}
	return nil
}

// isText says whether a property is a plain text.
func isText(f modules.Field) bool {
	t := f.Type
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Kind() == reflect.String
}

func address(t *modules.Type, key string) string {
	if t.Singleton() {
		return t.Name
	}
	return t.Name + "/" + key
}
