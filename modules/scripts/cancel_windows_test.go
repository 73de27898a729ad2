package scripts

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/modules/host"
)

const holds = "FITOUT_TEST_HOLDS" // a file that this program keeps open instead of running tests

func init() {
	if name := os.Getenv(holds); name != "" {
		if _, err := os.Create(name); err == nil {
			<-time.After(time.Hour)
		}
		os.Exit(1)
	}
}

// What a program has started ends with it when a run is cancelled.
func TestCancelEndsChildren(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	held := filepath.Join(t.TempDir(), "held")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := host.New("/").Run(ctx, host.Cmd{Args: []string{"cmd.exe", "/d", "/c", `"` + self + `"`}, Env: []string{holds + "=" + held}})
		done <- err
	}()
	eventually(t, "the child runs", func() bool { _, err := os.Stat(held); return err == nil })
	if os.Remove(held) == nil {
		t.Fatal("an open file could be removed: this shows nothing")
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the program: %v", err)
	}
	eventually(t, "the child has ended", func() bool { return os.Remove(held) == nil })
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); !holds(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}
