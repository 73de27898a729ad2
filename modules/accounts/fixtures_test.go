package accounts

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/fitout-dev/fitout/modules/moduletest"
)

func TestUsers(t *testing.T) {
	freeze(t)
	moduletest.Run(t, modules.Define("users", Users{}), "testdata/users/*.txtar")
}

func TestGroups(t *testing.T) {
	freeze(t)
	moduletest.Run(t, modules.Define("groups", Groups{}), "testdata/groups/*.txtar")
}

// zeros is the salt of fixtures.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return copy(p, bytes.Repeat([]byte{0}, len(p))), nil }

// freeze makes day and salt the same at every run.
func freeze(t *testing.T) {
	clock, salts := now, random
	now = func() time.Time { return time.Date(2026, 1, 2, 23, 59, 0, 0, time.UTC) }
	random = zeros{}
	t.Cleanup(func() { now, random = clock, salts })
}

// put writes a file of a device.
func put(t *testing.T, h *host.Host, path, text string) {
	t.Helper()
	p := filepath.Join(h.Root(), path)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
