package ssh

import (
	"os"
	"sync"
	"time"
)

// fileCache keeps what was made of files, so that many devices read configuration and keys once. An entry is made anew
// when one of its files changes.
type fileCache[T any] struct {
	mu      sync.Mutex
	entries map[string]*cached[T]
}

type cached[T any] struct {
	value T
	err   error
	files []stamp
}

type stamp struct {
	path string
	size int64 // -1: there is no such file
	time time.Time
}

func stampOf(path string) stamp {
	fi, err := os.Stat(path)
	if err != nil {
		return stamp{path: path, size: -1}
	}
	return stamp{path, fi.Size(), fi.ModTime()}
}

// get returns what load makes of the files that it reads through its argument.
func (c *fileCache[T]) get(key string, load func(read func(string) ([]byte, error)) (T, error)) (T, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[key]; e != nil && e.current() {
		return e.value, e.err
	}
	e := &cached[T]{}
	e.value, e.err = load(func(path string) ([]byte, error) {
		e.files = append(e.files, stampOf(path))
		return os.ReadFile(path)
	})
	if c.entries == nil {
		c.entries = map[string]*cached[T]{}
	}
	c.entries[key] = e
	return e.value, e.err
}

func (e *cached[T]) current() bool {
	for _, f := range e.files {
		if now := stampOf(f.path); now.size != f.size || !now.time.Equal(f.time) {
			return false
		}
	}
	return true
}
