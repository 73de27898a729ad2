package host

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf16"

	"pgregory.net/rapid"
)

// What a program says in an encoding of its own gives no secret away, whatever stands before and behind it.
func TestScrubEncoded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.StringMatching(`[ -~\n]{12,200}[a-z]`).Draw(t, "secret")
		before, after := rapid.String().Draw(t, "before"), rapid.String().Draw(t, "after")
		h := New("/", WithSecrets([]string{secret}))
		whole := before + secret + after
		for name, said := range map[string]string{
			"base64": base64.StdEncoding.EncodeToString([]byte(whole)), "base64url": base64.RawURLEncoding.EncodeToString([]byte(whole)),
			"hex": hex.EncodeToString([]byte(whole)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(whole))),
		} {
			left := h.Scrub(said)
			if !strings.Contains(left, Marker) || len(left) > len(said)-len(secret)*4/3+len(Marker)+4 {
				t.Fatalf("%s %q became %q", name, said, left)
			}
		}
		for _, n := range columns {
			said := base64.StdEncoding.EncodeToString([]byte(secret))
			for i := n; i < len(said); i += n + 1 {
				said = said[:i] + "\n" + said[i:]
			}
			for line := range strings.Lines(h.Scrub(said + "\n")) {
				if !strings.HasPrefix(line, Marker) && len(line) > minLine+4 {
					t.Fatalf("wrapped at %d: %q is left of %q", n, line, said)
				}
			}
		}
		wide := func(s string) string {
			var b []byte
			for _, u := range utf16.Encode([]rune(s)) {
				b = append(b, byte(u), byte(u>>8))
			}
			return string(b)
		}
		if got := h.Scrub(wide(whole)); strings.Contains(got, wide(secret)) || !strings.Contains(got, Marker) {
			t.Fatalf("UTF-16 became %q", got)
		}
	})
}

func TestScrub(t *testing.T) {
	key := "-----BEGIN-----\nabcdefgh1\nijklmnop2\n-----END-----\n"
	h := New("/", WithSecrets([]string{`p"a\s<s`, `p"a\s<s and more`, key, "it's", "tail\n", ""}))
	js, _ := json.Marshal(key)
	for in, want := range map[string]string{
		`x p"a\s<s y`:                         "x (secret) y",
		`p"a\s<s and more`:                    "(secret)", // the longer one first
		fmt.Sprintf("%q", `p"a\s<s`):          `"(secret)"`,
		`{"p":"p\"a\\s\u003cs"}`:              `{"p":"(secret)"}`,
		"http://u:p%22a%5Cs%3Cs@h":            "http://u:(secret)@h",
		key:                                   "(secret)",
		string(js):                            `"(secret)"`,
		"  ijklmnop2":                         "  (secret)",
		strings.ReplaceAll(key, "\n", "\r\n"): "(secret)\r\n(secret)\r\n(secret)\r\n(secret)\r\n",
		`sh -c 'it'\''s'`:                     "sh -c '(secret)'",
		"tail":                                "(secret)",
		"nothing of it":                       "nothing of it",
		"cCJhXHM8cyBhbmQgbW9yZQ== in base64":  "(secret) in base64",
	} {
		if got := h.Scrub(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
	none := New("/", WithSecrets([]string{""}))
	if none.HasSecrets() || none.Scrub("abc") != "abc" || New("/").Scrub("abc") != "abc" {
		t.Error("without secrets nothing is scrubbed")
	}
}
