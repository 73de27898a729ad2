package schema

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/registry"
)

// Beside resource types, there are two things to explain: a profile's "run", and what every entry may carry.
const (
	Run   = "run"
	Entry = "entry"
)

// Reference explains a resource type, Run or Entry.
type Reference struct {
	Name, Title, Description string
	Singleton                bool     // a device has one of these at most
	Short                    string   // the property that a bare text stands for, or ""
	Platforms                []string // of linux, windows and darwin
	Properties               []Property
}

// Property explains one property of a type.
type Property struct {
	Name, Title, Description string
	Role                     string // key, managed, behaviour, state, observed; entry for what every entry may carry, run for Run's
	Type                     string // "text", "list of whole numbers", ...
	Required, Secret         bool
	Enum                     []string
	Pattern                  string
	Default, Example         any        // nil where there is none
	Keys                     []Property `json:",omitempty"` // of a map, or of each map of a list
}

// Explain returns what there is to say of a type, of Run or of Entry, with all its properties in their order or, where property isn't "", that
// one alone.
func Explain(typeName, property string) (*Reference, error) {
	ref, err := reference(typeName)
	if err != nil {
		return nil, err
	}
	if property == "" {
		return ref, nil
	}
	i := slices.IndexFunc(ref.Properties, func(p Property) bool { return p.Name == property })
	if i < 0 {
		var names []string
		for _, p := range ref.Properties {
			names = append(names, p.Name)
		}
		return nil, notFound(fmt.Errorf("%s has no property %q", typeName, property), property, names)
	}
	ref.Properties = ref.Properties[i : i+1]
	return ref, nil
}

func reference(name string) (*Reference, error) {
	profileRules.parts()
	switch name {
	case Entry:
		ref := &Reference{Name: name, Title: "Every entry", Platforms: everywhere,
			Description: "What any entry of a profile may carry, beside the properties of its resource type."}
		for _, d := range slices.Sorted(maps.Keys(profileRules.definitions)) {
			if key, ok := strings.CutPrefix(d, "any."); ok {
				ref.Properties = append(ref.Properties, explain(key, "entry", decode(profileRules.definitions[d]), false))
			}
		}
		return ref, nil
	case Run:
		doc := decode(profileRules.definitions[name])
		ref := &Reference{Name: name, Singleton: true, Platforms: everywhere, Title: textOf(doc, "title"), Description: textOf(doc, "description")}
		properties := doc["properties"].(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(properties)) {
			ref.Properties = append(ref.Properties, explain(key, "run", properties[key].(map[string]any), false))
		}
		return ref, nil
	}
	t := registry.Find(name)
	if t == nil {
		names := []string{Run, Entry}
		for _, t := range registry.Types {
			names = append(names, t.Name)
		}
		return nil, notFound(fmt.Errorf("no resource type %q", name), name, names)
	}
	doc := decode(profileRules.definitions[name])
	ref := &Reference{
		Name: name, Singleton: t.Singleton(), Platforms: t.Platforms(), Properties: explainAll(t, doc),
		Title: textOf(doc, "title"), Description: textOf(doc, "description"),
	}
	if fits("", typesOf(doc)) || doc["anyOf"] != nil {
		ref.Short = t.Short()
	}
	return ref, nil
}

var everywhere = []string{"linux", "windows", "darwin"}

func notFound(err error, word string, among []string) error {
	if s := hint.Near(word, among); s != "" {
		return hint.New(err, "did you mean %q?", s)
	}
	return hint.New(err, "there are: %s", strings.Join(among, ", "))
}

func explainAll(t *modules.Type, doc map[string]any) []Property {
	properties, _ := doc["properties"].(map[string]any)
	observed, _ := doc["x-observed"].(map[string]any)
	required := texts(doc["required"])
	seen := map[string]bool{}
	var out []Property
	add := func(name, role string, schema any) {
		s, ok := schema.(map[string]any)
		if !ok || seen[name] {
			return
		}
		seen[name] = true
		out = append(out, explain(name, role, s, slices.Contains(required, name)))
	}
	for _, f := range t.Fields {
		switch {
		case f.Role == modules.Observed:
			continue
		case f.IsBlob():
			for _, name := range f.Blob {
				add(name, string(f.Role), properties[name])
			}
		default:
			add(f.Name, string(f.Role), properties[f.Name])
		}
	}
	for _, f := range t.Fields {
		if f.Role == modules.Observed {
			add(f.Name, string(f.Role), observed[f.Name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		if raw, ok := profileRules.definitions["any."+name]; ok {
			add(name, "entry", decode(raw))
		}
	}
	return out
}

func explain(name, role string, s map[string]any, required bool) Property {
	noExpressions(s)
	p := Property{
		Name: name, Role: role, Title: textOf(s, "title"), Description: textOf(s, "description"),
		Default: s["default"], Required: required, Secret: s["writeOnly"] == true,
	}
	if e, ok := s["examples"].([]any); ok && len(e) > 0 {
		p.Example = e[0]
	}
	value := valueOf(s)
	p.Type, p.Enum, p.Pattern = describe(s), texts(value["enum"]), textOf(value, "pattern")
	if role != string(modules.Observed) {
		p.Keys = keysOf(value)
	}
	return p
}

// keysOf explains what may be in a map, or in each map of a list.
func keysOf(s map[string]any) (keys []Property) {
	if items, ok := s["items"].(map[string]any); ok {
		s = valueOf(items)
	}
	properties, _ := s["properties"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		if key, ok := properties[name].(map[string]any); ok {
			keys = append(keys, explain(name, "", key, slices.Contains(texts(s["required"]), name)))
		}
	}
	return keys
}

// valueOf looks through the anyOf that an enum needs.
func valueOf(s map[string]any) map[string]any {
	if list, ok := s["anyOf"].([]any); ok && len(list) > 0 {
		s, _ = list[0].(map[string]any)
	}
	return s
}

// describe names a schema's type: "list of text".
func describe(s map[string]any) string {
	s = valueOf(s)
	var words []string
	for _, t := range typesOf(s) {
		word := Words([]string{t})
		if items, ok := s["items"].(map[string]any); ok && t == "array" {
			word = "list of " + plural(describe(items))
		}
		if each, ok := s["additionalProperties"].(map[string]any); ok && t == "object" {
			word = "map of " + plural(describe(each))
		}
		words = append(words, strings.TrimPrefix(word, "a "))
	}
	if len(words) == 0 {
		return "anything"
	}
	return strings.Join(words, " or ")
}

func plural(word string) string {
	switch word {
	case "whole number", "number", "map", "list":
		return word + "s"
	}
	return word
}

func textOf(m map[string]any, key string) string {
	s, _ := m[key].(string)
	return s
}
