package host

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

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
