// Package hint joins an error with what a person can do about it.
//
//	return hint.New(err, "run `fitout trust %s` if you expected a new key", device)
//
// Error() is the cause alone; the hint is printed on a line of its own by whoever shows the error (Of finds it).
package hint

import (
	"errors"
	"fmt"
)

type hinted struct {
	error
	hint string
}

func (h *hinted) Unwrap() error { return h.error }

// New wraps err with a remedy. A nil err stays nil.
func New(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &hinted{err, fmt.Sprintf(format, args...)}
}

// Of returns the outermost hint in err's chain, or "".
func Of(err error) string {
	if h, ok := errors.AsType[*hinted](err); ok {
		return h.hint
	}
	return ""
}

// Text is the error for people: the cause, then "hint:" and the remedy where there is one.
func Text(err error) string {
	if h := Of(err); h != "" {
		return err.Error() + "\nhint: " + h
	}
	return err.Error()
}
