package hint

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// Near returns the one of among that word was probably meant to be, or "" where none is near. Case doesn't count.
func Near(word string, among []string) string {
	length := utf8.RuneCountInString(word)
	if length > 64 {
		return ""
	}
	limit := 1 + length/4 // one slip in a short word, more in a long one
	best, distance := "", min(limit, 3)+1
	for _, w := range slices.Sorted(slices.Values(among)) {
		if w == word {
			continue
		}
		if d := damerau(strings.ToLower(word), strings.ToLower(w)); d < distance && d < utf8.RuneCountInString(w) {
			best, distance = w, d
		}
	}
	if best != "" {
		return best
	}
	for _, w := range among { // "pass" for "password", "sshkey" for "sshKeysExact": only where it is the one
		if length >= 3 && strings.HasPrefix(strings.ToLower(w), strings.ToLower(word)) {
			if best != "" {
				return ""
			}
			best = w
		}
	}
	return best
}

// damerau counts the slips from a to b: a letter too many, too few, other, or two swapped.
func damerau(a, b string) int {
	s, t := []rune(a), []rune(b)
	before, last, now := make([]int, len(t)+1), make([]int, len(t)+1), make([]int, len(t)+1)
	for j := range last {
		last[j] = j
	}
	for i := range s {
		now[0] = i + 1
		for j := range t {
			cost := 1
			if s[i] == t[j] {
				cost = 0
			}
			now[j+1] = min(last[j]+cost, last[j+1]+1, now[j]+1)
			if i > 0 && j > 0 && s[i] == t[j-1] && s[i-1] == t[j] {
				now[j+1] = min(now[j+1], before[j-1]+1)
			}
		}
		before, last, now = last, now, before
	}
	return last[len(t)]
}
