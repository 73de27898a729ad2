package profile

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-multierror"
	"golang.org/x/tools/txtar"

	"github.com/fitout-dev/fitout/engine/profile/expression"
	"github.com/fitout-dev/fitout/engine/secret"
	"github.com/fitout-dev/fitout/modules/fuzzing"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/fitout-dev/fitout/schema"
)

// fuzzSecret is every secret that a fuzzed profile mentions.
const fuzzSecret = "Korrekt&Pferd<1>'Batterie"

func told(s string) bool {
	js, _ := json.Marshal(fuzzSecret)
	return strings.Contains(s, fuzzSecret) || strings.Contains(s, strings.Trim(string(js), `"`))
}

var fuzzDevice = Device{Name: "lt-042", Address: "10.0.3.42", User: "admin", Groups: []string{"laptops"},
	Variables: map[string]any{"company": "Example", "tag": "x"},
	Facts:     map[string]any{"os": "linux", "distribution": "debian", "cpus": int64(4), "facts": map[string]any{"a": []any{"b"}}}}

// A profile, its parent and its template, whatever they hold: each mistake has its place in one of them; and what there is
// to do is the same each time, in an order that its edges allow, with each of its parts where it says, and tells no secret.
func FuzzProfile(f *testing.F) {
	cases, _ := filepath.Glob("testdata/*.txtar")
	for _, path := range cases {
		a, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		text := map[string]string{}
		for _, file := range a.Files {
			if _, ok := text[filepath.Ext(file.Name)]; !ok || file.Name == "profile.yaml" {
				text[filepath.Ext(file.Name)] = string(file.Data)
			}
		}
		f.Add(text[".yaml"], "groups: [sales]\n", text[".tmpl"])
	}
	f.Add("extends: [parent.yaml]\nusers:\n  - {name: alice, password: \"${secrets.a}\", groups: null}\nfiles:\n  - {path: /etc/x, template: t.tmpl, notify: [services/ssh]}\nservices: [ssh]\n",
		"variables: {who: [a, b]}\nusers:\n  - {name: alice, shell: /bin/sh, groups: [sales]}\n  - {name: \"${item}\", forEach: vars.who, state: absent}\ngroups: [sales]\n", "{{ range .vars.who }}{{ . }}{{ end }} {{ .secrets.a }}\n")
	f.Add("extends: parent.yaml\ngroups: null\nsysctl:\n  - {name: a.b, value: \"${vars.tag}\"}\nlines:\n  - {path: /etc/hosts, line: \"${vars.company}\", id: x}\n", "extends: profile.yaml\n", "{{ .nope }}")
	f.Add("packages:\n  - {name: nano, when: device.os == \"windows\"}\n  - {name: nano, after: [users]}\nusers: [{name: a, after: [packages/nano]}]\n", "", "")
	f.Fuzz(func(t *testing.T, child, parent, template string) {
		if len(child)+len(parent)+len(template) > fuzzing.Most {
			t.Skip()
		}
		dir := t.TempDir()
		files := map[string]string{"profile.yaml": child, "parent.yaml": parent, "t.tmpl": template}
		for name, text := range files {
			writeFile(t, filepath.Join(dir, name), []byte(text))
		}
		fuzzing.Soon(func() { checkProfile(t, dir, files) })
	})
}

// What a template makes is a secret wherever one is in it, however the template came by it; and what is wrong has its place.
func FuzzTemplate(f *testing.F) {
	for _, text := range []string{"{{ .vars.company }} {{ .device.name }}\n", "{{ .secrets.a }}", "{{ range .vars.list }}{{ . }}{{ else }}x{{ end }}", "{{ with $.secrets }}{{ .a }}{{ end }}",
		"{{ index . \"secrets\" \"a\" }}", "{{ range $k, $v := . }}{{ $k }}{{ $v }}{{ end }}", "{{ printf \"%v\" . }}", "{{ $x := . }}{{ $x.secrets.a }}", "{{ define \"t\" }}{{ .secrets.a }}{{ end }}{{ template \"t\" . }}",
		"{{ with .vars }}{{ .hidden }}{{ end }}", "{{ (index .vars \"hidden\") }}", "{{ .vars | printf \"%v\" }}", "{{ $v := .vars }}{{ $v.hidden }}", "{{ template \"x\" $ }}{{ define \"x\" }}{{ index . \"vars\" }}{{ end }}",
		"{{ if", "é {{ \"x\" }} {{ company }}", "{{ .vars.company.name }}", "{{/* c */ -}}\r\n{{- break }}", "{{ block \"b\" .vars }}{{ . }}{{ end }}", "{{ len .secrets.a }}", "{{ html .secrets.a }}", "{{ with $s := .secrets }}{{ range $s }}{{ . }}{{ end }}{{ end }}"} {
		f.Add(text)
	}
	endless := regexp.MustCompile(`range\s[^}]*[0-9a-fA-F_xXoOpP.]{4}`) // they are bounded, but not to what a fuzzer has time for
	f.Fuzz(func(t *testing.T, template string) {
		if len(template) > fuzzing.Most || endless.MatchString(template) {
			t.Skip()
		}
		for _, hidden := range []string{"", ", hidden: \"${secrets.a}!\""} {
			dir := t.TempDir()
			files := map[string]string{"t.tmpl": template, "profile.yaml": "variables: {company: X, list: [a, b], map: {a: null}" + hidden + "}\n" +
				"users: [{name: a, password: \"${secrets.a}\"}]\nfiles: [{path: /x, template: t.tmpl}]\n"}
			for name, text := range files {
				writeFile(t, filepath.Join(dir, name), []byte(text))
			}
			fuzzing.Soon(func() { checkProfile(t, dir, files) })
		}
	})
}

func fuzzLoader() *Loader {
	return &Loader{Variables: []string{"company", "tag"}, Env: func(name string) (string, bool) { return fuzzSecret, strings.HasPrefix(name, "FITOUT_SECRET_") }}
}

func checkProfile(t *testing.T, dir string, files map[string]string) {
	innocent := !slices.ContainsFunc([]string{"profile.yaml", "parent.yaml", "t.tmpl"}, func(name string) bool { return told(files[name]) })
	load := func() (*Profile, error) { return fuzzLoader().Load(filepath.Join(dir, "profile.yaml")) }
	p, err := load()
	if err != nil {
		placed(t, dir, files, err, innocent)
		return
	}
	if _, err := p.Compile(Device{Name: "new", Variables: fuzzDevice.Variables}); err != nil { // before the first contact
		placed(t, dir, files, err, innocent)
	}
	c, err := p.Compile(fuzzDevice)
	if err != nil {
		placed(t, dir, files, err, innocent)
		return
	}
	q, err := load()
	if err != nil {
		t.Fatalf("loaded, and a second time: %v", err)
	}
	again, err := q.Compile(fuzzDevice)
	if err != nil {
		t.Fatalf("compiled, and a second time: %v", err)
	}
	if d := cmp.Diff(revealed(c), revealed(again)); d != "" {
		t.Fatalf("compiled one and another time:\n%s", d)
	}
	at := map[string]int{}
	for i, r := range c.Resources {
		at[r.Address] = i
	}
	for i, r := range c.Resources {
		if r.Address != r.Type && !strings.HasPrefix(r.Address, r.Type+"/") || r.Type == "" {
			t.Fatalf("%q is of type %q", r.Address, r.Type)
		}
		if at[r.Address] != i {
			t.Fatalf("%s comes twice", r.Address)
		}
		if text, ok := files[filepath.Base(r.Position.File)]; !ok || !inside(text, r.Position.Line, r.Position.Col) {
			t.Fatalf("%s is declared at %s, which isn't in a file", r.Address, r.Position)
		}
		for _, a := range r.After {
			if j, ok := at[a]; !ok || j >= i {
				t.Fatalf("%s comes after %s, which is number %d, itself %d", r.Address, a, j, i)
			}
		}
		for _, n := range r.Notify {
			if _, ok := at[n]; !ok {
				t.Fatalf("%s notifies %s, which there isn't", r.Address, n)
			}
		}
		expression.Walk(r.Want, func(leaf any) {
			switch leaf := leaf.(type) {
			case nil, string, bool, int64, float64, secret.Value:
			case host.Blob:
				content, ok := c.Blobs[leaf.Hash]
				if !ok || r.Skip != "" {
					t.Fatalf("%s (skip %q): the content %v is there: %v", r.Address, r.Skip, leaf, ok)
				}
				body, err := content.Open()
				if err != nil {
					t.Fatal(err)
				}
				defer body.Close()
				text, err := io.ReadAll(body)
				if err != nil || int64(len(text)) != leaf.Size || told(string(text)) && !content.Secret && innocent {
					t.Fatalf("%s: a content of %d bytes, secret %v, not %d: %v", r.Address, len(text), content.Secret, leaf.Size, err)
				}
			default:
				t.Fatalf("%s wants a %T", r.Address, leaf)
			}
		})
	}
	js, err := json.Marshal(c.Resources)
	if err != nil {
		t.Fatal(err)
	}
	if told(string(js)) && innocent {
		t.Fatalf("a secret is told: %s", js)
	}
}

// revealed is what a profile was compiled to, comparable.
func revealed(c *Compiled) []any {
	var out []any
	for _, r := range c.Resources {
		r.Want = expression.Reveal(r.Want).(map[string]any)
		out = append(out, r)
	}
	secrets := slices.Clone(c.Secrets)
	slices.Sort(secrets)
	return append(out, c.Files, c.Profile, secrets)
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

func placed(t *testing.T, dir string, files map[string]string, err error, innocent bool) {
	t.Helper()
	all := []error{err}
	if many, ok := errors.AsType[*multierror.Error](err); ok {
		all = many.Errors
	}
	for _, err := range all {
		if told(hint.Text(err)) && innocent {
			t.Fatalf("a secret is told: %s", hint.Text(err))
		}
		p, ok := errors.AsType[*schema.Problem](err)
		if !ok {
			if err.Error() == "and more problems" {
				continue
			}
			t.Fatalf("has no place: %v", err)
		}
		rel, _ := filepath.Rel(dir, p.File)
		text, ok := files[rel]
		if b, readErr := os.ReadFile(p.File); !ok && readErr == nil { // what the profile names beside
			text, ok = string(b), true
		}
		if strings.HasSuffix(p.File, ".tmpl") { // where only \n ends a line
			text = strings.ReplaceAll(text, "\r", " ")
		}
		if !ok || !inside(text, p.Line, p.Col) {
			t.Fatalf("%s: its place isn't in a file", p)
		}
	}
}
