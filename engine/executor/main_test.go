package executor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/fitout-dev/fitout/modules/registry"
	"go.uber.org/goleak"
)

// Types that do what a test wants; beside them the real ones are there.
//
// A probe is a file /probe/NAME that holds its value; its behaviour is told by functions. Batched is the same in one
// transaction, and guarded runs what the profile names.
type probe struct {
	Name   string            `json:"name" fit:"key"`
	Value  *string           `json:"value,omitzero" fit:"managed"`
	Nested *nested           `json:"nested,omitzero" fit:"managed"`
	List   []string          `json:"list,omitzero" fit:"managed"`
	Map    map[string]string `json:"map,omitzero" fit:"managed"`
	Text   *host.Blob        `json:"text,omitzero" fit:"managed" blob:"content"`
	State  string            `json:"state,omitzero" fit:"state" enum:"present,absent"`
}

type nested struct {
	Deep  []map[string]string `json:"deep"`
	Count int                 `json:"count"`
}

// behaviour replaces what a probe does. It is asked by the resource's name.
type behaviour struct {
	observe  func(ctx context.Context, h *host.Host, want probe) (probe, error)
	apply    func(ctx context.Context, h *host.Host, want, have probe) (modules.Outcome, error)
	notified func(ctx context.Context, h *host.Host, want probe) error
}

var (
	behaviours sync.Map // name, behaviour
	seen       sync.Map // "observe NAME", "apply NAME", "notify NAME": how often
)

func behave(t *testing.T, name string, b behaviour) {
	behaviours.Store(name, b)
	t.Cleanup(func() { behaviours.Delete(name) })
}

func count(what string) int {
	n, _ := seen.Load(what)
	i, _ := n.(int)
	return i
}

var countMu sync.Mutex

func note(what string) {
	countMu.Lock()
	defer countMu.Unlock()
	seen.Store(what, count(what)+1)
}

func behaviourOf(name string) behaviour {
	b, _ := behaviours.Load(name)
	out, _ := b.(behaviour)
	return out
}

type probes struct{}

func (probes) Observe(ctx context.Context, h *host.Host, want probe) (probe, error) {
	note("observe " + want.Name)
	if f := behaviourOf(want.Name).observe; f != nil {
		return f(ctx, h, want)
	}
	return readProbe(h, want)
}

func readProbe(h *host.Host, want probe) (probe, error) {
	have := probe{Name: want.Name, State: modules.Absent}
	b, err := h.ReadFile("/probe/" + want.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return have, nil
	}
	if err != nil {
		return have, err
	}
	err = json.Unmarshal(b, &have)
	have.State = ""
	return have, err
}

func (probes) Apply(ctx context.Context, h *host.Host, want, have probe) (modules.Outcome, error) {
	note("apply " + want.Name)
	if f := behaviourOf(want.Name).apply; f != nil {
		return f(ctx, h, want, have)
	}
	return modules.Outcome{}, writeProbe(h, want)
}

func writeProbe(h *host.Host, want probe) error {
	if want.State == modules.Absent {
		return h.Remove("/probe/" + want.Name)
	}
	b, err := json.Marshal(want)
	if err != nil {
		return err
	}
	return h.WriteFile("/probe/"+want.Name, string(b), host.Attr{})
}

func (probes) Notified(ctx context.Context, h *host.Host, want probe) error {
	note("notify " + want.Name)
	if f := behaviourOf(want.Name).notified; f != nil {
		return f(ctx, h, want)
	}
	return nil
}

type batched struct{ probes }

func (b batched) ObserveAll(ctx context.Context, h *host.Host, wants []probe) []modules.Observation[probe] {
	note(fmt.Sprintf("observe %d", len(wants)))
	out := make([]modules.Observation[probe], len(wants))
	for i, w := range wants {
		out[i].Have, out[i].Err = b.Observe(ctx, h, w)
	}
	return out
}

func (b batched) ApplyAll(ctx context.Context, h *host.Host, wants, haves []probe) []modules.Result {
	names := make([]string, len(wants))
	out := make([]modules.Result, len(wants))
	for i, w := range wants {
		names[i] = w.Name
		out[i].Outcome, out[i].Err = b.Apply(ctx, h, w, haves[i])
	}
	note("together " + strings.Join(names, " "))
	return out
}

type guarded struct{ probes }

func (guarded) Guarded() bool { return true }

var testTypes = map[string]*modules.Type{
	"probe":   modules.Define("probe", probes{}),
	"batched": modules.Define("batched", batched{}),
	"guarded": modules.Define("guarded", guarded{}),
}

func TestMain(m *testing.M) {
	find = func(name string) *modules.Type {
		if t := testTypes[name]; t != nil {
			return t
		}
		return registry.Find(name)
	}
	grace = 100 * time.Millisecond
	pause = func(int) time.Duration { return time.Millisecond }
	if dir := os.Getenv("FITOUT_TEST_EXECUTOR"); dir != "" { // a process of its own: see process_test.go
		executorProcess(dir)
		return
	}
	goleak.VerifyTestMain(m)
}
