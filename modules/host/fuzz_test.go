//go:build linux

package host

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/fitout-dev/fitout/modules/fuzzing"
)

// answer is what getent says, whatever it is asked.
type answer struct {
	text string
	ran  [][]string
}

func (a *answer) Run(_ context.Context, c Cmd) (Result, error) {
	a.ran = append(a.ran, c.Args)
	return Result{Stdout: []byte(a.text)}, nil
}

// A number that stands for a name is one that the kernel takes, a name and its number belong together, and getent is asked
// for nothing that it would take for an option.
func FuzzNames(f *testing.F) {
	f.Add("root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000:Alice:/home/alice:/bin/sh\n", "passwd: files sss\n", "bob:*:70001:70001::/:/bin/sh\n", "alice")
	f.Add("sudo:x:27:alice\n+:x:1:\n\nbad\n", "group:\tfiles [NOTFOUND=continue] ldap # x\npasswd:files", "", "27")
	f.Add("a:x:-1:1\nb:x:4294967295:\nc:x:99999999999999999999:1\r\n:x:5:5", "passwd: files systemd", "x:y:-1", "a")
	f.Add("a:x:+7:1\nb:x:007:\n", "passwd: compat", "x:y:4294967296\n\n", "nobody")
	f.Fuzz(func(t *testing.T, accounts, conf, said, name string) {
		if len(accounts)+len(conf)+len(said)+len(name) > fuzzing.Most {
			t.Skip()
		}
		h := New(t.TempDir())
		for _, p := range []string{"/etc/passwd", "/etc/group"} {
			real := filepath.Join(h.Root(), p)
			if err := os.MkdirAll(filepath.Dir(real), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(real, []byte(accounts), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		n, err := h.names()
		if err != nil {
			t.Fatal(err)
		}
		others := &answer{text: said}
		living := New("/", WithRunner(others)) // with the names of that root, asks others for the rest
		Memo(living, "names of users and groups", func() (*names, error) { return n, nil })
		Memo(living, "/etc/nsswitch.conf", func() (string, error) { return conf, nil })
		fuzzing.Soon(func() {
			for _, h := range []*Host{h, living} {
				checkNames(t, h, name)
			}
		})
		for _, args := range others.ran {
			if len(args) != 3 || strings.HasPrefix(args[2], "-") || args[2] == "" {
				t.Errorf("ran %q", args)
			}
			if known := n.uid; args[1] == "passwd" {
				if _, there := known[args[2]]; there {
					t.Errorf("%q is in the files, and others were asked", args[2])
				}
			}
		}
	})
}

func checkNames(t *testing.T, h *Host, name string) {
	for _, db := range []struct {
		id   func(string) (int, error)
		name func(int) string
	}{{h.UID, h.UserName}, {h.GID, h.GroupName}} {
		id, err := db.id(name)
		if err != nil {
			continue
		}
		if id < 0 || id >= 1<<32-1 {
			t.Errorf("%q is %d, which chown takes for \"no change\" or not at all", name, id)
		}
		called := db.name(id)
		if called == "" {
			t.Errorf("%d, the number of %q, has an empty name", id, name)
		}
		if again, err := db.id(called); err == nil && again != id && called != strconv.Itoa(id) && h.Root() != "/" {
			t.Errorf("%q is %d, which is called %q, which is %d", name, id, called, again)
		}
	}
}

// Mount points are read as the kernel writes them, whatever their names.
func FuzzMountinfo(f *testing.F) {
	f.Add("/mnt/my disk\\", "29 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro\n")
	f.Add("/carriage\rreturn\u00a0and\u2003spaces", "")
	f.Add("/tab\tnew\nline#", "\n1 2 3 4\n22 29 0:20 / /proc rw,nosuid - proc proc rw")
	f.Fuzz(func(t *testing.T, point, others string) {
		if len(point)+len(others) > fuzzing.Most || strings.ContainsRune(point, 0) || point == "" {
			t.Skip()
		}
		fuzzing.Soon(func() {
			parseMountinfo(others)
			escaped := strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`).Replace(point) // seq_path(…, " \t\n\\")
			text := others
			if text != "" && !strings.HasSuffix(text, "\n") {
				text += "\n"
			}
			got := parseMountinfo(text + "30 29 0:5 / " + escaped + " rw - tmpfs tmpfs rw\n")
			if len(got) == 0 || got[len(got)-1] != point {
				t.Errorf("%q is read as %q", point, got)
			}
		})
	})
}

// Whatever programs say, and in whichever of the known forms they quote a secret, it is gone from what Scrub leaves, and
// nothing else is.
func FuzzScrub(f *testing.F) {
	f.Add("hunter2!", "correct horse battery", "password: ", " refused\n")
	f.Add("a\nb", "line one of it\nline two of it\n", "  x", "")
	f.Add("p\"a'\\s<é", "p\"a'\\s<é and more", `"`, `"`)
	f.Add("aa", "aaa", "a", "a")
	f.Add("(secret)", "t)(s", "(secre", ")")
	f.Fuzz(func(t *testing.T, first, second, before, after string) {
		if len(first)+len(second)+len(before)+len(after) > 4<<10 || !utf8.ValidString(first) || !utf8.ValidString(second) {
			t.Skip()
		}
		secrets := []string{first, second}
		h := New("/", WithSecrets(secrets))
		fuzzing.Soon(func() {
			for _, s := range secrets {
				for _, said := range said(s) {
					if said == "" {
						continue
					}
					left := h.Scrub(before + said + after)
					for _, piece := range strings.Split(left, Marker) {
						if strings.Contains(piece, said) {
							t.Errorf("of %q, %q is left in %q", secrets, said, left)
						}
					}
				}
			}
			if innocent := "0"; !slices.ContainsFunc(secrets, func(s string) bool { return strings.Contains(s, innocent) }) && h.Scrub(innocent) != innocent {
				t.Errorf("%q became %q", innocent, h.Scrub(innocent))
			}
		})
	})
}

// said is how programs repeat a text.
func said(s string) []string {
	js, _ := json.Marshal(s)
	out := []string{s, inner(strconv.Quote(s)), inner(strconv.QuoteToASCII(s)), inner(string(js)), strings.ReplaceAll(s, "'", `'\''`)}
	if len(s) >= minLine {
		out = append(out, base64.StdEncoding.EncodeToString([]byte(s)))
	}
	if lines := strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }); len(lines) > 1 {
		for _, l := range lines {
			if l = strings.TrimSpace(l); len(l) >= minLine {
				out = append(out, l)
			}
		}
	}
	return out
}

// LastLines gives the end of a text, no line of it changed.
func FuzzLastLines(f *testing.F) {
	f.Add("a\nb\r\n\nc\n", uint8(2))
	f.Fuzz(func(t *testing.T, s string, n uint8) {
		got := LastLines(s, int(n))
		if !strings.Contains(s, got) || n > 0 && strings.Count(got, "\n") >= int(n) || n > 0 && got == "" && strings.TrimSpace(s) != "" {
			t.Errorf("the last %d lines of %q are %q", n, s, got)
		}
	})
}
