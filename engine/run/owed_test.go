package run

import (
	"errors"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/engine/profile"
	"github.com/google/go-cmp/cmp"
)

// told makes the events of a run: "a changed, b same, notified b, end".
func told(text string) (events []wire.Event) {
	for _, words := range strings.Split(text, ", ") {
		f := strings.Fields(words)
		switch {
		case len(f) == 0:
		case f[0] == "end":
			events = append(events, wire.Event{Type: wire.Finished})
		case f[0] == "notified":
			events = append(events, wire.Event{Type: wire.Notified, Address: f[1]})
		default:
			events = append(events, wire.Event{Type: wire.Resolved, Address: f[0], Status: wire.Status(f[1])})
		}
	}
	return events
}

// TestWhatIsOwedByTheEventsThatCame: no notification may be missing that nobody else knows of.
func TestWhatIsOwedByTheEventsThatCame(t *testing.T) {
	resources := []profile.Resource{{Address: "a", Notify: []string{"x"}}, {Address: "b", Notify: []string{"x", "y"}}, {Address: "x", Notify: []string{"y"}}, {Address: "y"}}
	for _, c := range []struct {
		name string
		runs []string // a * begins what the device has forgotten
		want string
	}{
		{"nothing was done", []string{"*a same, b same, x same, y same, end"}, ""},
		{"all was told", []string{"*a changed, b changed, notified x, x changed, y changed, end"}, ""},
		{"nobody was told", []string{"*a changed, b same, x cancelled, y cancelled, end"}, "x: a; y: x"},
		{"it could not be told", []string{"*a same, b changed, x failed, y same, end"}, "x: b"},
		{"half a change", []string{"*a failed, b skipped, x skipped, y same, end"}, "x: a"},
		{"told, and not settled", []string{"*a changed, b changed, notified x"}, "y: b x"},
		{"what was not heard", []string{"*a same"}, "x: b; y: b x"},
		{"nothing was heard", []string{"*"}, "x: a b; y: b x"},
		{"refused", []string{"*end"}, ""},
		{"the device knows it", []string{"a changed, b changed"}, ""},
		{"told by a later run", []string{"*a changed, b same, x cancelled, y same, end", "a same, b same, x changed, y changed, end"}, ""},
		{"told by a part of a later run", []string{"*a changed, b changed, x cancelled, y cancelled, end", "a same, b same, notified x"}, "y: b x"},
		{"changed again", []string{"*a changed, x changed, y changed, end", "*b changed, x failed, y cancelled, end"}, "x: b; y: b x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var runs []doubtful
			for _, text := range c.runs {
				text, forgotten := strings.CutPrefix(text, "*")
				runs = append(runs, doubtful{told(text), forgotten})
			}
			want := map[string][]string{}
			for part := range strings.SplitSeq(c.want, "; ") {
				if to, from, ok := strings.Cut(part, ": "); ok {
					want[to] = strings.Fields(from)
				}
			}
			if diff := cmp.Diff(want, owing(runs, resources)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestADeviceThatRemembersIsNotDoubted: what a device says that it owes goes, and the events are not even read.
func TestADeviceThatRemembersIsNotDoubted(t *testing.T) {
	unread := errors.New("read")
	w := &worker{r: &Runner{}, session: &session{Hello: wire.Hello{Memory: "m"}}}
	w.d.Doubts = []Doubt{{Memory: "m", Events: func() ([]wire.Event, error) { return nil, unread }}}
	if owed, err := w.owed(); len(owed) > 0 || err != nil {
		t.Errorf("owed %v, %v", owed, err)
	}
	w.session.Hello.Memory = "another"
	if _, err := w.owed(); !errors.Is(err, unread) {
		t.Errorf("a device that has forgotten: %v", err)
	}
}
