package nodump

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// The test's program is also the process that is looked at.
func TestMain(m *testing.M) {
	if mode := os.Getenv("NODUMP_TEST"); mode != "" {
		if mode == "set" {
			Set()
		}
		fmt.Println("ready")
		io.Copy(io.Discard, os.Stdin)
		return
	}
	goleak.VerifyTestMain(m)
}

// begin starts this program in a folder of its own, or as another user.
func begin(t *testing.T, mode string, user *syscall.Credential) *exec.Cmd {
	t.Helper()
	c := exec.Command("/proc/self/exe")
	c.Env = []string{"NODUMP_TEST=" + mode, "SECRET=x", "GOTRACEBACK=crash"}
	if user == nil {
		c.Dir = t.TempDir()
	}
	c.SysProcAttr = &syscall.SysProcAttr{Credential: user}
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		c.Process.Kill()
		c.Wait()
	})
	if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNoCoreDump(t *testing.T) {
	dumps := func(mode string) bool {
		c := begin(t, mode, nil)
		all := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
		if err := unix.Prlimit(c.Process.Pid, unix.RLIMIT_CORE, &all, nil); err != nil {
			t.Skip("the limit can't be raised here:", err)
		}
		if err := c.Process.Signal(syscall.SIGABRT); err != nil {
			t.Fatal(err)
		}
		c.Wait()
		left, _ := filepath.Glob(filepath.Join(c.Dir, "*"))
		return c.ProcessState.Sys().(syscall.WaitStatus).CoreDump() || len(left) > 0
	}
	if !dumps("plain") {
		t.Skip("this machine writes no core dumps anyway")
	}
	if dumps("set") {
		t.Error("a core dump was written")
	}
}

// Nobody but root reads what the process has, its own user's other processes included.
func TestOthersSeeNothing(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to become another user")
	}
	nobody := &syscall.Credential{Uid: 65534, Gid: 65534}
	readable := func(mode string) bool {
		c := begin(t, mode, nobody)
		read := exec.Command("cat", fmt.Sprintf("/proc/%d/environ", c.Process.Pid))
		read.SysProcAttr = &syscall.SysProcAttr{Credential: nobody}
		err := read.Run()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return err == nil
	}
	if !readable("plain") {
		t.Skip("it can't be read here anyway")
	}
	if readable("set") {
		t.Error("its environment can be read")
	}
}
