package main

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/fitout-dev/fitout/schema"
	"go.yaml.in/yaml/v4"
)

type generator struct{ docs docs }

func newGenerator(root string) *generator {
	return &generator{docs{root, map[string]map[string]string{}}}
}

// place is where a value stands: what may be written there beside the value itself.
type place struct {
	expression bool // ${...}
	null       bool // null, which unsets
}

// value is the schema of a Go type, with the constraints that a field's tags give.
func (g *generator) value(t reflect.Type, tag reflect.StructTag, at place) (object, error) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	at.expression = at.expression || tag.Get("expression") != ""
	var o object
	var types []string
	switch k := t.Kind(); k {
	case reflect.String:
		return g.text(tag, at)
	case reflect.Bool:
		types = []string{"boolean"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		types = []string{"integer"}
		if k >= reflect.Uint {
			o.set("minimum", 0)
		}
	case reflect.Float32, reflect.Float64:
		types = []string{"number"}
	case reflect.Slice, reflect.Array:
		types = []string{"array"}
		items, err := g.value(t.Elem(), tag, place{expression: at.expression})
		if err != nil {
			return nil, err
		}
		o.set("items", items)
	case reflect.Map:
		types = []string{"object"}
		if p := tag.Get("names"); p != "" {
			o.set("propertyNames", object{{"pattern", p}, {"patternErrorMessage", must(tag.Get("nameMessage"), p, "")}})
		}
		each, err := g.value(t.Elem(), tag, place{expression: at.expression, null: t.Elem().Kind() == reflect.Pointer})
		if err != nil {
			return nil, err
		}
		if len(each) > 0 {
			o.set("additionalProperties", each)
		}
	case reflect.Struct:
		return g.structure(t, at, place{expression: at.expression})
	case reflect.Interface:
		if tag.Get("types") == "" {
			return nil, nil // anything
		}
	default:
		return nil, fmt.Errorf("a %s can't be declared in a profile", t)
	}
	if t := tag.Get("types"); t != "" {
		types = strings.Split(t, ",")
	}
	for _, name := range []string{"minimum", "maximum"} {
		if m := tag.Get(name); m != "" && o.get("items") == nil {
			n, err := strconv.ParseFloat(m, 64)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			o.set(name, n)
		}
	}
	if c := tag.Get("const"); c != "" {
		v, err := parse(c)
		if err != nil {
			return nil, err
		}
		o.set("const", v)
	}
	if at.expression && !slices.Contains(types, "string") {
		o.set("pattern", schema.ExpressionPattern)
		o.set("patternErrorMessage", "must be "+schema.Words(types)+", or an expression: ${...}")
		types = append(types, "string")
	}
	return typed(types, at, o), nil
}

// text is the schema of a string. An expression may stand for it, whatever else it must be.
func (g *generator) text(tag reflect.StructTag, at place) (object, error) {
	var o object
	pattern, example, format := tag.Get("pattern"), tag.Get("example"), tag.Get("format")
	if f := formats[pattern]; f != "" {
		pattern, format = "", f
	}
	if pattern != "" {
		message := must("", pattern, example)
		if at.expression {
			pattern = schema.OrExpression(pattern)
		}
		o.set("pattern", pattern)
		o.set("patternErrorMessage", message)
	}
	if format != "" {
		o.set("format", format)
	}
	if e := tag.Get("enum"); e != "" {
		o.set("enum", strings.Split(e, ","))
	}
	if o.get("enum") == nil && (o.get("format") == nil || !at.expression) {
		return typed([]string{"string"}, at, o), nil
	}
	if !at.expression && !at.null {
		return typed([]string{"string"}, at, o), nil
	}
	either := []object{typed([]string{"string"}, place{}, o)}
	if at.expression {
		either = append(either, object{{"$ref", "#/definitions/expression"}})
	}
	if at.null {
		either = append(either, object{{"type", "null"}})
	}
	return object{{"anyOf", either}}, nil
}

func must(said, pattern, example string) string {
	switch {
	case said != "":
		return said
	case inWords[pattern] != "" && example != "":
		return fmt.Sprintf("must be %s, as %q is", inWords[pattern], example)
	case example != "":
		return fmt.Sprintf("must match %s, as %q does", pattern, example)
	}
	return "must match " + pattern
}

// formats are checked more closely than a pattern can.
var formats = map[string]string{`^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$`: schema.TimeZone}

// inWords says what patterns ask for. A type whose pattern isn't here works as well: its message shows the pattern.
var inWords = map[string]string{
	`^/`:                               "an absolute path",
	`^\S+$`:                            "text without spaces",
	`^\S(.*\S)?$`:                      "text without spaces around it",
	`^[0-7]{3,4}$`:                     "three or four digits from 0 to 7",
	`^[^\n\r#\x00]*$`:                  "one line without #",
	`^[A-Za-z_][A-Za-z0-9_]*$`:         "letters, digits and _, and begin with no digit",
	`^[A-Za-z0-9_:@/.-]+$`:             "letters, digits and any of _ : @ / . -",
	`^[A-Za-z0-9:_.@\\ $()&+,-]+$`:     "letters, digits, blanks and any of : _ . @ \\ $ ( ) & + , -",
	`^[a-z_][-a-z0-9_.]*[$]?$`:         "lower-case letters, digits and any of _ . -, and begin with a letter or _",
	`^([0-9]+(\.[0-9]+)?(h|m|s))+$`:    "a length of time in h, m and s",
	`^([0-9]+(\.[0-9]+)?(h|m|s|ms))+$`: "a length of time in h, m, s and ms",
	`^([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]$`:                                 "two times of day from 00:00 to 23:59",
	`^[0-9]+(\.[0-9]+)? ?([KMGT]i?)?B$`:                                                             "a number with B, KB, MB, GB, TB, KiB, MiB, GiB or TiB",
	`^(never|[0-9]{4}-[0-9]{2}-[0-9]{2})$`:                                                          "never, or a date as year-month-day",
	`^[a-z0-9][a-z0-9+.-]+(:[a-z0-9-]+)?$`:                                                          "two or more of lower-case letters, digits, + . and -, and begin with a letter or digit",
	`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$`: "letters, digits and -, in parts of up to 63 that dots join and that neither begin nor end with -",
}

func typed(types []string, at place, o object) object {
	if at.null {
		types = append(types[:len(types):len(types)], "null")
	}
	if len(types) == 1 {
		return append(object{{"type", types[0]}}, o...)
	}
	return append(object{{"type", types}}, o...)
}

// structure is the schema of a nested struct that stands at a place, whose fields stand at inside. A field tagged
// fit:",short" is what a bare text stands for.
func (g *generator) structure(t reflect.Type, at, inside place) (object, error) {
	var properties object
	var required []string
	var short object
	var collect func(t reflect.Type) error
	collect = func(t reflect.Type) error {
		for i := range t.NumField() {
			f := t.Field(i)
			if f.Anonymous {
				if err := collect(f.Type); err != nil {
					return err
				}
				continue
			}
			name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			p, err := g.property(t, f.Name, f.Type, f.Tag, inside)
			if err != nil {
				return fmt.Errorf("%s.%s: %w", t, f.Name, err)
			}
			properties.set(name, p)
			if options == "" {
				required = append(required, name)
			}
			if strings.HasSuffix(f.Tag.Get("fit"), ",short") {
				if short, err = g.value(f.Type, f.Tag, place{expression: at.expression}); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if err := collect(t); err != nil {
		return nil, err
	}
	return shortOr(short, at, properties, required), nil
}

// shortOr is the schema of a map with these properties, or of the one value that is short for it.
func shortOr(short object, at place, properties object, required []string) object {
	o := object{{"properties", properties}}
	if len(required) > 0 {
		o.set("required", required)
	}
	o.set("additionalProperties", false)
	either, _ := short.get("anyOf").([]object)
	if short.get("enum") != nil {
		either = []object{short}
	}
	if either != nil { // an enum binds maps too, so it has to stand beside
		either = append(slices.Clone(either), object{{"type", "object"}})
		if at.null {
			either = append(either, object{{"type", "null"}})
		}
		return append(o, member{"anyOf", either})
	}
	types := []string{"object"}
	for _, m := range short {
		if m.key != "type" {
			o = append(o, m)
			continue
		}
		switch s := m.value.(type) {
		case string:
			types = append([]string{s}, types...)
		case []string:
			types = append(slices.Clone(s), types...)
		}
	}
	return typed(types, at, o)
}

// property is the schema of a struct's field, with title and description.
func (g *generator) property(owner reflect.Type, field string, t reflect.Type, tag reflect.StructTag, at place) (object, error) {
	doc, err := g.docs.of(owner, field)
	if err != nil {
		return nil, err
	}
	if tag.Get("null") != "" {
		at.null = true
	}
	v, err := g.value(t, tag, at)
	if err != nil {
		return nil, err
	}
	if tag.Get("secret") != "" {
		v.set("writeOnly", true)
	}
	return g.annotate(tag.Get("title"), doc, t, tag, v)
}

func (g *generator) annotate(title, doc string, t reflect.Type, tag reflect.StructTag, v object) (object, error) {
	if title == "" || doc == "" {
		return nil, fmt.Errorf("needs a title tag and a doc comment")
	}
	o := append(object{{"title", title}, {"description", doc}}, v...)
	for _, name := range []string{"default", "example"} {
		text := tag.Get(name)
		if text == "" {
			continue
		}
		x, err := literal(text, t)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if name == "example" {
			o.set("examples", []any{x})
		} else {
			o.set(name, x)
		}
	}
	return o, nil
}

// literal reads what a tag says as a value of the type.
func literal(text string, t reflect.Type) (any, error) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() == reflect.String || t.Kind() == reflect.Interface {
		return text, nil
	}
	if t.Kind() == reflect.Slice && !strings.HasPrefix(text, "[") { // one entry of it
		one, err := literal(text, t.Elem())
		return []any{one}, err
	}
	return parse(text)
}

func parse(text string) (any, error) {
	var n yaml.Node
	if err := yaml.Load([]byte(text), &n); err != nil {
		return nil, err
	}
	return schema.Value(n.Content[0]), nil
}
