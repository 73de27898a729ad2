package accounts

import (
	"slices"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/modules/fuzzing"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/google/go-cmp/cmp"
)

// An edited database has the entry that was asked for, once more makes no difference, and whatever else stood there
// stands there still, byte for byte.
func FuzzTable(f *testing.F) {
	f.Add("root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000:Alice,,,:/home/alice:/bin/bash\n", "bob", "/home/bob", uint8(0), false)
	f.Add("# c\r\nalice:x:1000:1000::/home/alice:/bin/sh\r\n\n+@staff::::::\nbad:line\n", "alice", "/srv", uint8(0), false)
	f.Add("sudo:x:27:alice,bob\nalice:x:1000:", "alice", "carol", uint8(1), true)
	f.Add("alice:!$y$j9T$abc$def:19000:0:99999:7:::\nbusybox:*\n", "busybox", "20000", uint8(2), false)
	f.Add("sudo:!:root:alice\n+:::\n", "adm", "", uint8(3), false)
	f.Add("alice:100000:65536\nalice:165536:65536\n-x:1:2\n", "alice", "1", uint8(4), true)
	f.Fuzz(func(t *testing.T, text, name, value string, kind uint8, remove bool) {
		if len(text) > fuzzing.Most || checkName("user", name) != nil || strings.ContainsAny(value, ":\r\n\x00") {
			t.Skip()
		}
		look := []form{passwdForm, groupForm, shadowForm, gshadowForm, subidForm}[int(kind)%5]
		number := form{1, 1, []int{0}}
		if slices.Contains(look.numbers, look.most-1) && !number.matches([]string{value}) {
			t.Skip()
		}
		fuzzing.Soon(func() { checkTable(t, text, name, value, look, remove) })
	})
}

func checkTable(t *testing.T, text, name, value string, look form, remove bool) {
	was := parseTable("/etc/x", text, look)
	if was.String() != text {
		t.Fatalf("%q is put together as %q", text, was)
	}
	for _, e := range was.entries() {
		if len(e) != look.most {
			t.Fatalf("an entry of %d fields: %q", len(e), e)
		}
	}
	edit := func(tb *table) {
		switch {
		case remove:
			tb.remove(name)
		case tb.find(name) != nil:
			tb.change(name, look.most-1, value)
		default:
			fields := make([]string, look.most)
			for _, i := range look.numbers {
				fields[i] = "1000"
			}
			fields[0], fields[look.most-1] = name, value
			tb.set(fields...)
		}
	}
	now := parseTable("/etc/x", text, look)
	edit(now)
	again := parseTable("/etc/x", now.String(), look)
	edit(again)
	if again.String() != now.String() {
		t.Fatalf("%q became %q and then %q", text, now, again)
	}
	e := parseTable("/etc/x", now.String(), look).find(name)
	switch {
	case remove && e != nil:
		t.Fatalf("%q is left in %q", name, now)
	case !remove && (e == nil || e[look.most-1] != value):
		t.Fatalf("%q, set to %q, is %q in %q", name, value, e, now)
	}
	foreign := func(tb *table) (lines []string) {
		first := true
		for _, l := range tb.lines {
			if l.fields != nil && l.fields[0] == name && (first || remove) {
				first = false
				continue
			}
			lines = append(lines, strings.TrimSuffix(l.text, "\n"))
		}
		return lines
	}
	if d := cmp.Diff(foreign(was), foreign(now)); d != "" {
		t.Fatalf("%q became %q: other lines changed (-was +is):\n%s", text, now, d)
	}
}

// A member comes and goes, and all others stay in their order.
func FuzzMembers(f *testing.F) {
	f.Add("alice,bob", "carol", true)
	f.Add(",alice,,bob,alice", "alice", false)
	f.Fuzz(func(t *testing.T, field, name string, in bool) {
		if strings.Contains(name, ",") || name == "" {
			t.Skip()
		}
		got := alter(field, name, in)
		if slices.Contains(list(got), name) != in {
			t.Fatalf("%q of %q became %q", name, field, got)
		}
		others := func(s string) []string {
			return slices.DeleteFunc(list(s), func(n string) bool { return n == name })
		}
		if d := cmp.Diff(others(field), others(got)); d != "" {
			t.Fatalf("others changed:\n%s", d)
		}
		if alter(got, name, in) != got {
			t.Fatalf("%q a second time is %q", got, alter(got, name, in))
		}
	})
}

const fuzzKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS"

// All declared keys are in authorized_keys afterwards and, if exact, no other; what isn't a key stays byte for byte.
func FuzzKeys(f *testing.F) {
	f.Add("", fuzzKey+" alice", "", false)
	f.Add("# mine\n"+fuzzKey+" old comment\nssh-rsa AAAAB3NzaC1yc2EAAAADAQAB b", fuzzKey, "", true)
	f.Add("restrict,command=\"a \\\"b\\\" c\" "+fuzzKey+"\r\n\nnonsense", "command=\"a\" "+fuzzKey, "ssh-rsa AAAA... x", false)
	f.Add("no-pty "+fuzzKey+"\n"+fuzzKey+"\n"+fuzzKey, fuzzKey, "no-pty\t"+fuzzKey, true)
	f.Fuzz(func(t *testing.T, text, first, second string, exact bool) {
		if len(text) > fuzzing.Most {
			t.Skip()
		}
		var keys []string
		for _, k := range []string{first, second} {
			if (Users{}).Check(User{Name: "a", SSHKeys: []string{k}}) == nil {
				keys = append(keys, k)
			}
		}
		fuzzing.Soon(func() { checkKeys(t, text, keys, exact) })
	})
}

func checkKeys(t *testing.T, text string, keys []string, exact bool) {
	read := func(text string) (keys []key, others []string) {
		for l := range strings.Lines(text) {
			if k, ok := parseKey(l); ok {
				keys = append(keys, k)
			} else {
				others = append(others, strings.TrimSuffix(l, "\n"))
			}
		}
		return keys, others
	}
	merged := mergeKeys(text, keys, exact)
	if again := mergeKeys(merged, keys, exact); again != merged {
		t.Fatalf("%q with %q became %q and then %q", text, keys, merged, again)
	}
	had, before := read(text)
	has, after := read(merged)
	if d := cmp.Diff(before, after); d != "" {
		t.Fatalf("%q became %q: other lines changed (-was +is):\n%s", text, merged, d)
	}
	var wanted []key
	for _, s := range keys {
		k, _ := parseKey(s)
		if wanted = append(wanted, k); !slices.Contains(has, k) {
			t.Fatalf("%q is missing in %q", s, merged)
		}
	}
	same := func(a key) func(key) bool {
		return func(b key) bool { return a.kind == b.kind && a.data == b.data }
	}
	for _, k := range has {
		if exact && !slices.Contains(wanted, k) || !exact && !slices.Contains(wanted, k) && slices.ContainsFunc(wanted, same(k)) {
			t.Fatalf("%+v is left in %q", k, merged)
		}
	}
	for _, k := range had {
		if !exact && !slices.ContainsFunc(wanted, same(k)) && !slices.Contains(has, k) {
			t.Fatalf("%+v, which nobody declared, is gone from %q", k, merged)
		}
	}
}

// Whatever stands in shadow, comparing a password with it ends, and says yes of what was made of that password only.
func FuzzPassword(f *testing.F) {
	const rest = "saltsalt$0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz01234567"
	for _, field := range []string{"", "!", "*", "!!", "$", "$6$" + rest, "$5$rounds=1000$" + rest, "$6$rounds=999999999$" + rest, "$1$ab$0123456789abcdefghijkl", "$y$j9T$0123456789abcdef$0123456789abcdef",
		"$y$zzzzzzz$0123456789abcdef$0123456789abcdef", "$2b$31$0123456789abcdefghijkl0123456789abcdefghijklmnopqrstu", "$7$zzzzzzzzzz$x", "$2b$04$"} {
		f.Add("hunter2", field)
	}
	f.Add("pass\xff", "plain")
	f.Fuzz(func(t *testing.T, password, field string) {
		if len(password) > 511 || len(field) > fuzzing.Most {
			t.Skip()
		}
		fuzzing.Soon(func() {
			if !matches(password, field) {
				return
			}
			if !crypted(field) {
				t.Fatalf("%q matches %q, which is no hash", password, field)
			}
			if matches(password+"x", field) && len(password) < 72 {
				t.Fatalf("%q takes two passwords", field)
			}
		})
	})
}

// Whatever login.defs and useradd's defaults say, a new entry is one that the databases' readers understand.
func FuzzDefaults(f *testing.F) {
	f.Add("UID_MIN 1000\nUID_MAX\t60000 # c\nSUB_UID_COUNT 65536\nENCRYPT_METHOD SHA512\n", "alice:100000:65536\n", "alice:x:1000:1000::/home/alice:/bin/sh\n", "password [success=1 default=ignore] pam_unix.so obscure yescrypt\n", true)
	f.Add("UID_MIN 0x10\nUID_MAX 9223372036854775807\nSYS_UID_MAX -1\nSUB_UID_MIN 4294967295\nSUB_UID_COUNT -5\n", "b:4294967295:4294967295\n", "", "", false)
	f.Add("SUB_UID_MIN 100\nSUB_UID_COUNT -5\n", "", "", "", false)
	f.Add("SUB_UID_MAX 9223372036854775807\nSUB_UID_MIN 9223372036854775807\nSUB_UID_COUNT 9223372036854775807\n", "a:1:1\n", "b:x:4294967294:1::/:\n", "-password x pam_unix.so sha256", false)
	f.Fuzz(func(t *testing.T, defs, subs, users, pam string, system bool) {
		if len(defs)+len(subs)+len(users)+len(pam) > fuzzing.Most {
			t.Skip()
		}
		h := host.New(t.TempDir())
		for name, text := range map[string]string{"/etc/login.defs": defs, "/etc/subuid": subs, "/etc/subgid": subs, "/etc/passwd": users, "/etc/pam.d/common-password": pam} {
			put(t, h, name, text)
		}
		fuzzing.Soon(func() {
			db := load(h)
			if m := db.cryptMethod(); !slices.Contains([]string{sha512crypt, sha256crypt, bcryptMethod, yescryptMethod}, m) {
				t.Errorf("hashes by %q", m)
			}
			if id, err := db.freeID(t.Context(), "passwd", system); err == nil {
				if low, high := db.rangeOf("UID", system); id < low || id > high || ids(db.passwd, pwUID)[id] != "" || checkID("uid", &id) != nil {
					t.Errorf("%d is no number for a user", id)
				}
			}
			if err := db.addSubIDs("newcomer"); err != nil {
				return
			}
			for _, tb := range []*table{db.subuid, db.subgid} {
				if e := tb.find("newcomer"); e != nil && parseTable(tb.path, tb.String(), subidForm).find("newcomer") == nil {
					t.Errorf("%q is no entry of %s", e, tb.path)
				}
			}
		})
	})
}
