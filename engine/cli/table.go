package cli

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/mattn/go-runewidth"
	"golang.org/x/term"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/engine/run"
)

// table is the live view on a terminal: a line a device. Where they don't all fit, a line counts all of them, and below it
// are those that are being worked on.
type table struct {
	w     io.Writer
	size  func() (width, height int)
	paint func(code, text string) string
	start time.Time
	stop  chan struct{}
	ended sync.WaitGroup

	mu     sync.Mutex
	rows   []*row
	names  map[string]*row
	name   int // width of the column
	drawn  int // lines on the screen
	hidden int // above 0: something else is on the screen
}

type row struct {
	name, step, detail string
	since              time.Time // of the step
	total, done        int       // resources
	status             run.Status
}

// Statuses in the order in which they are counted, and their colors.
var (
	statusOrder  = []run.Status{run.Changed, run.Converged, run.Failed, run.Unreachable, run.Cancelled, run.Pending}
	statusColors = map[run.Status]string{run.Changed: "33", run.Converged: "32", run.Failed: "31", run.Unreachable: "31", run.Cancelled: "35"}
)

const refresh = 100 * time.Millisecond

func newTable(w io.Writer, size func() (int, int), paint func(string, string) string, devices []run.Device) *table {
	t := &table{w: w, size: size, paint: paint, start: time.Now(), stop: make(chan struct{}), names: map[string]*row{}}
	for _, d := range devices {
		r := &row{name: d.Name, step: "waiting"}
		t.rows, t.names[d.Name] = append(t.rows, r), r
		t.name = max(t.name, runewidth.StringWidth(d.Name))
	}
	t.ended.Go(func() {
		tick := time.NewTicker(refresh)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				t.mu.Lock()
				t.draw(time.Now())
				t.mu.Unlock()
			case <-t.stop:
				return
			}
		}
	})
	return t
}

// screen is the size of a terminal.
func screen(f *os.File) (width, height int) {
	w, h, err := term.GetSize(int(f.Fd()))
	if err != nil || w <= 0 || h <= 0 {
		return 80, 24
	}
	return w, h
}

func (t *table) update(e run.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.names[e.Device]
	if r == nil {
		return
	}
	switch {
	case e.Phase == run.Following:
		r.to("following", "run "+e.Run)
	case e.Phase == run.Away:
		r.to("away", "the run goes on; connecting again")
	case e.Result != nil:
		r.status, r.step, r.detail = e.Result.Status, string(e.Result.Status), ""
		if e.Result.Err != nil {
			r.detail = printable(e.Result.Err.Error(), "")
		} else if n := e.Result.Counts.Changed; n > 0 {
			r.detail = fmt.Sprintf("%d changed", n)
		}
	case e.Event != nil && e.Event.Type == wire.Begin:
		r.to("applying", e.Event.Address)
	case e.Event != nil && e.Event.Type == wire.Resolved:
		r.done++
	case e.Event != nil && telling[e.Event.Type] != "":
		r.to(telling[e.Event.Type], printable(cmp.Or(e.Event.Reboot, e.Event.Text), ""))
	case e.Event != nil || e.Log != nil:
	case e.Plan != nil:
		r.total = len(e.Plan.Resources)
		r.to("planned", fmt.Sprintf("%d to do", e.Plan.Count().Pending()))
	default:
		r.to(string(e.Phase), "")
	}
}

func (r *row) to(step, detail string) { r.step, r.detail, r.since = step, detail, time.Now() }

// busy says whether the device is being worked on.
func (r *row) busy() bool { return r.status == "" && r.step != "waiting" }

// lines are what the table shows.
func (t *table) lines(now time.Time, width, height int) []string {
	rows := t.rows
	var out []string
	if len(rows) > height-3 {
		rows = nil
		counts := map[run.Status]int{}
		over := 0
		for _, r := range t.rows {
			if r.status != "" {
				counts[r.status]++
				over++
			}
			if r.busy() && len(rows) < height-4 {
				rows = append(rows, r)
			}
		}
		text := fmt.Sprintf("%d of %d devices, %s", over, len(t.rows), now.Sub(t.start).Round(time.Second))
		for _, s := range statusOrder {
			if counts[s] > 0 {
				text += fmt.Sprintf(", %d %s", counts[s], s)
			}
		}
		out = append(out, runewidth.Truncate(text, width-1, "…"))
	}
	name := min(t.name, width/3)
	for _, r := range rows {
		step, detail := fmt.Sprintf("%-11s", r.step), r.detail
		if r.status == "" && r.step == "applying" {
			detail = fmt.Sprintf("%d of %d  %s", min(r.done+1, r.total), r.total, detail)
		}
		if took := now.Sub(r.since); r.busy() && took >= 5*time.Second {
			detail += fmt.Sprintf("  %s", took.Round(time.Second))
		}
		detail = strings.ReplaceAll(detail, "\n", " ")
		label := runewidth.FillRight(runewidth.Truncate(r.name, name, "…"), name)
		room := max(width-1-name-2-len(step)-2, 0)
		out = append(out, strings.TrimRight(label+"  "+t.paint(statusColors[r.status], step)+"  "+runewidth.Truncate(detail, room, "…"), " "))
	}
	return out
}

// draw replaces what is on the screen, in one write.
func (t *table) draw(now time.Time) {
	if t.hidden > 0 {
		return
	}
	width, height := t.size()
	t.erase(strings.Join(append(t.lines(now, width, height), ""), "\n"))
}

// erase takes the lines from the screen, which the cursor stands below, and puts others there.
func (t *table) erase(next string) {
	text := ""
	if t.drawn > 0 {
		text = fmt.Sprintf("\r\x1b[%dA\x1b[J", t.drawn)
	}
	if text += next; text != "" {
		io.WriteString(t.w, text)
	}
	t.drawn = strings.Count(next, "\n")
}

// hide takes the table off the screen until show: somebody is asked something, or told.
func (t *table) hide() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.hidden++
	t.erase("")
}

func (t *table) show() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.hidden--
	t.draw(time.Now())
}

// close takes the table off the screen for good: what it showed is said again by the plan or the results that follow.
func (t *table) close() {
	close(t.stop)
	t.ended.Wait()
	t.hide()
}
