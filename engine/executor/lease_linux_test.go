package executor

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/wire"
)

// TestKnownWithoutReading: what a file holds that was put in place just now is known only as long as nobody wrote to it.
func TestKnownWithoutReading(t *testing.T) {
	text := strings.Repeat("0123456789abcdef", large/16)
	b, _ := blob(text)
	for name, c := range map[string]struct {
		meddle func(t *testing.T, path string)
		known  bool
	}{
		"left alone": {func(*testing.T, string) {}, true},
		"read by another": {func(t *testing.T, path string) {
			if _, err := os.ReadFile(path); err != nil {
				t.Error(err)
			}
		}, true},
		"given another mode and name": {func(t *testing.T, path string) {
			if err := errors.Join(os.Chmod(path, 0o640), os.Rename(path, path+"2"), os.Rename(path+"2", path)); err != nil {
				t.Error(err)
			}
		}, true},
		"opened to be written": {func(t *testing.T, path string) {
			if _, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0); !errors.Is(err, syscall.EWOULDBLOCK) {
				t.Errorf("nobody holds the writer up: %v", err)
			}
		}, false},
		"another file": {func(t *testing.T, path string) {
			if err := errors.Join(os.Remove(path), os.WriteFile(path, []byte("f"+text[1:]), 0o600)); err != nil {
				t.Error(err)
			}
		}, false},
		"left alone for long": {func(t *testing.T, path string) {
			began := time.Now()
			f, err := os.OpenFile(path, os.O_WRONLY, 0) // waits, 45 s at most
			if err != nil || time.Since(began) > longestLease+patience {
				t.Errorf("held up for %s: %v", time.Since(began), err)
			}
			f.Close()
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			store := newContents(filepath.Join(dir, "store"))
			var pipe bytes.Buffer
			if err := wire.NewConn(nil, &pipe).SendBlob(wire.Blob{Hash: b.Hash, Size: b.Size}, strings.NewReader(text)); err != nil {
				t.Fatal(err)
			}
			in := wire.NewConn(&pipe, nil)
			if m, err := in.Receive(); err != nil || store.receive(in, *m.Blob) != nil {
				t.Fatal(err)
			}
			rc, err := store.OpenBlob(b.Hash)
			if err != nil {
				t.Fatal(err)
			}
			defer rc.Close()
			path := filepath.Join(dir, "placed")
			if !rc.(*verified).MoveTo(path) {
				t.Fatal("it isn't moved")
			}
			c.meddle(t, path)
			for _, known := range []bool{c.known, false} { // it is asked once
				f, err := os.Open(path)
				if err != nil {
					t.Fatal(err)
				}
				got, ok := store.Known(f)
				f.Close()
				if ok != known || ok && got != b {
					t.Errorf("known: %v, not %v: %v", ok, known, got)
				}
			}
			f, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0)
			if err != nil {
				t.Fatalf("others can't write to it now: %v", err)
			}
			f.Close()
		})
	}
}
