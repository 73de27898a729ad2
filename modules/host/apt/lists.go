package apt

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/fitout-dev/fitout/modules/host"
)

const (
	listsDir = "/var/lib/apt/lists"
	// successStamp is where Ubuntu's update-notifier and others look, too.
	successStamp = "/var/lib/apt/periodic/update-success-stamp"
)

// Lists is what is known of the package lists without reading them.
type Lists struct {
	Missing bool          // there are none
	Changed bool          // a source was changed since they were fetched
	Age     time.Duration // since they were last refreshed
}

// ReadLists looks how old the package lists are. A server's unchanged list keeps its old time, so it is not the files that
// tell, but what apt and others touch when a refresh has succeeded.
func ReadLists(h *host.Host) (Lists, error) {
	names, err := h.ReadDir(listsDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Lists{}, err
	}
	l := Lists{Missing: true}
	for _, n := range names {
		if strings.Contains(n, "_Packages") || strings.HasSuffix(n, "Release") {
			l.Missing = false
		}
	}
	var fetched time.Time
	for _, p := range []string{successStamp, "/var/lib/apt/periodic/update-stamp"} {
		if t, err := h.ModTime(p); err == nil && t.After(fetched) {
			fetched = t
		}
	}
	if fetched.IsZero() { // nobody notes it: the folder was changed when a list last was
		fetched, _ = h.ModTime(listsDir)
	}
	l.Age = max(0, time.Since(fetched))
	sources := []string{"/etc/apt/sources.list", "/etc/apt/sources.list.d"}
	if more, err := h.ReadDir(sources[1]); err == nil {
		for _, n := range more {
			sources = append(sources, sources[1]+"/"+n)
		}
	}
	for _, p := range sources {
		if t, err := h.ModTime(p); err == nil && t.After(fetched) {
			l.Changed = true
		}
	}
	return l, nil
}

// Stale says why the lists can't be relied on, or "".
func (l Lists) Stale(most time.Duration) string {
	switch {
	case l.Missing:
		return "there are no package lists"
	case l.Changed:
		return "the package sources have changed since the lists were fetched"
	case l.Age > most:
		return "the package lists are " + l.AgeText() + " old"
	}
	return ""
}

// AgeText is the lists' age for people.
func (l Lists) AgeText() string {
	switch d := l.Age; {
	case l.Missing:
		return ""
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", int(d/(24*time.Hour)))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours", int(d/time.Hour))
	}
	return fmt.Sprintf("%d minutes", int(l.Age/time.Minute))
}

func stamp(h *host.Host) error {
	if err := h.Mkdir("/var/lib/apt/periodic", host.Attr{}); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return h.WriteFile(successStamp, "", host.Attr{})
}
