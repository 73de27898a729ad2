package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/fitout-dev/fitout/modules/fuzzing"
	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
	"golang.org/x/tools/txtar"
)

// fuzzSeeds are all inputs of testdata.
func fuzzSeeds(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, in := range a.Files {
			if !strings.HasSuffix(in.Name, ".errors") {
				f.Add(in.Data)
			}
		}
	}
	f.Add([]byte("a: &a [1, 0x1F, 1_000, .5, 1e3, 2026-01-02]\nb: *a\n? c\n: !!str 1\nd: |+\n  x\n\n\ne: \"\\x41\\u00e9\"\n"))
	f.Add([]byte("a: &x {b: *x}\n<<: *x\n? [k]\n: v\n1: y\na: 2\n"))
	f.Add([]byte("\uFEFFé: [${vars.x}, {b: ${c}}]\r\n\tx: 1\r"))
	f.Add([]byte(strings.Repeat("[", 100)))
	f.Add([]byte("{"))
	f.Add([]byte("{content: ${vars.x}}\n"))
}

// Whatever the bytes, Read returns a plain map that has places, or problems with a place inside the file; what it read is
// read back as it was from what is written of it.
func FuzzRead(f *testing.F) {
	fuzzSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > fuzzing.Most {
			t.Skip()
		}
		fuzzing.Soon(func() { checkRead(t, data) })
	})
}

func checkRead(t *testing.T, data []byte) {
	d, err := Read("f.yaml", bytes.Clone(data))
	if d == nil && err == nil {
		t.Fatalf("Read gives %v and %v", d, err)
	}
	if err != nil {
		placed(t, data, err)
	}
	if d == nil {
		return
	}
	value, ok := Value(d.Root).(map[string]any)
	if !ok {
		t.Fatalf("the root is %T", Value(d.Root))
	}
	nodes := 0
	var walk func(n *yaml.Node, key bool)
	walk = func(n *yaml.Node, key bool) {
		if nodes++; nodes > fuzzing.Most+maxAliased {
			t.Fatal("more nodes than the file may become")
		}
		if !inside(string(data), n.Line, n.Column) {
			t.Fatalf("%q is at %d:%d, which isn't in the file", n.Value, n.Line, n.Column)
		}
		if n.Kind == yaml.AliasNode || key && (n.Kind != yaml.ScalarNode || n.Tag != "!!str") {
			t.Fatalf("a node of kind %d and tag %s is left", n.Kind, n.Tag)
		}
		for i, c := range n.Content {
			walk(c, n.Kind == yaml.MappingNode && i%2 == 0)
		}
	}
	walk(d.Root, false)
	if err != nil {
		return
	}
	written := writeValue(t, value)
	again, err := Read("again.yaml", written)
	if err != nil && strings.Contains(err.Error(), "nested more than") { // what aliases brought counts there
		return
	}
	if err != nil {
		t.Fatalf("%q was read, and written as %q isn't: %v", data, written, err)
	}
	if d := cmp.Diff(any(value), Value(again.Root)); d != "" {
		t.Fatalf("%q, written as %q:\n%s", data, written, d)
	}
}

// writeValue writes a value in JSON, which is YAML, with all but ASCII escaped.
func writeValue(t *testing.T, v any) []byte {
	js, err := json.Marshal(exact(v))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, r := range string(js) {
		if r < 0x7f {
			out.WriteRune(r)
		} else {
			fmt.Fprintf(&out, `\U%08x`, r)
		}
	}
	return out.Bytes()
}

// exact has floats written so that they are read as such.
func exact(v any) any {
	switch x := v.(type) {
	case float64:
		return json.Number(strconv.FormatFloat(x, 'e', -1, 64))
	case []any:
		out := make([]any, len(x))
		for i := range x {
			out[i] = exact(x[i])
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for k := range x {
			out[k] = exact(x[k])
		}
		return out
	}
	return v
}

// inside says whether there is such a place in a text; what misses at its end is due just behind it. The YAML library counts
// a lone carriage return as the end of a line in some of its errors, and not in others.
func inside(text string, line, col int) bool {
	text = strings.ReplaceAll(strings.TrimPrefix(text, "\uFEFF"), "\r\n", "\n")
	for _, text := range []string{text, strings.ReplaceAll(text, "\r", "\n")} {
		lines := append(strings.Split(text, "\n"), "")
		if line >= 1 && line <= len(lines) && col >= 1 && col <= utf8.RuneCountInString(lines[line-1])+1 {
			return true
		}
	}
	return false
}

// Whatever was read, validating returns nothing or problems with a place inside the file, and changes nothing of it.
func FuzzValidate(f *testing.F) {
	fuzzSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > fuzzing.Most {
			t.Skip()
		}
		d, _ := Read("f.yaml", data)
		if d == nil {
			return
		}
		fuzzing.Soon(func() {
			before := Value(d.Root)
			for _, validate := range []func(*Document) error{ValidateProfile, ValidateInventory} {
				first, second := validate(d), validate(d)
				if first != nil {
					placed(t, data, first)
				}
				if (first == nil) != (second == nil) || first != nil && first.Error() != second.Error() {
					t.Errorf("a second time it says\n%v\nnot\n%v", second, first)
				}
			}
			if d := cmp.Diff(before, Value(d.Root)); d != "" {
				t.Errorf("validating changed the document:\n%s", d)
			}
		})
	})
}

func placed(t *testing.T, data []byte, err error) {
	t.Helper()
	checkShape(t, err)
	if Sort(errors.Join(err, err)).Error() != err.Error() {
		t.Errorf("not sorted, or not each once: %v", err)
	}
	for _, e := range flatten(err, nil) {
		p := problemOf(e)
		if p.Msg == "and more problems" {
			continue
		}
		if !inside(string(data), p.Line, p.Col) {
			t.Errorf("%s: its place isn't in the file", p)
		}
		if p.Msg == "" || !utf8.ValidString(p.Error()) || strings.ContainsAny(p.Error()+p.Hint, "\x00\x1b\r") {
			t.Errorf("not fit to be shown: %q, %q", p, p.Hint)
		}
	}
}
