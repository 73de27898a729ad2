package secret

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"filippo.io/age"
	"github.com/fitout-dev/fitout/modules/fuzzing"
	"github.com/google/go-cmp/cmp"
)

// What is written to a file of secrets is read from it as it was, whatever the texts; else it is refused before anything
// is written.
func FuzzTexts(f *testing.F) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		f.Fatal(err)
	}
	f.Add("hunter2", "tail\n", "x")
	f.Add(text, "\x00\x07\x1b\u0085\u2028\uFEFF", "\r\n \t")
	f.Add("-----BEGIN-----\nabc\n-----END-----\n", "~", "0x10")
	f.Add("\xff\xfe", "\U0001F600\uFFFE\uFFFF\x7f", "${secrets.b}")
	f.Add(strings.Repeat("long ", 5000), " # c: [", "'\"\\")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		if len(a)+len(b)+len(c) > 64<<10 {
			t.Skip()
		}
		fuzzing.Soon(func() {
			texts := map[string]string{"a": a, "b": b, "c_1": c}
			data, err := encrypt(texts, []age.Recipient{identity.Recipient()})
			if err != nil && !utf8.ValidString(a+"|"+b+"|"+c) {
				return
			}
			if err != nil {
				return
			}
			if len(a) > 8 && bytes.Contains(data, []byte(a)) {
				t.Fatalf("%q stands in the file", a)
			}
			plain, err := decrypt(data, []age.Identity{identity})
			if err != nil {
				t.Fatal(err)
			}
			again, err := parse(plain)
			if err != nil {
				t.Fatalf("%q was written as %q, which can't be read: %v", texts, plain, err)
			}
			if d := cmp.Diff(texts, again); d != "" {
				t.Fatalf("written as %q:\n%s", plain, d)
			}
		})
	})
}

// Whatever the list of recipients holds, its lines stay and the new key is in it; else the error names a line of it and
// nothing that isn't a public key.
func FuzzRecipients(f *testing.F) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		f.Fatal(err)
	}
	key := identity.Recipient().String()
	f.Add("# mine\n" + key + "\r\n\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS a")
	f.Add("age1nonsense")
	f.Add("ssh-rsa AAAA")
	f.Fuzz(func(t *testing.T, lines string) {
		if len(lines) > 64<<10 {
			t.Skip()
		}
		dir := t.TempDir()
		file := &File{Path: filepath.Join(dir, "secrets.age")}
		if err := os.WriteFile(file.recipientsPath(), []byte(lines), 0o600); err != nil {
			t.Fatal(err)
		}
		fuzzing.Soon(func() {
			rs, next, err := file.recipients([]string{key})
			if err != nil {
				return
			}
			if len(rs) == 0 || !strings.Contains(next, key) || !strings.HasPrefix(next, lines) && strings.TrimSpace(lines) != "" && !strings.HasPrefix(strings.TrimSpace(lines), "#") {
				t.Fatalf("%q became %q for %d", lines, next, len(rs))
			}
			if _, again, err := file.recipients([]string{key, key}); err != nil || again != next {
				t.Fatalf("%q became %q and %q: %v", lines, next, again, err)
			}
		})
	})
}
