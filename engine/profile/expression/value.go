package expression

import (
	"bytes"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"sync"

	"github.com/hashicorp/go-multierror"
	"go.yaml.in/yaml/v4"

	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/schema"
)

// Source is the file that values come from.
type Source struct {
	File string
	Dir  string // what is relative in it is relative to this
	FS   fs.FS  // that Dir is in; nil: the machine's own files
	Data []byte

	once  sync.Once
	lines []int // where each begins
}

// from is the file's text from a line on.
func (s *Source) from(line int) []byte {
	s.once.Do(func() {
		s.lines = []int{0}
		for i, c := range s.Data {
			if c == '\n' || c == '\r' && !bytes.HasPrefix(s.Data[i+1:], []byte("\n")) { // as YAML counts lines
				s.lines = append(s.lines, i+1)
			}
		}
	})
	if line < 1 || line > len(s.lines) {
		return nil
	}
	return s.Data[s.lines[line-1]:]
}

type kind int

const (
	literal kind = iota
	scalar       // with expressions in it
	list
	mapping
)

// Value is a YAML value, its expressions compiled.
type Value struct {
	Source *Source
	Node   *yaml.Node
	kind   kind
	lit    any
	parts  []part
	items  []*Value
	keys   []string
	fields map[string]*Value
	parent *Value
	name   string // in the parent; "" in a list
	index  int
}

// part is text, or an expression in a text.
type part struct {
	text string
	prog *Program
	nth  int // which "${" of the scalar it follows; -1 where the whole scalar is the expression, without ${}
}

// New reads a node of a file. All faults of its expressions are reported at once. raw says which values are expressions
// by themselves, without ${}, such as "when: device.os == 'linux'"; it may be nil.
func New(src *Source, node *yaml.Node, raw func(*Value) bool) (*Value, error) {
	b := builder{src: src, raw: raw}
	v := b.value(node, &Value{})
	return v, b.errs.ErrorOrNil()
}

type builder struct {
	src  *Source
	errs *multierror.Error
	raw  func(v *Value) bool
}

func (b *builder) value(n *yaml.Node, at *Value) *Value {
	if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
		return b.value(n.Content[0], at)
	}
	v := at
	v.Source, v.Node = b.src, n
	switch n.Kind {
	case yaml.SequenceNode:
		v.kind = list
		v.items = make([]*Value, len(n.Content))
		for i, c := range n.Content {
			v.items[i] = b.value(c, &Value{parent: v, index: i})
		}
	case yaml.MappingNode:
		v.kind = mapping
		v.fields = make(map[string]*Value, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			name := n.Content[i].Value
			v.keys = append(v.keys, name)
			v.fields[name] = b.value(n.Content[i+1], &Value{parent: v, name: name})
		}
	default:
		b.scalar(v)
	}
	return v
}

func (b *builder) scalar(v *Value) {
	n := v.Node
	if n.ShortTag() != "!!str" {
		v.lit = schema.Value(n)
		return
	}
	if b.raw != nil && b.raw(v) && !strings.HasPrefix(n.Value, "${") {
		p, err := Compile(n.Value)
		if err != nil {
			b.fault(v, part{nth: -1}, err)
			return
		}
		v.kind, v.parts = scalar, []part{{prog: p, nth: -1}}
		return
	}
	if !strings.Contains(n.Value, "${") {
		v.lit = n.Value
		return
	}
	parts, err := split(n.Value)
	if err != nil {
		b.fault(v, part{nth: err.nth}, &syntaxError{msg: err.msg, hint: err.hint})
		return
	}
	for i := range parts {
		if parts[i].nth < 0 {
			continue
		}
		p, err := Compile(parts[i].text)
		if err != nil {
			b.fault(v, parts[i], err)
			return
		}
		parts[i].prog = p
	}
	if len(parts) == 1 && parts[0].prog == nil {
		v.lit = parts[0].text
		return
	}
	v.kind, v.parts = scalar, parts
}

func (b *builder) fault(v *Value, p part, err error) {
	b.errs = multierror.Append(b.errs, v.problem(p, err))
}

type splitError struct {
	nth       int
	msg, hint string
}

// split cuts a scalar into text (nth < 0) and expressions.
func split(s string) ([]part, *splitError) {
	var parts []part
	var lit strings.Builder
	nth := -1
	for {
		i := strings.Index(s, "${")
		if i < 0 {
			break
		}
		nth++
		if i > 0 && s[i-1] == '$' {
			lit.WriteString(s[:i-1])
			lit.WriteString("${")
			s = s[i+2:]
			continue
		}
		lit.WriteString(s[:i])
		s = s[i+2:]
		end := expressionEnd(s)
		if end < 0 {
			return nil, &splitError{nth, "an expression begins here and does not end", "close it with }, or write $${ for a literal ${"}
		}
		if lit.Len() > 0 {
			parts = append(parts, part{text: lit.String(), nth: -1})
			lit.Reset()
		}
		parts = append(parts, part{text: s[:end], nth: nth})
		nth += strings.Count(s[:end], "${")
		s = s[end+1:]
	}
	lit.WriteString(s)
	if lit.Len() > 0 || len(parts) == 0 {
		parts = append(parts, part{text: lit.String(), nth: -1})
	}
	return parts, nil
}

// expressionEnd finds the } that closes an expression, or -1.
func expressionEnd(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '{':
			depth++
		case '}':
			if depth == 0 {
				return i
			}
			depth--
		case '"', '\'', '`':
			for i++; i < len(s) && s[i] != c; i++ {
				if s[i] == '\\' && c != '`' {
					i++
				}
			}
		}
	}
	return -1
}

// IsNull says whether the value is YAML's null.
func (v *Value) IsNull() bool { return v.kind == literal && v.lit == nil }

// IsMap says whether the value is a mapping.
func (v *Value) IsMap() bool { return v.kind == mapping }

// IsList says whether the value is a list.
func (v *Value) IsList() bool { return v.kind == list }

// Literal is a scalar without expressions.
func (v *Value) Literal() (any, bool) { return v.lit, v.kind == literal }

// Text is what a scalar says, expressions as they are written.
func (v *Value) Text() string { return v.Node.Value }

// Name is the value's name in its map, or "".
func (v *Value) Name() string { return v.name }

// Items are a list's values, Keys a mapping's names in their order.
func (v *Value) Items() []*Value { return v.items }
func (v *Value) Keys() []string  { return v.keys }

// Field is a mapping's value, or nil.
func (v *Value) Field(name string) *Value { return v.fields[name] }

// Constant says whether there is no expression in the value.
func (v *Value) Constant() bool {
	if v.kind == scalar {
		return false
	}
	for _, c := range v.items {
		if !c.Constant() {
			return false
		}
	}
	for _, c := range v.fields {
		if !c.Constant() {
			return false
		}
	}
	return true
}

// Programs calls f for every name that the value's expressions read, with a way to make an error at that place.
func (v *Value) Programs(f func(p *Program, r Ref, fault func(msg, hint string) error)) {
	for _, p := range v.parts {
		if p.prog == nil {
			continue
		}
		for _, r := range p.prog.Refs {
			f(p.prog, r, func(msg, hint string) error {
				return v.problem(p, &syntaxError{r.offset, msg, hint})
			})
		}
	}
	for _, c := range v.items {
		c.Programs(f)
	}
	for _, k := range v.keys {
		v.fields[k].Programs(f)
	}
}

// Path names the value's place in its file: users[2].groups[0].
func (v *Value) Path() string {
	if v.parent == nil {
		return v.name
	}
	p := v.parent.Path()
	if v.parent.kind == list {
		return p + "[" + strconv.Itoa(v.index) + "]"
	}
	return schema.Join(p, v.name)
}

// At follows a path of names and indexes as far as it leads.
func (v *Value) At(path []string) *Value {
	for _, name := range path {
		next := v.fields[name]
		if i, err := strconv.Atoi(name); err == nil && v.kind == list && i >= 0 && i < len(v.items) {
			next = v.items[i]
		}
		if next == nil {
			break
		}
		v = next
	}
	return v
}

// Problem is an error at the value.
func (v *Value) Problem(hint, format string, args ...any) error {
	return &schema.Problem{File: v.Source.File, Line: v.Node.Line, Col: v.Node.Column, Path: v.Path(),
		Msg: fmt.Sprintf(format, args...), Hint: hint}
}

func (v *Value) problem(p part, err error) error {
	e, ok := err.(*syntaxError)
	if !ok {
		e = &syntaxError{msg: err.Error()}
	}
	line, col := v.locate(p, e.offset)
	return &schema.Problem{File: v.Source.File, Line: line, Col: col, Path: v.Path(), Msg: e.msg, Hint: e.hint}
}

// locate finds an offset into an expression in the file. The n-th "${" of the scalar is the n-th in the file from the
// scalar's beginning, whatever its quotes.
func (v *Value) locate(p part, offset int) (line, col int) {
	line, col = v.Node.Line, v.Node.Column
	data := v.Source.from(line)
	// Indentation and escapes make the text longer in the file than it is.
	rest := []rune(string(data[:min(len(data), 8*len(v.Node.Value)+1<<16)]))
	if col > len(rest) {
		return line, col
	}
	rest = rest[col-1:]
	quoted := v.Node.Style&yaml.DoubleQuotedStyle != 0
	at := 0
	step := func() {
		if rest[at] == '\n' || rest[at] == '\r' && (at+1 == len(rest) || rest[at+1] != '\n') {
			line, col = line+1, 0
		}
		at, col = at+1, col+1
	}
	if p.nth < 0 {
		if quoted || v.Node.Style&yaml.SingleQuotedStyle != 0 {
			step()
		}
	} else {
		for n := -1; at+1 < len(rest); step() {
			if rest[at] == '$' && rest[at+1] == '{' {
				if n++; n == p.nth {
					break
				}
			}
		}
		for range min(2, len(rest)-at) {
			step()
		}
	}
	for range offset {
		if at+1 >= len(rest) {
			break
		}
		if quoted && rest[at] == '\\' {
			step()
		}
		step()
	}
	return line, col
}

func suggest(word string, among []string, otherwise string) string {
	if s := hint.Near(word, among); s != "" {
		return fmt.Sprintf("did you mean %q?", s)
	}
	return otherwise
}
