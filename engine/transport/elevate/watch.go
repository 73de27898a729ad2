package elevate

import (
	"io"
	"regexp"
	"strings"
	"sync"
)

// event is one of the script's words.
type event struct {
	kind string // ask, go, relay, missing
	args []string
}

// watcher looks for the script's words in stderr, until the program has begun.
type watcher struct {
	word   *regexp.Regexp
	events chan event

	mu   sync.Mutex
	held string
	over bool
}

func newWatcher(mark string) *watcher {
	return &watcher{
		word:   regexp.MustCompile(mark + `(?:(ask)|(missing)\r?\n|(go):(\d+):(\d+)\r?\n|(relay):(\w+)\r?\n)`),
		events: make(chan event, 16),
	}
}

func (w *watcher) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return len(p), nil
	}
	w.held += string(p)
	for {
		m := w.word.FindStringSubmatchIndex(w.held)
		if m == nil {
			break
		}
		var fields []string
		for i := 2; i < len(m); i += 2 {
			if m[i] >= 0 {
				fields = append(fields, w.held[m[i]:m[i+1]])
			}
		}
		w.held = w.held[m[1]:]
		select {
		case w.events <- event{fields[0], fields[1:]}:
		default: // nobody asks so often
		}
		if fields[0] == "go" {
			w.over, w.held = true, ""
			break
		}
	}
	if n := len(w.held) - 64<<10; n > 0 {
		w.held = w.held[n:]
	}
	return len(p), nil
}

// clean takes the script's words, and what came before the program, out of its stderr.
func (w *watcher) clean(stderr string) string {
	all := w.word.FindAllStringIndex(stderr, -1)
	if all == nil {
		return stderr
	}
	last := all[len(all)-1]
	if strings.Contains(stderr[last[0]:last[1]], "go:") {
		return stderr[last[1]:]
	}
	return w.word.ReplaceAllString(stderr, "")
}

// early reads stdout while it isn't known yet whether there will be a program, so that an end is noticed. What it has read
// is handed on.
type early struct {
	r     io.Reader
	ended chan struct{}

	mu       sync.Mutex
	cond     *sync.Cond
	buf      []byte
	err      error
	released bool
	stopped  bool
}

func newEarly(r io.Reader) *early {
	e := &early{r: r, ended: make(chan struct{})}
	e.cond = sync.NewCond(&e.mu)
	go e.run()
	return e
}

func (e *early) run() {
	b := make([]byte, 4<<10)
	for {
		n, err := e.r.Read(b)
		e.mu.Lock()
		e.buf = append(e.buf, b[:n]...)
		if err != nil {
			e.err = err
			close(e.ended)
		}
		e.stopped = err != nil || e.released || len(e.buf) > 1<<20
		stopped := e.stopped
		e.cond.Broadcast()
		e.mu.Unlock()
		if stopped {
			return
		}
	}
}

func (e *early) release() {
	e.mu.Lock()
	e.released = true
	e.mu.Unlock()
}

func (e *early) Read(p []byte) (int, error) {
	e.mu.Lock()
	for len(e.buf) == 0 && !e.stopped {
		e.cond.Wait()
	}
	if len(e.buf) > 0 {
		n := copy(p, e.buf)
		e.buf = e.buf[n:]
		e.mu.Unlock()
		return n, nil
	}
	err := e.err
	e.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return e.r.Read(p)
}
