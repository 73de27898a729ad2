package apt

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// Latest as a constraint asks for the version that apt would install.
const Latest = "latest"

// Compare orders two versions as deb-version(7) says: negative where a is older than b.
func Compare(a, b string) int {
	ea, ua, ra := split(a)
	eb, ub, rb := split(b)
	if c := comparePart(ea, eb); c != 0 {
		return c
	}
	if c := comparePart(ua, ub); c != 0 {
		return c
	}
	return comparePart(ra, rb)
}

func split(v string) (epoch, upstream, revision string) {
	if e, rest, ok := strings.Cut(v, ":"); ok {
		epoch, v = e, rest
	}
	if i := strings.LastIndexByte(v, '-'); i >= 0 {
		return epoch, v[:i], v[i+1:]
	}
	return epoch, v, ""
}

// comparePart compares runs of non-digits by rank and runs of digits by number, in turns.
func comparePart(a, b string) int {
	for a != "" || b != "" {
		for a != "" && !digit(a[0]) || b != "" && !digit(b[0]) {
			if c := rank(a) - rank(b); c != 0 {
				return c
			}
			a, b = a[1:], b[1:] // of equal rank and not at the end, so both have a byte
		}
		var na, nb string
		na, a = number(a)
		nb, b = number(b)
		if len(na) != len(nb) {
			return len(na) - len(nb)
		}
		if c := strings.Compare(na, nb); c != 0 {
			return c
		}
	}
	return 0
}

// rank orders what isn't a digit: a tilde comes before the end, letters before all else.
func rank(s string) int {
	switch {
	case s == "" || digit(s[0]):
		return 0
	case s[0] == '~':
		return -1
	case s[0]|0x20 >= 'a' && s[0]|0x20 <= 'z':
		return int(s[0])
	}
	return int(s[0]) + 256
}

func number(s string) (digits, rest string) {
	i := 0
	for i < len(s) && digit(s[i]) {
		i++
	}
	return strings.TrimLeft(s[:i], "0"), s[i:]
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// A Constraint says which versions are wanted. The zero value is met by all.
type Constraint struct {
	text  string
	terms []term
}

type term struct{ op, version string }

// ParseConstraint reads "7.88.1-10" (exactly that), "7.*" (a pattern), ">= 7.2, < 8" (all of them) or "latest".
// A pattern without a colon leaves the epoch out of account.
func ParseConstraint(s string) (Constraint, error) {
	c := Constraint{text: strings.TrimSpace(s)}
	if c.text == "" {
		return c, errors.New("version: is empty")
	}
	if c.text == Latest {
		return c, nil
	}
	for part := range strings.SplitSeq(c.text, ",") {
		part = strings.TrimSpace(part)
		v := strings.TrimLeft(part, "<>=!")
		t := term{part[:len(part)-len(v)], strings.TrimSpace(v)}
		switch t.op {
		case "==":
			t.op = "="
		case "<<", ">>": // Debian's own spelling
			t.op = t.op[:1]
		case "":
			t.op = "="
		case "=", "!=", "<", ">", "<=", ">=":
		default:
			return c, fmt.Errorf("version %q: unknown comparison %q", s, t.op)
		}
		if t.version == "" {
			return c, fmt.Errorf("version %q: a version is missing", s)
		}
		for i := range len(t.version) {
			if b := t.version[i]; !digit(b) && rank(t.version[i:]) >= 256 && !strings.ContainsRune(".+-:*", rune(b)) {
				return c, fmt.Errorf("version %q: %q can't be part of a version", s, t.version)
			}
		}
		if strings.Contains(t.version, "*") {
			if t.op != "=" && t.op != "!=" {
				return c, fmt.Errorf("version %q: %s doesn't go with a pattern", s, t.op)
			}
		}
		c.terms = append(c.terms, t)
	}
	return c, nil
}

// Latest says whether the newest version is wanted that apt would install.
func (c Constraint) Latest() bool { return c.text == Latest }

// Any says whether every version will do.
func (c Constraint) Any() bool { return len(c.terms) == 0 }

func (c Constraint) String() string { return c.text }

// Match says whether version v will do. Latest is met by every version; the caller knows the newest.
func (c Constraint) Match(v string) bool {
	for _, t := range c.terms {
		if !t.match(v) {
			return false
		}
	}
	return true
}

func (t term) match(v string) bool {
	if strings.Contains(t.version, "*") {
		if _, after, ok := strings.Cut(v, ":"); ok && !strings.Contains(t.version, ":") {
			v = after
		}
		ok, _ := path.Match(t.version, v) // versions hold no slash, and of the special characters only "*" passes parsing
		return ok == (t.op == "=")
	}
	c := Compare(v, t.version)
	switch t.op {
	case "=":
		return c == 0
	case "!=":
		return c != 0
	case "<":
		return c < 0
	case ">":
		return c > 0
	case "<=":
		return c <= 0
	}
	return c >= 0
}
