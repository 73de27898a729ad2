package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/fitout-dev/fitout/modules/host"
)

// Part is what a text file has about one setting: lines among others that are nobody's business.
type Part struct {
	// The lines.
	Lines []PartLine `json:"lines" title:"Lines"`
	// Whether there is no file.
	Missing bool `json:"missing,omitzero" title:"File missing"`
	// Whether the file's last line has no newline.
	Open bool `json:"open,omitzero" title:"No newline at the end"`
}

// PartLine is a line with its number, from 1.
type PartLine struct {
	// The line's number, from 1.
	Number int `json:"number" title:"Number"`
	// The line with its ending.
	Text string `json:"text" title:"Text"`
}

// readPart finds the lines that ours says yes to.
func readPart(h *host.Host, path string, ours func(line string) bool) (*Part, error) {
	b, err := h.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	p := &Part{Lines: []PartLine{}, Missing: err != nil, Open: len(b) > 0 && b[len(b)-1] != '\n'}
	n := 0
	for line := range strings.Lines(string(b)) {
		if n++; ours(line) {
			p.Lines = append(p.Lines, PartLine{n, line})
		}
	}
	return p, nil
}

// kept says why undo couldn't put the lines back.
func (p *Part) kept(path string) error {
	for _, l := range p.Lines {
		if !utf8.ValidString(l.Text) || strings.ContainsRune(l.Text, utf8.RuneError) { // JSON makes one the other
			return fmt.Errorf("line %d of %s holds bytes that are no UTF-8, which would be lost", l.Number, path)
		}
	}
	return nil
}

// text is the lines as they stand in the file.
func (p *Part) text() string {
	var b strings.Builder
	for _, l := range p.Lines {
		b.WriteString(l.Text)
	}
	return b.String()
}

// all is a Part's whole file.
func all(string) bool { return true }

// restore puts the lines of p in the place of those that ours says yes to.
func (p *Part) restore(text string, ours func(line string) bool) string {
	var lines []string
	for line := range strings.Lines(text) {
		if !ours(line) {
			lines = append(lines, line)
		}
	}
	for _, l := range p.Lines {
		at := min(max(l.Number-1, 0), len(lines))
		if at == len(lines) && at > 0 && !strings.HasSuffix(lines[at-1], "\n") {
			lines[at-1] += l.Text[len(strings.TrimRight(l.Text, "\r\n")):]
			if !strings.HasSuffix(lines[at-1], "\n") {
				lines[at-1] += "\n"
			}
		}
		lines = slices.Insert(lines, at, l.Text)
	}
	text = strings.Join(lines, "")
	if p.Open {
		text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	}
	return text
}

// met says whether have has the same lines, wherever they are.
func (p *Part) met(have *Part) bool {
	return have != nil && slices.EqualFunc(p.Lines, have.Lines, func(a, b PartLine) bool {
		return strings.TrimRight(a.Text, "\r\n") == strings.TrimRight(b.Text, "\r\n")
	})
}

// write brings a file to p.
func (p *Part) write(h *host.Host, path string, ours func(line string) bool) error {
	old, err := readOptional(h, path)
	if err != nil {
		return err
	}
	next := p.restore(old, ours)
	switch {
	case strings.ReplaceAll(next, sysctlHeader, "") == "" && p.Missing:
		real, err := h.Real(path)
		if err != nil {
			return err
		}
		return h.Remove(real)
	case next == old && (next != "" || h.Exists(path)):
		return nil
	}
	return writeThrough(h, path, next)
}
