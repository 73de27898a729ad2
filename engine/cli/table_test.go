package cli

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mattn/go-runewidth"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/engine/plan"
	"github.com/fitout-dev/fitout/engine/run"
	"github.com/fitout-dev/fitout/modules"
)

// display is a terminal: what is written to it moves the cursor and erases.
type display struct {
	lines []string
	at    int
}

var sequence = regexp.MustCompile(`^\x1b\[(\d*)([AJ])`)

func (d *display) Write(p []byte) (int, error) {
	for s := string(p); s != ""; {
		if len(d.lines) <= d.at {
			d.lines = append(d.lines, "")
		}
		if m := sequence.FindStringSubmatch(s); m != nil {
			if m[2] == "A" {
				n, _ := strconv.Atoi(m[1])
				d.at -= n
			} else {
				d.lines = d.lines[:d.at]
			}
			s = s[len(m[0]):]
			continue
		}
		switch s[0] {
		case '\n':
			d.at++
		case '\r':
		default:
			d.lines[d.at] += s[:1]
		}
		s = s[1:]
	}
	return len(p), nil
}

func (d *display) String() string { return strings.TrimSpace(strings.Join(d.lines, "\n")) }

func testTable(t *testing.T, width, height int, names ...string) (*table, *display) {
	var devices []run.Device
	for _, n := range names {
		devices = append(devices, run.Device{Name: n})
	}
	d := &display{}
	tab := newTable(d, func() (int, int) { return width, height }, func(_, text string) string { return text }, devices)
	t.Cleanup(func() {
		select {
		case <-tab.stop:
		default:
			tab.close()
		}
	})
	return tab, d
}

// look draws the table as it is a while later.
func look(t *table, d *display, later time.Duration) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.draw(time.Now().Add(later))
	return d.String()
}

func TestTableShowsEachDevice(t *testing.T) {
	tab, d := testTable(t, 60, 24, "lt-041", "lt-042", "lt-043", "lt-044")
	p := plan.Device{Resources: []plan.Resource{{Op: modules.Create}, {Op: modules.Same}, {Op: modules.Update}}}
	tab.update(run.Event{Device: "lt-041", Phase: run.Connecting})
	tab.update(run.Event{Device: "lt-042", Phase: run.Planned, Plan: &p})
	tab.update(run.Event{Device: "lt-042", Phase: run.Applying, Event: &wire.Event{Type: wire.Begin, Address: "files//etc/a/path/that/is/longer/than/the/terminal/is/wide"}})
	tab.update(run.Event{Device: "lt-043", Phase: run.Done, Result: &run.Result{Status: run.Unreachable, Err: errors.New("no answer\x1b[2J\nfor long")}})
	want := `lt-041  connecting
lt-042  applying     1 of 3  files//etc/a/path/that/is/lon…
lt-043  unreachable  no answer?[2J for long
lt-044  waiting`
	if diff := cmp.Diff(want, look(tab, d, 0)); diff != "" {
		t.Error(diff)
	}
	if got := look(tab, d, 12*time.Second); !strings.Contains(got, "connecting") || !strings.Contains(got, "12s") {
		t.Errorf("a slow step doesn't say how long it has taken:\n%s", got)
	}
	tab.hide()
	if got := d.String(); got != "" {
		t.Errorf("hidden, but there is still\n%s", got)
	}
	fmt.Fprintln(d, "a message")
	tab.show()
	if got := look(tab, d, 0); !strings.HasPrefix(got, "a message\nlt-041") {
		t.Errorf("the message and the table below it:\n%s", got)
	}
	tab.close()
	if got := d.String(); got != "a message" {
		t.Errorf("what is left is\n%s", got)
	}
}

func TestTableCountsAFleet(t *testing.T) {
	var names []string
	for i := range 400 {
		names = append(names, fmt.Sprintf("a-device-with-a-very-long-name-%d", i))
	}
	for _, width := range []int{40, 80, 200} {
		tab, d := testTable(t, width, 12, names...)
		for _, n := range names[:100] {
			tab.update(run.Event{Device: n, Phase: run.Done, Result: &run.Result{Status: run.Changed}})
		}
		for _, n := range names[100:150] {
			tab.update(run.Event{Device: n, Phase: run.Connecting})
		}
		got := look(tab, d, 0)
		if !strings.HasPrefix(got, "100 of 400 devices, 0s, 100 changed") {
			t.Errorf("at width %d:\n%s", width, got)
		}
		lines := strings.Split(got, "\n")
		if len(lines) > 11 || len(lines) < 5 {
			t.Errorf("%d lines in a terminal of 12", len(lines))
		}
		for _, l := range lines {
			if runewidth.StringWidth(l) >= width {
				t.Errorf("wider than %d: %s", width, l)
			}
		}
	}
}
