package host

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestAccountLock(t *testing.T) {
	if dir := os.Getenv("FITOUT_TEST_HOLD"); dir != "" { // the other process: holds the lock as lckpwdf(3) does
		f, err := os.OpenFile(filepath.Join(dir, accountLock), os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("locked\n")
		bufio.NewReader(os.Stdin).ReadString('\n')
		return
	}
	h := New(t.TempDir())
	if err := h.Mkdir("/etc", Attr{}); err != nil {
		t.Fatal(err)
	}
	unlock, err := h.LockAccounts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.lockAccounts(t.Context(), 0); err == nil {
		t.Fatal("locked twice in one process")
	}
	unlock()

	cmd := exec.Command(os.Args[0], "-test.run", "^TestAccountLock$")
	cmd.Env = append(os.Environ(), "FITOUT_TEST_HOLD="+h.Root())
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "locked\n" {
		t.Fatal(line, err)
	}
	_, err = h.lockAccounts(t.Context(), 50*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "held by host.test (process ") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.LockAccounts(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	in.Close() // while we wait
	unlock, err = h.LockAccounts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
