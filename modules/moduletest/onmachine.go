package moduletest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/integration/lab"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

const onMachine = "FITOUT_TEST_REQUEST" // a file; set where the test's program runs on a machine

// Main runs a package's tests or, on a machine, what the tests ask for there. A package whose types are tested on
// machines needs:
//
//	func TestMain(m *testing.M) { moduletest.Main(m, modules.Define("motd", Motds{})) }
func Main(m *testing.M, types ...*modules.Type) {
	if file := os.Getenv(onMachine); file != "" {
		if err := serve(file, types); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// Device is a lab machine on which resource types run as they do in the executor: natively, on its root.
type Device struct {
	t testing.TB
	M *lab.Machine
}

// OnMachine puts the current package's tests, built without cgo, on a machine. On a Wine machine they run as a program for
// Windows, and everything here works as it does on the others:
//
//	m := lab.New(t).Machine(t, lab.Wine)
//	d := moduletest.OnMachine(t, m)
//	d.Converge("directories", `{"path": "C:\\Sales"}`)
//	d.TakesBack("environment", `{"name": "A", "value": "1"}`, `reg query HKCU\Environment`)  // a line for cmd.exe
//	d.Interrupted("files", want, reset, `type C:\Sales\motd.txt`)                            // crashes before each change
//	d.Tests("TestFixtures")                                                                   // the package's own tests, there
//	os.ReadFile(m.WindowsPath(`C:\Sales\motd.txt`)); m.RunWindows(t, "reg", "query", ...)     // looking at it by other ways
func OnMachine(t testing.TB, m *lab.Machine) *Device {
	t.Helper()
	d := &Device{t, m}
	program := d.place().program
	built := filepath.Join(t.TempDir(), filepath.Base(program))
	build := exec.Command("go", "test", "-c", "-ldflags=-s -w", "-o", built, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if m.Kind == lab.Wine {
		build.Env = append(build.Env, "GOOS=windows", "GOARCH=amd64")
	}
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the tests for %s: %v\n%s", m.Name, err, out)
	}
	f, err := os.Open(built)
	must(t, err)
	defer f.Close()
	must(t, d.put(program, f, 0o755))
	return d
}

// put writes a file of the machine's, and makes its folder: into a container's tree, or over ssh.
func (d *Device) put(name string, content io.Reader, mode os.FileMode) error {
	if d.M.Kind != lab.QEMU {
		name = d.outside(name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, content)
		return errors.Join(err, f.Close())
	}
	client, err := d.M.Dial(d.t.Context())
	if err != nil {
		return err
	}
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		return err
	}
	session.Stdin = content
	out, err := session.CombinedOutput(fmt.Sprintf("mkdir -p %s && cat >%s && chmod %o %s", filepath.Dir(name), name, mode, name))
	if err != nil {
		return fmt.Errorf("put %s on %s: %w: %s", name, d.M.Name, err, out)
	}
	return nil
}

// Content puts a file's content into the machine's content store and returns what declares it, in JSON.
func (d *Device) Content(text string) string {
	d.t.Helper()
	b, err := host.BlobOf(strings.NewReader(text))
	must(d.t, err)
	must(d.t, d.put(d.place().contents+"/"+b.Hash, strings.NewReader(text), 0o644))
	j, err := json.Marshal(b)
	must(d.t, err)
	return string(j)
}

// folder is a content store.
type folder string

func (f folder) OpenBlob(hash string) (io.ReadCloser, error) {
	return os.Open(filepath.Join(string(f), hash))
}

// Report is what became of one resource.
type Report struct {
	Op      modules.Op
	Changes []modules.Change
	Have    map[string]any // before
	Error   string         // with its hint, of observing, applying or observing again
	Reboot  string
	Again   modules.Op      // what a plan would do afterwards
	After   map[string]any  // what is observed afterwards
	Back    json.RawMessage `json:",omitempty"` // what undoes the change
	NoUndo  string          // why nothing does, or in a plan, why it may fail
}

type request struct {
	Type    string
	Wants   json.RawMessage
	Plan    bool
	Crash   int `json:",omitempty"` // before this change, counted from 1
	Timeout time.Duration
}

// Converge observes, applies what differs and observes again, as the executor does. want is a declaration in JSON, or an
// array of them.
func (d *Device) Converge(typ, want string) []Report {
	d.t.Helper()
	return d.ask(request{Type: typ, Wants: json.RawMessage(want), Timeout: 10 * time.Minute})
}

// ConvergeWithin is Converge with another time-out than ten minutes.
func (d *Device) ConvergeWithin(timeout time.Duration, typ, want string) []Report {
	d.t.Helper()
	return d.ask(request{Type: typ, Wants: json.RawMessage(want), Timeout: timeout})
}

// Plan only observes.
func (d *Device) Plan(typ, want string) []Report {
	d.t.Helper()
	return d.ask(request{Type: typ, Wants: json.RawMessage(want), Plan: true, Timeout: 10 * time.Minute})
}

// Try is Converge that may break down in the middle: the machine's crash, a kill.
func (d *Device) Try(typ, want string) ([]Report, error) {
	return d.try(request{Type: typ, Wants: json.RawMessage(want), Timeout: 10 * time.Minute})
}

func (d *Device) ask(r request) []Report {
	d.t.Helper()
	reports, err := d.try(r)
	if err != nil {
		d.t.Errorf("on %s: %v", d.M.Name, err)
	}
	return reports
}

func (d *Device) try(r request) ([]Report, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	name := d.place().requests + rand.Text()
	if err := d.put(name, bytes.NewReader(b), 0o600); err != nil {
		return nil, err
	}
	out, err := d.run(name)
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	var reports []Report
	if err := json.Unmarshal([]byte(out), &reports); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	return reports, nil
}

// serve does on the machine what a request asks for.
func serve(file string, types []*modules.Type) error {
	var r request
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := os.Remove(file); err != nil {
		return err
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return err
	}
	i := slices.IndexFunc(types, func(t *modules.Type) bool { return t.Name == r.Type })
	if i < 0 {
		return fmt.Errorf("no type %q among those that Main was given", r.Type)
	}
	typ := types[i]
	if b := strings.TrimSpace(string(r.Wants)); !strings.HasPrefix(b, "[") {
		r.Wants = json.RawMessage("[" + b + "]")
	}
	var each []json.RawMessage
	if err := json.Unmarshal(r.Wants, &each); err != nil {
		return err
	}
	var wants []any
	for _, e := range each {
		w, err := typ.Decode(e)
		if err != nil {
			return err
		}
		wants = append(wants, w)
	}
	ctx, cancel := context.WithTimeout(context.Background(), r.Timeout)
	defer cancel()
	h := host.New("/", host.WithBlobs(folder(here.contents)), host.WithSteps(crashing(r.Crash)))
	return json.NewEncoder(os.Stdout).Encode(converge(ctx, h, typ, wants, r.Plan))
}

func converge(ctx context.Context, h *host.Host, typ *modules.Type, wants []any, planOnly bool) []Report {
	reports := make([]Report, len(wants))
	var todo, haves []any
	var of []int
	observed := typ.Observe(ctx, h, wants)
	for i, o := range observed {
		r := &reports[i]
		if o.Err != nil {
			r.Error = hint.Text(o.Err)
			continue
		}
		r.Have = typ.Redact(o.Have, nil)
		r.Op, r.Changes = typ.Diff(wants[i], o.Have, h.Living())
		if r.Op != modules.Same && !planOnly {
			todo, haves, of = append(todo, wants[i]), append(haves, o.Have), append(of, i)
		}
	}
	if planOnly {
		for i, o := range observed {
			if r := &reports[i]; r.Error == "" && r.Op != modules.Same {
				r.NoUndo = typ.Doubts(ctx, h, wants[i:i+1], []any{o.Have})[0]
			}
		}
		return reports
	}
	apply := func(wants, haves []any, of []int) {
		for j := range wants {
			reports[of[j]].prepareUndo(h, typ, wants[j], haves[j])
		}
		for j, res := range typ.Apply(ctx, h, wants, haves) {
			if res.Err != nil {
				reports[of[j]].Error = hint.Text(res.Err)
			}
			reports[of[j]].Reboot = res.Outcome.Reboot
		}
		h.Forget()
	}
	if typ.Batch() && len(todo) > 0 {
		apply(todo, haves, of)
	} else {
		for i := range todo {
			apply(todo[i:i+1], []any{typ.Observe(ctx, h, todo[i:i+1])[0].Have}, of[i:i+1])
		}
	}
	for i, o := range typ.Observe(ctx, h, wants) {
		r := &reports[i]
		if o.Err != nil {
			r.Error = strings.TrimSpace(r.Error + "\n" + hint.Text(o.Err))
			continue
		}
		r.After = typ.Redact(o.Have, nil)
		r.Again, _ = typ.Diff(wants[i], o.Have, h.Living())
	}
	return reports
}

// In is d for a subtest.
func (d *Device) In(t testing.TB) *Device { return &Device{t, d.M} }
