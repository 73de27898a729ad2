package executor

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/engine/executor/disk"
	"github.com/fitout-dev/fitout/engine/executor/disk/lossy"
	"github.com/fitout-dev/fitout/engine/executor/wire"
)

func receive(t *testing.T, c *contents, content string) string {
	t.Helper()
	var stream bytes.Buffer
	b := wire.Blob{Hash: hashOf(content), Size: int64(len(content))}
	if err := wire.NewConn(nil, &stream).SendBlob(b, strings.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	conn := wire.NewConn(&stream, io.Discard)
	if m, err := conn.Receive(); err != nil || m.Blob == nil {
		t.Fatal(m, err)
	}
	if err := c.receive(conn, b); err != nil {
		t.Fatal(err)
	}
	return b.Hash
}

// TestStorePowerCut: whatever has a hash for its name is what hashes to it, at any instant; what was received before sync lasts; and
// a large content that moves to its place is whole there or still in the store.
func TestStorePowerCut(t *testing.T) {
	const dir, place = "/var/lib/fitout/store", "/srv/image"
	fs := lossy.New()
	for _, d := range []string{filepath.Dir(dir), filepath.Dir(place)} {
		if err := disk.MakeDir(fs, d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	limit, states := 2000, 0
	var must []string
	look := func(string) {
		for state := range fs.Crashes(limit, 1) {
			states++
			there := map[string]bool{}
			entries, _ := state.ReadDir(dir) // it may not be there yet
			for _, e := range entries {
				if !strings.HasPrefix(e.Name(), ".new-") {
					h := hashFile(t, state, filepath.Join(dir, e.Name()))
					if there[h] = true; h != e.Name() {
						t.Fatalf("%s holds %s", e.Name(), h)
					}
				}
			}
			if _, err := state.Stat(place); err == nil {
				there[hashFile(t, state, place)] = true
			}
			for _, h := range must {
				if !there[h] {
					t.Fatalf("%s is lost: %v", h, there)
				}
			}
		}
	}
	c := newContents(dir)
	c.fs = disk.WithSteps(fs, look)
	a, b := receive(t, c, "first\n"), receive(t, c, strings.Repeat("second\n", 300))
	look("")
	if err := c.sync(); err != nil {
		t.Fatal(err)
	}
	must = []string{a, b}
	look("")
	limit = 10 // it is slow work with large ones
	big := receive(t, c, strings.Repeat("x", large))
	if err := c.sync(); err != nil {
		t.Fatal(err)
	}
	must = append(must, big)
	r, err := c.OpenBlob(big)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if !r.(*verified).MoveTo(place) {
		t.Fatal("it was not moved")
	}
	look("")
	if got := hashFile(t, fs, place); got != big {
		t.Errorf("%s came to its place", got)
	}
	again, err := c.OpenBlob(big)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, again); err != nil {
		t.Errorf("what moved can't be read again: %v", err)
	}
	if states < 100 {
		t.Errorf("only %d states were seen", states)
	}
}

func hashFile(t *testing.T, fs disk.FS, name string) string {
	t.Helper()
	b, err := disk.ReadFile(fs, name)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
