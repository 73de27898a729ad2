package registry

import (
	"regexp"
	"testing"
)

// What a technician reads of a property is there, and an example shows what a pattern asks for.
func TestProperties(t *testing.T) {
	for _, typ := range Types {
		for _, f := range typ.Fields {
			if f.Tag.Get("title") == "" {
				t.Errorf("%s.%s has no title", typ.Name, f.Name)
			}
			pattern, example := f.Tag.Get("pattern"), f.Tag.Get("example")
			if re, err := regexp.Compile(pattern); err != nil || pattern != "" && (example == "" || !re.MatchString(example)) {
				t.Errorf("%s.%s: example %q of pattern %s (%v)", typ.Name, f.Name, example, pattern, err)
			}
		}
	}
}

func TestFind(t *testing.T) {
	for i, typ := range Types {
		if Find(typ.Name) != typ || Position(typ.Name) != i {
			t.Errorf("%s is not found where it is", typ.Name)
		}
	}
	if Find("nosuch") != nil {
		t.Error("a type that doesn't exist was found")
	}
}
