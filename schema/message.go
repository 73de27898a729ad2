package schema

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v5"

	"github.com/fitout-dev/fitout/modules/hint"
)

// fault is what the JSON Schema has against a value, in plain words. Where key is set, it is about that key of the map
// at path rather than about a value.
type fault struct {
	path      []string
	key       string
	wrongType bool
	onlyText  bool // is the right type
	secret    bool // so the value isn't shown
	pattern   string
	must      string // the pattern in words
	missing   string // the key that should be there
	near      string // the key that this one was meant to be
	msg, hint string
}

// check validates v and says what is wrong.
func (r *rule) check(v any) []fault {
	err := r.Validate(v)
	if err == nil {
		return nil
	}
	ve, ok := err.(*jsonschema.ValidationError)
	if !ok { // the value is none that JSON knows; ours always are
		return []fault{{msg: err.Error()}}
	}
	w := walker{rule: r, value: v}
	w.walk(ve)
	return w.once()
}

// once leaves out the keys that are missing only because they are misspelt.
func (w *walker) once() []fault {
	misspelt := map[string]bool{}
	for _, f := range w.faults {
		if f.near != "" {
			misspelt[strings.Join(f.path, "/")+"/"+f.near] = true
		}
	}
	return slices.DeleteFunc(w.faults, func(f fault) bool {
		return f.missing != "" && misspelt[strings.Join(f.path, "/")+"/"+f.missing]
	})
}

type walker struct {
	*rule
	value  any
	faults []fault
}

func (w *walker) walk(e *jsonschema.ValidationError) {
	if len(w.faults) > maxProblems {
		return
	}
	if keyword := last(e.AbsoluteKeywordLocation); keyword == "anyOf" {
		w.anyOf(e)
		return
	}
	if len(e.Causes) == 0 {
		w.leaf(e)
	}
	for _, c := range e.Causes {
		w.walk(c)
	}
}

// anyOf reports the one alternative that was meant: of those that take the value's type, the first. An expression was
// not meant, since none is there.
func (w *walker) anyOf(e *jsonschema.ValidationError) {
	path := pointer(e.InstanceLocation)
	at := lookup(w.value, path)
	alternatives, _ := lookup(w.doc, pointer(e.AbsoluteKeywordLocation)).([]any)
	var types, words []string
	for i, c := range e.Causes {
		if i >= len(alternatives) || isExpressionRef(alternatives[i]) {
			continue
		}
		alternative, _ := alternatives[i].(map[string]any)
		these := typesOf(alternative)
		if fits(at, these) {
			w.walk(c)
			return
		}
		if enum := texts(alternative["enum"]); enum != nil {
			words = append(words, "one of "+strings.Join(enum, ", "))
		} else if w := Words(these); w != "" {
			words = append(words, w)
		}
		types = append(types, these...)
	}
	w.wrongType(path, at, types, anyOfWords(words), nil)
}

func (w *walker) add(path []string, key, msg, hint string) {
	w.append(fault{path: path, key: key, msg: msg, hint: hint})
}

func (w *walker) wrongType(path []string, v any, types []string, words string, schema map[string]any) {
	f := fault{path: path, wrongType: true, onlyText: words == "text", secret: schema["writeOnly"] == true}
	f.msg = "must be " + words + ", not " + wordOf(v)
	f.pattern, _ = schema["pattern"].(string)
	f.must, _ = schema["patternErrorMessage"].(string)
	if number, ok := v.(float64); ok && words == "a whole number" {
		f.msg = fmt.Sprintf("must be a whole number, not %v", number)
	}
	text, isText := v.(string)
	switch {
	case f.secret:
	case isText && schema["x-argv"] == true:
		f.hint = argvFor(text)
	case isText && len(path) == 0 && wholeExpression(text) && slices.Contains(types, "array"):
		f.hint = "an entry with forEach makes one for each value: forEach: " + text[2:len(text)-1]
	default:
		f.hint = hintFor(v, types)
	}
	w.append(f)
}

func (w *walker) append(f fault) {
	if len(w.faults) <= maxProblems {
		w.faults = append(w.faults, f)
	}
}

func (w *walker) leaf(e *jsonschema.ValidationError) {
	keyword := pointer(e.AbsoluteKeywordLocation)
	if len(keyword) == 0 {
		w.add(nil, "", e.Message, "")
		return
	}
	name := keyword[len(keyword)-1]
	path := pointer(e.InstanceLocation)
	schema, _ := lookup(w.doc, keyword[:len(keyword)-1]).(map[string]any)
	at := lookup(w.value, path)
	secret := schema["writeOnly"] == true
	show := func() string { // the value as it stands there
		if secret {
			return "(secret)"
		}
		return quote(at)
	}
	switch name {
	case "type":
		types := typesOf(schema)
		if schema["pattern"] == ExpressionPattern { // then a text is an expression
			types = slices.DeleteFunc(types, func(t string) bool { return t == "string" })
		}
		w.wrongType(path, at, types, Words(types), schema)
	case "pattern":
		if schema["pattern"] == ExpressionPattern {
			types := slices.DeleteFunc(typesOf(schema), func(t string) bool { return t == "string" })
			w.wrongType(path, at, types, Words(types), schema)
			return
		}
		msg, _ := schema["patternErrorMessage"].(string)
		if msg == "" {
			msg = fmt.Sprintf("must match %v", schema["pattern"])
		}
		if last(strings.TrimSuffix(e.AbsoluteKeywordLocation, "/pattern")) == "propertyNames" {
			if of, ok := at.(map[string]any); ok && len(path) == 0 || ok && has(of, "") { // it is the empty key, which a pointer loses
				w.add(append(path, ""), "", msg, "")
			} else if len(path) > 0 {
				w.add(path[:len(path)-1], path[len(path)-1], msg, "")
			}
			return
		}
		text, _ := at.(string)
		w.add(path, "", show()+" "+msg, Strange(text))
	case "enum":
		words := texts(schema["enum"])
		text, _ := at.(string)
		w.add(path, "", "must be one of "+strings.Join(words, ", ")+", not "+show(), didYouMean(text, words))
	case "const":
		w.add(path, "", fmt.Sprintf("must be %v, not %s", schema["const"], show()), "")
	case "minimum":
		w.add(path, "", fmt.Sprintf("must be at least %v, not %s", schema["minimum"], show()), "")
	case "maximum":
		w.add(path, "", fmt.Sprintf("must be at most %v, not %s", schema["maximum"], show()), "")
	case "format":
		kind, _ := schema["format"].(string)
		if text, ok := at.(string); ok && kind == "regex" {
			why, hint := regexFault(text)
			w.add(path, "", show()+" is no valid regular expression"+why, hint)
			return
		}
		if text, ok := at.(string); ok && kind == TimeZone {
			w.add(path, "", show()+" is no time zone of the IANA database", zoneFor(text))
			return
		}
		w.add(path, "", show()+" is no valid "+kind, "")
	case "required":
		have, _ := at.(map[string]any)
		for _, key := range texts(schema["required"]) {
			if _, ok := have[key]; !ok {
				w.append(fault{path: path, missing: key, msg: fmt.Sprintf("the key %q is missing", key)})
			}
		}
	case "additionalProperties":
		have, _ := at.(map[string]any)
		known, _ := schema["properties"].(map[string]any)
		names := slices.Sorted(maps.Keys(known))
		observed, _ := schema["x-observed"].(map[string]any)
		for key := range have {
			if len(w.faults) > maxProblems {
				return
			}
			if _, ok := observed[key]; ok {
				w.add(path, key, "is only reported, and can't be declared", "")
			} else if _, ok := known[key]; !ok {
				near := hint.Near(key, names)
				if name, _, ok := strings.Cut(key, "="); ok {
					near = name
				}
				f := fault{path: path, key: key, near: near, msg: "unknown key", hint: didYouMean(key, names)}
				if at := under(known, key); at != "" && f.hint == "" {
					f.hint = fmt.Sprintf("it belongs under %q", at)
				}
				w.append(f)
			}
		}
	case "not":
		pair := texts(lookup(schema, []string{"not", "required"}))
		w.add(path, pair[len(pair)-1], strings.Join(pair, " and ")+" exclude each other", "keep one of them")
	default:
		w.add(path, "", e.Message, "")
	}
}

func typesOf(schema map[string]any) []string {
	var types []string
	switch t := schema["type"].(type) {
	case string:
		types = []string{t}
	case []any:
		types = texts(t)
	}
	return slices.DeleteFunc(types, func(t string) bool { return t == "null" })
}

// fits says whether v is of one of JSON Schema's types.
func fits(v any, types []string) bool {
	for _, t := range types {
		switch v.(type) {
		case string:
			if t == "string" {
				return true
			}
		case bool:
			if t == "boolean" {
				return true
			}
		case int64, float64:
			if t == "integer" || t == "number" {
				return true
			}
		case []any:
			if t == "array" {
				return true
			}
		case map[string]any:
			if t == "object" {
				return true
			}
		}
	}
	return false
}

func texts(v any) []string {
	list, _ := v.([]any)
	var out []string
	for _, e := range list {
		if s, ok := e.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

func has(m map[string]any, key string) bool { _, ok := m[key]; return ok }

// under finds the one of a map's properties that has the key inside.
func under(known map[string]any, key string) string {
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if lookup(known[name], []string{"properties", key}) != nil {
			return name
		}
	}
	return ""
}

// quote shows a value in a message.
func quote(v any) string {
	if s, ok := v.(string); ok {
		return strconv.Quote(short(s))
	}
	b, err := json.Marshal(v)
	if err != nil {
		return wordOf(v)
	}
	return short(string(b))
}

func short(s string) string {
	if len(s) <= 60 {
		return s
	}
	if r := []rune(s); len(r) > 60 {
		return string(r[:57]) + "..."
	}
	return s
}

// pointer splits a JSON pointer, or the one behind a URL's #.
func pointer(s string) []string {
	if i := strings.IndexByte(s, '#'); i >= 0 {
		s = strings.TrimSuffix(s[i+1:], "/")
	}
	if s == "" {
		return nil
	}
	parts := strings.Split(strings.TrimPrefix(s, "/"), "/")
	for i, p := range parts {
		if u, err := url.PathUnescape(p); err == nil {
			p = u
		}
		parts[i] = strings.ReplaceAll(strings.ReplaceAll(p, "~1", "/"), "~0", "~")
	}
	return parts
}

func last(pointer string) string { return pointer[strings.LastIndexByte(pointer, '/')+1:] }

// lookup follows a pointer in a JSON value.
func lookup(v any, path []string) any {
	for _, p := range path {
		switch x := v.(type) {
		case map[string]any:
			v = x[p]
		case []any:
			i, err := strconv.Atoi(p)
			if err != nil || i < 0 || i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}
