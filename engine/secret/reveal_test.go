package secret

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// revealers are all files that may turn a secret into plain text. Before you add one: is there no way without?
var revealers = []string{
	"engine/cli/fleet.go",                // the passwords of a connection, for its transport
	"engine/cli/moved.go",                // whether a password that is tried is the one of before
	"engine/profile/expression/names.go", // what expressions are made of
	"engine/profile/expression/scope.go", // what checks the values of a resource, and the texts to scrub
	"engine/run/wants.go",                // the frame encoder
}

// TestRevealers lists who calls Reveal, in the whole project.
func TestRevealers(t *testing.T) {
	root := "../.."
	var found []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != root {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		calls := false
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) > 0 {
				return true
			}
			s, ok := call.Fun.(*ast.SelectorExpr)
			calls = calls || ok && s.Sel.Name == "Reveal"
			return true
		})
		if rel, _ := filepath.Rel(root, path); calls {
			found = append(found, filepath.ToSlash(rel))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	if diff := cmp.Diff(revealers, found); diff != "" {
		t.Errorf("who reveals secrets (-allowed +found):\n%s", diff)
	}
}
