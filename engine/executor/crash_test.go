package executor

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/fitout-dev/fitout/engine/executor/disk"
	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/host"
)

// killAt, in the environment of an executor's process, is the number of the change at which it is killed: of the device, its
// journal, its contents, what is owed, the lock. They are counted by the wrappers that stand before all of them.
const killAt = "FITOUT_TEST_KILL_AT"

// dieAt ends this process before the n-th change, at once, as SIGKILL does.
func dieAt(n int) {
	var mu sync.Mutex
	step := func(change string) {
		mu.Lock() // nobody else changes anything meanwhile
		defer mu.Unlock()
		if n--; n == 0 {
			fmt.Fprintln(os.Stderr, "killed before:", change)
			os.Exit(9)
		}
	}
	disk.OS = disk.WithSteps(disk.OS, step)
	hostOptions = []host.Option{host.WithSteps(step)}
	behaviours.Store("told", behaviour{notified: func(_ context.Context, h *host.Host, _ probe) error { return tell(h) }})
}

// crashing is a run that is killed, and what it has to bring about.
type crashing struct {
	base   string
	device device
	key    []byte
	blobs  map[string][]byte // by hash
	secret map[string]bool
	rs     []wire.Resource
	// where is the one path that only this resource touches, if there is one
	where map[string]string
	// unattended runs keep their key on the device
	unattended bool
	again      int // where it is killed once more, when it goes on
}

const (
	oldSecret, newSecret = "the old secret's text\n", "the new secret's text\n"

	shadowHash = "$6$saltsalt$qFmFH.bQmmtXzyBY0s9v7Oicd2z4XSIecDlB5KiA2/jctKu9YterLp8wwnSq.qc.eoxqOmSuNp2xS0ktL3nh/" // "password"
)

func newCrashing(t *testing.T) *crashing {
	base := t.TempDir()
	c := &crashing{base: base, device: device{filepath.Join(base, "root"), filepath.Join(base, "fitout")}, key: make([]byte, keySize),
		blobs: map[string][]byte{}, secret: map[string]bool{}, where: map[string]string{}}
	rand.Read(c.key)
	content := func(text string) string {
		b, j := blob(text)
		c.blobs[b.Hash] = []byte(text)
		return j
	}
	add := func(r wire.Resource, where string) {
		c.rs = append(c.rs, r)
		c.where[r.Address] = where
	}
	keyed := func(typ, path, want string, change ...func(*wire.Resource)) wire.Resource {
		r := resource(typ, path, want, change...)
		r.Want = bytes.Replace(r.Want, []byte(`{"name"`), []byte(`{"path"`), 1)
		return r
	}
	c.secret[hashOf(newSecret)] = true
	hides := func(r *wire.Resource) { r.Secret = []string{"content"} }
	add(resource("groups", "staff", `"gid":2000`), "")
	home := fmt.Sprintf(`"uid":2000,"groups":["staff"],"shell":"/bin/sh","password":%q,"createHome":%t`, shadowHash, os.Geteuid() == 0)
	add(resource("users", "alice", home, after("groups/staff"), func(r *wire.Resource) { r.Secret = []string{"password"} }), "")
	add(resource("directories", "/srv/data", `"mode":"0750"`), "/srv/data")
	add(resource("files", "/srv/data/new", content("new\n")+`,"mode":"0640"`, after("directories//srv/data")), "/srv/data/new")
	add(resource("files", "/etc/motd", content("after\n"), notifies("probe/told")), "/etc/motd")
	add(resource("files", "/etc/gone", `"state":"absent"`), "/etc/gone")
	add(resource("files", "/etc/secret", content(newSecret)+`,"mode":"0600"`, hides, notifies("probe/told")), "/etc/secret")
	add(keyed("lines", "/etc/hosts", `"id":"nas","line":"10.0.0.5 nas","match":"nas$"`), "/etc/hosts")
	add(keyed("links", "/etc/link", `"target":"/etc/motd"`), "/etc/link")
	add(keyed("links", "/etc/turned", `"target":"/etc/motd"`), "/etc/turned")
	add(resource("probe", "told", `"value":"x"`, after("files//etc/motd", "files//etc/secret")), "/probe/told")
	add(resource("batched", "one", `"value":"1"`), "/probe/one")
	add(resource("batched", "two", `"value":"2"`), "/probe/two")
	add(resource("directories", "/srv/old", `"state":"absent"`), "/srv/old")
	return c
}

// fresh makes the device as it was before.
func (c *crashing) fresh(t *testing.T) {
	t.Helper()
	for _, d := range []string{c.device.root, c.device.dir} {
		if err := os.RemoveAll(d); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{"etc/skel", "home", "probe", "srv/old"} {
		if err := os.MkdirAll(filepath.Join(c.device.root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for path, text := range map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\n", "etc/group": "root:x:0:\n", "etc/shadow": "root:*:19700:0:99999:7:::\n",
		"etc/gshadow": "root:*::\n", "etc/skel/.profile": "umask 027\n", "etc/motd": "before\n", "etc/gone": "to be kept\n",
		"etc/secret": oldSecret, "etc/hosts": "127.0.0.1 localhost\n10.0.0.4 nas\n",
	} {
		c.device.write(t, path, text)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(c.device.root, "etc/turned")); err != nil {
		t.Fatal(err)
	}
}

func (c *crashing) document(id string) *wire.Document {
	return &wire.Document{ID: id, Key: c.key, Resources: c.rs, Secrets: []string{strings.TrimSpace(oldSecret), strings.TrimSpace(newSecret), shadowHash},
		Holder: wire.Holder{Run: id, Who: "test"}, Settings: wire.Settings{Unattended: c.unattended}}
}

// begin does what a controller does for an apply, once it has observed. Errors are those of a device that has died.
func (c *crashing) begin(conn *wire.Conn, id string) {
	for hash, b := range c.blobs {
		if conn.SendBlob(wire.Blob{Hash: hash, Size: int64(len(b)), Secret: c.secret[hash]}, bytes.NewReader(b)) != nil {
			return
		}
	}
	conn.Send(wire.Message{Run: c.document(id)})
}

// killed has a process carry the run out, or go on with it, that is killed at its n-th change. It says whether it got to
// the end before that.
func (c *crashing) killed(t *testing.T, n int, request func(conn *wire.Conn)) bool {
	t.Helper()
	t.Setenv(killAt, strconv.Itoa(n))
	client, cmd := spawn(t, c.device)
	request(client.conn)
	finished := false
	for deadline := time.After(patience); ; {
		select {
		case m, ok := <-client.messages:
			switch {
			case !ok:
				cmd.Wait()
				return finished && cmd.ProcessState.Success()
			case m.Failed != nil:
				t.Fatalf("killed at change %d: failed %+v", n, *m.Failed)
			case m.Event != nil && m.Event.Type == wire.Finished:
				finished = true
				client.in.Close()
			}
		case <-deadline:
			t.Fatal("it neither died nor ended")
		}
	}
}

// session joins the device as the next controller does. Runs get runners of their own, which tell of what they touch.
func (c *crashing) session(t *testing.T) (_ *client, touched func() []string) {
	t.Helper()
	var mu sync.Mutex
	var changes []string
	hostOptions = []host.Option{host.WithSteps(func(change string) {
		mu.Lock()
		defer mu.Unlock()
		changes = append(changes, change)
	})}
	var runners sync.WaitGroup
	t.Cleanup(func() {
		runners.Wait()
		hostOptions = nil
	})
	client := connectWith(t, c.device, func(o *Options) {
		o.Detach = func(_ context.Context, run string) error {
			runners.Go(func() {
				if err := Carry(context.Background(), Options{Root: o.Root, Dir: o.Dir}, run, false, nil); err != nil {
					t.Errorf("carry out %s: %v", run, err)
				}
			})
			return nil
		}
	})
	return client, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(changes)
	}
}

// TestKilledAtEachChange kills a run before each single change that it makes, wherever. It must go on from there when it is
// taken up again, and its place must be taken rightly by the next one when it isn't.
func TestKilledAtEachChange(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes, users and links are Unix's")
	}
	step := 1
	if testing.Short() {
		step = 17
	}
	c := newCrashing(t)
	behave(t, "told", behaviour{notified: func(_ context.Context, h *host.Host, _ probe) error { return tell(h) }})
	for n := 1; n < 2000; n += step { // -run TestKilledAtEachChange/change_131 is that one alone
		done := false
		c.unattended = n%3 == 0
		c.again = n % 2 * (1 + n*7%40)
		ok := t.Run(fmt.Sprintf("change %d", n), func(t *testing.T) { done = c.at(t, n) })
		if !ok || done {
			if done && n < 100 && step == 1 {
				t.Errorf("only %d changes were seen", n)
			}
			return
		}
	}
}

// at kills the run at its n-th change. It is done when the run has fewer.
func (c *crashing) at(t *testing.T, n int) (done bool) {
	c.fresh(t)
	done = c.killed(t, n, func(conn *wire.Conn) {
		conn.Send(wire.Message{Observe: &wire.Observe{Resources: c.rs}})
		c.begin(conn, "r1")
	})
	saved := filepath.Join(c.base, "saved")
	if err := os.RemoveAll(saved); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(saved, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", "-a", c.device.root, saved).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if _, err := os.Stat(c.device.dir); err == nil {
		if out, err := exec.Command("cp", "-a", c.device.dir, saved).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	t.Run("goes on", c.goesOn)
	for from, to := range map[string]string{"root": c.device.root, "fitout": c.device.dir} {
		if err := os.RemoveAll(to); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(saved, from), to); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	t.Run("gives way", c.givesWay)
	return done
}

// begun reads what the device knows of the run that was killed, or nil.
func (c *crashing) begun(t *testing.T) *state {
	t.Helper()
	st, err := readState(c.device.dir, "r1")
	if err == nil {
		return st
	}
	if b, err := os.ReadFile(filepath.Join(c.device.root, "etc/motd")); err != nil || string(b) != "before\n" {
		t.Errorf("changed without a journal: %q, %v", b, err)
	}
	return nil
}

// goesOn takes the run up.
func (c *crashing) goesOn(t *testing.T) {
	st := c.begun(t)
	if st != nil && !st.ended && c.again > 0 { // killed twice
		c.killed(t, c.again, func(conn *wire.Conn) { conn.Send(wire.Message{Attach: c.attach("r1")}) })
		if st = c.begun(t); st == nil {
			t.Fatal("its journal is lost")
		}
	}
	client, touched := c.session(t)
	client.send(wire.Message{Attach: c.attach("r1")})
	if st == nil {
		if f := client.failure(); f.Kind != wire.NoRun {
			t.Errorf("of a run that was never begun: %+v", f)
		}
		c.apply(client, "r2")
		c.check(t, client)
		return
	}
	events := client.until(wire.Finished, "")
	c.compare(t, st, events, touched())
	for _, e := range events {
		if e.Type == wire.Resolved && e.Status != wire.Changed {
			t.Errorf("%s %s %s, want changed", e.Address, e.Status, e.Error)
		}
	}
	last := events[len(events)-1]
	if d := cmp.Diff(&wire.Counts{Changed: len(c.rs)}, last.Counts); d != "" || last.Error != "" {
		t.Errorf("finished: %q %s", last.Error, d)
	}
	c.check(t, client)
	if st, err := readState(c.device.dir, "r1"); err != nil {
		t.Error(err)
	} else {
		for a, in := range st.intents {
			for _, k := range in.Kept {
				if k.Lost != "" {
					t.Errorf("what %s replaced isn't kept: %s", a, k.Lost)
				}
			}
		}
	}
}

// givesWay has another run begin instead.
func (c *crashing) givesWay(t *testing.T) {
	st := c.begun(t)
	client, touched := c.session(t)
	if h := client.hello.Holder; st != nil && !st.ended && (h == nil || h.Run != "r1" || !client.hello.Stopped) {
		t.Errorf("it isn't told that the run stopped half-way: %+v", h)
	}
	results := map[string]wire.Event{}
	for _, e := range c.apply(client, "r2") {
		if e.Type == wire.Resolved {
			results[e.Address] = e
		}
	}
	for _, r := range c.rs {
		e := results[r.Address]
		again := e.Status == wire.Changed && !(len(e.Changes) == 1 && e.Changes[0].Property == "notification")
		if e.Status != wire.Changed && e.Status != wire.InDesiredState || again && st != nil && c.complete(st, r.Address) {
			t.Errorf("%s: %s %s", r.Address, e.Status, e.Error)
		}
	}
	if st != nil {
		client.send(wire.Message{Attach: &wire.Attach{Run: "r1", From: 1}})
		c.compare(t, st, client.until(wire.Finished, ""), touched())
	}
	c.check(t, client)
}

func (c *crashing) attach(run string) *wire.Attach {
	return &wire.Attach{Run: run, From: 1, Key: c.key, Resume: true}
}

func (c *crashing) apply(client *client, id string) []wire.Event {
	client.t.Helper()
	client.observe(nil, c.rs...)
	c.begin(client.conn, id)
	return client.until(wire.Finished, "")
}

func (c *crashing) complete(st *state, address string) bool {
	e, ok := st.settled[address]
	return ok && (e.Status == wire.Changed || e.Status == wire.InDesiredState)
}

// compare holds a run's events against what was known of it when it was killed.
func (c *crashing) compare(t *testing.T, st *state, events []wire.Event, touched []string) {
	t.Helper()
	results := map[string]int{}
	for i, e := range events {
		if e.N != i+1 {
			t.Fatalf("event %d has number %d", i+1, e.N)
		}
		if e.Type == wire.Resolved {
			results[e.Address]++
		}
		if i >= len(st.events) && e.Type == wire.Begin && c.complete(st, e.Address) {
			t.Errorf("%s was complete, and is begun again", e.Address)
		}
	}
	if len(events) < len(st.events) || !cmp.Equal(st.events, events[:len(st.events)], cmpopts.EquateEmpty()) {
		t.Errorf("events are lost: %d were recorded, there are %d", len(st.events), len(events))
	}
	for _, r := range c.rs {
		if results[r.Address] != 1 {
			t.Errorf("%s has %d results", r.Address, results[r.Address])
		}
		for _, change := range touched {
			if where := c.where[r.Address]; where != "" && c.complete(st, r.Address) && strings.HasSuffix(change, where) {
				t.Errorf("%s was complete, and then: %s", r.Address, change)
			}
		}
	}
}

// check looks at the device when all is done.
func (c *crashing) check(t *testing.T, client *client) {
	t.Helper()
	d := c.device
	for _, o := range client.observe(nil, c.rs...).Observations {
		if o.Op != modules.Same {
			t.Errorf("%s isn't in its state: %s %+v %s", o.Address, o.Op, o.Changes, o.Error)
		}
	}
	for path, want := range map[string]string{"etc/motd": "after\n", "etc/secret": newSecret, "srv/data/new": "new\n", "etc/hosts": "127.0.0.1 localhost\n10.0.0.5 nas\n"} {
		if got := d.read(path); got != want {
			t.Errorf("%s holds %q, want %q", path, got, want)
		}
	}
	for path, entry := range map[string]string{"etc/passwd": "alice:x:2000:", "etc/shadow": "alice:" + shadowHash + ":", "etc/group": "staff:x:2000:alice\n"} {
		if got := d.read(path); strings.Count("\n"+got, "\n"+entry) != 1 {
			t.Errorf("%s holds %q, want one %q", path, got, entry)
		}
	}
	for _, path := range []string{"etc/link", "etc/turned"} {
		if got, err := os.Readlink(filepath.Join(d.root, path)); got != "/etc/motd" {
			t.Errorf("%s: %q %v", path, got, err)
		}
	}
	for _, path := range []string{"etc/gone", "srv/old"} {
		if _, err := os.Lstat(filepath.Join(d.root, path)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if d.read("probe/told-times") == "" || strings.Trim(d.read("probe/told-times"), "x") != "" {
		t.Errorf("notified: %q", d.read("probe/told-times"))
	}
	c.clean(t)
}

// kept matches what may lie in the executor's folder when no run is under way.
var keptFiles = regexp.MustCompile(`^(\.|lock|memory|store|runs|runs/r[12]|(store|runs/r[12]/kept)(/[0-9a-f]{64})?|runs/r[12]/journal)$`)

// clean looks for what a run must not leave. What a runner removes comes after its last event.
func (c *crashing) clean(t *testing.T) {
	t.Helper()
	var left []string
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		left = nil
		filepath.WalkDir(c.device.root, func(p string, _ fs.DirEntry, err error) error {
			if err != nil || strings.HasPrefix(filepath.Base(p), host.TempPrefix) {
				left = append(left, fmt.Sprint(p, err))
			}
			return nil
		})
		filepath.WalkDir(c.device.dir, func(p string, _ fs.DirEntry, err error) error {
			if p, _ := filepath.Rel(c.device.dir, p); err != nil || !keptFiles.MatchString(p) {
				left = append(left, fmt.Sprint(p, err))
			}
			return nil
		})
		if h, _ := holder(c.device.dir); h != nil {
			left = append(left, fmt.Sprintf("the lock of %+v", *h))
		}
		if len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("left:\n%s", strings.Join(left, "\n"))
			return
		}
	}
	for _, run := range []string{"r1", "r2"} {
		st, err := readState(c.device.dir, run)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil || !st.ended {
			t.Errorf("the journal of %s: %v", run, err)
		}
	}
}
