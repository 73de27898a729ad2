package executor

import (
	"context"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/host"
)

// A test's binary that is started with this variable is a runner.
const carried = "FITOUT_TEST_CARRY"

func init() {
	dir := os.Getenv(carried)
	if dir == "" {
		return
	}
	find = func(name string) *modules.Type { return testTypes[name] }
	behaviours.Store("stands", behaviour{apply: func(_ context.Context, h *host.Host, want, _ probe) (modules.Outcome, error) {
		h.WriteFile("/probe/reached", "", host.Attr{})
		for h.Exists("/probe/hold") {
			time.Sleep(time.Millisecond)
		}
		return modules.Outcome{}, writeProbe(h, want)
	}})
	stop, signals := make(chan struct{}), make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	go func() { <-signals; close(stop) }()
	if err := Carry(context.Background(), Options{Root: os.Getenv("FITOUT_TEST_ROOT"), Dir: dir}, os.Getenv("FITOUT_TEST_RUN"), false, stop); err != nil {
		os.Stderr.WriteString(err.Error())
		os.Exit(1)
	}
	os.Exit(0)
}

// runners are the processes that a test's sessions have started.
type runners struct {
	d device

	mu  sync.Mutex
	all []*exec.Cmd
}

func newRunners(t *testing.T) *runners {
	r := &runners{d: newDevice(t)}
	t.Cleanup(func() {
		for _, c := range r.all {
			c.Process.Kill()
			c.Wait()
		}
	})
	return r
}

func (r *runners) detach(_ context.Context, run string) error {
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), carried+"="+r.d.dir, "FITOUT_TEST_ROOT="+r.d.root, "FITOUT_TEST_RUN="+run)
	c.Stderr = os.Stderr
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, c)
	return c.Start()
}

// end sends a signal to the newest, and waits for its end.
func (r *runners) end(s os.Signal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.all[len(r.all)-1]
	c.Process.Signal(s)
	c.Wait()
}

func (r *runners) connect(t *testing.T) *client {
	t.Helper()
	return r.connectAs(t, nil)
}

func (r *runners) connectAs(t *testing.T, by *login) *client {
	t.Helper()
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	c := &client{t: t, device: r.d, conn: wire.NewConn(outR, inW), in: inW, served: make(chan error, 1), messages: make(chan wire.Message, 4096)}
	go func() {
		err := Serve(context.Background(), inR, outW, Options{Root: r.d.root, Dir: r.d.dir, Alive: time.Hour, Detach: r.detach, login: by})
		inR.CloseWithError(io.ErrClosedPipe)
		outW.Close()
		c.served <- err
	}()
	go c.read()
	t.Cleanup(func() {
		inW.Close()
		outR.Close()
	})
	c.hello = *c.next(func(m wire.Message) bool { return m.Hello != nil }).Hello
	return c
}

var threeStages = []wire.Resource{resource("probe", "first", ""), resource("probe", "stands", ""), resource("probe", "last", "")}

// begin has a run stand still in its middle.
func (r *runners) begin(t *testing.T, id string) *client {
	t.Helper()
	r.d.write(t, "probe/hold", "")
	c := r.connect(t)
	run := doc(id, threeStages...)
	c.send(wire.Message{Run: &run})
	reached(t, r.d)
	return c
}

func (r *runners) goOn() { os.Remove(r.d.root + "/probe/hold") }

func numbered(t *testing.T, events []wire.Event) {
	t.Helper()
	for i, e := range events {
		if e.N != i+1 {
			t.Errorf("event %d has number %d", i+1, e.N)
		}
	}
}

const allStages = "probe/first changed, probe/stands changed, probe/last changed"

func TestARunNeedsNoSession(t *testing.T) {
	r := newRunners(t)
	c := r.begin(t, "r1")
	if err := c.hangUp(); err != nil { // at once, although the run goes on
		t.Error(err)
	}
	next := r.connect(t)
	if h := next.hello.Holder; h == nil || h.Run != "r1" || next.hello.Stopped {
		t.Errorf("who holds the device: %+v", h)
	}
	next.send(wire.Message{Attach: &wire.Attach{Run: "r1", From: 1}})
	next.until(wire.Begin, "probe/stands")
	late := r.connect(t)
	late.send(wire.Message{Attach: &wire.Attach{Run: "r1", From: 4}})
	r.goOn()
	next.until(wire.Finished, "")
	if events := late.until(wire.Finished, ""); events[0].N != 4 {
		t.Errorf("the late one got events from %d on", events[0].N)
	}
	events := r.d.events(t, "r1")
	if numbered(t, events); resolved(events) != allStages {
		t.Errorf("resolved %s", resolved(events))
	}
	r.end(syscall.Signal(0))
	if h, _ := holder(r.d.dir); h != nil {
		t.Errorf("still held: %+v", h)
	}
	if _, err := os.Stat(runDir(r.d.dir, "r1") + "/socket"); err == nil {
		t.Error("the socket is left")
	}
}

// A controller may be killed after it has recorded a run's end, and before it has drawn its conclusions.
func TestTheEndIsToldAgain(t *testing.T) {
	d := newDevice(t)
	events := connect(t, d).run(doc("r1", resource("probe", "x", "")))
	c := connect(t, d)
	c.send(wire.Message{Attach: &wire.Attach{Run: "r1", From: len(events) + 1, Close: true}})
	if e := c.until(wire.Finished, "")[0]; e.N != len(events) {
		t.Errorf("told: %+v", e)
	}
}

func TestADeadRunnerIsStartedAgain(t *testing.T) {
	r := newRunners(t)
	c := r.begin(t, "r1")
	r.end(syscall.SIGKILL)
	reached(t, r.d)
	r.goOn()
	if events := c.until(wire.Finished, ""); resolved(events) != allStages {
		t.Errorf("resolved %s", resolved(events))
	} else {
		numbered(t, events)
		event(t, events, wire.Log, "") // tells of it
	}
}

func TestADeadRunnerWithNobodyThere(t *testing.T) {
	for _, then := range []string{"resume", "close", "look", "another run"} {
		t.Run(then, func(t *testing.T) {
			r := newRunners(t)
			c := r.begin(t, "r1")
			c.hangUp()
			r.end(syscall.SIGKILL)
			r.goOn()
			next := r.connect(t)
			if h := next.hello.Holder; h == nil || h.Run != "r1" || !next.hello.Stopped {
				t.Fatalf("who has stopped: %+v", h)
			}
			left := "probe/first changed, probe/stands cancelled, probe/last cancelled"
			switch then {
			case "resume":
				next.send(wire.Message{Attach: &wire.Attach{Run: "r1", From: 1, Resume: true}})
				if got := resolved(next.until(wire.Finished, "")); got != allStages {
					t.Errorf("resolved %s", got)
				}
			case "close":
				next.send(wire.Message{Attach: &wire.Attach{Run: "r1", From: 1, Close: true}})
				events := next.until(wire.Finished, "")
				if got := resolved(events); got != left {
					t.Errorf("resolved %s", got)
				}
				if e := events[len(events)-1]; e.Counts == nil || e.Counts.Changed != 1 || e.Counts.Cancelled != 2 || e.Error == "" {
					t.Errorf("finished: %+v", e)
				}
			case "look":
				next.send(wire.Message{Attach: &wire.Attach{Run: "r1", From: 1}})
				if f := next.failure(); f.Kind != wire.Stopped {
					t.Errorf("failed %+v", f)
				}
			case "another run":
				if got := resolved(next.run(doc("r2", threeStages...))); got != "probe/first same, probe/stands changed, probe/last changed" {
					t.Errorf("resolved %s", got)
				}
				if got := resolved(r.d.events(t, "r1")); got != left {
					t.Errorf("the first one: %s", got)
				}
			}
		})
	}
}

// Who comes right after a run's end isn't refused because its process still tidies up.
func TestTheNextRunWaitsForTheTidying(t *testing.T) {
	d := newDevice(t)
	connect(t, d).run(doc("r1", resource("probe", "x", "")))
	var l *lock
	for deadline := time.Now().Add(patience); l == nil && time.Now().Before(deadline); {
		l, _, _ = acquire(d.dir, wire.Holder{Run: "r1"})
	}
	next := connect(t, d)
	run := doc("r2", resource("probe", "y", ""))
	next.send(wire.Message{Run: &run})
	time.AfterFunc(500*time.Millisecond, l.release)
	if got := resolved(next.until(wire.Finished, "")); got != "probe/y changed" {
		t.Errorf("resolved %s", got)
	}
}

// A machine that shuts down ends the runner after its current resource; the rest is left for another time.
func TestARunnerThatIsToldToEnd(t *testing.T) {
	r := newRunners(t)
	r.begin(t, "r1").hangUp()
	r.mu.Lock()
	runner := r.all[0]
	r.mu.Unlock()
	runner.Process.Signal(syscall.SIGTERM)
	for deadline := time.Now().Add(patience); caught(runner.Process.Pid); { // not pending any more
		if time.Now().After(deadline) {
			t.Fatal("the signal was not taken")
		}
	}
	r.goOn()
	if err := runner.Wait(); err != nil {
		t.Error(err)
	}
	if got := resolved(r.d.events(t, "r1")); !strings.HasPrefix(allStages, got) || over(r.d.events(t, "r1")) {
		t.Errorf("resolved %s", got)
	}
	c := r.connect(t)
	c.send(wire.Message{Attach: &wire.Attach{Run: "r1", From: 1, Resume: true}})
	if got := resolved(c.until(wire.Finished, "")); got != allStages {
		t.Errorf("resolved %s", got)
	}
}

// caught says whether SIGTERM still waits to be taken by a process.
func caught(pid int) bool {
	b, _ := os.ReadFile("/proc/" + itoa(pid) + "/status")
	for line := range strings.Lines(string(b)) {
		if mask, ok := strings.CutPrefix(line, "ShdPnd:\t"); ok {
			return strings.TrimSpace(mask) == "0000000000004000"
		}
	}
	return false
}

// After a restart nobody who has the key is there: what needs it waits, and nothing else.
func TestSecretsWaitForTheirKey(t *testing.T) {
	d := newDevice(t)
	o := Options{Root: d.root, Dir: d.dir}.complete()
	s := &session{Options: o, store: newContents(d.dir + "/store")}
	run := doc("r1", resource("probe", "free", ""), resource("probe", "token", `"value":"geheim"`, func(r *wire.Resource) { r.Secret = []string{"value"} }),
		resource("probe", "child", "", after("probe/token")), resource("probe", "other", ""))
	run.Key, run.Secrets = []byte(strings.Repeat("k", keySize)), []string{"geheim"}
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := s.keep(&run); err != nil {
		t.Fatal(err)
	}
	if err := Carry(t.Context(), o, "r1", true, nil); err != nil {
		t.Fatal(err)
	}
	events := d.events(t, "r1")
	if got := resolved(events); got != "probe/free changed, probe/other changed" {
		t.Errorf("resolved %s", got)
	}
	if why, ok := waitsForUs(events); !ok || !strings.Contains(why, "probe/child, probe/token") {
		t.Errorf("it waits: %t, %s", ok, why)
	}
	c := connect(t, d)
	c.send(wire.Message{Attach: &wire.Attach{Run: "r1", From: len(events) + 1, Key: []byte(strings.Repeat("x", keySize)), Resume: true}})
	if f := c.failure(); !strings.Contains(f.Error, "can't be opened with this key") {
		t.Errorf("with another key: %+v", f)
	}
	c.hangUp()
	c = connect(t, d)
	c.send(wire.Message{Attach: &wire.Attach{Run: "r1", From: 1, Key: run.Key, Resume: true}})
	if got := resolved(c.until(wire.Finished, "")); got != "probe/free changed, probe/other changed, probe/token changed, probe/child changed" {
		t.Errorf("resolved %s", got)
	}
	if b, err := os.ReadFile(journalFile(d.dir, "r1")); err != nil || strings.Contains(string(b), "geheim") {
		t.Errorf("the journal holds the secret (%v)", err)
	}
}
