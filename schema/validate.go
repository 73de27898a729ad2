package schema

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/fitout-dev/fitout/modules"
	"go.yaml.in/yaml/v4"
)

// ValidateProfile finds all that the schema has against a profile. The error is a *multierror.Error of *Problem, sorted.
func ValidateProfile(d *Document) error { return validate(d, profileRules) }

// ValidateInventory does the same with an inventory.
func ValidateInventory(d *Document) error { return validate(d, inventoryRules) }

// validate takes one top-level key at a time, so that only what is used is compiled.
func validate(d *Document, r *rules) error {
	var problems []error
	for i := 0; i+1 < len(d.Root.Content); i += 2 {
		k, v := d.Root.Content[i], d.Root.Content[i+1]
		rule := r.property(k.Value)
		if rule == nil {
			problems = append(problems, d.Problem(k, k.Value, "unknown key", didYouMean(k.Value, slices.Collect(maps.Keys(r.properties)))))
			continue
		}
		for _, f := range rule.check(Value(v)) {
			problems = append(problems, d.problem(k.Value, v, f))
		}
	}
	return Sort(errors.Join(problems...))
}

// problem gives a fault its place below the value of a top-level key.
func (d *Document) problem(key string, n *yaml.Node, f fault) *Problem {
	path := Join("", key)
	for _, p := range f.path {
		switch n.Kind {
		case yaml.SequenceNode:
			path += "[" + p + "]"
			if i, err := strconv.Atoi(p); err == nil && i < len(n.Content) {
				n = n.Content[i]
			}
		default:
			path = Join(path, p)
			if _, v := Find(n, p); v != nil {
				n = v
			}
		}
	}
	if f.key != "" {
		path = Join(path, f.key)
		if k, _ := Find(n, f.key); k != nil {
			n = k
		}
	}
	if f.hint == "" && slices.Equal(f.types, []string{"string"}) && !strings.HasPrefix(f.msg, "must be one of") && n.Kind == yaml.ScalarNode && n.Tag != "!!null" {
		f.hint = fmt.Sprintf("write %q: without quotes, YAML doesn't read it as text", n.Value) // mode: 0750 is the number 488
	}
	return d.Problem(n, path, f.msg, f.hint)
}

// Violation is what is wrong in the value of a resource. Path leads to it; it is empty for the value as a whole.
type Violation struct {
	Path          []string
	Message, Hint string
}

// ValidateResource finds what is wrong in a resource's properties once all expressions are computed. A value of a Go type
// that JSON doesn't know, such as a secret, passes for a text that is right.
func ValidateResource(typ *modules.Type, value map[string]any) []Violation {
	rule := profileRules.concrete(typ.Name)
	if rule == nil {
		return []Violation{{Message: fmt.Sprintf("unknown resource type %q", typ.Name)}}
	}
	var out []Violation
	for _, f := range rule.check(plain(value)) {
		if f.key != "" {
			f.path = append(slices.Clone(f.path), f.key)
		}
		if f.types == nil && isOpaque(lookup(value, f.path)) {
			continue
		}
		out = append(out, Violation{f.path, f.msg, f.hint})
	}
	slices.SortFunc(out, func(a, b Violation) int { return slices.Compare(append(a.Path, a.Message), append(b.Path, b.Message)) })
	return out
}

// plain is v with a text for whatever is opaque.
func plain(v any) any {
	switch v := v.(type) {
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = plain(e)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = plain(e)
		}
		return out
	}
	if isOpaque(v) {
		return ""
	}
	return v
}

func isOpaque(v any) bool {
	switch v.(type) {
	case nil, bool, string, int, int64, uint64, float64, []any, map[string]any:
		return false
	}
	return true
}
