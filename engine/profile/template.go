package profile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	texttemplate "text/template"
	"text/template/parse"

	"github.com/hashicorp/go-multierror"

	"github.com/fitout-dev/fitout/engine/profile/expression"
	"github.com/fitout-dev/fitout/schema"
)

// template is a file with text/template in it. What it mentions is found by reading it: text/template itself can't say.
type template struct {
	file   string
	source string
	text   *texttemplate.Template
	refs   []mention
}

// mention is a name that a template reads, and where.
type mention struct {
	expression.Ref
	line, col int
	root      bool // the dot there is certainly the whole of the names
}

// template reads a template file, once.
func (l *Loader) template(v *expression.Value, name string) (*template, error) {
	open, shown, err := opener(v, name)
	if err != nil {
		return nil, err
	}
	l.blobsMu.Lock()
	defer l.blobsMu.Unlock()
	if t := l.templates[shown]; t != nil {
		return t, nil
	}
	text, err := readAll(open)
	if err != nil {
		return nil, v.Problem(missing(shown, err), "%s", plainError(shown, err))
	}
	t := &template{file: shown, source: string(text)}
	t.text, err = texttemplate.New(shown).Option("missingkey=error").Parse(string(text))
	if err != nil {
		return nil, t.problem(err)
	}
	for _, part := range t.text.Templates() {
		if part.Tree != nil && part.Root != nil {
			w := walker{t: t, tree: part.Tree}
			w.node(part.Root, part.Name() == shown)
			count(part.Tree)
		}
	}
	slices.SortStableFunc(t.refs, func(a, b mention) int { return (a.line-b.line)*10000 + a.col - b.col })
	l.templates[shown] = t
	return t, nil
}

func readAll(open func() (fs.File, error)) ([]byte, error) {
	f, err := open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// check finds names that nothing defines, and takes the secrets and variables of the environment.
func (t *template) check(p *Profile, known []string, item bool) error {
	var faults *multierror.Error
	for _, m := range t.refs {
		var f *expression.Fault
		switch {
		case !slices.Contains(expression.Roots, m.Root):
			f = &expression.Fault{Msg: fmt.Sprintf("unknown name %q", "."+m.Root), Hint: didYouMean(m.Root, expression.Roots,
				"a template knows .device, .vars, .secrets, .env and .item")}
		case m.Name == "" && (m.Root == "secrets" || m.Root == "env"):
			f = &expression.Fault{Msg: m.Root + " needs a name that is written out", Hint: "write ." + m.Root + ".NAME"}
		default:
			f = p.checkName(m.Ref, known, item)
		}
		if f != nil && f.Msg != "" && m.root { // elsewhere the dot may be anything
			faults = multierror.Append(faults, m.problem(t, f.Msg, f.Hint))
		}
	}
	return faults.ErrorOrNil()
}

func (m mention) problem(t *template, msg, hint string) error {
	return &schema.Problem{File: t.file, Line: m.line, Col: m.col, Msg: msg, Hint: hint}
}

// render fills the template in. It is a secret if it mentions one.
func (t *template) render(s *expression.Scope) (text []byte, secret bool, err error) {
	unknown := expression.Known
	for _, m := range t.refs {
		secret = secret || s.Tainted(m.Ref)
		unknown = max(unknown, s.Unknown(m.Ref))
	}
	if unknown != expression.Known {
		return nil, secret, errNotYet
	}
	data := maps.Clone(s.Data())
	for _, root := range []string{"secrets", "item"} { // whoever hands on the dot as a whole doesn't mention them
		if !slices.ContainsFunc(t.refs, func(m mention) bool { return m.Root == root }) {
			delete(data, root)
		}
	}
	filled, err := t.text.Clone() // its functions count by themselves
	if err != nil {
		return nil, secret, err
	}
	var out bounded
	if err := filled.Funcs(bounds()).Execute(&out, data); err != nil {
		err = t.problem(err)
		if secret {
			if p, ok := errors.AsType[*schema.Problem](err); ok {
				p.Msg = "can't be filled in; the reason is not shown, since a secret is in it"
			}
		}
		return nil, secret, err
	}
	return out.Bytes(), secret, nil
}

// walker finds mentions in a template's tree. atRoot says that the dot is the whole of the names there.
type walker struct {
	t    *template
	tree *parse.Tree
}

func (w walker) mention(n parse.Node, idents []string, atRoot bool) {
	if len(idents) == 0 { // the dot itself, handed to something
		if atRoot {
			w.add(n, "vars", "", true)
			w.add(n, "device", "", true)
		}
		return
	}
	if !slices.Contains(expression.Roots, idents[0]) {
		if atRoot {
			w.add(n, idents[0], "", true)
		}
		return
	}
	name := ""
	if len(idents) > 1 && idents[0] != "item" {
		name = idents[1]
	}
	w.add(n, idents[0], name, atRoot)
}

func (w walker) add(n parse.Node, root, name string, atRoot bool) {
	location, _ := w.tree.ErrorContext(n)
	m := mention{Ref: expression.Ref{Root: root, Name: name}, root: atRoot}
	parts := strings.Split(location, ":")
	if len(parts) >= 3 {
		m.line, _ = strconv.Atoi(parts[len(parts)-2])
		m.col, _ = strconv.Atoi(parts[len(parts)-1])
		m.col++
	}
	w.t.refs = append(w.t.refs, m)
}

func (w walker) node(n parse.Node, atRoot bool) {
	switch n := n.(type) {
	case *parse.ListNode:
		if n != nil {
			for _, c := range n.Nodes {
				w.node(c, atRoot)
			}
		}
	case *parse.ActionNode:
		w.node(n.Pipe, atRoot)
	case *parse.PipeNode:
		if n != nil {
			for _, c := range n.Cmds {
				w.node(c, atRoot)
			}
		}
	case *parse.CommandNode:
		for _, a := range n.Args {
			w.node(a, atRoot)
		}
	case *parse.ChainNode:
		w.node(n.Node, atRoot)
	case *parse.FieldNode:
		w.mention(n, n.Ident, atRoot)
	case *parse.VariableNode:
		if n.Ident[0] == "$" {
			w.mention(n, n.Ident[1:], true)
		} else {
			w.mention(n, n.Ident[1:], false)
		}
	case *parse.DotNode:
		w.mention(n, nil, atRoot)
	case *parse.TemplateNode:
		w.node(n.Pipe, atRoot)
	case *parse.IfNode:
		w.branch(&n.BranchNode, atRoot, atRoot)
	case *parse.RangeNode:
		w.branch(&n.BranchNode, atRoot, false)
	case *parse.WithNode:
		w.branch(&n.BranchNode, atRoot, false)
	}
}

// branch walks a block; inside is whether its dot is still the outer one.
func (w walker) branch(n *parse.BranchNode, atRoot, inside bool) {
	w.node(n.Pipe, atRoot)
	w.node(n.List, inside)
	w.node(n.ElseList, atRoot)
}
