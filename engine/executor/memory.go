package executor

import (
	"cmp"
	"crypto/rand"
	"path/filepath"
	"strings"

	"github.com/fitout-dev/fitout/engine/executor/disk"
)

// A device's memory is what it knows of its runs, and so of what it owes. It has a name, in a file that lives as long as
// the executor's folder does: by another name, or none, a controller learns that what it doesn't tell the device, nobody
// does.

func memoryFile(dir string) string { return filepath.Join(dir, "memory") }

// memory is the name, or "" where nothing is remembered.
func memory(dir string) string {
	b, err := disk.ReadFile(disk.OS, memoryFile(dir))
	if name, whole := strings.CutSuffix(string(b), "\n"); err == nil && whole {
		return name
	}
	return ""
}

// remember gives the memory a name, unless it has one: that which the controller has chosen, or one that nobody knows.
func remember(dir, name string) error {
	if memory(dir) != "" {
		return nil
	}
	return disk.Replace(disk.OS, memoryFile(dir), []byte(cmp.Or(name, rand.Text())+"\n"), 0o600)
}
