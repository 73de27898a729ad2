package modules_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/fitout-dev/fitout/"

// A resource type changes a device through host alone, and knows nothing of the engine or of other areas. host and what
// is below it is the way to the device, moduletest and registry are no areas.
func TestImports(t *testing.T) {
	forbidden := []string{"os", "os/exec", "os/user", "syscall", "net", "net/http", "io/ioutil", "text/template", "html/template", "plugin", "unsafe"}
	checked := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (slices.Contains([]string{"host", "moduletest", "registry"}, path) || d.Name() == "testdata") {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		checked++
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		area, _, _ := strings.Cut(filepath.ToSlash(path), "/")
		for _, spec := range file.Imports {
			name, _ := strconv.Unquote(spec.Path.Value)
			ours, isOurs := strings.CutPrefix(name, module)
			switch {
			case slices.Contains(forbidden, name):
				t.Errorf("%s imports %s; use modules/host", path, name)
			case isOurs && ours != "modules" && ours != "modules/hint" && !within(ours, "modules/host") && !within(ours, "modules/"+area):
				t.Errorf("%s imports %s; a module knows modules, hint and host only", path, ours)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if checked < 10 {
		t.Fatalf("only %d files found", checked)
	}
}

func within(name, folder string) bool { return name == folder || strings.HasPrefix(name, folder+"/") }
