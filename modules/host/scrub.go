package host

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// minLine is how long a line of a secret must be to be hidden alone: shorter ones ("{", "true") are everywhere.
const minLine = 8

// Scrub replaces the known secrets in s by Marker: as they are, as programs quote them in their messages (Go's and JSON's
// way, a shell's, percent-encoded, base64), and line by line, for tools indent or cut what they repeat.
func (h *Host) Scrub(s string) string {
	if h.secrets == nil {
		return s
	}
	return h.secrets.Replace(s)
}

// HasSecrets says whether there is anything to scrub.
func (h *Host) HasSecrets() bool { return h.secrets != nil }

func scrubber(texts []string) *strings.Replacer {
	var all []string
	for _, t := range texts {
		all = append(all, forms(t)...)
		lines := strings.FieldsFunc(t, func(r rune) bool { return r == '\n' || r == '\r' })
		if len(lines) < 2 {
			lines = []string{t} // a final newline is often lost
		}
		for _, l := range lines {
			if l = strings.TrimSpace(l); l != t && (len(l) >= minLine || len(lines) == 1) {
				all = append(all, forms(l)...)
			}
		}
	}
	slices.SortFunc(all, func(a, b string) int { // a secret that contains another goes first
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	var pairs []string
	for _, s := range slices.Compact(all) {
		if s != "" {
			pairs = append(pairs, s, Marker)
		}
	}
	if len(pairs) == 0 {
		return nil
	}
	return strings.NewReplacer(pairs...)
}

func forms(s string) []string {
	out := []string{s, inner(strconv.Quote(s)), inner(strconv.QuoteToASCII(s)), strings.ReplaceAll(s, "'", `'\''`), percent(s)}
	if b, err := json.Marshal(s); err == nil { // with <, > and & escaped
		out = append(out, inner(string(b)))
	}
	var plain strings.Builder
	e := json.NewEncoder(&plain)
	e.SetEscapeHTML(false)
	if e.Encode(s) == nil {
		out = append(out, inner(strings.TrimSuffix(plain.String(), "\n")))
	}
	if len(s) >= minLine { // shorter ones would be found by chance
		out = append(out, base64.StdEncoding.EncodeToString([]byte(s)), base64.RawStdEncoding.EncodeToString([]byte(s)),
			base64.URLEncoding.EncodeToString([]byte(s)), base64.RawURLEncoding.EncodeToString([]byte(s)))
	}
	return out
}

func inner(quoted string) string { return quoted[1 : len(quoted)-1] }

// percent is s as it stands in a URL.
func percent(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.~", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
