// Package expression evaluates the ${...} of profiles and inventories.
//
//	v, err := expression.New(source, node)   // a YAML value, its expressions compiled once
//	x, err := v.Eval(scope)                  // its value for one device
//
// It promises: an expression reads nothing but device, vars, secrets, env and item; the same scope gives the same
// value; what is made of a secret is a secret.Value; and an error says where, never what a secret is.
package expression

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/checker"
	"github.com/expr-lang/expr/compiler"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/types"
	"github.com/expr-lang/expr/vm"
)

// Ref is a name that an expression reads: vars.company is {vars, company}. Name is "" where the expression takes the
// whole of Root, or picks from it by something computed.
type Ref struct {
	Root, Name string
	Optional   bool // missing is fine: it is the left of ??, or asked for with in
	offset     int  // of the mention, in runes
}

// Program is a compiled expression.
type Program struct {
	Text string
	Refs []Ref
	nils bool // it says nil itself, so giving nil is meant
	run  *vm.Program
}

// syntaxError is a fault in an expression at an offset in runes.
type syntaxError struct {
	offset int
	msg    string
	hint   string
}

func (e *syntaxError) Error() string { return e.msg }

// Roots are the names that an expression can use.
var Roots = []string{"device", "vars", "secrets", "env", "item"}

var (
	compileMu sync.Mutex // the configuration caches types as it compiles
	config    *conf.Config
	programs  sync.Map // text → *Program
)

func newConfig() *conf.Config {
	names := types.Map{}
	for _, name := range Roots {
		names[name] = types.Any
	}
	c := conf.New(names)
	c.Disabled["now"] = true // the same profile gives the same resources at any time
	// Go's maps have no order, and the order of what these give is seen: in a list of users, say.
	for name, pick := range map[string]func(key string, value any) any{
		"keys":    func(k string, _ any) any { return k },
		"values":  func(_ string, v any) any { return v },
		"toPairs": func(k string, v any) any { return []any{k, v} },
	} {
		c.Disabled[name] = true
		expr.Function(name, func(args ...any) (any, error) { return inOrder(name, args, pick) }, new(func(any) []any))(c)
	}
	limit(c)
	c.Optimize = false
	return c
}

// inOrder lists something of each of a map's pairs, sorted by key.
func inOrder(name string, args []any, pick func(string, any) any) (any, error) {
	if len(args) == 1 {
		if m, ok := args[0].(map[string]any); ok {
			out := make([]any, 0, len(m))
			for _, k := range slices.Sorted(maps.Keys(m)) {
				out = append(out, pick(k, m[k]))
			}
			return out, nil
		}
	}
	return nil, fmt.Errorf("%s takes a map", name)
}

// Compile compiles an expression. The same text is compiled once per process.
func Compile(text string) (*Program, error) {
	if p, ok := programs.Load(text); ok {
		return p.(*Program), nil
	}
	compileMu.Lock()
	defer compileMu.Unlock()
	if config == nil {
		config = newConfig()
	}
	tree, err := checker.ParseCheck(text, config)
	if err != nil {
		return nil, asSyntaxError(text, err)
	}
	p := &Program{Text: text}
	if err := p.analyse(&tree.Node); err != nil {
		return nil, err
	}
	if p.run, err = compiler.Compile(tree, config); err != nil {
		return nil, asSyntaxError(text, err)
	}
	programs.Store(text, p)
	return p, nil
}

var unexpected = regexp.MustCompile(`^unexpected token (\w+)(?:\((.*)\))?$`)

func asSyntaxError(text string, err error) error {
	e := &syntaxError{msg: err.Error()}
	if fe, ok := errors.AsType[*file.Error](err); ok {
		e.offset, e.msg = fe.From, fe.Message
	}
	e.msg, e.hint = sayPlainly(e.msg)
	if strings.TrimSpace(text) == "" {
		e.msg = "the expression is empty"
	}
	switch m := unexpected.FindStringSubmatch(e.msg); {
	case m == nil:
	case m[1] == "EOF":
		e.msg = "the expression ends too early"
	case m[2] == `"="`:
		e.msg, e.hint = "unexpected =", "compare with =="
	default:
		e.msg = "unexpected " + m[2]
	}
	if name, ok := strings.CutPrefix(e.msg, "unknown name "); ok {
		e.msg = fmt.Sprintf("unknown name %q", name)
		e.hint = suggest(name, Roots, "an expression knows device, vars, secrets, env and item; text needs quotes")
	}
	return e
}

// analysis finds what an expression reads. Nodes are visited children first, so that a root's identifier is seen before
// the member that takes a name from it.
type analysis struct {
	refs map[ast.Node]*Ref // by the identifier's node
	at   []ast.Node
	nils bool
	err  *syntaxError
}

func (p *Program) analyse(root *ast.Node) error {
	a := &analysis{refs: map[ast.Node]*Ref{}}
	ast.Walk(root, a)
	if a.err != nil {
		return a.err
	}
	for _, n := range a.at {
		r := *a.refs[n]
		if r.Name == "" && (r.Root == "secrets" || r.Root == "env") {
			return &syntaxError{r.offset, r.Root + " needs a name that is written out", "write " + r.Root + ".NAME"}
		}
		p.Refs = append(p.Refs, r)
	}
	p.nils = a.nils
	return nil
}

func (a *analysis) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.NilNode:
		a.nils = true
	case *ast.IdentifierNode:
		switch n.Value {
		case "device", "vars", "secrets", "env", "item":
			a.refs[n] = &Ref{Root: n.Value, offset: n.Location().From}
			a.at = append(a.at, n)
		case "$env":
			a.err = &syntaxError{n.Location().From, "unknown name \"$env\"", ""}
		}
	case *ast.MemberNode:
		if s, ok := n.Property.(*ast.StringNode); ok {
			if r := a.refs[n.Node]; r != nil && r.Root != "item" {
				r.Name = s.Value
			}
		}
	case *ast.BinaryNode:
		switch n.Operator {
		case "??":
			a.optional(n.Left)
		case "in":
			if s, ok := n.Left.(*ast.StringNode); ok {
				if r := a.refs[n.Right]; r != nil && r.Name == "" && r.Root != "item" {
					r.Name, r.Optional = s.Value, true
				}
			}
		}
	}
}

// optional marks the name at the bottom of a chain of members.
func (a *analysis) optional(n ast.Node) {
	for {
		switch x := n.(type) {
		case *ast.ChainNode:
			n = x.Node
		case *ast.MemberNode:
			n = x.Node
		case *ast.BinaryNode: // a ?? b ?? c
			if x.Operator == "??" {
				a.optional(x.Right)
				n = x.Left
				continue
			}
			return
		default:
			if r := a.refs[n]; r != nil {
				r.Optional = true
			}
			return
		}
	}
}

func (p *Program) eval(env map[string]any) (any, error) {
	x, err := vm.Run(p.run, env)
	if err != nil {
		return nil, asSyntaxError(p.Text, err)
	}
	return plain(x)
}

// plain turns what an expression gives into JSON's values.
func plain(x any) (any, error) {
	switch v := x.(type) {
	case nil, string, bool, int64:
		return v, nil
	case float64:
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return nil, errors.New("gives no number: is something divided by zero?")
		}
		return v, nil
	case int:
		return int64(v), nil
	}
	rv := reflect.ValueOf(x)
	switch rv.Kind() {
	case reflect.Int8, reflect.Int16, reflect.Int32:
		return rv.Int(), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return int64(rv.Uint()), nil
	case reflect.Float32:
		return rv.Float(), nil
	case reflect.String:
		return rv.String(), nil
	case reflect.Slice:
		if rv.Len() > mostItems {
			return nil, fmt.Errorf("gives a list of more than %d entries", mostItems)
		}
		out := make([]any, rv.Len())
		for i := range out {
			var err error
			if out[i], err = plain(rv.Index(i).Interface()); err != nil {
				return nil, err
			}
		}
		return out, nil
	case reflect.Map:
		out := make(map[string]any, rv.Len())
		for it := rv.MapRange(); it.Next(); {
			k, err := text(it.Key().Interface())
			if err != nil {
				return nil, err
			}
			if out[k], err = plain(it.Value().Interface()); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return nil, fmt.Errorf("gives a %s; make it text with string(...)", rv.Type())
}
