package files

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

// Line is one line in a text file that is otherwise left alone.
//
// Encoding (UTF-16 where a byte order mark says so), line endings, the mark itself, a missing newline at the end, owner, mode and ACLs stay as they are.
// A line that is there already is never moved. Where the path is a symbolic link, the file it points to is changed, unless
// another user made the link. Files of more than 64 MiB, and ones with NUL characters, are refused.
type Line struct {
	// The file: an absolute path without "..".
	Path string `json:"path" fit:"key,path" title:"Path" example:"/etc/hosts"`
	// A name for this line, so that its text may change later: with the path it is the resource's address. Left out, the
	// line's text is its name (or match, where there is no line). A text that holds a secret needs an id.
	ID string `json:"id,omitzero" fit:"key" title:"Name" example:"nas"`
	// The line's text, without a line break.
	Line *string `json:"line,omitzero" fit:"managed" title:"Line" example:"10.0.0.5 nas"`
	// A regular expression (RE2) for the line to be replaced; the last one that matches is. Where none matches, the line
	// is inserted. An expression that doesn't match the new text too looks for the new text first. With state: absent all
	// lines that match are removed.
	Match string `json:"match,omitzero" fit:"behaviour" title:"Replaces" format:"regex" example:"\\bnas$"`
	// A regular expression (RE2): a new line goes behind the last line that matches; where none does, to the end.
	InsertAfter string `json:"insertAfter,omitzero" fit:"behaviour" title:"Insert after" format:"regex" example:"^127\\."`
	// A regular expression (RE2): a new line goes before the first line that matches ("^" is the start of the file); where
	// none does, to the end.
	InsertBefore string `json:"insertBefore,omitzero" fit:"behaviour" title:"Insert before" format:"regex" example:"^"`
	// Create the file where it is missing, with mode 0644. Its folder must exist.
	Create *bool `json:"create,omitzero" fit:"behaviour" title:"Create the file" default:"true"`
	// Whether the line should be there. absent removes every line that equals line or matches match.
	State string `json:"state,omitzero" fit:"state" enum:"present,absent" title:"State"`

	// How many lines equal line or match.
	Count int `json:"count,omitzero" fit:"observed" title:"Lines found"`
	// The text before the line that is to be removed.
	Before *string `json:"before,omitzero" fit:"observed" title:"Line before"`
	// The line's number, from 1.
	Number int `json:"number,omitzero" fit:"observed" title:"Number"`
	// How the line ends.
	End *string `json:"end,omitzero" fit:"observed" title:"Line ending"`
	// The lines to be removed, where they are several.
	Removed []Removed `json:"removed,omitzero" fit:"observed,undo" title:"Lines to be removed"`
	// Whether the file ends without a newline.
	Open bool `json:"open,omitzero" fit:"observed" title:"No newline at the end"`
	// Whether there is no file.
	Missing bool `json:"missing,omitzero" fit:"observed" title:"File missing"`
}

// Removed is a line to be removed, with its number from 1.
type Removed struct {
	// The line's number, from 1.
	Number int `json:"number" title:"Number"`
	// The line without its ending.
	Text string `json:"text" title:"Text"`
	// The line's ending.
	End string `json:"end" title:"Ending"`
}

// Lines is the resource type.
type Lines struct{}

var (
	_ modules.Resource[Line]        = Lines{}
	_ modules.PlatformChecker[Line] = Lines{}
	_ modules.Checker[Line]         = Lines{}
	_ modules.Keyer[Line]           = Lines{}
	_ modules.Inverter[Line]        = Lines{}
	_ modules.Referrer[Line]        = Lines{}
)

// Key implements modules.Keyer.
func (Lines) Key(want Line) string { return want.Path + "/" + want.id() }

func (l Line) id() string {
	switch {
	case l.ID != "":
		return l.ID
	case l.Line != nil:
		return *l.Line
	}
	return l.Match
}

// Refs implements modules.Referrer: a line comes after its file.
func (Lines) Refs(want Line) []string { return []string{"files/" + want.Path} }

// Check implements modules.Checker.
func (Lines) Check(want Line) error {
	if err := checkPath(want.Path); err != nil {
		return err
	}
	switch {
	case want.Line == nil && want.State != modules.Absent:
		return errors.New("line: is missing")
	case want.Line == nil && want.Match == "":
		return errors.New("line: is missing; state: absent needs line or match")
	case want.Line != nil && strings.ContainsAny(*want.Line, "\r\n"):
		return hint.New(fmt.Errorf("line: %q is more than one line", *want.Line), "declare an entry for each line; a YAML block (|) ends with a line break")
	case want.Line != nil && strings.ContainsRune(*want.Line, 0):
		return fmt.Errorf("line: %q holds a NUL character", *want.Line)
	case want.Line != nil && slices.ContainsFunc(marks, func(m string) bool { return strings.HasPrefix(*want.Line, m) }):
		return errors.New("line: begins with a byte order mark")
	case want.InsertAfter != "" && want.InsertBefore != "":
		return errors.New("insertBefore: can't be combined with insertAfter")
	}
	_, err := want.finder()
	return err
}

// finder is a declaration with its expressions compiled.
type finder struct {
	line                 *string
	match, after, before *regexp.Regexp

	// of undo
	number int       // of the line as it was
	end    *string   // how it ended
	lines  []Removed // in place of line
	open   bool      // no newline comes at the end
}

func (l Line) finder() (f finder, err error) {
	f = finder{line: l.Line, number: l.Number, end: l.End, lines: l.Removed, open: l.Open}
	if f.match, err = compile("match", l.Match); err != nil {
		return f, err
	}
	if f.after, err = compile("insertAfter", l.InsertAfter); err != nil {
		return f, err
	}
	f.before, err = compile("insertBefore", l.InsertBefore)
	return f, err
}

// CheckOn implements modules.PlatformChecker.
func (Lines) CheckOn(os string, want Line) error { return checkPathOn(os, want.Path) }

// Observe implements modules.Resource. All lines of one file are observed with one reading.
func (Lines) Observe(ctx context.Context, h *host.Host, want Line) (Line, error) {
	have := Line{Path: want.Path, ID: want.ID, State: modules.Absent}
	f, err := want.finder()
	if err != nil {
		return have, err
	}
	t, err := host.Memo(h, "lines of "+want.Path, func() (text, error) {
		_, t, err := read(h, want.Path)
		return t, err
	})
	if errors.Is(err, fs.ErrNotExist) {
		have.Missing = true
		return have, nil
	}
	if err != nil {
		return have, err
	}
	have.Open = len(t.lines) > 0 && t.lines[len(t.lines)-1].end == ""
	if want.Removed != nil {
		if have.Removed = f.there(t); len(have.Removed) > 0 {
			have.State = ""
		}
		return have, nil
	}
	at := -1
	if want.State == modules.Absent {
		for i := range t.lines {
			if f.removes(t.lines[i].text) {
				at = i
				have.Count++
				have.Removed = append(have.Removed, Removed{i + 1, t.lines[i].text, t.lines[i].end})
			}
		}
		if have.Count == 1 {
			have.Removed = nil
		}
	} else if at = f.find(t); at >= 0 {
		have.Count = 1
	}
	if at < 0 {
		return have, nil
	}
	have.State, have.Line, have.Number, have.End = "", &t.lines[at].text, at+1, &t.lines[at].end
	if at > 0 && want.State == modules.Absent { // only undo needs it, and it may be anything
		have.Before = &t.lines[at-1].text
	}
	return have, nil
}

// read parses a file, and says where it really is.
func read(h *host.Host, path string) (string, text, error) {
	path, err := h.Follow(path)
	if err != nil {
		return path, text{}, err
	}
	i, err := h.Lstat(path)
	at := path
	if from, planned := h.Pending(path); planned && err == nil { // what an earlier change makes of it at the next start
		if from == "" {
			return path, text{}, fs.ErrNotExist
		}
		at = from
	}
	switch {
	case err != nil:
		return path, text{}, denied(err)
	case i.Kind == host.KindDirectory:
		return path, text{}, hint.New(fmt.Errorf("%s: is a directory", path), "name a file in it")
	}
	b, err := h.ReadFile(at)
	if err != nil {
		return path, text{}, denied(err)
	}
	t := parse(string(b))
	switch {
	case t.order() == nil && bytes.IndexByte(b, 0) >= 0, t.order() != nil && slices.ContainsFunc(t.lines, textLine.hasNUL):
		return path, text{}, hint.New(fmt.Errorf("%s: is not a text file: it holds NUL characters", path), "UTF-16 is known by its byte order mark alone; declare the whole file under files")
	case t.order() != nil && t.String() != string(b):
		return path, text{}, hint.New(fmt.Errorf("%s: begins as UTF-16 does, but isn't all of it", path), "declare the whole file under files")
	}
	return path, t, nil
}

// Apply implements modules.Resource.
func (Lines) Apply(ctx context.Context, h *host.Host, want, have Line) (modules.Outcome, error) {
	var none modules.Outcome
	f, err := want.finder()
	if err != nil {
		return none, err
	}
	path, t, err := read(h, want.Path)
	missing := errors.Is(err, fs.ErrNotExist)
	switch {
	case err != nil && !missing:
		return none, err
	case missing && want.State == modules.Absent:
		return none, nil
	case missing && want.Create != nil && !*want.Create:
		return none, hint.New(fmt.Errorf("%s: doesn't exist, and create is false", want.Path), "declare it under files, or leave create out")
	}
	old := t.String()
	switch {
	case want.State == modules.Absent:
		if t = t.remove(f); want.Missing && len(t.lines) == 0 {
			return later(denied(h.Remove(path)))
		}
	case want.Removed != nil:
		t = t.putBack(f)
	default:
		t = t.put(f)
	}
	if text := t.String(); missing || text != old {
		return later(missingParent(h, path, h.WriteFile(path, text, host.Attr{})))
	}
	return none, nil
}

// Inverse implements modules.Inverter.
func (Lines) Inverse(want, have Line) (Line, error) {
	back := Line{Path: want.Path, ID: want.id()}
	texts := []string{}
	if have.Line != nil {
		texts = append(texts, *have.Line)
	}
	for _, l := range have.Removed {
		texts = append(texts, l.Text)
	}
	if !utf8.ValidString(strings.Join(texts, "")) || strings.ContainsRune(strings.Join(texts, ""), utf8.RuneError) {
		return back, fmt.Errorf("the line in %s holds bytes that are no UTF-8, which would be lost", have.Path)
	}
	switch {
	case want.Removed != nil: // they were put back
		back.State, back.Match = modules.Absent, want.Match
	case have.State == modules.Absent: // it was inserted
		back.State, back.Line, back.Match = modules.Absent, want.Line, ""
		back.Open, back.Missing = have.Open, have.Missing
	case have.Count > 1: // they were removed
		back.Removed, back.Match = have.Removed, want.Match
		if want.Line != nil {
			back.Match = strings.TrimPrefix(back.Match+"|"+exactly(*want.Line), "|")
		}
	case want.State == modules.Absent: // it was removed
		back.Line, back.Number, back.End = have.Line, have.Number, have.End
		if have.Before != nil {
			back.InsertAfter = exactly(*have.Before)
		} else {
			back.InsertBefore = "^"
		}
	default: // it was replaced
		back.Line, back.Number, back.End = have.Line, have.Number, have.End
		back.Match = exactly(*want.Line)
	}
	return back, nil
}

func exactly(line string) string { return "^" + regexp.QuoteMeta(line) + "$" }
