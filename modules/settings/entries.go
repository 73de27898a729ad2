package settings

import (
	"slices"
	"strings"
)

// A variable such as PATH on Windows is a list of entries with ; between them. A ; within quotation marks is part of an entry.

// entries are the parts of a list as they stand in it.
func entries(list string) []string {
	var out []string
	quoted, from := false, 0
	for i := range len(list) {
		switch {
		case list[i] == '"':
			quoted = !quoted
		case list[i] == ';' && !quoted:
			out = append(out, list[from:i])
			from = i + 1
		}
	}
	return append(out, list[from:])
}

// plainEntry is an entry without what doesn't count.
func plainEntry(e string) string {
	e = strings.TrimSpace(strings.ReplaceAll(e, `"`, ""))
	if short := strings.TrimRight(e, `\/`); short != "" {
		e = short
	}
	return strings.ToLower(e)
}

func hasEntry(list []string, e string) bool {
	return slices.ContainsFunc(list, func(l string) bool { return plainEntry(l) == plainEntry(e) })
}

// changeEntries adds the entries that are missing to the end of a list and takes others away. All else stays as it is.
func changeEntries(list string, add, remove []string) string {
	old := entries(list)
	kept := slices.DeleteFunc(slices.Clone(old), func(e string) bool { return plainEntry(e) != "" && hasEntry(remove, e) })
	next := strings.Join(kept, ";")
	for _, a := range add {
		if hasEntry(entries(next), a) {
			continue
		}
		if next != "" && !strings.HasSuffix(next, ";") {
			next += ";"
		}
		next += a
	}
	return next
}
