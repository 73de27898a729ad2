package executor

import (
	"context"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/host"
)

// executorProcess is what this test's binary does when it is started as an executor: a probe named "hangs" or a
// notification of "told" stands still for as long as the file /probe/hold is there.
func executorProcess(dir string) {
	hold := func(h *host.Host) {
		h.WriteFile("/probe/reached", "", host.Attr{})
		for h.Exists("/probe/hold") {
			time.Sleep(time.Millisecond)
		}
	}
	behaviours.Store("hangs", behaviour{apply: func(_ context.Context, h *host.Host, want, _ probe) (modules.Outcome, error) {
		hold(h)
		return modules.Outcome{}, writeProbe(h, want)
	}})
	behaviours.Store("told", behaviour{notified: func(_ context.Context, h *host.Host, want probe) error {
		if err := tell(h); err != nil {
			return err
		}
		hold(h)
		return nil
	}})
	if n, err := strconv.Atoi(os.Getenv(killAt)); err == nil {
		dieAt(n)
	}
	if err := Serve(context.Background(), os.Stdin, os.Stdout, Options{Root: os.Getenv("FITOUT_TEST_ROOT"), Dir: dir}); err != nil {
		os.Stderr.WriteString(err.Error())
		os.Exit(1)
	}
}

// tell counts on the device how often it was notified.
func tell(h *host.Host) error {
	b, _ := h.ReadFile("/probe/told-times")
	return h.WriteFile("/probe/told-times", string(b)+"x", host.Attr{})
}

// spawn starts an executor as a process of its own.
func spawn(t *testing.T, d device) (*client, *exec.Cmd) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "FITOUT_TEST_EXECUTOR="+d.dir, "FITOUT_TEST_ROOT="+d.root)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, device: d, conn: wire.NewConn(out, in), in: in, messages: make(chan wire.Message, 4096)}
	go c.read()
	t.Cleanup(func() {
		in.Close()
		cmd.Process.Kill()
		io.Copy(io.Discard, out)
		cmd.Wait()
	})
	c.next(func(m wire.Message) bool { return m.Hello != nil })
	return c, cmd
}

func reached(t *testing.T, d device) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(d.root + "/probe/reached"); err == nil {
			os.Remove(d.root + "/probe/reached")
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("it was not reached in time")
		}
	}
}

func TestKilledInTheMiddle(t *testing.T) {
	for _, where := range []string{"between a change and its notification", "in the notification"} {
		t.Run(where, func(t *testing.T) {
			d := newDevice(t)
			d.write(t, "probe/told", "{}")
			d.write(t, "probe/hold", "")
			rs := []wire.Resource{resource("probe", "conf", "", notifies("probe/told"))}
			if where == "between a change and its notification" {
				rs = append(rs, resource("probe", "hangs", ""))
			}
			rs = append(rs, resource("probe", "told", "", after("probe/conf")))
			c, cmd := spawn(t, d)
			run := doc("r1", rs...)
			c.send(wire.Message{Run: &run})
			reached(t, d)
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			cmd.Wait()
			if got := resolved(d.events(t, "r1")); !strings.HasPrefix(got, "probe/conf changed") {
				t.Errorf("the result of what was done is lost: %s", got)
			}
			os.Remove(d.root + "/probe/hold")

			next := connect(t, d)
			if h := next.hello.Holder; h == nil || h.Run != "r1" || !next.hello.Stopped {
				t.Errorf("it isn't told that the run stopped half-way: %+v", h)
			}
			told := count("notify told")
			events := next.run(doc("r2", rs...))
			if strings.Contains(resolved(events), "failed") || !strings.HasSuffix(resolved(events), "probe/told changed") || count("notify told") != told+1 {
				t.Errorf("the notification is lost: %s", resolved(events))
			}
			if got := resolved(next.run(doc("r3", rs...))); strings.Contains(got, "changed") {
				t.Errorf("the third run: %s", got)
			}
		})
	}
}

func TestTheLockTellsOfARunElsewhere(t *testing.T) {
	d := newDevice(t)
	d.write(t, "probe/hold", "")
	first, cmd := spawn(t, d)
	run := doc("r1", resource("probe", "hangs", ""))
	run.Holder = wire.Holder{Run: "r1", Who: "bob"}
	first.send(wire.Message{Run: &run})
	reached(t, d)
	second := connect(t, d)
	other := doc("r2", resource("probe", "x", ""))
	second.send(wire.Message{Run: &other})
	if f := second.failure(); f.Kind != wire.Locked || f.Holder == nil || f.Holder.Who != "bob" || f.Holder.PID != cmd.Process.Pid {
		t.Errorf("failed %+v", f)
	}
	os.Remove(d.root + "/probe/hold")
	first.until(wire.Finished, "")
}

// A run whose controller has gone, with both its pipes, is finished by the process.
func TestFinishedWithNobodyListening(t *testing.T) {
	d := newDevice(t)
	d.write(t, "probe/hold", "")
	c, cmd := spawn(t, d)
	rs := []wire.Resource{resource("probe", "hangs", "")}
	for _, name := range strings.Fields("a b c d e f g h") {
		rs = append(rs, resource("probe", name, ""))
	}
	run := doc("r1", rs...)
	c.send(wire.Message{Run: &run})
	reached(t, d)
	c.in.Close()
	os.Remove(d.root + "/probe/hold")
	if err := cmd.Wait(); err != nil { // it closes our end of its stdout
		t.Error(err)
	}
	if got := resolved(d.events(t, "r1")); strings.Count(got, "changed") != 9 {
		t.Errorf("resolved %s", got)
	}
}

func itoa(n int) string { return strconv.Itoa(n) }
