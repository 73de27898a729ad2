package schema

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/fitout-dev/fitout/modules/registry"
	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-multierror"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "write the golden parts of testdata")

// Each case is NAME.profile or NAME.inventory, and NAME.errors with what is wrong in it: nothing where it is right. An
// input named NAME.profile.quoted is a Go string, for what an editor doesn't show.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no testdata", err)
	}
	for _, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{}
		var inputs []txtar.File
		for _, f := range a.Files {
			if name, ok := strings.CutSuffix(f.Name, ".errors"); ok {
				want[name] = string(f.Data)
			} else {
				inputs = append(inputs, f)
			}
		}
		a.Files = nil
		for _, in := range inputs {
			name, kind, _ := strings.Cut(in.Name, ".")
			got := problemsOf(t, kind, in.Data)
			if !*update {
				t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar")+"/"+name, func(t *testing.T) {
					if d := cmp.Diff(want[name], got); d != "" {
						t.Errorf("%s: %s: (-want +got)\n%s", file, in.Name, d)
					}
				})
			}
			a.Files = append(a.Files, in)
			if got != "" {
				a.Files = append(a.Files, txtar.File{Name: name + ".errors", Data: []byte(got)})
			}
		}
		if *update {
			if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func problemsOf(t *testing.T, kind string, data []byte) string {
	t.Helper()
	kind, quoted := strings.CutSuffix(kind, ".quoted")
	if quoted {
		s, err := strconv.Unquote(strings.TrimSpace(string(data)))
		if err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		data = []byte(s)
	}
	d, err := Read(kind+".yaml", data)
	if d != nil {
		switch kind {
		case "profile":
			err = errors.Join(err, ValidateProfile(d))
		case "inventory":
			err = errors.Join(err, ValidateInventory(d))
		default:
			t.Fatalf("unknown kind of case %q", kind)
		}
	}
	if err = Sort(err); err == nil {
		return ""
	}
	checkShape(t, err)
	return err.Error() + "\n"
}

// checkShape holds what every error of this package promises.
func checkShape(t *testing.T, err error) {
	t.Helper()
	list, ok := errors.AsType[*multierror.Error](err)
	if !ok {
		t.Fatalf("%T isn't a *multierror.Error", err)
	}
	for _, e := range list.Errors {
		p, ok := e.(*Problem)
		if !ok {
			t.Fatalf("%T isn't a *Problem", e)
		}
		if hint.Of(p) != p.Hint {
			t.Errorf("hint.Of gives %q, want %q", hint.Of(p), p.Hint)
		}
		if strings.Contains(p.Msg, "jsonschema") || strings.Contains(p.Msg, "anyOf") || strings.Contains(p.Msg, "allOf") {
			t.Errorf("not in plain words: %s", p)
		}
	}
}

func TestLarge(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for i := 'b'; i < 'k'; i++ {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", i, i, strings.Repeat(fmt.Sprintf("*%c,", i-1), 10))
	}
	for _, c := range []struct {
		name, data, want string
		within           time.Duration
	}{
		{"20 MB", strings.Repeat("key: value\n", 2_000_000), "f.yaml:1:1: the file has 22 MB; at most 16 MiB are read", 200 * time.Millisecond},
		{"many lines", strings.Repeat("- a\n", 1_000_000), "f.yaml:1:1: the file has more than 500000 lines and values", 5 * time.Second},
		{"many values", "a: [" + strings.Repeat("[],", 5_000_000) + "]", "f.yaml:1:1: the file has more than 500000 lines and values", 5 * time.Second},
		{"anchor bomb", bomb, "f.yaml:5:17: e[3]: aliases blow the file up to more than 50000 values", 5 * time.Second},
		{"nested lists", "a: " + strings.Repeat("[", 100_000), "f.yaml:1:68: nested more than 64 deep", 5 * time.Second},
		{"nested maps", "a: " + strings.Repeat("{a: ", 1000), "f.yaml:1:", 5 * time.Second},
		{"nested blocks", strings.Repeat("- ", 1000) + "a\n", "f.yaml:1:", 5 * time.Second},
		{"long line", "a: " + strings.Repeat("x", 10_000_000), "", 30 * time.Second},
		{"comments", strings.Repeat("# comment comment comment comment\n", 400_000) + "a: b\n", "", 30 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			start := time.Now()
			_, err := Read("f.yaml", []byte(c.data))
			if took := time.Since(start); took > c.within {
				t.Errorf("took %v", took)
			}
			got := ""
			if err != nil {
				checkShape(t, err)
				got, _, _ = strings.Cut(err.Error(), "\n")
			}
			if c.want == "" && got != "" || !strings.HasPrefix(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// However much is wrong, finding it and saying so ends, and soon.
func TestManyProblems(t *testing.T) {
	for name, line := range map[string]string{
		"unknown": "k%d: 1\n", "duplicate": "a%.0s: 1\n", "entries": "- {name: a%d, x: 1, uid: [], state: no}\n", "variables": "  %d-x: 1\n",
	} {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			switch name {
			case "entries":
				b.WriteString("users:\n")
			case "variables":
				b.WriteString("variables:\n")
			}
			for i := range 50_000 {
				fmt.Fprintf(&b, line, i)
			}
			start := time.Now()
			d, err := Read("f.yaml", []byte(b.String()))
			if err == nil {
				err = ValidateProfile(d)
			}
			if took := time.Since(start); took > time.Minute {
				t.Errorf("took %v", took)
			}
			list, _ := errors.AsType[*multierror.Error](err)
			if list == nil || len(list.Errors) != maxProblems+1 {
				t.Fatalf("got %v", err)
			}
			if last := list.Errors[maxProblems].Error(); last != "and more problems" {
				t.Errorf("the last is %q", last)
			}
		})
	}
}

// All of both schemas compiles, each part by itself too, and every property of every type is explained.
func TestSchemaIsComplete(t *testing.T) {
	for name, r := range map[string]*rules{"profile": profileRules, "inventory": inventoryRules} {
		r.all()()
		r.parts()
		for p := range r.properties {
			r.property(p)()
		}
		explained(t, name, decode(r.raw), r)
	}
	for _, typ := range registry.Types {
		profileRules.concrete(typ.Name)()
		ref, err := Explain(typ.Name, "")
		if err != nil {
			t.Error(err)
			continue
		}
		if ref.Title == "" || ref.Description == "" || len(ref.Platforms) == 0 {
			t.Errorf("%s isn't explained: %+v", typ.Name, ref)
		}
		for _, f := range typ.Fields {
			for _, name := range append(f.Blob, f.Name) {
				if f.IsBlob() && !slices.Contains(f.Blob, name) {
					continue
				}
				one, err := Explain(typ.Name, name)
				if err != nil {
					t.Error(err)
					continue
				}
				p := one.Properties[0]
				if p.Title == "" || p.Description == "" || p.Type == "" || p.Role != string(f.Role) {
					t.Errorf("%s.%s isn't explained: %+v", typ.Name, name, p)
				}
				if p.Default != nil && f.Role != modules.Behaviour {
					t.Errorf("%s.%s has a default, but isn't behaviour", typ.Name, name)
				}
			}
		}
	}
}

// explained walks a schema: every property has title and description.
func explained(t *testing.T, path string, v any, r *rules) {
	m, ok := v.(map[string]any)
	if !ok {
		if list, ok := v.([]any); ok {
			for i, e := range list {
				explained(t, fmt.Sprintf("%s/%d", path, i), e, r)
			}
		}
		return
	}
	for _, key := range []string{"properties", "definitions", "x-observed"} {
		properties, _ := m[key].(map[string]any)
		for name, p := range properties {
			s, _ := p.(map[string]any)
			if ref, ok := s["$ref"].(string); ok {
				s = decode(r.definitions[strings.TrimPrefix(ref, "#/definitions/")])
			}
			if _, isNot := m["required"]; isNot && strings.HasSuffix(path, "/not") {
				continue // which properties exclude each other
			}
			if textOf(s, "title") == "" || textOf(s, "description") == "" {
				t.Errorf("%s/%s/%s has no title or description", path, key, name)
			}
		}
	}
	for k, e := range m {
		if k == "properties" || k == "definitions" {
			for name, s := range e.(map[string]any) {
				explained(t, path+"/"+k+"/"+name, s, r)
			}
			continue
		}
		explained(t, path+"/"+k, e, r)
	}
}

func TestExplain(t *testing.T) {
	ref, err := Explain("files", "mode")
	if err != nil {
		t.Fatal(err)
	}
	p := ref.Properties[0]
	if p.Type != "text" || p.Role != "managed" || p.Example != "0644" || p.Pattern != "^[0-7]{3,4}$" || ref.Short != "path" {
		t.Errorf("%+v", ref)
	}
	for name, want := range map[string]string{"user": `did you mean "users"?`, "users.shel": `did you mean "shell"?`} {
		typ, property, _ := strings.Cut(name, ".")
		if _, err := Explain(typ, property); hint.Of(err) != want {
			t.Errorf("Explain(%s): %v, hint %q, want %q", name, err, hint.Of(err), want)
		}
	}
}

type sealed struct{ _ string }

func TestValidateResource(t *testing.T) {
	users, files := registry.Find("users"), registry.Find("files")
	for _, c := range []struct {
		name  string
		typ   *modules.Type
		value map[string]any
		want  []string
	}{
		{"right", users, map[string]any{"name": "alice", "uid": int64(5), "groups": []any{"a"}, "locked": true, "state": "absent"}, nil},
		{"whole float", users, map[string]any{"name": "alice", "uid": 5.0}, nil},
		{"secret", users, map[string]any{"name": "alice", "password": sealed{}, "groups": []any{sealed{}}}, nil},
		{"secret where a pattern is", users, map[string]any{"name": "alice", "shell": sealed{}}, nil},
		{"secret where no text is", users, map[string]any{"name": "alice", "locked": sealed{}}, []string{"locked: must be true or false, not text"}},
		{"blob", files, map[string]any{"path": "/a", "content": host.Blob{Size: 5}}, nil},
		{"text with ${", files, map[string]any{"path": "/a", "content": "${x}"}, nil},
		{"expression for a boolean", users, map[string]any{"name": "alice", "locked": "${x}"}, []string{"locked: must be true or false, not text"}},
		{"expression for an enum", users, map[string]any{"name": "alice", "state": "${x}"}, []string{`state: must be one of present, absent, not "${x}"`}},
		{"expression for a pattern", files, map[string]any{"path": "/a", "mode": "${x}"}, []string{`mode: "${x}" must be three or four digits from 0 to 7, as "0644" is`}},
		{"wrong types", users, map[string]any{"name": "alice", "uid": "5", "groups": "a", "shel": "x"}, []string{
			"groups: must be a list, not text", "shel: unknown key", "uid: must be a whole number, not text",
		}},
		{"no key", users, map[string]any{"uid": int64(5)}, []string{`: the key "name" is missing`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, v := range ValidateResource(c.typ, c.value) {
				got = append(got, strings.Join(v.Path, ".")+": "+v.Message)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

func TestSort(t *testing.T) {
	if err := Sort(nil); err != nil {
		t.Error(err)
	}
	if err := Sort((*multierror.Error)(nil)); err != nil {
		t.Error(err)
	}
	other := errors.New("other")
	a, b, c := &Problem{File: "a", Line: 2, Col: 1, Msg: "x"}, &Problem{File: "a", Line: 10, Col: 1, Msg: "y", Hint: "h"}, &Problem{File: "b", Line: 1, Col: 1, Msg: "z"}
	err := Sort(multierror.Append(errors.Join(c, other), b, Sort(errors.Join(a, b))))
	if got, want := err.Error(), "a:2:1: x\na:10:1: y\nhint: h\nb:1:1: z\nother"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
