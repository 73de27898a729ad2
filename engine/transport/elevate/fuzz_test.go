package elevate

import (
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/modules/fuzzing"
	"github.com/google/go-cmp/cmp"
)

const fuzzMark = "fitout-0123456789abcdef-"

// However what sudo, the shell and the program say comes in pieces, the script's words are the same; none of them is left
// in what is shown; and without one of them nothing is taken away.
func FuzzWatcher(f *testing.F) {
	f.Add("Password: "+fuzzMark+"ask\r\n"+fuzzMark+"go:123:456\nhello\n", uint8(1))
	f.Add(fuzzMark+"missing\n"+fuzzMark+"relay:a_b\n"+fuzzMark+"go:1:2", uint8(7))
	f.Add(fuzzMark[:10]+fuzzMark+"asking"+fuzzMark+"go::1\n", uint8(3))
	f.Add(strings.Repeat("x", 5000)+fuzzMark+"go:1:99999999999999999999\n"+fuzzMark+"ask", uint8(255))
	f.Fuzz(func(t *testing.T, said string, size uint8) {
		if len(said) > 64<<10 {
			t.Skip()
		}
		fuzzing.Soon(func() {
			listen := func(size int) (events []event) {
				w := newWatcher(fuzzMark)
				for rest := said; rest != ""; rest = rest[min(size, len(rest)):] {
					if n, err := w.Write([]byte(rest[:min(size, len(rest))])); err != nil || n != min(size, len(rest)) {
						t.Fatal(n, err)
					}
				}
				for len(w.events) > 0 {
					events = append(events, <-w.events)
				}
				return events
			}
			whole := listen(len(said) + 1)
			if d := cmp.Diff(whole, listen(int(size)+1), cmp.AllowUnexported(event{})); d != "" {
				t.Fatalf("%q says something else in pieces of %d:\n%s", said, int(size)+1, d)
			}
			for i, e := range whole {
				if e.kind == "go" && (len(e.args) != 2 || i != len(whole)-1) || e.kind == "relay" && len(e.args) != 1 {
					t.Fatalf("%q: %+v", said, whole)
				}
			}
			w := newWatcher(fuzzMark)
			shown := w.clean(said)
			if !w.word.MatchString(said) && shown != said || len(shown) > len(said) {
				t.Fatalf("%q is shown as %q", said, shown)
			}
			if len(whole) > 0 && whole[len(whole)-1].kind == "go" && strings.HasPrefix(said, fuzzMark) && shown == said {
				t.Fatalf("%q is shown as it is", said)
			}
		})
	})
}
