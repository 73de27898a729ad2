package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/fitout-dev/fitout/modules/registry"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v5"
)

func generated(t *testing.T) *generator {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	return newGenerator(root)
}

// The committed schemas are those that the resource types give.
func TestNotStale(t *testing.T) {
	g := generated(t)
	for name, schema := range map[string]func() (object, error){
		"profile.schema.json":   func() (object, error) { return g.profileSchema(registry.Types) },
		"inventory.schema.json": g.inventorySchema,
	} {
		o, err := schema()
		if err != nil {
			t.Fatal(err)
		}
		have, err := os.ReadFile(filepath.Join(g.docs.root, "schema", name))
		if err != nil {
			t.Fatal(err)
		}
		have = bytes.ReplaceAll(have, []byte("\r\n"), []byte("\n"))
		if d := cmp.Diff(string(encode(o)), string(have)); d != "" {
			t.Errorf("schema/%s is stale; run go generate ./schema (-want +have)\n%s", name, d)
		}
	}
}

// Sample is a type with a property of every kind.
//
// It is for tests.
type Sample struct {
	// Its name.
	Name string `json:"name" fit:"key" title:"Name" pattern:"^[a-z]+$" example:"a"`
	// Told apart by it.
	ID string `json:"id,omitzero" fit:"key" title:"ID"`
	// Yes
	// or no.
	Flag *bool `json:"flag,omitzero" fit:"managed" title:"Flag"`
	// A number.
	Count *int `json:"count,omitzero" fit:"managed" title:"Count" minimum:"1" maximum:"9" example:"3"`
	// A size.
	Size *uint16 `json:"size,omitzero" fit:"managed" title:"Size"`
	// A ratio.
	Ratio *float64 `json:"ratio,omitzero" fit:"managed" title:"Ratio"`
	// Some.
	List []string `json:"list,omitzero" fit:"managed" title:"List" enum:"a,b" example:"a"`
	// Numbers.
	Codes []int `json:"codes,omitzero" fit:"behaviour" title:"Codes" default:"[0]"`
	// By name.
	Map map[string]string `json:"map,omitzero" fit:"managed" title:"Map" example:"{a: b}"`
	// Rules.
	Rules []Rule `json:"rules,omitzero" fit:"managed" title:"Rules"`
	// Anything.
	Any *any `json:"any,omitzero" fit:"managed" title:"Any"`
	// Text of a kind.
	Kind string `json:"kind,omitzero" fit:"behaviour" title:"Kind" enum:"x,y" default:"x"`
	// A day.
	Day *string `json:"day,omitzero" fit:"managed" title:"Day" format:"date"`
	// What is in it.
	Content *host.Blob `json:"content,omitzero" fit:"managed" title:"Content" blob:"content,source"`
	// Hidden.
	Pass *string `json:"pass,omitzero" fit:"managed,secret" title:"Pass"`
	// Its own, which wins over every entry's.
	Timeout *int   `json:"timeout,omitzero" fit:"managed" title:"Own time-out"`
	State   string `json:"state,omitzero" fit:"state" title:"State" enum:"present,absent"`
	// Seen.
	Seen string `json:"seen,omitzero" fit:"observed" title:"Seen"`
}

// Rule is a nested map.
type Rule struct {
	Port int `json:"port" title:"Port"` // The port.
	// From where.
	From []string `json:"from,omitzero" title:"From"`
}

// Single is the only one.
type Single struct {
	// Its level.
	Level *string `json:"level,omitzero" fit:"managed,short" title:"Level" enum:"low,high"`
}

type resource[T any] struct{}

func (resource[T]) Observe(context.Context, *host.Host, T) (have T, err error) { return have, nil }
func (resource[T]) Apply(context.Context, *host.Host, T, T) (modules.Outcome, error) {
	return modules.Outcome{}, nil
}

// samples is a compiled schema with the types of this test.
func samples(t *testing.T) (*jsonschema.Schema, map[string]any) {
	t.Helper()
	g := generated(t)
	types := []*modules.Type{modules.Define("samples", resource[Sample]{}), modules.Define("oneThing", resource[Single]{})}
	o, err := g.profileSchema(types)
	if err != nil {
		t.Fatal(err)
	}
	raw := encode(o)
	var doc map[string]any
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	s, err := jsonschema.CompileString("test.json", string(raw))
	if err != nil {
		t.Fatal(err)
	}
	return s, doc
}

func TestValues(t *testing.T) {
	s, _ := samples(t)
	for _, c := range []struct {
		profile string // JSON
		ok      bool
	}{
		{`{"profile": "x", "format": 1, "extends": "a", "variables": {"a": [1]}}`, true},
		{`{"format": 2}`, false},
		{`{"variables": {"a-b": 1}}`, false},
		{`{"nope": 1}`, false},
		{`{"samples": null}`, true},
		{`{"samples": [{"name": "a"}]}`, true},
		{`{"samples": ["a"]}`, false}, // two keys, so no short form
		{`{"samples": [{}]}`, false},
		{`{"samples": [{"name": null}]}`, false},
		{`{"samples": [{"name": "A"}]}`, false},
		{`{"samples": [{"name": "${x}A"}]}`, true},
		{`{"samples": [{"name": "a", "id": "b", "seen": "x"}]}`, false},
		{`{"samples": [{"name": "a", "flag": true, "count": 3, "size": 0, "ratio": 0.5, "list": ["a"], "codes": [1], "map": {"a": "b"}, "any": {"x": [1]}}]}`, true},
		{`{"samples": [{"name": "a", "flag": "${x}", "count": "${x}", "size": "${x}", "ratio": "${x}", "list": "${x}", "codes": "${x}", "map": "${x}", "any": "${x}", "kind": "${x}", "day": "${x}", "state": "${x}", "rules": "${x}"}]}`, true},
		{`{"samples": [{"name": "a", "flag": null, "count": null, "list": null, "map": null, "kind": null, "day": null, "state": null, "content": null, "rules": null}]}`, true},
		{`{"samples": [{"name": "a", "flag": "x"}]}`, false},
		{`{"samples": [{"name": "a", "count": 0}]}`, false},
		{`{"samples": [{"name": "a", "count": 10}]}`, false},
		{`{"samples": [{"name": "a", "count": 1.5}]}`, false},
		{`{"samples": [{"name": "a", "size": -1}]}`, false},
		{`{"samples": [{"name": "a", "ratio": "x"}]}`, false},
		{`{"samples": [{"name": "a", "list": ["c"]}]}`, false},
		{`{"samples": [{"name": "a", "list": ["${x}"]}]}`, true},
		{`{"samples": [{"name": "a", "list": "a"}]}`, false},
		{`{"samples": [{"name": "a", "codes": ["1"]}]}`, false},
		{`{"samples": [{"name": "a", "map": {"a": 1}}]}`, false},
		{`{"samples": [{"name": "a", "map": {"a": "${x}"}}]}`, true},
		{`{"samples": [{"name": "a", "rules": [{"port": 1, "from": ["x"]}]}]}`, true},
		{`{"samples": [{"name": "a", "rules": [{"port": "${x}"}]}]}`, true},
		{`{"samples": [{"name": "a", "rules": [{"from": ["x"]}]}]}`, false},
		{`{"samples": [{"name": "a", "rules": [{"port": 1, "to": 1}]}]}`, false},
		{`{"samples": [{"name": "a", "kind": "z"}]}`, false},
		{`{"samples": [{"name": "a", "day": "tomorrow"}]}`, false},
		{`{"samples": [{"name": "a", "day": "2030-12-31"}]}`, true},
		{`{"samples": [{"name": "a", "content": "x"}]}`, true},
		{`{"samples": [{"name": "a", "source": "x"}]}`, true},
		{`{"samples": [{"name": "a", "content": "x", "source": "x"}]}`, false},
		{`{"samples": [{"name": "a", "content": null, "source": "x"}]}`, true},
		{`{"samples": [{"name": "a", "timeout": 5}]}`, true},
		{`{"samples": [{"name": "a", "timeout": "5s"}]}`, false},
		{`{"samples": [{"name": "a", "when": "x", "forEach": "vars.x", "after": ["users/a"], "notify": ["hostname"], "retries": 1, "managed": false}]}`, true},
		{`{"samples": [{"name": "a", "after": [5]}]}`, false},
		{`{"oneThing": "low"}`, true},
		{`{"oneThing": "middle"}`, false},
		{`{"oneThing": "${x}"}`, true},
		{`{"oneThing": null}`, true},
		{`{"oneThing": {"level": "high", "when": "x", "timeout": "5s"}}`, true},
		{`{"oneThing": {"level": "middle"}}`, false},
		{`{"oneThing": {"forEach": "x"}}`, false},
		{`{"oneThing": ["low"]}`, false},
	} {
		var v any
		if err := json.Unmarshal([]byte(c.profile), &v); err != nil {
			t.Fatalf("%s: %v", c.profile, err)
		}
		if err := s.Validate(v); (err == nil) != c.ok {
			t.Errorf("%s: %v, want ok %t", c.profile, err, c.ok)
		}
	}
}

func TestAnnotations(t *testing.T) {
	_, doc := samples(t)
	def := func(name string) map[string]any { return doc["definitions"].(map[string]any)[name].(map[string]any) }
	sample := def("samples")
	property := func(name string) map[string]any { return sample["properties"].(map[string]any)[name].(map[string]any) }
	for _, c := range []struct {
		what      string
		got, want any
	}{
		{"title", def("oneThing")["title"], "One thing"},
		{"description", sample["description"], "A type with a property of every kind.\n\nIt is for tests."},
		{"joined lines", property("flag")["description"], "Yes or no."},
		{"example", property("name")["examples"], []any{"a"}},
		{"example of a list", property("list")["examples"], []any{[]any{"a"}}},
		{"example of a map", property("map")["examples"], []any{map[string]any{"a": "b"}}},
		{"default", property("codes")["default"], []any{0.0}},
		{"default of an enum", property("kind")["default"], "x"},
		{"own time-out", property("timeout")["title"], "Own time-out"},
		{"secret", property("pass")["writeOnly"], true},
		{"state", property("state")["description"], "Whether it should be there: present or absent."},
		{"line comment", property("rules")["items"].(map[string]any)["properties"].(map[string]any)["port"].(map[string]any)["description"], "The port."},
		{"observed", sample["x-observed"].(map[string]any)["seen"].(map[string]any)["description"], "Seen."},
		{"required", sample["required"], []any{"name"}},
		{"source", property("source")["title"], "Source file"},
	} {
		if d := cmp.Diff(c.want, c.got); d != "" {
			t.Errorf("%s (-want +got)\n%s", c.what, d)
		}
	}
}

// Untitled lacks what every property needs.
type Untitled struct {
	// Its name.
	Name string `json:"name" fit:"key"`
}

// Undocumented has no comment on its property.
type Undocumented struct {
	Name string `json:"name" fit:"key" title:"Name"`
}

// Channel can't be written in a profile.
type Channel struct {
	// Its name.
	Name string `json:"name" fit:"key" title:"Name"`
	// A channel.
	C *chan int `json:"c,omitzero" fit:"managed" title:"C"`
}

func TestRefused(t *testing.T) {
	g := generated(t)
	for want, typ := range map[string]*modules.Type{
		"bad: name: needs a title tag and a doc comment": modules.Define("bad", resource[Untitled]{}),
		"none: name: needs a title tag":                  modules.Define("none", resource[Undocumented]{}),
		"channel: c: a chan int can't be declared":       modules.Define("channel", resource[Channel]{}),
	} {
		if _, err := g.profileSchema([]*modules.Type{typ}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
