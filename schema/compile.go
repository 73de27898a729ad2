package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v5"
)

// A rule is a part of a schema, compiled. doc is the same as JSON, to look at for messages.
type rule struct {
	*jsonschema.Schema
	doc map[string]any
}

// rules compiles parts of a schema when they are first used: most profiles use a few types only.
type rules struct {
	raw []byte

	parse       sync.Once
	properties  map[string]json.RawMessage // of the whole
	definitions map[string]json.RawMessage

	mu   sync.Mutex
	made map[string]func() *rule
}

var (
	profileRules   = &rules{raw: profileSchema}
	inventoryRules = &rules{raw: inventorySchema}
)

func (r *rules) parts() {
	r.parse.Do(func() {
		var whole struct {
			Properties, Definitions map[string]json.RawMessage
		}
		if err := json.Unmarshal(r.raw, &whole); err != nil {
			panic(fmt.Sprintf("schema: the embedded schema is broken: %v", err)) // a test reads it
		}
		r.properties, r.definitions = whole.Properties, whole.Definitions
	})
}

// property is the rule for a top-level key, or nil where there is no such key.
func (r *rules) property(name string) func() *rule {
	r.parts()
	raw, ok := r.properties[name]
	if !ok {
		return nil
	}
	return r.rule("property/"+name, func() map[string]any { return r.document(raw, name) })
}

// concrete is the rule for an entry of a type once all expressions are computed, or nil where there is no such type.
func (r *rules) concrete(name string) func() *rule {
	r.parts()
	raw, ok := r.definitions[name]
	if !ok {
		return nil
	}
	return r.rule("concrete/"+name, func() map[string]any {
		doc := r.document(raw, name)
		noExpressions(doc)
		return doc
	})
}

// holds says whether a definition has a property.
func (r *rules) holds(definition, property string) bool {
	raw, ok := r.definitions[definition]
	return ok && lookup(decode(raw), []string{"properties", property}) != nil
}

// all is the rule for the whole file.
func (r *rules) all() func() *rule {
	return r.rule("all", func() map[string]any { return decode(r.raw) })
}

// document is a schema of its own: a part, and the definitions that it needs.
func (r *rules) document(part json.RawMessage, name string) map[string]any {
	definitions := map[string]any{"root": decode(part)}
	for d, raw := range r.definitions {
		if d == name || d == "expression" || strings.HasPrefix(d, "any.") {
			definitions[d] = decode(raw)
		}
	}
	return map[string]any{
		"$schema": "http://json-schema.org/draft-07/schema#", "$ref": "#/definitions/root", "definitions": definitions,
	}
}

func decode(raw []byte) map[string]any {
	var m map[string]any
	if err := json.Unmarshal(raw, &m); err != nil {
		panic(fmt.Sprintf("schema: the embedded schema is broken: %v", err))
	}
	return m
}

// rule compiles a document when it is first called for.
func (r *rules) rule(name string, document func() map[string]any) func() *rule {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.made[name] == nil {
		if r.made == nil {
			r.made = map[string]func() *rule{}
		}
		r.made[name] = sync.OnceValue(func() *rule {
			doc := document()
			s, err := compile(doc)
			if err != nil {
				panic(fmt.Sprintf("schema: the embedded schema is broken: %v", err)) // a test compiles all of it
			}
			return &rule{s, doc}
		})
	}
	return r.made[name]
}

func compile(doc map[string]any) (*jsonschema.Schema, error) {
	raw, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	const url = "fitout:schema.json"
	c := jsonschema.NewCompiler()
	c.Formats = map[string]func(any) bool{TimeZone: isTimeZone}
	c.LoadURL = func(url string) (io.ReadCloser, error) { return nil, fmt.Errorf("%s isn't part of the schema", url) }
	if err := c.AddResource(url, bytes.NewReader(raw)); err != nil {
		return nil, err
	}
	return c.Compile(url)
}

// noExpressions takes away what allows expressions, in place.
func noExpressions(v any) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			noExpressions(e)
		}
	case map[string]any:
		for _, e := range v {
			noExpressions(e)
		}
		types, _ := v["type"].([]any)
		switch p, _ := v["pattern"].(string); {
		case p == ExpressionPattern && types != nil:
			v["type"] = slices.DeleteFunc(types, func(t any) bool { return t == "string" })
			delete(v, "pattern")
		case p != "":
			v["pattern"] = withoutExpression(p)
		}
		if list, ok := v["anyOf"].([]any); ok {
			v["anyOf"] = slices.DeleteFunc(list, isExpressionRef)
		}
	}
}

func isExpressionRef(v any) bool {
	m, _ := v.(map[string]any)
	return m["$ref"] == "#/definitions/expression"
}
