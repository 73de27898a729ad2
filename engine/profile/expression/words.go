package expression

import (
	"fmt"
	"regexp"
	"strings"
)

// goTypes finds what the expression language calls values, which are Go's names.
var goTypes = regexp.MustCompile(`map\[string\](?:interface ?\{\}|any)|\[\](?:interface ?\{\}|any|string|int)|interface ?\{\}|<nil>|\b(?:string|int64|int|float64|uint|bool|boolean|integer|array|unknown|any|nil)\b`)

func inWords(goType string) string {
	switch {
	case strings.HasPrefix(goType, "map"):
		return "a map"
	case strings.HasPrefix(goType, "[]"), goType == "array":
		return "a list"
	}
	switch goType {
	case "string":
		return "text"
	case "int", "int64", "float64", "uint", "integer":
		return "a number"
	case "bool", "boolean":
		return "true or false"
	case "nil", "<nil>":
		return "nothing"
	}
	return "something"
}

// faults are what the expression language says, and the same for people. Groups of types are put in words.
var faults = []struct {
	said  *regexp.Regexp
	plain string
	hint  string
}{
	{regexp.MustCompile(`^invalid operation: (\S+) \(mismatched types (.+) and (.+)\)$`), "%s doesn't go with %s and %s", ""},
	{regexp.MustCompile(`^invalid operation: (.+?) ([<>=+\-*/%]+) (.+)$`), "%[2]s doesn't go with %[1]s and %[3]s", ""}, // while it is evaluated
	{regexp.MustCompile(`^cannot use (.+) as argument \(type (.+)\) to call (\w+) ?$`), "%[3]s takes %[2]s, not %[1]s", ""},
	{regexp.MustCompile(`^cannot (?:fetch|get) (.+) from (.+)$`), "%[2]s has no %[1]s", ""},
	{regexp.MustCompile(`^type (.+) has no (?:field|method) (.+)$`), "%[1]s has no %[2]s", ""},
	{regexp.MustCompile(`^builtin (\w+) takes only array \(got (.+)\)$`), "%s takes a list, not %s", ""},
	{regexp.MustCompile(`^array elements can only be selected using an integer \(got (.+)\)$`), "a value of a list is picked by a number, not by %s", ""},
	{regexp.MustCompile(`^non-bool expression \(type (.+)\) used as condition$`), "the condition before ? gives %s, not true or false", ""},
	{regexp.MustCompile(`^interface conversion: .* is (.+), not (.+)$`), "gives %s where %s is due", ""},
	{regexp.MustCompile(`^invalid operation: int\(string\)$`), "only a map has names to pick from; this is text or a list", ""},
	{regexp.MustCompile(`^unexpected token Operator\("&"\)$`), "unexpected &", "write && for and, || for or"},
	{regexp.MustCompile(`^invalid argument for (\w+) \(type (.+)\)$`), "%s doesn't take %s", ""},
	{regexp.MustCompile(`^literal not terminated$`), "the quote that opens here isn't closed", ""},
	{regexp.MustCompile(`^unrecognized character: U\+20(?:1C|1D|1E|18|19) .*$`), "a curly quote", "write straight quotes: \" or '"},
	{regexp.MustCompile(`^unrecognized character: (U\+\w+) .*$`), "the character %s isn't expected here", ""},
}

// sayPlainly puts a message of the expression language into plain words.
func sayPlainly(msg string) (plain, hint string) {
	words := func(s string) any { return goTypes.ReplaceAllStringFunc(s, inWords) }
	for _, f := range faults {
		m := f.said.FindStringSubmatch(msg)
		if m == nil {
			continue
		}
		var args []any
		for _, g := range m[1:] {
			args = append(args, words(g))
		}
		plain, hint = f.plain, f.hint
		if len(args) > 0 {
			plain = fmt.Sprintf(f.plain, args...)
		}
		break
	}
	if plain == "" {
		return msg, ""
	}
	switch {
	case strings.HasPrefix(plain, "+ ") && strings.Contains(plain, "a list"):
		hint = "concat(a, b) joins lists"
	case strings.HasPrefix(plain, "+ ") && strings.Contains(plain, "text"):
		hint = "string(...) makes text of a number, int(...) a number of text"
	}
	return plain, hint
}
