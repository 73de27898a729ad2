package schema

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"
)

// What a file may cost. They are far beyond any profile that a person keeps, and keep a hostile one from hurting.
const (
	maxBytes   = 16 << 20
	maxPieces  = 500_000 // lines, commas, dashes and brackets: about what becomes a node
	maxDepth   = 64
	maxAliased = 50_000 // nodes that aliases may add

	maxProblems = 1000 // that are reported
)

// Document is a YAML file that was read strictly. Its nodes are plain: each alias is replaced by what it stands for,
// tags are YAML's own, keys are text and no key comes twice in a map. Of a node that an alias put there, the top has the
// alias's position.
type Document struct {
	File string
	Root *yaml.Node // a map
}

// Read reads data, the content of the file that is called name in messages. The error is a *multierror.Error of
// *Problem, sorted. Where it is about a few keys only, the document comes with it, for more to be found.
func Read(name string, data []byte) (*Document, error) {
	d := &Document{File: name}
	if p := d.checkBytes(data); p != nil {
		return nil, Sort(p)
	}
	data = bytes.TrimPrefix(data, []byte("\uFEFF"))
	root, p := d.load(data)
	if p != nil {
		return nil, Sort(p)
	}
	if root == nil || root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil, Sort(&Problem{File: name, Line: 1, Col: 1, Msg: "the file is empty: it declares nothing"})
	}
	c := cleaner{d: d}
	d.Root = c.clean(root, "", nil)
	if d.Root.Kind != yaml.MappingNode {
		p := d.Problem(d.Root, "", "the file must be a map of keys, not "+kindOf(d.Root), `begin each line at the margin with a key: "profile: NAME"`)
		return nil, Sort(errors.Join(append(c.problems, p)...))
	}
	if c.broken {
		d = nil
	}
	return d, Sort(errors.Join(c.problems...))
}

// load reads the one document of data.
func (d *Document) load(data []byte) (*yaml.Node, *Problem) {
	l, err := yaml.NewLoader(bytes.NewReader(data), yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthFunc(checkDepth))))
	if err != nil {
		return nil, &Problem{File: d.File, Msg: err.Error()}
	}
	var first, second yaml.Node
	if err := l.Load(&first); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, d.syntax(data, err)
	}
	if err := l.Load(&second); err == nil {
		return nil, d.Problem(&second, "", "a second document begins here: a file holds one", `remove the line "---", or make two files`)
	} else if !errors.Is(err, io.EOF) {
		return nil, d.syntax(data, err)
	}
	if len(first.Content) != 1 {
		return nil, nil
	}
	return first.Content[0], nil
}

var errDepth = errors.New("too deep")

func checkDepth(depth int, _ *yaml.DepthContext) error {
	if depth > maxDepth {
		return errDepth
	}
	return nil
}

// checkBytes finds what isn't text, in one pass.
func (d *Document) checkBytes(data []byte) *Problem {
	at := func(line, col int, msg, hint string) *Problem {
		return &Problem{File: d.File, Line: line, Col: col, Msg: msg, Hint: hint}
	}
	const save = "save the file as UTF-8"
	binary := func(p *Problem) *Problem {
		if bytes.IndexByte(data, 0) >= 0 {
			return at(1, 1, "this isn't a text file", "")
		}
		return p
	}
	if len(data) > maxBytes {
		return at(1, 1, fmt.Sprintf("the file has %d MB; at most %d MiB are read", len(data)/1_000_000, maxBytes>>20),
			"keep large contents in files of their own, and name them with source")
	}
	for _, bom := range []struct{ bytes, name string }{
		{"\xFF\xFE\x00\x00", "UTF-32"}, {"\x00\x00\xFE\xFF", "UTF-32"}, {"\xFF\xFE", "UTF-16"}, {"\xFE\xFF", "UTF-16"},
		{"+/v8", "UTF-7"}, {"+/v9", "UTF-7"}, {"\xF7\x64\x4C", "UTF-1"}, {"\xDD\x73\x66\x73", "UTF-EBCDIC"},
	} {
		if bytes.HasPrefix(data, []byte(bom.bytes)) {
			return at(1, 1, "the file is "+bom.name+" text; UTF-8 is needed", save)
		}
	}
	if len(data) > 1 && (data[0] == 0) != (data[1] == 0) {
		return at(1, 1, "the file is UTF-16 text; UTF-8 is needed", save)
	}
	data = bytes.TrimPrefix(data, []byte("\uFEFF"))
	line, col, pieces := 1, 1, 0
	for i := 0; i < len(data); {
		b := data[i]
		switch {
		case b == '\n' || b == '\r' && (i+1 == len(data) || data[i+1] != '\n'):
			line, col, i, pieces = line+1, 1, i+1, pieces+1
			continue
		case b == ',' || b == '[' || b == '{' || (b == '-' || b == '?') && i+1 < len(data) && data[i+1] == ' ':
			pieces++
		case b == 0:
			return at(line, col, "a NUL byte: this isn't a text file", "")
		case b < ' ' && b != '\t' && b != '\r' || b == 0x7F:
			return binary(at(line, col, fmt.Sprintf("the control character %#02x isn't allowed", b), `in a double-quoted text, write it as an escape such as "\e" or "\x07"`))
		case b >= utf8.RuneSelf:
			r, size := utf8.DecodeRune(data[i:])
			switch {
			case r == utf8.RuneError && size == 1:
				return binary(at(line, col, fmt.Sprintf("the byte %#02x isn't valid UTF-8", b), save))
			case r == '\uFEFF' || r == '\uFFFE' || r == '\uFFFF' || r < 0xA0 && r != 0x85:
				return at(line, col, fmt.Sprintf("the character U+%04X isn't allowed", r), "remove it, or write it as an escape in a double-quoted text")
			}
			i += size - 1
		}
		i, col = i+1, col+1
	}
	if pieces > maxPieces {
		return at(1, 1, fmt.Sprintf("the file has more than %d lines and values", maxPieces),
			"keep large contents in files of their own, and name them with source")
	}
	return nil
}
