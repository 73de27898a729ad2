package expression

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-multierror"

	"github.com/fitout-dev/fitout/engine/secret"
	"github.com/fitout-dev/fitout/modules/fuzzing"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/schema"
)

// What the scope of the fuzzer hides. Neither is part of anything else in it.
const hidden, hiddenToo = "Korrekt&Pferd<1>", "Batterie\"Klammer'2"

func fuzzScope() *Scope {
	s := NewScope(map[string]any{"name": "lt-042", "address": "10.0.3.42", "user": "admin", "groups": []any{"laptops", "lu"}, "os": "linux",
		"cpus": int64(4), "facts": map[string]any{"addresses": []any{"10.0.3.42"}}}, true, map[string]any{"a": hidden}, map[string]any{"HOME": "/root"}, false)
	s.Set("text", Var{Value: "plain"})
	s.Set("list", Var{Value: []any{int64(1), "two", nil, true}})
	s.Set("map", Var{Value: map[string]any{"b": 1.5, "a": map[string]any{"x": "y"}}})
	s.Set("tainted", Var{Value: map[string]any{"user": "u", "password": hiddenToo}, Tainted: true})
	return s.WithItem(Var{Value: map[string]any{"name": "alice"}})
}

// Whatever a file's expressions are: what is wrong with one is told with a place in the file, and never tells a secret;
// what one gives are JSON's values, the same each time; and what is made of a secret is one.
func FuzzExpression(f *testing.F) {
	for _, text := range []string{
		"a: ${vars.text}\nb: \"x ${device.name} \\\"${secrets.a}\\\" $${y}\"\nwhen: device.os == \"linux\"\n",
		"a: '${vars.list}'\nb:\n  - ${upper(secrets.a)} ${env.HOME}\n  - ${vars.missing ?? \"x\"}\n",
		"a: |\n  ${join(map(device.groups, # + \"!\"), \", \")}\n  ${\n  len(vars.list)}\n",
		"a: '${{(secrets.a): \"x\"}}'\n",
		"a: '${vars.tainted}'\nc: ${keys(vars.tainted)}\nd: ${toJSON(secrets.a)}\ne: ${toBase64(secrets.a)}\n",
		"when: secrets.a matches \"^K\" ? 1 : nil\na: ${int(secrets.a)}\nb: ${secrets.a[0:3]}\nc: ${item.name} ${vars.map.a.x}\n",
		"a: ${\n", "a: ${}", "a: ${1..100000}", "a: ${repeat(\"x\", 100000)}", "a: ${let x = 1; x / 0}", "a: ${$env}", "a: ${\"é\" + nope}\n", "a: ${((((((((1))))))))}", "a: ${sum(1..1000, # * #)}", "a: ${fromJSON(secrets.a)}",
		"a: ${groupBy(vars.list, #)}", "a: ${now()}", "a: ${'\U0001F600' + }\r\nb: ${x}\r\n", "a: \"\\u0024{x}\"\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > fuzzing.Most {
			t.Skip()
		}
		fuzzing.Soon(func() { checkExpressions(t, data) })
		programs.Clear() // or they would fill the memory
	})
}

func checkExpressions(t *testing.T, data []byte) {
	d, _ := schema.Read("f.yaml", data)
	if d == nil {
		return
	}
	src := &Source{File: "f.yaml", Data: bytes.TrimPrefix(data, []byte("\uFEFF"))}
	v, err := New(src, d.Root, func(v *Value) bool { return v.Name() == "when" })
	if err != nil {
		placed(t, data, err)
		return
	}
	s := fuzzScope()
	first, err := v.Eval(s)
	second, again := v.Eval(s)
	if (err == nil) != (again == nil) || err != nil && err.Error() != again.Error() {
		t.Fatalf("%q gives %v, and then %v", data, err, again)
	}
	if err != nil {
		placed(t, data, err)
		return
	}
	if d := cmp.Diff(Reveal(first), Reveal(second)); d != "" {
		t.Fatalf("%q gives one and another time:\n%s", data, d)
	}
	each(v, func(v *Value) {
		x, err := v.Eval(s)
		if err != nil {
			t.Fatalf("%q has no value, but what it is in has: %v", v.Text(), err)
		}
		tainted := v.Tainted(s)
		Walk(x, func(leaf any) {
			switch leaf.(type) {
			case nil:
			case secret.Value:
				if !tainted {
					t.Fatalf("%q mentions no secret and gives one", v.Text())
				}
			case string, bool, int64, float64:
				if tainted {
					t.Fatalf("%q gives %T, though it is made of a secret", v.Text(), leaf)
				}
			default:
				t.Fatalf("%q gives a %T", v.Text(), leaf)
			}
		})
	})
	js, err := json.Marshal(first)
	if err != nil {
		t.Fatalf("%q gives what is no JSON: %v", data, err)
	}
	if told(string(js)) && !told(string(data)) {
		t.Fatalf("%q gives away a secret: %s", data, js)
	}
}

// each calls f for every scalar.
func each(v *Value, f func(*Value)) {
	if !v.IsList() && !v.IsMap() {
		f(v)
	}
	for _, c := range v.Items() {
		each(c, f)
	}
	for _, k := range v.Keys() {
		each(v.Field(k), f)
	}
}

// told says whether a secret of the scope is in a text, as it is or as JSON has it.
func told(s string) bool {
	return slices.ContainsFunc([]string{hidden, hiddenToo}, func(secret string) bool {
		js, _ := json.Marshal(secret)
		return strings.Contains(s, secret) || strings.Contains(s, strings.Trim(string(js), `"`))
	})
}

func placed(t *testing.T, data []byte, err error) {
	t.Helper()
	all := []error{err}
	if many, ok := errors.AsType[*multierror.Error](err); ok {
		all = many.Errors
	}
	for _, err := range all {
		p, ok := errors.AsType[*schema.Problem](err)
		if !ok {
			t.Fatalf("%T has no place: %v", err, err)
		}
		if !inside(string(data), p.Line, p.Col) {
			t.Fatalf("%q: %s: its place isn't in the file", data, p)
		}
		if told(hint.Text(p)) && !told(string(data)) {
			t.Fatalf("%q gives away a secret: %s", data, p)
		}
	}
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
