package host

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// minLine is how long a line of a secret must be to be hidden alone: shorter ones ("{", "true") are everywhere.
const minLine = 8

// Scrub replaces the known secrets in s by Marker: as they are, as programs quote them in their messages (Go's and JSON's
// way, a shell's, percent-encoded), as they encode them (base64 with whatever is before and behind, hexadecimal, UTF-16),
// and line by line, for tools indent or cut what they repeat.
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
		all = append(all, encoded(strings.TrimRight(t, "\r\n"))...)
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

// columns is where tools break lines of base64: base64 and MIME, openssl and PEM.
var columns = []int{76, 64}

// encoded is s in forms that don't show where it begins and ends.
func encoded(s string) []string {
	if len(s) < minLine {
		return nil
	}
	x := hex.EncodeToString([]byte(s))
	out := []string{x, strings.ToUpper(x)}
	for shift := range 3 { // "user:password", as in a header of HTTP: what is before moves the bits
		b := append(make([]byte, shift), s...)
		from, to := (8*shift+5)/6, 8*len(b)/6 // the characters that hold bits of s alone
		std := base64.StdEncoding.EncodeToString(b)
		out = append(out, std[from:to], base64.URLEncoding.EncodeToString(b)[from:to])
		if shift == 0 {
			for _, n := range columns {
				for i := 0; i+minLine < to && to > n; i += n {
					out = append(out, std[i:min(i+n, to)])
				}
			}
		}
	}
	var little, big []byte
	for _, u := range utf16.Encode([]rune(s)) {
		little, big = append(little, byte(u), byte(u>>8)), append(big, byte(u>>8), byte(u))
	}
	return append(out, string(little), string(big))
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
