package files

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// FuzzLine holds what the editor of lines promises: what it takes apart it puts together again; it changes one line and
// no other; a second run changes nothing; and what was removed is gone.
func FuzzLine(f *testing.F) {
	f.Add("a\nb\n", "c", "", "", "", false)
	f.Add("a\r\nb", "b", "^a", "", "", false)
	f.Add("\ufeffa\n\n", "", "", "a", "", false)
	f.Add("a", "", "", "", "^", false)
	f.Add("# x\n# x\n", "x", "^# x", "", "", false)
	f.Add("a\n\nb", "b", "", "", "", true)
	f.Add("caf\xe9\n\r\n\n", "\xff", "\\s", "b|", "$", true)
	f.Fuzz(func(t *testing.T, content, line, match, after, before string, remove bool) {
		want := Line{Path: "/f", Line: &line, Match: match, InsertAfter: after, InsertBefore: before}
		if remove {
			want.State = "absent"
		}
		if (Lines{}).Check(want) != nil {
			t.Skip()
		}
		checkEdit(t, content, want)
	})
}

type fataler interface {
	Fatalf(format string, args ...any)
}

// checkEdit returns the edited content.
func checkEdit(t fataler, content string, want Line) string {
	f, _ := want.finder()
	old := parse(content)
	if old.String() != content {
		t.Fatalf("%q is put together as %q", content, old)
	}
	if want.State == "absent" {
		out := old.remove(f)
		again := parse(out.String())
		var kept []string
		for _, l := range old.lines {
			if !f.removes(l.text) {
				kept = append(kept, l.text)
			}
		}
		if got := texts(again); strings.Join(got, "\n") != strings.Join(kept, "\n") || len(got) != len(kept) {
			t.Fatalf("removing from %q left %q, want %q", content, got, kept)
		}
		return out.String()
	}
	out := old.put(f).String()
	edited := parse(out)
	if edited.mark != old.mark {
		t.Fatalf("%q: the mark became %q", content, edited.mark)
	}
	if at := f.find(edited); at < 0 || edited.lines[at].text != *want.Line {
		t.Fatalf("%q with %+v became %q, where the line is not", content, f, out)
	}
	if again := edited.put(f).String(); again != out {
		t.Fatalf("%q became %q and then %q", content, out, again)
	}
	was, is := texts(old), texts(edited)
	switch len(is) - len(was) {
	case 0: // at most one replaced
		differ := 0
		for i := range is {
			if is[i] != was[i] {
				differ++
			}
		}
		if differ > 1 {
			t.Fatalf("%q became %q: more than one line changed", content, out)
		}
	case 1: // one inserted
		at := 0
		for at < len(was) && is[at] == was[at] {
			at++
		}
		if strings.Join(is[at+1:], "\n") != strings.Join(was[at:], "\n") {
			t.Fatalf("%q became %q: other lines changed", content, out)
		}
	default:
		t.Fatalf("%q became %q", content, out)
	}
	if content != "" && *want.Line != "" && strings.HasSuffix(content, "\n") != strings.HasSuffix(out, "\n") && len(was) > 0 {
		t.Fatalf("%q became %q: its end changed", content, out)
	}
	return out
}

func texts(t text) []string {
	var out []string
	for _, l := range t.lines {
		out = append(out, l.text)
	}
	return out
}

// Several lines of one file converge together, whatever their order, where none undoes another.
func TestSeveralLinesConverge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		end := rapid.SampledFrom([]string{"\n", "\r\n"}).Draw(t, "end")
		content := strings.Join(rapid.SliceOf(rapid.SampledFrom([]string{"", "k0=1", "k1=x", "#k2=", " k3", "é", "[s]"})).Draw(t, "lines"), end)
		if rapid.Bool().Draw(t, "final") {
			content += end
		}
		var wants []Line
		for _, k := range rapid.Permutation([]string{"k0", "k1", "k2", "k3"}).Draw(t, "keys") {
			line := k + "=" + rapid.StringMatching("[a-z]{0,3}").Draw(t, "value")
			w := Line{Path: "/f", Line: &line}
			if rapid.Bool().Draw(t, "match") {
				w.Match = "^#?" + k + "="
			}
			switch rapid.IntRange(0, 2).Draw(t, "anchor") {
			case 0:
				w.InsertBefore = "^k|^"
			case 1:
				w.InsertAfter = regexp.QuoteMeta("[s]")
			}
			wants = append(wants, w)
		}
		for _, w := range wants {
			content = checkEdit(t, content, w)
		}
		for _, w := range wants {
			if again := checkEdit(t, content, w); again != content {
				t.Fatalf("%q became %q in a second run, for %q", content, again, *w.Line)
			}
		}
	})
}
