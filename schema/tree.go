package schema

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v4"
)

// cleaner makes plain nodes of what YAML read, and collects what it can't accept.
type cleaner struct {
	d        *Document
	problems []error
	aliased  int  // nodes that came by aliases
	bomb     bool // they are too many; said once
	broken   bool // what is left isn't what was meant
}

func (c *cleaner) add(n *yaml.Node, path, msg, hint string) {
	c.broken = true
	c.say(n, path, msg, hint)
}

func (c *cleaner) say(n *yaml.Node, path, msg, hint string) {
	if len(c.problems) <= maxProblems {
		c.problems = append(c.problems, c.d.Problem(n, path, msg, hint))
	}
}

// clean checks n. open are the anchored nodes that n is inside of.
func (c *cleaner) clean(n *yaml.Node, path string, open []*yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return c.expand(n, path, open)
	}
	if n.Anchor != "" {
		open = append(open[:len(open):len(open)], n)
	}
	switch n.Kind {
	case yaml.SequenceNode:
		if n.Tag != "!!seq" {
			c.tag(n, path)
		}
		for i, e := range n.Content {
			n.Content[i] = c.clean(e, path+"["+strconv.Itoa(i)+"]", open)
		}
	case yaml.MappingNode:
		if n.Tag != "!!map" {
			c.tag(n, path)
		}
		c.mapping(n, path, open)
	default:
		if _, err := scalar(n); err != nil {
			c.add(n, path, err.Error(), "put it in quotes if it is text")
		}
	}
	return n
}

func (c *cleaner) tag(n *yaml.Node, path string) {
	c.add(n, path, fmt.Sprintf("the tag %s isn't supported", shown(n.Tag)), "remove it")
}

func (c *cleaner) mapping(n *yaml.Node, path string, open []*yaml.Node) {
	seen := make(map[string]*yaml.Node, len(n.Content)/2)
	kept := n.Content[:0]
	for i := 0; i < len(n.Content); i += 2 {
		k := n.Content[i]
		if k.Kind == yaml.AliasNode {
			k = c.expand(k, path, open)
			n.Content[i] = k
		}
		switch {
		case k.Kind != yaml.ScalarNode:
			c.add(k, path, "a key must be text, not "+kindOf(k), `put text with "{" or "[" in quotes`)
			continue
		case k.Tag == "!!merge":
			c.add(k, path, "merge keys (<<) aren't supported", "write the keys out; profiles share by extends, devices by groups")
			continue
		case k.Tag != "!!str":
			c.say(k, path, fmt.Sprintf("the key %s must be text", short(k.Value)), fmt.Sprintf("write %q", short(k.Value)))
			continue
		}
		if first, ok := seen[k.Value]; ok {
			c.say(k, Join(path, k.Value), fmt.Sprintf("the key comes twice; it is at line %d, column %d already", first.Line, first.Column), "")
		} else {
			seen[k.Value] = k
		}
		kept = append(kept, k, c.clean(n.Content[i+1], Join(path, k.Value), open))
	}
	n.Content = kept
}

// expand copies what an alias stands for.
func (c *cleaner) expand(alias *yaml.Node, path string, open []*yaml.Node) *yaml.Node {
	null := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: alias.Line, Column: alias.Column}
	for _, o := range open {
		if o == alias.Alias {
			c.add(alias, path, "*"+alias.Value+" is inside of what it stands for", "")
			return null
		}
	}
	out := c.copy(alias.Alias, 0)
	if out == nil {
		if !c.bomb {
			c.add(alias, path, fmt.Sprintf("aliases blow the file up to more than %d values", maxAliased), "")
		}
		c.bomb = true
		return null
	}
	out.Line, out.Column = alias.Line, alias.Column
	return out
}

// copy is nil where it becomes too much. What it copies is clean already: an anchor comes before its aliases.
func (c *cleaner) copy(n *yaml.Node, depth int) *yaml.Node {
	if c.aliased++; c.aliased > maxAliased || depth > maxDepth || n == nil || n.Kind == yaml.AliasNode {
		return nil
	}
	out := *n
	out.Anchor, out.Content = "", nil
	for _, e := range n.Content {
		child := c.copy(e, depth+1)
		if child == nil {
			return nil
		}
		out.Content = append(out.Content, child)
	}
	return &out
}

// Join appends a key to a path in messages: users[2].shell.
func Join(path, key string) string {
	key = short(key)
	if key == "" || strings.ContainsFunc(key, func(r rune) bool {
		return strings.ContainsRune(".[] \"", r) || !unicode.IsGraphic(r) || r >= 0x80 && unicode.IsSpace(r)
	}) {
		key = strconv.Quote(key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// Value is what a document's node holds: a string, bool, int64, float64, []any, map[string]any or nil.
func Value(n *yaml.Node) any {
	switch n.Kind {
	case yaml.SequenceNode:
		out := make([]any, len(n.Content))
		for i, e := range n.Content {
			out[i] = Value(e)
		}
		return out
	case yaml.MappingNode:
		out := make(map[string]any, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			out[n.Content[i].Value] = Value(n.Content[i+1])
		}
		return out
	}
	v, _ := scalar(n)
	return v
}

// Find returns the node of a key in a map, and that of its value; both are nil where there is none.
func Find(n *yaml.Node, key string) (k, v *yaml.Node) {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i], n.Content[i+1]
		}
	}
	return nil, nil
}

func scalar(n *yaml.Node) (any, error) {
	switch n.Tag {
	case "!!str", "!!timestamp", "!": // a date is text: nothing here wants it as a point in time
		return n.Value, nil
	case "!!null":
		return nil, nil
	case "!!bool":
		if b, err := strconv.ParseBool(strings.ToLower(n.Value)); err == nil {
			return b, nil
		}
		return nil, fmt.Errorf("%s is neither true nor false", n.Value)
	case "!!int":
		digits := strings.ReplaceAll(n.Value, "_", "")
		if i, err := strconv.ParseInt(digits, 0, 64); err == nil {
			return i, nil
		}
		return nil, fmt.Errorf("%s is too large for a number", n.Value)
	case "!!float":
		f, err := strconv.ParseFloat(strings.ReplaceAll(n.Value, "_", ""), 64)
		if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
			return nil, fmt.Errorf("%s isn't a number that can be used", n.Value)
		}
		return f, nil
	}
	return nil, fmt.Errorf("the tag %s isn't supported", shown(n.Tag))
}

// kindOf names what a node is in messages.
func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.SequenceNode:
		return "a list"
	case yaml.MappingNode:
		return "a map"
	}
	v, _ := scalar(n)
	return wordOf(v)
}

// wordOf names what a value is in messages.
func wordOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "nothing"
	case bool:
		return strconv.FormatBool(v)
	case string:
		return "text"
	case []any:
		return "a list"
	case map[string]any:
		return "a map"
	}
	return "a number"
}

// shown is a text of a file with what could move a terminal's cursor made visible.
func shown(text string) string {
	q := strconv.QuoteToGraphic(text)
	return q[1 : len(q)-1]
}
