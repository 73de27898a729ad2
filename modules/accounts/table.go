package accounts

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

// Rules of a table, one of the account databases:
//   - Lines that aren't touched stay byte for byte: comments, blank and malformed ones, NIS lines ("+", "-").
//   - A new entry goes to the end, but before the NIS lines, as useradd does; an order is never changed.
//   - The first entry with a name counts, as it does for getpwnam(3).
//   - The former content is kept beside it, with "-" at the end of the name, as shadow's tools do.

// table is one of the account databases.
type table struct {
	path  string
	lines []line
	old   string
	err   error // why it can't be read: fs.ErrNotExist, fs.ErrPermission
	attr  host.Attr
	form  form
}

// line is one line with its end. fields is nil where it is no entry.
type line struct {
	text   string
	fields []string
}

// A form is how an entry of a database looks.
type form struct {
	least, most int   // fields
	numbers     []int // which are numbers
}

var (
	passwdForm  = form{7, 7, []int{2, 3}}
	groupForm   = form{4, 4, []int{2}}
	shadowForm  = form{2, 9, nil} // busybox leaves the later ones out
	gshadowForm = form{4, 4, nil}
	subidForm   = form{3, 3, []int{1, 2}}
)

func (f form) matches(fields []string) bool {
	if len(fields) < f.least || len(fields) > f.most || fields[0] == "" || strings.ContainsAny(fields[0][:1], "+-#") {
		return false
	}
	for _, i := range f.numbers {
		if _, err := strconv.ParseUint(fields[i], 10, 32); err != nil {
			return false
		}
	}
	return true
}

func parseTable(path, content string, f form) *table {
	t := &table{path: path, old: content, form: f}
	for text := range strings.Lines(content) {
		l := line{text: text}
		if fields := strings.Split(strings.TrimRight(text, "\r\n"), ":"); f.matches(fields) {
			l.fields = fields
			for len(l.fields) < f.most {
				l.fields = append(l.fields, "")
			}
		}
		t.lines = append(t.lines, l)
	}
	return t
}

func readTable(h *host.Host, path string, f form) *table {
	real, err := h.Real(path)
	if err != nil {
		return &table{path: path, err: err, form: f}
	}
	info, err := h.Lstat(real)
	if err != nil {
		return &table{path: path, err: err, form: f}
	}
	b, err := h.ReadFile(real)
	if err != nil {
		return &table{path: path, err: err, form: f}
	}
	t := parseTable(path, string(b), f)
	t.attr = host.Attr{Mode: &info.Mode, UID: &info.UID, GID: &info.GID}
	return t
}

// missing says whether the device hasn't this database.
func (t *table) missing() bool { return errors.Is(t.err, fs.ErrNotExist) }

// find returns an entry's fields, or nil. They may not be changed: see set.
func (t *table) find(name string) []string {
	for _, l := range t.lines {
		if l.fields != nil && l.fields[0] == name {
			return l.fields
		}
	}
	return nil
}

// entries are all entries in their order.
func (t *table) entries() [][]string {
	var all [][]string
	for _, l := range t.lines {
		if l.fields != nil {
			all = append(all, l.fields)
		}
	}
	return all
}

// intact fails where a line that is no entry seems to be about name: nobody can say how others read it.
func (t *table) intact(name string) error {
	for i, l := range t.lines {
		if l.fields == nil && strings.HasPrefix(l.text, name+":") {
			return hint.New(fmt.Errorf("%s:%d: the entry of %s is malformed", t.path, i+1, name), "mend that line by hand; pwck and grpck show what is wrong")
		}
	}
	return nil
}

// set replaces the entry of the same name, or adds it.
func (t *table) set(fields ...string) {
	entry := line{strings.Join(fields, ":") + "\n", fields}
	for i, l := range t.lines {
		if l.fields == nil || l.fields[0] != fields[0] {
			continue
		}
		if !slices.Equal(l.fields, fields) {
			if strings.HasSuffix(l.text, "\r\n") {
				entry.text = strings.Join(fields, ":") + "\r\n"
			}
			t.lines[i] = entry
		}
		return
	}
	at := slices.IndexFunc(t.lines, func(l line) bool { return l.text[0] == '+' || l.text[0] == '-' })
	if at < 0 {
		at = len(t.lines)
	}
	if at > 0 && !strings.HasSuffix(t.lines[at-1].text, "\n") {
		t.lines[at-1].text += "\n"
	}
	t.lines = slices.Insert(t.lines, at, entry)
}

// change replaces one field of an entry.
func (t *table) change(name string, field int, value string) {
	fields := slices.Clone(t.find(name))
	fields[field] = value
	t.set(fields...)
}

// remove removes all entries of a name.
func (t *table) remove(name string) {
	t.lines = slices.DeleteFunc(t.lines, func(l line) bool { return l.fields != nil && l.fields[0] == name })
}

func (t *table) String() string {
	var b strings.Builder
	for _, l := range t.lines {
		b.WriteString(l.text)
	}
	return b.String()
}

// save writes what was changed.
func (t *table) save(h *host.Host) error {
	content := t.String()
	if content == t.old {
		return nil
	}
	if t.err != nil && !t.missing() {
		return t.err
	}
	real, err := h.Real(t.path)
	if err != nil {
		return err
	}
	if !t.missing() {
		if err := h.WriteFile(t.path+"-", t.old, t.attr); err != nil {
			return err
		}
	}
	if err := h.WriteFile(real, content, t.attr); err != nil {
		return err
	}
	t.old = content
	return nil
}

// list and its way back are for the comma-separated fields of groups.
func list(field string) []string {
	return slices.DeleteFunc(strings.Split(field, ","), func(s string) bool { return s == "" })
}

// alter adds a name to a list, or takes it out.
func alter(field, name string, in bool) string {
	names := list(field)
	has := slices.Contains(names, name)
	switch {
	case in && !has:
		return strings.Join(append(names, name), ",")
	case !in && has:
		return strings.Join(slices.DeleteFunc(names, func(s string) bool { return s == name }), ",")
	}
	return field
}
