package files

import (
	"encoding/binary"
	"slices"
	"strings"
	"unicode/utf16"
)

// text is a file as lines. What parse took apart, String puts together again to the byte.
type text struct {
	mark  string // the byte order mark, or ""; it says how the file is encoded
	lines []textLine
}

type textLine struct{ text, end string } // end is "\n", "\r\n", or "" for the last one

func (l textLine) hasNUL() bool { return strings.Contains(l.text, "\x00") }

// Byte order marks: of UTF-8, and of the two kinds of UTF-16, which programs on Windows write.
const (
	byteOrderMark = "\ufeff"
	littleEndian  = "\xff\xfe"
	bigEndian     = "\xfe\xff"
)

var marks = []string{byteOrderMark, littleEndian, bigEndian}

func parse(s string) text {
	var t text
	for _, mark := range marks {
		if strings.HasPrefix(s, mark) {
			t.mark, s = mark, s[len(mark):]
			break
		}
	}
	if order := t.order(); order != nil {
		s = fromUTF16(s, order)
	}
	for line := range strings.Lines(s) {
		body, newline := strings.CutSuffix(line, "\n")
		end := ""
		if newline {
			end = "\n"
			if cut, ok := strings.CutSuffix(body, "\r"); ok {
				body, end = cut, "\r\n"
			}
		}
		t.lines = append(t.lines, textLine{body, end})
	}
	return t
}

func (t text) String() string {
	var b strings.Builder
	for _, l := range t.lines {
		b.WriteString(l.text)
		b.WriteString(l.end)
	}
	if order := t.order(); order != nil {
		return t.mark + toUTF16(b.String(), order)
	}
	return t.mark + b.String()
}

// order is that of UTF-16's bytes, or nil where the file isn't UTF-16.
func (t text) order() binary.AppendByteOrder {
	switch t.mark {
	case littleEndian:
		return binary.LittleEndian
	case bigEndian:
		return binary.BigEndian
	}
	return nil
}

// fromUTF16 decodes what is well formed: of anything else, toUTF16 makes something else.
func fromUTF16(s string, order binary.AppendByteOrder) string {
	b := []byte(s)
	u := make([]uint16, len(b)/2)
	for i := range u {
		u[i] = order.(binary.ByteOrder).Uint16(b[2*i:])
	}
	return string(utf16.Decode(u))
}

func toUTF16(s string, order binary.AppendByteOrder) string {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = order.AppendUint16(b, u)
	}
	return string(b)
}

// ending is how most lines end.
func (t text) ending() string {
	crlf, lf := 0, 0
	for _, l := range t.lines {
		switch l.end {
		case "\n":
			lf++
		case "\r\n":
			crlf++
		}
	}
	if crlf > lf {
		return "\r\n"
	}
	return "\n"
}

// find is the line that stands for the wanted one, or -1. Which one that is must not change by writing the wanted text
// into it: else a second run would write again.
func (f finder) find(t text) int {
	if n := f.number - 1; n >= 0 && n < len(t.lines) && f.is(t.lines[n].text) {
		return n
	}
	exact, match := -1, -1
	for i, l := range t.lines {
		if exact < 0 && l.text == *f.line {
			exact = i
		}
		if f.match != nil && f.match.MatchString(l.text) {
			match = i
		}
	}
	if match >= 0 && (exact < 0 || f.match.MatchString(*f.line)) {
		return match
	}
	return exact
}

// is says whether a line is the wanted one, or the one that it replaces.
func (f finder) is(line string) bool {
	return line == *f.line || f.match != nil && f.match.MatchString(line)
}

func (f finder) removes(line string) bool {
	return f.line != nil && line == *f.line || f.match != nil && f.match.MatchString(line)
}

// place is where a new line goes.
func (f finder) place(t text) int {
	if n := f.number - 1; n == 0 || n > 0 && n <= len(t.lines) && f.after != nil && f.after.MatchString(t.lines[n-1].text) {
		return n
	}
	at := len(t.lines)
	for i, l := range t.lines {
		switch {
		case f.before != nil && f.before.MatchString(l.text):
			return i
		case f.after != nil && f.after.MatchString(l.text):
			at = i + 1
		}
	}
	return at
}

// put replaces the line that stands for the wanted one, or inserts it.
func (t text) put(f finder) text {
	if at := f.find(t); at >= 0 {
		lines := append([]textLine(nil), t.lines...)
		if lines[at].text = *f.line; *f.line == "" && lines[at].end == "" {
			lines[at].end = t.ending() // an empty line at the end is nothing but its newline
		}
		if f.end != nil && (*f.end != "" || at == len(lines)-1) {
			lines[at].end = *f.end
		}
		return text{t.mark, lines}
	}
	return t.insert(f.place(t), *f.line, f.end)
}

// insert puts a line in its place. Without an end it ends as the others do.
func (t text) insert(at int, s string, end *string) text {
	line := textLine{s, t.ending()}
	if end != nil && (*end != "" || at == len(t.lines)) {
		line.end = *end
	}
	lines := append([]textLine(nil), t.lines[:at]...)
	if at > 0 && at == len(t.lines) && lines[at-1].end == "" {
		lines[at-1].end = t.ending()
		if strings.HasSuffix(lines[at-1].text, "\r") { // or it would lose that to its new ending
			lines[at-1].end = "\r\n"
		}
		if s != "" && end == nil { // the file ended without a newline, and shall again
			line.end = ""
		}
	}
	lines = append(append(lines, line), t.lines[at:]...)
	return text{t.mark, lines}
}

// there are those of f.lines that a text has.
func (f finder) there(t text) []Removed {
	count := map[string]int{}
	for _, l := range t.lines {
		count[l.text]++
	}
	out := []Removed{}
	for _, l := range f.lines {
		if count[l.Text]--; count[l.Text] >= 0 {
			out = append(out, l)
		}
	}
	return out
}

// putBack inserts what of f.lines is missing, each where it was.
func (t text) putBack(f finder) text {
	there := f.there(t)
	for _, l := range f.lines {
		if i := slices.Index(there, l); i >= 0 {
			there = slices.Delete(there, i, i+1)
			continue
		}
		t = t.insert(min(max(l.Number-1, 0), len(t.lines)), l.Text, &l.End)
	}
	return t
}

// remove leaves out all lines that f names.
func (t text) remove(f finder) text {
	out := text{mark: t.mark}
	for _, l := range t.lines {
		if !f.removes(l.text) {
			out.lines = append(out.lines, l)
		}
	}
	if n, m := len(t.lines), len(out.lines); m > 0 && t.lines[n-1].end == "" && out.lines[m-1].text != "" {
		out.lines[m-1].end = ""
	} else if m > 0 && f.open {
		out.lines[m-1].end = ""
	}
	return out
}
