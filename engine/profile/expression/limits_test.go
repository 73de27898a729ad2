package expression

import (
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/schema"
)

// What would fill the memory of the technician's machine is refused before it does.
func TestLimits(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`repeat("ab", 3)`:                                          "",
		`repeat("x", 1000000)`:                                     "",
		`repeat("x", vars.n)`:                                      "",
		`repeat(repeat("x", 100000), 100000)`:                      "repeat gives more than 1 MiB of text",
		`replace("a-b", "-", "+")`:                                 "",
		`replace(repeat("x", 1000), "x", repeat("y", 10000))`:      "replace gives more than 1 MiB of text",
		`join(["a", "b"], ", ")`:                                   "",
		`join(map(1..1000, repeat("x", 1000)), repeat("y", 1000))`: "join gives more than 1 MiB of text",
		`1..900000`: "a list of more than 100000 entries",
	} {
		v, err := read(t, "a: ${"+text+"}\n")
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		s := NewScope(nil, true, nil, nil, false)
		s.Set("n", Var{Value: int64(3)})
		_, err = v.Eval(s)
		if (want == "") != (err == nil) || err != nil && !strings.Contains(hint.Text(err), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func read(t *testing.T, text string) (*Value, error) {
	t.Helper()
	d, err := schema.Read("f.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return New(&Source{File: "f.yaml", Data: []byte(text)}, d.Root, func(*Value) bool { return false })
}
