package transport

import (
	"io"
	"sync"
)

// maxStderr is how much of a program's stderr Exit keeps.
const maxStderr = 8 << 10

// Tail is a writer that keeps the last 8 KiB, and passes all on to Also if that is set. Its Write never fails.
type Tail struct {
	Also io.Writer

	mu   sync.Mutex
	kept []byte
}

func (t *Tail) Write(p []byte) (int, error) {
	if t.Also != nil {
		t.Also.Write(p)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, p...)
	if n := len(t.kept) - maxStderr; n > 0 {
		t.kept = append(t.kept[:0], t.kept[n:]...)
	}
	return len(p), nil
}

func (t *Tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.kept)
}
