package ssh

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/modules/fuzzing"
	"github.com/google/go-cmp/cmp"
	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// A configuration is read as it is written out again, an error names a line of it, and what it says of a host depends on
// nothing but its lines.
func FuzzConfiguration(f *testing.F) {
	f.Add("Host a\n Port 1\nMatch host b,c user !x final\n User \"y\"", "a", "")
	f.Add("# c\nHost *.example.lan !gate.example.lan\n\tIdentityFile ~/.ssh/a b # not this\n  IdentityFile=\"~/my key\"\nHost *\n  ProxyJump admin@gate:2222\n", "web.example.lan", "root")
	f.Add("Match originalhost a exec \"touch /tmp/x\"\n User no\nMatch all\n HostName %h.lan\nMatch host a.lan\n Port 22\n", "A", "")
	f.Add("Include config\nHost \"a\\\" b\\\\\" ?*\nUser x\r\n", "a", "b")
	f.Add("User", "", "")
	f.Add("Host "+strings.Repeat("*a", 40)+"\nUser x\n", strings.Repeat("a", 100), "")
	f.Fuzz(func(t *testing.T, text, host, login string) {
		if len(text)+len(host)+len(login) > fuzzing.Most {
			t.Skip()
		}
		fuzzing.Soon(func() { checkConfiguration(t, text, host, login) })
	})
}

func readConfiguration(text string) ([]directive, error) {
	return parseConfig("config", "/nowhere", "/nowhere", 0, func(path string) ([]byte, error) {
		if path == "config" {
			return []byte(text), nil
		}
		return nil, os.ErrNotExist
	})
}

func checkConfiguration(t *testing.T, text, host, login string) {
	ds, err := readConfiguration(text)
	if err != nil {
		var n int
		if _, scan := fmt.Sscanf(err.Error(), "config:%d:", &n); scan != nil || n < 1 || n > strings.Count(text, "\n")+1 {
			t.Fatalf("no line of the file: %v", err)
		}
		return
	}
	var out strings.Builder
	for _, d := range ds {
		if d.key == "" || len(d.args) == 0 {
			t.Fatalf("%q has a directive %+v", text, d)
		}
		out.WriteString(d.key)
		for _, a := range d.args {
			out.WriteString(` "` + strings.NewReplacer(`"`, `\"`, `\`, `\\`).Replace(a) + `"`)
		}
		out.WriteString("\n")
	}
	again, err := readConfiguration(out.String())
	if d := cmp.Diff(ds, again, cmp.AllowUnexported(directive{})); d != "" || err != nil {
		t.Fatalf("%q, written as %q: %v\n%s", text, out.String(), err, d)
	}
	said := lookup(ds, host, login)
	if d := cmp.Diff(said, lookup(again, host, login)); d != "" {
		t.Fatalf("%q says of %q one and another time:\n%s", text, host, d)
	}
	if login != "" && said.first("user") != login {
		t.Fatalf("asked for %q, the user is %q", login, said.first("user"))
	}
	if d := cmp.Diff(said, lookup(slices.Concat(ds, ds), host, login)); d != "" && !strings.Contains(strings.ToLower(text), "match") {
		t.Fatalf("what comes twice says more of %q:\n%s", host, d)
	}
}

// Patterns mean what their letters say, and cost no more than their length times the name's.
func FuzzPattern(f *testing.F) {
	f.Add("*.example.lan", "web.example.lan")
	f.Add("a*b?c**", "axxbyc")
	f.Add(strings.Repeat("a*", 1000)+"b", strings.Repeat("a", 5000))
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if len(pattern)+len(s) > fuzzing.Most {
			t.Skip()
		}
		fuzzing.Soon(func() {
			if !wildcard("*", s) || !wildcard(pattern+"*", s) && wildcard(pattern, s) || wildcard(pattern, s) && !wildcard("*"+pattern, s) {
				t.Fatalf("%q and %q: a star takes something away", pattern, s)
			}
			if strings.Trim(pattern, "*") == pattern && !strings.ContainsAny(pattern, "*?") && wildcard(pattern, s) != (pattern == s) {
				t.Fatalf("%q is %q: %v", pattern, s, wildcard(pattern, s))
			}
			if len(pattern)*len(s) > 1<<16 {
				return
			}
			if got, want := wildcard(pattern, s), table(pattern, s); got != want {
				t.Fatalf("%q matches %q: %v, want %v", pattern, s, got, want)
			}
		})
	})
}

// table is wildcard, worked out for every two prefixes.
func table(pattern, s string) bool {
	row := make([]bool, len(s)+1) // of the pattern so far, by how much of s it matches
	row[0] = true
	for _, p := range []byte(pattern) {
		next := make([]bool, len(s)+1)
		next[0] = row[0] && p == '*'
		for i := range len(s) {
			next[i+1] = p == '*' && (next[i] || row[i+1]) || p != '*' && (p == '?' || p == s[i]) && row[i]
		}
		row = next
	}
	return row[len(s)]
}

func keyOf(seed byte) gossh.PublicKey {
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
	key, err := gossh.NewPublicKey(private.Public())
	if err != nil {
		panic(err)
	}
	return key
}

// Whatever stands in known_hosts: a key that was trusted is accepted and another is not, unless the file says otherwise of
// it; a line that isn't about the host stays byte for byte; and a revoked key is never accepted.
func FuzzKnownHosts(f *testing.F) {
	mine, other := knownhosts.Line([]string{"web"}, keyOf(1)), knownhosts.Line([]string{"web", "10.0.0.1"}, keyOf(2))
	f.Add("host ssh-ed25519 AAAA\n", "host", uint8(22))
	f.Add("# c\r\n\n"+mine+" comment\r\n"+other, "web", uint8(22))
	f.Add(other+"\n@revoked * "+gossh.KeyAlgoED25519+" "+strings.Fields(mine)[2]+"\n", "web", uint8(23))
	f.Add(knownhosts.HashHostname("web")+" "+strings.TrimPrefix(other, "web,10.0.0.1 ")+"\n|1|a|b ssh-rsa AAAA", "web", uint8(22))
	f.Add("@cert-authority *.lan "+strings.TrimPrefix(mine, "web ")+"\n*,!web "+strings.TrimPrefix(mine, "web ")+"\nWEB,[web]:2222 "+strings.TrimPrefix(mine, "web ")+"\n", "web", uint8(200))
	f.Fuzz(func(t *testing.T, text, host string, port uint8) {
		address := normalize(host, fmt.Sprint(port))
		if len(text) > fuzzing.Most || host == "" || strings.ContainsAny(host, "*?!|,#@ \t\r\n\v\f\x00[]:\\\"") || strings.ToValidUTF8(host, "") != host || len(strings.Fields(host)) != 1 {
			t.Skip()
		}
		fuzzing.Soon(func() { checkKnownHosts(t, text, host, address) })
	})
}

func database(text []byte) *hostKeys {
	db := &hostKeys{revoked: map[string]string{}}
	db.parseHostFile("f", text)
	return db
}

func checkKnownHosts(t *testing.T, text, host, address string) {
	key, foe := keyOf(1), keyOf(3)
	before := database([]byte(text))
	keys, authorities := before.known(address)
	if offer := algorithms(keys, authorities); len(offer) < len(plainAlgorithms) {
		t.Fatalf("only %q is offered", offer)
	}
	if before.check(host, address, "", foe) == nil && !slices.ContainsFunc(keys, func(l hostLine) bool { return equalKeys(l.key, foe) }) {
		t.Fatalf("%q: an unknown key is accepted", text)
	}
	if before.check(host, address, gossh.FingerprintSHA256(key), foe) == nil {
		t.Fatal("another key than the pinned one is accepted")
	}
	if _, refused := trust([]byte(text), false, []HostKey{{Address: address, Key: key}}); refused != nil && !strings.Contains(refused.Error(), "has another key") {
		t.Fatal(refused)
	}
	next, err := trust([]byte(text), true, []HostKey{{Address: address, Key: key}})
	if err != nil {
		t.Fatal(err)
	}
	if again, err := trust(next, false, []HostKey{{Address: address, Key: key}}); err != nil || !bytes.Equal(again, next) {
		t.Fatalf("%q became %q and then %q: %v", text, next, again, err)
	}
	after := database(next)
	_, revoked := after.revoked[string(key.Marshal())]
	if err := after.check(host, address, "", key); (err == nil) == revoked {
		t.Fatalf("%q, where %s is trusted, gives %v", next, address, err)
	}
	if after.check(host, address, "", foe) == nil && before.check(host, address, "", foe) != nil {
		t.Fatalf("%q: trusting one key makes another one known", next)
	}
	ours := func(line string) bool {
		marker, hosts, _, _, _, err := gossh.ParseKnownHosts([]byte(line))
		return err == nil && marker == "" && slices.ContainsFunc(hosts, func(h string) bool { return strings.EqualFold(h, address) })
	}
	foreign := func(text string) (lines []string) {
		for l := range strings.Lines(text) {
			if l = strings.TrimSuffix(l, "\n"); !ours(l) {
				lines = append(lines, l)
			}
		}
		return lines
	}
	was, is := foreign(text), foreign(string(next))
	for _, l := range was { // of a line with several hosts, the others' part is new
		i := slices.Index(is, l)
		if i < 0 {
			t.Fatalf("%q became %q: the line %q is gone", text, next, l)
		}
		is = slices.Delete(is, i, i+1)
	}
	for _, l := range is {
		if _, _, _, _, _, err := gossh.ParseKnownHosts([]byte(l)); err != nil {
			t.Fatalf("%q became %q: the line %q is new", text, next, l)
		}
	}
}

// However stderr comes in pieces, the line with the process id is taken out of it once, and all else is passed on.
func FuzzPID(f *testing.F) {
	f.Add("motd\nfitout-pid:4711\nsh: x: not found\n", uint8(3))
	f.Add("fitout-pid:fitout-pid:1\n", uint8(1))
	f.Add("fitout-pid:99999999999999999999\n", uint8(0))
	f.Fuzz(func(t *testing.T, text string, size uint8) {
		if len(text) > fuzzing.Most {
			t.Skip()
		}
		read := func(size int) (string, int) {
			var out bytes.Buffer
			p := newPIDFilter(&out)
			for rest := []byte(text); len(rest) > 0; rest = rest[min(size, len(rest)):] {
				if n, err := p.Write(rest[:min(size, len(rest))]); err != nil || n != min(size, len(rest)) {
					t.Fatal(n, err)
				}
			}
			p.flush()
			<-p.known
			return out.String(), p.pid
		}
		whole, pid := read(len(text) + 1)
		if pieces, also := read(int(size) + 1); (pieces != whole || also != pid) && len(text) <= maxBefore {
			t.Fatalf("%q gives %q and %d, in pieces %q and %d", text, whole, pid, pieces, also)
		}
		if pid < 0 || !strings.Contains(text, pidMark) && whole != text {
			t.Fatalf("%q became %q, with the process %d", text, whole, pid)
		}
	})
}
