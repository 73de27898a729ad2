package executor

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// TestPlace runs where Windows is, or Wine, which shows the modes of Unix as access control lists.
func TestPlace(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(exe)
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckPlace(filepath.Dir(exe), fi.Size()+1); err == nil || !strings.Contains(err.Error(), "not whole") {
		t.Errorf("of another size: %v", err)
	}
	if os.Getenv("FITOUT_TEST_UNSAFE") != "" {
		if err := CheckPlace(filepath.Dir(exe), fi.Size()); err == nil || !strings.Contains(err.Error(), "not safe") {
			t.Errorf("where everybody may write: %v", err)
		}
		return
	}
	if err := CheckPlace(filepath.Dir(exe), fi.Size()); err != nil {
		t.Error(err)
	}
}

func TestBootIDStays(t *testing.T) {
	if id := bootID(); id == "" || id != bootID() {
		t.Errorf("boot id %q", id)
	}
}

// TestPipe speaks through a runner's pipe in both directions at once, as sessions do, and ends it.
func TestPipe(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(runDir(dir, "r1"), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := listenRunner(dir, "r1")
	if err != nil {
		t.Fatal(err)
	}
	const size = 1 << 20
	served := make(chan error, 2)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				close(served)
				return
			}
			go func() {
				defer c.Close()
				var writing sync.WaitGroup
				writing.Go(func() { c.Write(make([]byte, size)) }) // while we read
				buf, n := make([]byte, 32<<10), 0
				for n < size {
					k, err := c.Read(buf)
					if n += k; err != nil {
						served <- err
						return
					}
				}
				writing.Wait()
				_, err := c.Write([]byte("got it"))
				served <- err
			}()
		}
	}()
	for range 2 {
		c, err := dialSocket(t.Context(), dir, "r1")
		if err != nil {
			t.Fatal(err)
		}
		go c.Write(make([]byte, size))
		buf, got := make([]byte, 32<<10), []byte(nil)
		for !strings.HasSuffix(string(got), "got it") {
			n, err := c.Read(buf)
			if err != nil {
				t.Fatalf("after %d bytes: %v", len(got), err)
			}
			got = append(got, buf[:n]...)
		}
		if len(got) != size+len("got it") {
			t.Errorf("%d bytes", len(got))
		}
		c.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
	l.Close()
	if err, more := <-served; more {
		t.Errorf("after closing: %v", err)
	}
	if _, err := dialSocket(t.Context(), dir, "r1"); err == nil {
		t.Error("a pipe that nobody listens at was joined")
	}
}
