package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strings"
)

const module = "github.com/fitout-dev/fitout"

// docs are the doc comments of structs: by package, struct and field; the struct's own under the field "".
type docs struct {
	root     string
	packages map[string]map[string]string
}

// of returns the doc comment of a struct's field, or of the struct where field is "".
func (d *docs) of(t reflect.Type, field string) (string, error) {
	pkg := t.PkgPath()
	if d.packages[pkg] == nil {
		if err := d.read(pkg); err != nil {
			return "", fmt.Errorf("comments of %s: %w", t, err)
		}
	}
	return d.packages[pkg][t.Name()+"."+field], nil
}

func (d *docs) read(pkg string) error {
	comments := map[string]string{}
	d.packages[pkg] = comments
	dir := filepath.Join(d.root, filepath.FromSlash(strings.TrimPrefix(pkg, module)))
	const own = module + "/schema/internal/generate"
	if pkg == "main" { // this command
		dir = filepath.Join(d.root, "schema", "internal", "generate")
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") && pkg != own {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, e.Name()), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			g, ok := decl.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range g.Specs {
				ts, ok := spec.(*ast.TypeSpec)
				if !ok {
					continue
				}
				st, ok := ts.Type.(*ast.StructType)
				if !ok {
					continue
				}
				comments[ts.Name.Name+"."] = withoutName(ts.Name.Name, text(ts.Doc, g.Doc))
				for _, f := range st.Fields.List {
					for _, n := range f.Names {
						comments[ts.Name.Name+"."+n.Name] = withoutName(n.Name, text(f.Doc, f.Comment))
					}
				}
			}
		}
	}
	return nil
}

// withoutName is a comment without the Go name that it begins with: "Package is a package of the distribution" tells those who
// know no Go the same as "A package of the distribution".
func withoutName(name, comment string) string {
	for _, verb := range []string{" is ", " are "} {
		if rest, named := strings.CutPrefix(comment, name+verb); named && rest != "" {
			return strings.ToUpper(rest[:1]) + rest[1:]
		}
	}
	return comment
}

// text is the first comment that says something, one line a paragraph.
func text(groups ...*ast.CommentGroup) string {
	for _, g := range groups {
		paragraphs := strings.Split(strings.TrimSpace(g.Text()), "\n\n")
		for i, p := range paragraphs {
			paragraphs[i] = strings.Join(strings.Fields(p), " ")
		}
		if s := strings.Join(paragraphs, "\n\n"); s != "" {
			return s
		}
	}
	return ""
}
