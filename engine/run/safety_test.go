package run

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/modules/hint"
)

// TestAnExecutorThatOthersCouldReplaceIsNotStarted: whoever may write to a folder above the executor could put another
// program in its place.
func TestAnExecutorThatOthersCouldReplaceIsNotStarted(t *testing.T) {
	d, _ := folderDevice(t, "lt-1", profileFile(t, twoFiles))
	parent := filepath.Join(t.TempDir(), "open")
	if err := os.Mkdir(parent, 0o755); err != nil {
		t.Fatal(err)
	}
	d.Target.Dir = filepath.Join(parent, "fitout")
	plan := func() Result { return (&Runner{}).Plan(context.Background(), []Device{d})[0] }
	if res := plan(); res.Status != Pending {
		t.Fatalf("%s %v", res.Status, res.Err)
	}
	if err := os.Chmod(parent, 0o777); err != nil {
		t.Fatal(err)
	}
	res := plan()
	if res.Status == Pending || res.Err == nil || !strings.Contains(res.Err.Error(), "not safe") || hint.Of(res.Err) == "" {
		t.Errorf("an executor below a folder that all may write to was started: %s %v", res.Status, res.Err)
	}
	if err := os.Chmod(parent, 0o777|os.ModeSticky); err != nil { // as /tmp: others can't replace what isn't theirs
		t.Fatal(err)
	}
	if res := plan(); res.Status != Pending {
		t.Errorf("sticky: %s %v", res.Status, res.Err)
	}
}

// TestADamagedExecutorIsReplaced: one of another size isn't started, but pushed anew.
func TestADamagedExecutorIsReplaced(t *testing.T) {
	d, _ := folderDevice(t, "lt-1", profileFile(t, twoFiles))
	plan := func() Result { return (&Runner{}).Plan(context.Background(), []Device{d})[0] }
	plan()
	found, err := filepath.Glob(filepath.Join(d.Target.Dir, "bin", "*", "executor"))
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	if err := os.Remove(found[0]); err != nil { // it may still run
		t.Fatal(err)
	}
	if err := os.WriteFile(found[0], []byte("#!/bin/sh\necho stolen\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if res := plan(); res.Status != Pending {
		t.Errorf("%s %v", res.Status, res.Err)
	}
	if fi, err := os.Stat(found[0]); err != nil || fi.Size() < 1<<20 {
		t.Error("the damaged executor is still there")
	}
}
