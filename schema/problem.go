package schema

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/hashicorp/go-multierror"
	"go.yaml.in/yaml/v4"
)

// Problem is one thing that is wrong in a file, at its place. Line and Col count from 1, Col in characters.
type Problem struct {
	File            string
	Line, Col       int
	Path, Msg, Hint string
}

// Error is "file:line:col: path: problem". The hint is apart: hint.Of finds it.
func (p *Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Col)
	}
	if p.Path != "" {
		b.WriteString(": " + p.Path)
	}
	return b.String() + ": " + p.Msg
}

// Unwrap gives the hint to hint.Of.
func (p *Problem) Unwrap() error {
	if p.Hint == "" {
		return nil
	}
	return hint.New(errors.New(p.Msg), "%s", p.Hint)
}

// Problem is a problem of this document at a node.
func (d *Document) Problem(n *yaml.Node, path, msg, hint string) *Problem {
	p := &Problem{File: d.File, Path: path, Msg: msg, Hint: hint}
	if n != nil {
		p.Line, p.Col = n.Line, n.Column
	}
	return p
}

// Sort flattens err into a *multierror.Error of problems in the order of their files and positions, each once and no
// more than anybody reads; what isn't a problem comes last. It is nil for no error.
func Sort(err error) error {
	all := flatten(err, nil)
	if len(all) == 0 {
		return nil
	}
	slices.SortStableFunc(all, func(a, b error) int {
		p, q := problemOf(a), problemOf(b)
		if p == nil || q == nil {
			return cmp.Compare(rank(p), rank(q))
		}
		return cmp.Or(cmp.Compare(p.File, q.File), cmp.Compare(p.Line, q.Line), cmp.Compare(p.Col, q.Col),
			cmp.Compare(p.Path, q.Path), cmp.Compare(p.Msg, q.Msg))
	})
	all = slices.CompactFunc(all, func(a, b error) bool {
		p, q := problemOf(a), problemOf(b)
		return p != nil && q != nil && *p == *q
	})
	if len(all) > maxProblems {
		all = append(all[:maxProblems:maxProblems], errMore)
	}
	return &multierror.Error{Errors: all, ErrorFormat: format}
}

var errMore = errors.New("and more problems")

func flatten(err error, into []error) []error {
	switch e := err.(type) {
	case nil:
		return into
	case *multierror.Error:
		if e == nil {
			return into
		}
		for _, one := range e.Errors {
			into = flatten(one, into)
		}
		return into
	case interface{ Unwrap() []error }: // errors.Join
		for _, one := range e.Unwrap() {
			into = flatten(one, into)
		}
		return into
	}
	return append(into, err)
}

func problemOf(err error) *Problem {
	p, _ := errors.AsType[*Problem](err)
	return p
}

func rank(p *Problem) int {
	if p == nil {
		return 1
	}
	return 0
}

func format(all []error) string {
	lines := make([]string, len(all))
	for i, err := range all {
		lines[i] = hint.Text(err)
	}
	return strings.Join(lines, "\n")
}
