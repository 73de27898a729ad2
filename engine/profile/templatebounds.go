package profile

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	texttemplate "text/template"
	"text/template/parse"
)

// text/template bounds neither how long a template runs nor what it holds meanwhile: a loop that writes nothing may go on for
// days, and a few lines double a text until the memory is used up. Both are bounded here.
const (
	maxText   = 64 << 20  // bytes, of what is written and of what a function returns
	maxRounds = 1_000_000 // of all loops, and templates called, together
)

// bounded is a buffer that a template can't grow for ever.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxText {
		return 0, errTooMuch
	}
	return b.Buffer.Write(p)
}

var errTooMuch = fmt.Errorf("the text has more than %d MB", maxText>>20)

// rounds is the function that counts.
const rounds = "_rounds"

// count has a template count what it does again and again: it begins with a call, and so does each loop in it.
func count(tree *parse.Tree) {
	tree.Root.Nodes = append([]parse.Node{counter(tree.Root.Pos, 1)}, tree.Root.Nodes...)
	countIn(tree.Root)
}

func countIn(n parse.Node) {
	branch := func(b *parse.BranchNode) {
		countIn(b.List)
		if b.ElseList != nil {
			countIn(b.ElseList)
		}
	}
	switch n := n.(type) {
	case *parse.ListNode:
		for _, c := range n.Nodes {
			countIn(c)
		}
	case *parse.IfNode:
		branch(&n.BranchNode)
	case *parse.WithNode:
		branch(&n.BranchNode)
	case *parse.RangeNode:
		branch(&n.BranchNode)
		n.List.Nodes = append([]parse.Node{counter(n.Pos, n.Line)}, n.List.Nodes...)
	}
}

// counter is {{ _rounds }}, as if it stood at pos.
func counter(pos parse.Pos, line int) parse.Node {
	name := parse.NewIdentifier(rounds).SetPos(pos)
	command := &parse.CommandNode{NodeType: parse.NodeCommand, Pos: pos, Args: []parse.Node{name}}
	return &parse.ActionNode{NodeType: parse.NodeAction, Pos: pos, Line: line,
		Pipe: &parse.PipeNode{NodeType: parse.NodePipe, Pos: pos, Line: line, Cmds: []*parse.CommandNode{command}}}
}

// bounds are the functions of one execution: what counts, and those of text/template whose result may be larger than what
// they are given.
func bounds() texttemplate.FuncMap {
	n := 0
	text := func(of func(...any) string) func(...any) (string, error) {
		return func(args ...any) (string, error) {
			if sizeOf(args) > maxText {
				return "", errTooMuch
			}
			return small(of(args...))
		}
	}
	return texttemplate.FuncMap{
		rounds: func() (string, error) {
			if n++; n > maxRounds {
				return "", fmt.Errorf("goes round more than %d times", maxRounds)
			}
			return "", nil
		},
		"print": text(fmt.Sprint), "println": text(fmt.Sprintln),
		"html": text(texttemplate.HTMLEscaper), "js": text(texttemplate.JSEscaper), "urlquery": text(texttemplate.URLQueryEscaper),
		"printf": func(format string, args ...any) (string, error) {
			widths, err := widthsOf(format)
			if err != nil {
				return "", err
			}
			if len(format)+widths+sizeOf(args) > maxText {
				return "", errTooMuch
			}
			return small(fmt.Sprintf(format, args...))
		},
	}
}

func small(s string) (string, error) {
	if len(s) > maxText {
		return "", errTooMuch
	}
	return s, nil
}

// sizeOf is how much text is in args, lists and maps apart: those are as large as the profile has them.
func sizeOf(args []any) (n int) {
	for _, a := range args {
		if s, ok := a.(string); ok {
			n += len(s)
		}
	}
	return n
}

var formatWidth = regexp.MustCompile(`%[-+# 0]*(?:\[\d*\])?(\*|\d*)(?:\.(?:\[\d*\])?(\*|\d*))?`)

// widthsOf is how much a format pads at most.
func widthsOf(format string) (sum int, err error) {
	if !strings.ContainsAny(format, "0123456789*") {
		return 0, nil
	}
	for _, m := range formatWidth.FindAllStringSubmatch(format, -1) {
		for _, width := range m[1:] {
			if width == "*" {
				return 0, fmt.Errorf("%q takes a width from what is printed: write the width out", m[0])
			}
			n, _ := strconv.Atoi(width)
			if sum += n; n > 1<<20 || sum > maxText {
				return 0, errTooMuch
			}
		}
	}
	return sum, nil
}
