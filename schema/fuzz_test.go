package schema

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

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
}

const enough = 5 * time.Second // for an input of a fuzzer's size, on a busy machine

// Whatever the bytes, Read returns, soon, a plain map or problems with a place.
func FuzzRead(f *testing.F) {
	fuzzSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		start := time.Now()
		d, err := Read("f.yaml", data)
		if took := time.Since(start); took > enough {
			t.Errorf("took %v", took)
		}
		if d == nil && err == nil {
			t.Fatalf("Read gives %v and %v", d, err)
		}
		if err != nil {
			placed(t, err)
		}
		if d == nil {
			return
		}
		if _, ok := Value(d.Root).(map[string]any); !ok {
			t.Errorf("the root is %T", Value(d.Root))
		}
	})
}

// Whatever was read, validating returns, soon, nothing or problems with a place.
func FuzzValidate(f *testing.F) {
	fuzzSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		d, _ := Read("f.yaml", data)
		if d == nil {
			return
		}
		start := time.Now()
		for _, validate := range []func(*Document) error{ValidateProfile, ValidateInventory} {
			if err := validate(d); err != nil {
				placed(t, err)
			}
		}
		if took := time.Since(start); took > enough {
			t.Errorf("took %v", took)
		}
	})
}

func placed(t *testing.T, err error) {
	t.Helper()
	checkShape(t, err)
	for _, e := range flatten(err, nil) {
		if p := problemOf(e); (p.Line < 1 || p.Col < 1) && p.Msg != "and more problems" {
			t.Errorf("%s has no place", p)
		}
	}
}
