package host

import (
	"os"
	"time"
)

// ModTime says when a file or folder was last changed, links followed. It tells the age of something; never whether a
// content is still the same.
func (h *Host) ModTime(name string) (time.Time, error) {
	p, err := h.follow(name)
	if err != nil {
		return time.Time{}, err
	}
	fi, err := os.Stat(p)
	if err != nil {
		return time.Time{}, clean(err, "stat", name)
	}
	return fi.ModTime(), nil
}
