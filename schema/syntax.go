package schema

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v4"
)

// syntax puts a YAML error into plain words.
func (d *Document) syntax(data []byte, err error) *Problem {
	le, ok := errors.AsType[*yaml.LoadError](err)
	if !ok {
		return &Problem{File: d.File, Line: 1, Col: 1, Msg: "not YAML: " + err.Error()}
	}
	at, from := le.Mark, le.ContextMark
	p := &Problem{File: d.File, Line: max(at.Line, 1), Col: max(at.Column, 1)}
	lines := bytes.Split(data, []byte("\n"))
	line := func(n int) []rune {
		if n < 1 || n > len(lines) {
			return nil
		}
		return []rune(strings.TrimSuffix(string(lines[n-1]), "\r"))
	}
	if ends := bytes.Count(bytes.TrimSuffix(data, []byte("\n")), []byte("\n")) + 1; p.Line > ends { // behind the end
		p.Line = ends
		p.Col = len(line(ends)) + 1
	}
	here := line(at.Line)
	char := func(col int) rune {
		if col < 1 || col > len(here) {
			return 0
		}
		return here[col-1]
	}

	if le.Message == errDepth.Error() {
		p.Msg = fmt.Sprintf("nested more than %d deep", maxDepth)
		return p
	}
	for _, n := range []int{at.Line, from.Line} {
		if col := tabIn(line(n)); col > 0 {
			p.Line, p.Col, p.Msg, p.Hint = n, col, "a tab in the indentation", "indent with spaces: YAML doesn't allow tabs there"
			return p
		}
	}
	if col := at.Column; char(col) == '{' && char(col-1) == '$' {
		return unquoted(p, here, col-1)
	}
	if i := strings.Index(string(here), "${"); i >= 0 && strings.HasPrefix(le.Message, "mapping values") {
		if col := len([]rune(string(here)[:i])) + 1; col < at.Column {
			return unquoted(p, here, col)
		}
	}

	began := ""
	if from.Line > 0 && from.Line != at.Line {
		began = fmt.Sprintf(" that begins in line %d", from.Line)
	}
	switch msg := le.Message; {
	case le.Stage == "composer" && strings.HasPrefix(msg, "unknown anchor"):
		name := strings.TrimSuffix(strings.TrimPrefix(msg, "unknown anchor '"), "' referenced")
		p.Msg = fmt.Sprintf("*%s is an alias of an anchor &%s that isn't there", name, name)
		p.Hint = "put text that begins with * in quotes"
	case le.Stage == "scanner" && (strings.HasSuffix(le.ContextMsg, " an alias") || strings.HasSuffix(le.ContextMsg, " an anchor")):
		p.Line, p.Col = from.Line, from.Column
		p.Msg, p.Hint = "* and & at the start of a text make it an alias or an anchor, and this is neither", "put the text in quotes"
	case msg == "found character that cannot start any token":
		p.Msg = fmt.Sprintf("a text can't begin with %q", char(at.Column))
		p.Hint = "put it in quotes"
	case strings.HasPrefix(msg, "mapping values are not allowed"):
		if strings.Contains(string(here[:min(max(at.Column-1, 0), len(here))]), ": ") {
			p.Msg, p.Hint = `": " inside a text`, "put the whole text in quotes"
		} else {
			p.Col = len(here) - len([]rune(strings.TrimLeft(string(here), " "))) + 1
			p.Msg = "a key isn't expected here"
			p.Hint = `indent it like the keys above, and see that the line above ends its key with ":"`
			for n := at.Line - 1; n > 0; n-- {
				if text := strings.TrimSpace(string(line(n))); text != "" && text[0] != '#' {
					p.incomplete(n, line(n))
					break
				}
			}
		}
	case msg == "found unexpected end of stream" && strings.Contains(le.ContextMsg, "quoted"):
		p.Line, p.Col = from.Line, from.Column
		p.Msg = "the quote that opens here isn't closed"
	case msg == "found unknown escape character" && char(at.Column+1) == 0:
		p.Line, p.Col = from.Line, from.Column
		p.Msg = "the quote that opens here isn't closed"
	case msg == "found unknown escape character":
		p.Msg = fmt.Sprintf(`unknown escape \%c in a double-quoted text`, char(at.Column+1))
		p.Hint = `write \\ for a backslash, or use single quotes`
	case msg == "did not find expected hexadecimal number":
		p.Msg, p.Hint = `a \x, \u or \U without its digits in a double-quoted text`, `write \\ for a backslash, or use single quotes`
	case msg == "did not find expected ',' or ']'":
		p.Msg, p.Hint = `expected "," or "]" in the list`+began, flowHint
	case msg == "did not find expected ',' or '}'":
		p.Msg, p.Hint = `expected "," or "}" in the map`+began, flowHint
	case msg == "did not find expected node content":
		p.Msg, p.Hint = "expected a value", flowHint
		if col := comment(line(at.Line - 1)); col > 0 {
			p.Line, p.Col, p.Msg = at.Line-1, col, "a comment begins here, inside of { } or [ ] that aren't closed"
			p.Hint = "put text that holds # in quotes"
		}
	case msg == "could not find expected ':'" && from.Line > 0:
		p.Line, p.Col = from.Line, from.Column
		p.Msg = `expected a ":" behind the key`
		p.Hint = `write "key: value"; a text that goes on in more lines is indented deeper than its key`
	case msg == "did not find expected <document start>":
		p.Msg, p.Hint = "expected a key at the margin of the first one", "indent all keys of the top level alike"
	case msg == "did not find expected key":
		p.Msg = "expected a key of the map" + began
		p.Hint = "check the indentation, and the quotes of the value before"
	case msg == "did not find expected '-' indicator":
		p.Msg = `expected "- " for the next entry of the list` + began
		p.Hint = "check the indentation"
	case strings.HasPrefix(msg, "block sequence entries"):
		p.Msg, p.Hint = "a list can't begin in the same line as its key", "begin it in the next line, or write it as [a, b]"
	default:
		p.Msg = strings.Replace(msg, "did not find expected", "expected", 1)
		if le.ContextMsg != "" {
			p.Msg += " (" + le.ContextMsg + began + ")"
		}
	}
	return p
}

const flowHint = `put "," between values, close each { and [, and put text with , : # { } [ ] or a quote in it in quotes`

var (
	noSpace = regexp.MustCompile(`^[ -]*([A-Za-z_]\w*):[^\s:/]`)
	noColon = regexp.MustCompile(`^[ -]*([A-Za-z_]\w*)\s*$`)
)

// incomplete puts the blame on line n, which comes before the key that isn't expected, where it looks like a key itself.
func (p *Problem) incomplete(n int, line []rune) {
	text := string(line)
	if m := noSpace.FindStringSubmatchIndex(text); m != nil {
		p.Line, p.Col, p.Msg = n, m[2]+1, fmt.Sprintf("a space is missing behind %q", text[m[2]:m[3]]+":")
		p.Hint = fmt.Sprintf("write %q and a space before the value", text[m[2]:m[3]]+":")
	} else if m := noColon.FindStringSubmatchIndex(text); m != nil {
		p.Line, p.Col, p.Msg = n, m[2]+1, fmt.Sprintf(`a ":" is missing behind %q`, text[m[2]:m[3]])
		p.Hint = fmt.Sprintf("write %q, or indent the next line like this one", text[m[2]:m[3]]+":")
	}
}

// comment is the column of a comment behind something, or 0.
func comment(line []rune) int {
	for i := 1; i < len(line); i++ {
		if line[i] == '#' && (line[i-1] == ' ' || line[i-1] == '\t') {
			return i + 1
		}
	}
	return 0
}

func unquoted(p *Problem, line []rune, col int) *Problem {
	expr := string(line[col-1:])
	if i := strings.IndexByte(expr, '}'); i >= 0 {
		expr = expr[:i+1]
	}
	p.Col, p.Msg = col, "an expression that needs quotes"
	p.Hint = fmt.Sprintf(`write "%s": inside { } and [ ], and with ": " in it, YAML takes it for something else`, strings.ReplaceAll(expr, `"`, `\"`))
	return p
}

// tabIn is the column of a tab in a line's indentation, or 0.
func tabIn(line []rune) int {
	for i, r := range line {
		switch r {
		case ' ':
		case '\t':
			return i + 1
		default:
			return 0
		}
	}
	return 0
}
