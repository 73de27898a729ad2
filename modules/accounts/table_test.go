package accounts

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// Whatever is edited, all other lines stay byte for byte and in their order; a missing newline at the end may be added.
func TestEditingKeepsForeignLines(t *testing.T) {
	entry := rapid.StringMatching(`(alice|bob|u[0-9]):x:[0-9]{1,4}:[0-9]{1,4}:[^:\r\n]{0,8}:/[a-z]{0,5}:/bin/[a-z]{2}`)
	junk := rapid.OneOf(rapid.StringMatching(`[#+-]?[^\r\n]{0,12}`), rapid.Just("+::::::"), rapid.Just("-@bad"), rapid.Just("u1:x:y:z:::"), rapid.Just("u2:x:1:1::/:/bin/sh:more"), rapid.Just(""))
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOf(rapid.OneOf(entry, junk)).Draw(t, "lines")
		end := rapid.SampledFrom([]string{"\n", "\r\n"}).Draw(t, "end")
		text := strings.Join(lines, end) + rapid.SampledFrom([]string{"", end}).Draw(t, "last")
		table := parseTable("/etc/passwd", text, passwdForm)
		if table.String() != text {
			t.Fatalf("reading and writing back changes the text: %q to %q", text, table.String())
		}
		name := rapid.SampledFrom([]string{"alice", "bob", "u1", "new"}).Draw(t, "name")
		var foreign []string
		for _, l := range table.lines {
			if l.fields == nil || l.fields[0] != name {
				foreign = append(foreign, l.text)
			}
		}
		fields := []string{name, "x", "7", "7", "", "/", "/bin/sh"}
		removed := rapid.Bool().Draw(t, "remove")
		if removed {
			table.remove(name)
		} else {
			table.set(fields...)
		}
		again := parseTable("/etc/passwd", table.String(), passwdForm)
		var kept []string
		for _, l := range again.lines {
			if l.fields == nil || l.fields[0] != name {
				kept = append(kept, l.text)
			}
		}
		if len(foreign) > 0 && len(kept) > 0 && !strings.HasSuffix(foreign[len(foreign)-1], "\n") {
			foreign[len(foreign)-1] += "\n"
			kept[len(kept)-1] = strings.TrimSuffix(kept[len(kept)-1], "\n") + "\n"
		}
		if d := cmp.Diff(foreign, kept); d != "" {
			t.Fatalf("foreign lines changed (-before +after):\n%s", d)
		}
		if got := again.find(name); removed && got != nil || !removed && !slices.Equal(got, fields) {
			t.Fatalf("the entry reads %q", got)
		}
	})
}

// The same for authorized_keys.
func TestMergingKeysKeepsForeignLines(t *testing.T) {
	data := "AAAAC3NzaC1lZDI1NTE5AAAAIJ000000000000000000000000000000000000000000"
	key := rapid.StringMatching(`(no-pty |command="a \\" b",from="x" )?ssh-ed25519 ` + data[:40] + `[a-d]{28}( [a-z@ ]{0,6})?`)
	junk := rapid.StringMatching(`#?[^\r\n]{0,12}`)
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOf(rapid.OneOf(key, junk)).Draw(t, "lines"), "\n")
		keys := rapid.SliceOf(key).Draw(t, "keys")
		exact := rapid.Bool().Draw(t, "exact")
		merged := mergeKeys(text, keys, exact)
		if again := mergeKeys(merged, keys, exact); again != merged {
			t.Fatalf("a second merge changes %q to %q", merged, again)
		}
		for l := range strings.Lines(text) {
			if _, ok := parseKey(l); !ok && !strings.Contains(merged, strings.TrimSuffix(l, "\n")) {
				t.Fatalf("line %q was lost", l)
			}
		}
		there := map[string]bool{}
		for l := range strings.Lines(merged) {
			if k, ok := parseKey(l); ok {
				there[k.options+" "+k.data] = true
			}
		}
		wanted := map[string]bool{}
		for _, s := range keys {
			k, ok := parseKey(s)
			if !ok {
				t.Fatalf("%q is no key", s)
			}
			wanted[k.options+" "+k.data] = true
		}
		for k := range wanted {
			if !there[k] {
				t.Fatalf("key %q is missing in %q", k, merged)
			}
		}
		if exact && len(there) != len(wanted) {
			t.Fatalf("other keys stay: %v, want %v", there, wanted)
		}
	})
}
