//go:build linux

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestVolatile writes through QEMU's own client: what is flushed stays, what is not is lost in part, and nothing is lost
// where the client takes leave.
func TestVolatile(t *testing.T) {
	if _, err := exec.LookPath("qemu-io"); err != nil {
		t.Skip("needs qemu-io")
	}
	dir := t.TempDir()
	image := filepath.Join(dir, "image")
	v, err := newVolatile(filepath.Join(dir, "socket"), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer v.close()
	for _, c := range []struct {
		commands []string
		cut      bool
		lost     bool
	}{
		{[]string{"write -P 7 0 1M", "read -P 7 0 1M"}, false, false},
		{[]string{"write -P 7 0 1M", "flush", "sigraise 9"}, true, false},
		{[]string{"write -f -P 7 0 1M", "sigraise 9"}, true, false},
		{[]string{"write -P 7 0 1M", "read -P 7 0 1M", "sigraise 9"}, true, true},
	} {
		if err := os.WriteFile(image, make([]byte, 4<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		before := v.cuts.Load()
		url, err := v.serve(image)
		if err != nil {
			t.Fatal(err)
		}
		args := []string{"-f", "raw", "-t", "writeback"}
		for _, command := range c.commands {
			args = append(args, "-c", command)
		}
		out, err := exec.Command("qemu-io", append(args, url)...).CombinedOutput()
		if (err != nil) != c.cut {
			t.Errorf("%q: %v: %s", c.commands, err, out)
		}
		v.mu.Lock() // the server has ended
		b, err := os.ReadFile(image)
		if err != nil {
			t.Fatal(err)
		}
		written := bytes.Count(b, []byte{7})
		if lost := written < 1<<20; lost != c.lost || written%sector != 0 {
			t.Errorf("%q: %d bytes of %d are there: %s", c.commands, written, 1<<20, out)
		}
		if cuts := v.cuts.Load() - before; (cuts == 1) != c.cut {
			t.Errorf("%q: %d power cuts", c.commands, cuts)
		}
		v.mu.Unlock()
	}
}
