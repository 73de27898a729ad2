package knownfile

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func TestUpdate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "known")
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			if err := Update(path, func(old []byte) ([]byte, error) { return fmt.Appendf(old, "line %d\n", i), nil }); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	b, err := os.ReadFile(path)
	if n := bytes.Count(b, []byte("\n")); n != 20 || err != nil {
		t.Errorf("%d lines of 20, %v", n, err)
	}
	no := errors.New("no")
	if err := Update(path, func([]byte) ([]byte, error) { return []byte("gone"), no }); err != no {
		t.Errorf("got %v", err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(after, b) {
		t.Error("what was refused was written")
	}
}
