package schema

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/fitout-dev/fitout/modules/hint"
)

// didYouMean is a hint for a word that isn't one of those that are allowed.
func didYouMean(word string, among []string) string {
	if name, value, ok := strings.Cut(word, "="); ok && slices.Contains(among, name) {
		return fmt.Sprintf("write %q", name+": "+value)
	}
	odd := Strange(word)
	s := hint.Near(word, among)
	switch {
	case s == "":
		return odd
	case odd == "":
		return fmt.Sprintf("did you mean %q?", s)
	}
	return fmt.Sprintf("did you mean %q? %s", s, odd)
}

// Strange tells of characters in a text that look like others, or like nothing.
func Strange(text string) string {
	latin := strings.ContainsFunc(text, func(r rune) bool { return r < 0x80 && unicode.IsLetter(r) })
	for _, r := range text {
		switch {
		case r < 0x80:
		case strings.ContainsRune("“”„‟‘’‚‛«»", r):
			return "write straight quotes: \" or '"
		case unicode.Is(unicode.Pd, r), r == '−':
			return fmt.Sprintf("%c in it is U+%04X: write a plain hyphen", r, r)
		case unicode.IsSpace(r), unicode.Is(unicode.Cf, r):
			return fmt.Sprintf("there is a U+%04X in it, which can't be seen or looks like a space: type it anew", r)
		case latin && unicode.In(r, unicode.Cyrillic, unicode.Greek):
			return fmt.Sprintf("%c in it is U+%04X, and only looks like another letter: type it anew", r, r)
		}
	}
	return ""
}

// regexFault says why a regular expression can't be read.
func regexFault(text string) (why, hint string) {
	_, err := regexp.Compile(text)
	se, ok := errors.AsType[*syntax.Error](err)
	switch {
	case !ok:
		return "", ""
	case se.Code == syntax.ErrInvalidPerlOp, se.Code == syntax.ErrInvalidEscape:
		return ": " + short(se.Expr) + " isn't known", `the syntax is RE2's, without look-around and back-references`
	}
	return fmt.Sprintf(": %s: %s", se.Code, short(se.Expr)), ""
}

// argvFor says how to write a command line as a list.
func argvFor(line string) string {
	if strings.ContainsAny(line, "|&;<>$`*?'\"\\(){}~#") {
		return "write [/bin/sh, -c, " + short(strconv.Quote(line)) + "] for a shell to read it"
	}
	words := strings.Fields(line)
	for i, w := range words {
		words[i] = plainly(w)
	}
	return "write [" + short(strings.Join(words, ", ")) + "]"
}

// plainly is a text as an entry of a list in YAML, in quotes where it needs them.
func plainly(v string) string {
	if v == "" || strings.ContainsAny(v, "${}[],:#&*!|>'\"%@` ") {
		return strconv.Quote(v)
	}
	return v
}

func wholeExpression(v string) bool { return strings.HasPrefix(v, "${") && strings.HasSuffix(v, "}") }

// hintFor says how to write a value so that it is of one of the types.
func hintFor(v any, types []string) string {
	wants := func(t string) bool { return slices.Contains(types, t) }
	switch v := v.(type) {
	case string:
		switch word := strings.ToLower(v); {
		case wants("boolean") && slices.Contains([]string{"yes", "on", "y"}, word):
			return "write true"
		case wants("boolean") && slices.Contains([]string{"no", "off", "n"}, word):
			return "write false"
		case wants("boolean") && (word == "true" || word == "false"), wants("integer") && isInteger(v):
			return "remove the quotes"
		case wants("array") && wants("object"):
			return ""
		case wants("array") && (strings.HasPrefix(v, "-") || strings.HasPrefix(v, "–") || strings.HasPrefix(v, "—")):
			return `begin each entry with "- ", a hyphen and a space, on a line of its own`
		case wants("array") && strings.Contains(v, " "):
			return "write [" + short(strconv.Quote(v)) + `], or begin each entry with "- " on a line of its own`
		case wants("array"):
			return "write [" + short(plainly(v)) + "]"
		}
	case map[string]any:
		if wants("array") {
			return `begin each entry with "- "`
		}
		if len(v) == 1 && !wants("object") {
			for key := range v {
				if strings.Contains(key, " ") {
					return `put text that holds ": " in quotes`
				}
			}
		}
	case []any:
		if wants("object") && !wants("array") {
			return `write it as lines of "key: value", without "- "`
		}
	case bool, int64, float64:
		if wants("array") && !wants("string") {
			return fmt.Sprintf("write [%v]", v)
		}
	}
	return ""
}

func isInteger(s string) bool {
	_, err := strconv.Atoi(s)
	return err == nil
}
