package profile

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/fitout-dev/fitout/engine/profile/expression"
	"github.com/fitout-dev/fitout/schema"
)

var (
	templateError = regexp.MustCompile(`^template: :(\d+)(?::(\d+))?: (?s:(.*))$`)
	executing     = regexp.MustCompile(`^executing ".*?" at <(.*?)>: `)
)

// templateFaults are what text/template says, and the same for people.
var templateFaults = []struct {
	said        *regexp.Regexp
	plain, hint string
}{
	{regexp.MustCompile(`^unexpected EOF$`), "the template ends in the middle of an if, range, with, block or define", "close it with {{ end }}"},
	{regexp.MustCompile(`^unclosed action$`), "{{ isn't closed in its line", "close it with }}"},
	{regexp.MustCompile(`^(.*\.\w+\.\w+): can't evaluate field (\w+) in type \S.*$`), "$1: there is no $2", ""},
	{regexp.MustCompile(`^(.*): can't evaluate field (\w+) in type \S.*$`), "$1: there is no $2 here", "inside of range and with the dot is the value; $$ is the whole: $$.vars.NAME"},
	{regexp.MustCompile(`^(.*): nil (?:data; no entry for key|pointer evaluating interface \{\}\.)"?(\w+?)"?$`), "$1: nothing is there, so it has no $2", "ask with {{ if }} or {{ with }} first"},
	{regexp.MustCompile(`^(.*): map has no entry for key "(.*)"$`), `$1: there is no "$2"`, ""},
	{regexp.MustCompile(`^` + rounds + `: error calling ` + rounds + `: (.*)$`), "$1", "a template is for a text of its own: keep its loops, and what calls itself, small"},
	{regexp.MustCompile(`^(.*): error calling \w+: (.*)$`), "$1: $2", ""},
	{regexp.MustCompile(`^(.*): wrong type for value; expected (\S+); got (\S+)$`), "$1: wants $2, not $3", ""},
}

var unknownFunction = regexp.MustCompile(`^function "(\w+)" not defined$`)

// problem puts an error of text/template at its place in the file, in plain words.
func (t *template) problem(err error) error {
	p := &schema.Problem{File: t.file, Line: 1, Col: 1, Msg: err.Error()}
	m := templateError.FindStringSubmatch(strings.Replace(err.Error(), t.file, "", 1))
	if m == nil {
		return p
	}
	p.Line, _ = strconv.Atoi(m[1])
	if m[2] != "" {
		p.Col, _ = strconv.Atoi(m[2])
		p.Col++
	}
	p.Msg = executing.ReplaceAllString(m[3], "$1: ")
	for _, f := range templateFaults {
		if f.said.MatchString(p.Msg) {
			p.Msg, p.Hint = f.said.ReplaceAllString(p.Msg, f.plain), strings.ReplaceAll(f.hint, "$$", "$")
			return p
		}
	}
	if m := unknownFunction.FindStringSubmatch(p.Msg); m != nil {
		p.Msg, p.Hint = fmt.Sprintf("unknown function %q", m[1]), "names begin with a dot: .vars.NAME, .device.NAME"
		if slices.Contains(expression.Roots, m[1]) {
			p.Hint = fmt.Sprintf("names begin with a dot: .%s", m[1])
		}
		p.Col = t.find(p.Line, m[1])
	}
	return p
}

// find is the column of a word in an action of a line, for what text/template knows the line only.
func (t *template) find(line int, word string) int {
	lines := strings.Split(t.source, "\n")
	if line > len(lines) {
		return 1
	}
	text := lines[line-1]
	from := max(strings.Index(text, "{{"), 0)
	at := regexp.MustCompile(`\b` + regexp.QuoteMeta(word) + `\b`).FindStringIndex(text[from:])
	if at == nil {
		return 1
	}
	return utf8.RuneCountInString(text[:from+at[0]]) + 1
}
