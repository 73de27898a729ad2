package plan

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/modules"
	"github.com/mattn/go-runewidth"
)

// Style says how a plan is shown.
type Style struct {
	Color bool
	Width int  // of the terminal; 0 cuts nothing
	All   bool // also what is in the desired state
}

const (
	red, green, yellow, cyan, dim, bold = "31", "32", "33", "36", "2", "1"
)

func (s Style) paint(code, text string) string {
	if !s.Color || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

var signs = map[modules.Op]struct{ sign, color string }{
	modules.Create:  {"+", green},
	modules.Update:  {"~", yellow},
	modules.Delete:  {"-", red},
	modules.Same:    {"=", dim},
	modules.Skip:    {"·", dim},
	modules.Unknown: {"?", cyan},
}

// Render shows what a plan does. Devices with the same plan are shown together.
func Render(w io.Writer, devices []Device, s Style) {
	var order []string
	same := map[string][]Device{}
	for _, d := range devices {
		text := body(d, s)
		if same[text] == nil {
			order = append(order, text)
		}
		same[text] = append(same[text], d)
	}
	for _, text := range order {
		fmt.Fprintf(w, "%s\n%s\n", s.paint(bold, heading(same[text], s)), text)
	}
	fmt.Fprintln(w, Summary(devices))
}

// heading names the devices that have one plan.
func heading(ds []Device, s Style) string {
	d := ds[0]
	if len(ds) == 1 {
		text := d.Name
		if d.Address != "" && d.Address != d.Name {
			text += " (" + d.Address + ")"
		}
		if d.Profile != "" {
			text += ": " + d.Profile
		}
		return clean(text)
	}
	names := make([]string, len(ds))
	for i := range ds {
		names[i] = clean(ds[i].Name)
	}
	text := fmt.Sprintf("%d devices: %s", len(ds), strings.Join(names, ", "))
	if s.Width > 0 {
		text = runewidth.Truncate(text, s.Width, "…")
	}
	return text
}

func body(d Device, s Style) string {
	var b strings.Builder
	refused := d.Refused()
	for _, f := range d.Findings {
		finding(&b, f, s)
	}
	if d.Error != "" && (refused == nil || d.Error != refused.Error()) {
		fmt.Fprintf(&b, "  %s %s\n", s.paint(red, "!"), indented(d.Error, "    "))
		if d.Hint != "" {
			fmt.Fprintf(&b, "    hint: %s\n", clean(d.Hint))
		}
	}
	restart, always := false, d.Settings.Reboot == wire.RebootIfNeeded
	for _, r := range d.Resources {
		resource(&b, r, s)
		switch own := r.Reboot == wire.RebootIfNeeded; {
		case !r.pending() || !own && (!always || r.Reboot != ""):
		case always: // once for all
			restart = true
		default:
			fmt.Fprintf(&b, "      %s\n", s.paint(yellow, restarts(d.Settings)))
		}
	}
	if restart {
		fmt.Fprintf(&b, "  %s\n", s.paint(yellow, "! "+restarts(d.Settings)))
	}
	c := d.Count()
	if c.Same > 0 && !s.All {
		fmt.Fprintf(&b, "  %s\n", s.paint(dim, fmt.Sprintf("= %d in desired state", c.Same)))
	}
	if d.Reboot != "" {
		fmt.Fprintf(&b, "  %s\n", s.paint(yellow, "! a reboot is pending: "+clean(d.Reboot)))
	}
	return b.String()
}

func finding(b *strings.Builder, f wire.Finding, s Style) {
	if f.Fatal {
		fmt.Fprintf(b, "  %s refused: %s\n", s.paint(red, "!"), indented(f.Text, "    "))
	} else {
		fmt.Fprintf(b, "  %s warning: %s\n", s.paint(yellow, "!"), indented(f.Text, "    "))
	}
	if f.Remedy != "" {
		fmt.Fprintf(b, "    hint: %s\n", clean(f.Remedy))
	}
}

// restarts says what becomes of a reboot that turns out to be needed.
func restarts(s wire.Settings) string {
	text := "will restart the device if needed"
	if from, until, ok := strings.Cut(s.RebootWindow, "-"); ok {
		text += fmt.Sprintf(", between %s and %s", from, until)
	}
	return text
}

// reached says how a device is reached after a change of that.
func reached(connect map[string]any) string {
	text := "reached"
	if _, ok := connect["address"]; ok || connect["port"] != nil {
		text += " at"
	}
	for _, k := range []struct{ key, before string }{{"address", ""}, {"port", "port "}, {"user", "as "}} {
		if x, ok := connect[k.key]; ok {
			text += fmt.Sprintf(" %s%v", k.before, x)
		}
	}
	for _, k := range []struct{ key, what string }{{"password", "another password"}, {"identityFile", "another key"}} {
		if _, ok := connect[k.key]; ok {
			text += " with " + k.what
		}
	}
	return text + " afterwards"
}

func resource(b *strings.Builder, r Resource, s Style) {
	if r.Error != "" {
		fmt.Fprintf(b, "  %s %s  can't be observed: %s\n", s.paint(red, "!"), clean(r.Address), indented(r.Error, "      "))
		if r.Hint != "" {
			fmt.Fprintf(b, "      hint: %s\n", clean(r.Hint))
		}
		fmt.Fprintf(b, "      declared at %s\n", clean(r.Position))
		return
	}
	if r.Op == modules.Same && !s.All {
		return
	}
	sign := signs[r.Op]
	line := fmt.Sprintf("%s %s", sign.sign, r.Address)
	switch {
	case r.Op == modules.Skip || r.Op == modules.Unknown:
		line += fmt.Sprintf("  %s (%s)", r.Op, r.Reason)
	default:
		line += "  " + string(r.Op)
	}
	if r.Connect != nil && r.pending() {
		line += "  (" + reached(r.Connect) + ")"
	}
	fmt.Fprintf(b, "  %s\n", s.paint(sign.color, fit(line, s.Width-2)))
	for _, n := range r.Notes {
		fmt.Fprintf(b, "      %s\n", s.paint(dim, fit("note: "+n, s.Width-6)))
	}
	if r.NoUndo != "" && r.pending() {
		fmt.Fprintf(b, "      %s\n", s.paint(dim, fit("can't be undone: "+r.NoUndo, s.Width-6)))
	}
	for _, c := range r.Changes {
		if r.Op == modules.Delete && c.Property == "state" {
			continue
		}
		if isContent(c) && r.Diff != "" {
			fmt.Fprintf(b, "      %s:\n", clean(c.Property))
			for l := range strings.Lines(r.Diff) {
				fmt.Fprintf(b, "        %s\n", diffLine(strings.TrimRight(l, "\r\n"), s))
			}
			continue
		}
		if from, ok := c.After.(string); ok && c.Property == Notification {
			fmt.Fprintf(b, "      %s\n", fit("notified "+from, s.Width-6))
			continue
		}
		text := fmt.Sprintf("%s: %s", c.Property, value(c.After))
		if r.Op != modules.Create || c.Before != nil {
			text = fmt.Sprintf("%s: %s -> %s", c.Property, value(c.Before), value(c.After))
		}
		fmt.Fprintf(b, "      %s\n", fit(text, s.Width-6))
	}
}

func diffLine(l string, s Style) string {
	l = fit(l, s.Width-8)
	switch {
	case strings.HasPrefix(l, "+"):
		return s.paint(green, l)
	case strings.HasPrefix(l, "-"):
		return s.paint(red, l)
	case strings.HasPrefix(l, "@@"):
		return s.paint(cyan, l)
	}
	return l
}

// clean keeps what comes from a device from moving the cursor about.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || r >= ' ' && r != 0x7f && (r < 0x80 || r > 0x9f) {
			return r
		}
		return '?'
	}, s)
}

// fit makes a line of s: clean, and no wider than the terminal.
func fit(s string, width int) string {
	s = clean(s)
	if width <= 20 {
		return s
	}
	return runewidth.Truncate(s, width, "…")
}

func isContent(c modules.Change) bool {
	m, ok := c.After.(map[string]any)
	return ok && m["hash"] != nil && m["size"] != nil
}

func value(v any) string {
	switch x := v.(type) {
	case nil:
		return "nothing"
	case map[string]any:
		if x["hash"] != nil && x["size"] != nil {
			return size(x["size"])
		}
	case string:
		if x == "(secret)" {
			return x
		}
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(string(b))
}

func indented(s, by string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	for i := range lines {
		lines[i] = clean(lines[i])
	}
	return strings.Join(lines, "\n"+by)
}

// Summary is the last line: how much is to be done on how many devices.
func Summary(devices []Device) string {
	var c Counts
	bad, refused := 0, 0
	for i := range devices {
		c = c.Add(devices[i].Count())
		if devices[i].Refused() != nil {
			refused++
		} else if devices[i].Error != "" {
			bad++
		}
	}
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{{c.Create, "to create"}, {c.Update, "to update"}, {c.Delete, "to delete"}, {c.Unknown, "unknown until then"}, {c.Errors, "in error"}, {c.Skip, "skipped"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	if bad == len(devices) {
		return fmt.Sprintf("%s could not be planned.", devicesWord(bad))
	}
	if c.Pending()+c.Errors == 0 {
		parts = slices.Insert(parts, 0, "nothing to do")
	}
	parts = append(parts, fmt.Sprintf("%d in desired state", c.Same))
	text := fmt.Sprintf("Plan for %s: %s.", devicesWord(len(devices)), strings.Join(parts, ", "))
	if refused > 0 {
		text += fmt.Sprintf(" %s refused.", devicesWord(refused))
	}
	if bad > 0 {
		text += fmt.Sprintf(" %s could not be planned.", devicesWord(bad))
	}
	return text
}

// Deletions lists what a plan removes, by device.
func Deletions(devices []Device) []string {
	var out []string
	for _, d := range devices {
		for _, r := range d.Resources {
			if r.Op == modules.Delete {
				out = append(out, d.Name+": "+r.Address)
			}
		}
	}
	return out
}

func devicesWord(n int) string {
	if n == 1 {
		return "1 device"
	}
	return fmt.Sprintf("%d devices", n)
}

// RenderEvent shows what became of one resource.
func RenderEvent(e wire.Event, s Style) string {
	var b strings.Builder
	switch e.Status {
	case wire.FailedStatus:
		fmt.Fprintf(&b, "  %s %s  failed: %s\n", s.paint(red, "!"), clean(e.Address), indented(e.Error, "      "))
		if e.Hint != "" {
			fmt.Fprintf(&b, "      hint: %s\n", clean(e.Hint))
		}
	case wire.NotTried:
		fmt.Fprintf(&b, "  %s\n", s.paint(dim, "· "+clean(e.Address)+"  not tried"))
	default:
		resource(&b, Resource{Address: e.Address, Op: e.Op, Changes: e.Changes, Reason: e.Reason}, s)
		if e.Status == wire.Changed && e.Reason != "" {
			fmt.Fprintf(&b, "      %s\n", clean(e.Reason))
		}
	}
	return b.String()
}
