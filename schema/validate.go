package schema

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"sync"

	"github.com/fitout-dev/fitout/modules"
	"go.yaml.in/yaml/v4"
)

// ValidateProfile finds all that the schema has against a profile. The error is a *multierror.Error of *Problem, sorted.
func ValidateProfile(d *Document) error {
	if k := d.mistaken(profileRules, inventoryRules); k != nil {
		return Sort(d.Problem(k, "", "this is an inventory, not a profile", "an inventory is given with -i"))
	}
	return validate(d, profileRules)
}

// ValidateInventory does the same with an inventory.
func ValidateInventory(d *Document) error {
	if k := d.mistaken(inventoryRules, profileRules); k != nil {
		return Sort(d.Problem(k, "", "this is a profile, not an inventory", "a profile is given with -p, or named in an inventory: profile: NAME"))
	}
	return validate(d, inventoryRules)
}

// mistaken is a key that tells that the file is of the other kind: it fits that one, and not this.
func (d *Document) mistaken(this, other *rules) *yaml.Node {
	var alien *yaml.Node
	for i := 0; i < len(d.Root.Content); i += 2 {
		k := d.Root.Content[i]
		if other.property(k.Value) == nil {
			return nil
		}
		if alien == nil && this.property(k.Value) == nil {
			alien = k
		}
	}
	return alien
}

// validate takes the top-level keys one by one, side by side, so that only what is used is compiled.
func validate(d *Document, r *rules) error {
	found := make([][]error, len(d.Root.Content)/2)
	var unknown []error
	var names []string
	var work sync.WaitGroup
	for i := range found {
		k, v := d.Root.Content[2*i], d.Root.Content[2*i+1]
		if rule := r.property(k.Value); rule != nil {
			work.Go(func() {
				index := index{}
				for _, f := range rule().check(Value(v)) {
					found[i] = append(found[i], d.problem(k.Value, v, f, index))
				}
			})
		} else if len(unknown) <= maxProblems {
			if names == nil {
				names = slices.Collect(maps.Keys(r.properties))
			}
			remedy := didYouMean(k.Value, names)
			if remedy == "" && r.holds("run", k.Value) {
				remedy = `it belongs under "run"`
			}
			unknown = append(unknown, d.Problem(k, Join("", k.Value), "unknown key", remedy))
		}
	}
	work.Wait()
	all := unknown
	for _, problems := range found {
		all = append(all, problems...)
	}
	return Sort(errors.Join(all...))
}

// index finds keys in maps that are too large to be searched for each problem.
type index map[*yaml.Node]map[string]int

func (x index) find(n *yaml.Node, key string) (k, v *yaml.Node) {
	if n.Kind != yaml.MappingNode || len(n.Content) < 64 {
		return Find(n, key)
	}
	if x[n] == nil {
		x[n] = make(map[string]int, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			x[n][n.Content[i].Value] = i
		}
	}
	if i, ok := x[n][key]; ok {
		return n.Content[i], n.Content[i+1]
	}
	return nil, nil
}

// problem gives a fault its place below the value of a top-level key.
func (d *Document) problem(key string, n *yaml.Node, f fault, index index) *Problem {
	path := Join("", key)
	for _, p := range f.path {
		if n.Kind == yaml.SequenceNode {
			path += "[" + p + "]"
			if i, err := strconv.Atoi(p); err == nil && i < len(n.Content) {
				n = n.Content[i]
			}
			continue
		}
		path = Join(path, p)
		if _, v := index.find(n, p); v != nil {
			n = v
		}
	}
	if f.key != "" {
		path = Join(path, f.key)
		if k, _ := index.find(n, f.key); k != nil {
			n = k
		}
	}
	if f.hint == "" && f.onlyText && n.Kind == yaml.ScalarNode && n.Tag != "!!null" { // mode: 0750 is the number 488
		switch right, err := regexp.MatchString(f.pattern, n.Value); {
		case f.secret:
			f.hint = "put it in quotes: without them, YAML doesn't read it as text"
		case err == nil && !right && f.must != "":
			f.hint = "it " + f.must
		default:
			f.hint = fmt.Sprintf("write %q: without quotes, YAML doesn't read it as text", n.Value)
		}
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
	return violations(rule, value)
}

// ValidateRun does the same with a profile's "run", ValidateConnect with an entry's "connect".
func ValidateRun(value map[string]any) []Violation {
	return violations(profileRules.concrete("run"), value)
}
func ValidateConnect(value map[string]any) []Violation {
	return violations(profileRules.concrete("any.connect"), value)
}

func violations(rule func() *rule, value map[string]any) []Violation {
	var out []Violation
	for _, f := range rule().check(plain(value)) {
		if f.key != "" {
			f.path = append(slices.Clone(f.path), f.key)
		}
		if !f.wrongType && isOpaque(lookup(value, f.path)) {
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
