package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/engine/run"
	"github.com/mattn/go-runewidth"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// table is the live view on a terminal: a line a device, or, where they don't all fit, one line for all.
type table struct {
	bars  *mpb.Progress
	rows  map[string]*row
	all   *mpb.Bar // for the whole fleet
	width int
	name  int
}

type row struct {
	bar   *mpb.Bar
	text  atomic.Pointer[string]
	total int64
	over  bool
}

func newTable(w io.Writer, width int, devices []run.Device) *table {
	t := &table{rows: map[string]*row{}, width: width, name: 6}
	height := 24
	if f, ok := w.(*os.File); ok {
		if _, h, err := term.GetSize(int(f.Fd())); err == nil && h > 0 {
			height = h
		}
	}
	t.bars = mpb.New(mpb.WithOutput(w), mpb.WithWidth(min(width, 100)), mpb.WithRefreshRate(100*time.Millisecond))
	for _, d := range devices {
		t.name = max(t.name, min(runewidth.StringWidth(d.Name), width/3))
	}
	for _, d := range devices {
		r := &row{}
		r.set("waiting")
		t.rows[d.Name] = r
		if len(devices) > height-3 {
			continue
		}
		name := runewidth.FillRight(runewidth.Truncate(d.Name, t.name, "…"), t.name)
		r.bar = t.bars.New(0, mpb.NopStyle(), mpb.BarFillerClearOnComplete(), mpb.BarRemoveOnComplete(),
			mpb.PrependDecorators(decor.Any(func(s decor.Statistics) string {
				return runewidth.Truncate(name+"  "+*r.text.Load(), max(10, s.AvailableWidth-1), "…")
			})))
	}
	if len(devices) > height-3 {
		t.all = t.bars.New(int64(len(devices)), mpb.BarStyle(), mpb.PrependDecorators(decor.CountersNoUnit("%d of %d devices")), mpb.AppendDecorators(decor.Elapsed(decor.ET_STYLE_GO)))
	}
	return t
}

func (r *row) set(text string) { r.text.Store(&text) }

func (t *table) update(e run.Event) {
	r := t.rows[e.Device]
	if r == nil {
		return
	}
	switch {
	case e.Result != nil:
		t.finish(r, e.Result)
	case e.Event != nil && e.Event.Type == wire.Begin:
		r.set(fmt.Sprintf("applying  %d  %s", r.total, e.Event.Address))
	case e.Event != nil && e.Event.Type == wire.Resolved:
		r.total++
	case e.Event != nil || e.Log != nil:
	case e.Plan != nil:
		r.set(fmt.Sprintf("planned   %d to do", e.Plan.Count().Pending()))
	default:
		r.set(string(e.Phase))
	}
}

func (t *table) finish(r *row, res *run.Result) {
	if r.over {
		return
	}
	r.over = true
	text := string(res.Status)
	if res.Err != nil {
		text += "  " + strings.ReplaceAll(res.Err.Error(), "\n", " ")
	} else if res.Counts.Changed > 0 {
		text += fmt.Sprintf("  %d changed", res.Counts.Changed)
	}
	r.set(text)
	if t.all != nil {
		t.all.Increment()
	}
}

// close takes the table off the screen: what it showed is said again by the plan or the results that follow.
func (t *table) close() {
	for _, r := range t.rows {
		if r.bar != nil {
			r.bar.Abort(true)
		}
	}
	if t.all != nil {
		t.all.Abort(true)
	}
	t.bars.Wait()
}
