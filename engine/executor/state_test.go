package executor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/engine/executor/journal"
	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/google/go-cmp/cmp"
)

func TestSeal(t *testing.T) {
	key, other := bytes.Repeat([]byte{1}, keySize), bytes.Repeat([]byte{2}, keySize)
	sealed, err := seal(key, "users/alice", []byte("geheim"))
	if err != nil || bytes.Contains(sealed, []byte("geheim")) {
		t.Fatalf("sealed %q: %v", sealed, err)
	}
	if plain, err := unseal(key, "users/alice", sealed); string(plain) != "geheim" || err != nil {
		t.Errorf("unsealed %q: %v", plain, err)
	}
	if again, _ := seal(key, "users/alice", []byte("geheim")); bytes.Equal(again, sealed) {
		t.Error("the same text is sealed alike twice")
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 4
		if _, err := unseal(key, "users/alice", bad); err == nil {
			t.Errorf("byte %d can be changed", i)
		}
		if _, err := unseal(key, "users/alice", sealed[:i]); err == nil {
			t.Errorf("can be cut to %d bytes", i)
		}
	}
	if _, err := unseal(other, "users/alice", sealed); err == nil {
		t.Error("another key opens it")
	}
	if _, err := unseal(key, "users/bob", sealed); err == nil {
		t.Error("it can be taken for something else")
	}
	if _, err := unseal(nil, "users/alice", sealed); !errors.Is(err, errLocked) {
		t.Errorf("without a key: %v", err)
	}
}

func TestADocumentComesBackFromItsRecords(t *testing.T) {
	run := wire.Document{ID: "r1", Key: bytes.Repeat([]byte{1}, keySize), Secrets: []string{"geheim", "inhalt"}, Settings: wire.Settings{Reboot: wire.RebootIfNeeded},
		Expect: map[string]string{"probe/a": "digest"}, Resources: []wire.Resource{
			resource("probe", "open", `"value":"plain"`),
			resource("probe", "marked", `"value":"heimlich"`, func(r *wire.Resource) { r.Secret = []string{"value"} }),
			resource("probe", "unmarked", `"value":"it is geheim"`),
			resource("probe", "login", "", func(r *wire.Resource) { r.Connect = map[string]any{"user": "admin", "password": "kennwort"} }),
		}}
	hash := strings.Repeat("ab", 32)
	store := newContents("/x/store")
	store.remember(hash, []byte("inhalt"))
	records, err := declare(&run, Options{Root: "/", Dir: "/x"}, "/x/executor", store)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		for _, secret := range []string{"geheim", "inhalt", "heimlich", "kennwort", string(run.Key)} {
			if bytes.Contains(r.Data, []byte(secret)) {
				t.Errorf("%q is in a record", secret)
			}
		}
	}
	st, err := load(records)
	if err != nil {
		t.Fatal(err)
	}
	if st.Executor != "/x/executor" || st.Boot != bootID() || !st.sealedNow() {
		t.Errorf("state %+v", st.declared)
	}
	for i, sealed := range []bool{false, true, true, true} {
		if r := st.Document.Resources[i]; (len(r.Sealed) > 0) != sealed || (string(r.Want) == "null") != sealed {
			t.Errorf("%s: sealed %d bytes, want %s", r.Address, len(r.Sealed), r.Want)
		}
	}
	store = newContents(t.TempDir())
	if err := st.unlock(bytes.Repeat([]byte{2}, keySize), store); err == nil || !st.sealedNow() {
		t.Error("another key opens it")
	}
	if err := st.unlock(run.Key[:5], store); err == nil {
		t.Error("a short key is taken")
	}
	if err := st.unlock(run.Key, store); err != nil {
		t.Fatal(err)
	}
	got := st.Document
	got.Key = run.Key
	if diff := cmp.Diff(run, got); diff != "" || st.sealedNow() {
		t.Errorf("sealed %t; what came back: %s", st.sealedNow(), diff)
	}
	if string(store.memory[hash]) != "inhalt" {
		t.Errorf("the content is %q", store.memory[hash])
	}

	// What is sealed for one run, or one resource, can't be put into another.
	swapped, _ := load(records)
	rs := swapped.Document.Resources
	rs[1].Sealed, rs[2].Sealed = rs[2].Sealed, rs[1].Sealed
	if err := swapped.unlock(run.Key, store); err == nil {
		t.Error("sealed resources can be exchanged")
	}
	moved, _ := load(records)
	moved.Document.ID = "r2"
	if err := moved.unlock(run.Key, store); err == nil {
		t.Error("it can be moved to another run")
	}
}

func TestPruneRuns(t *testing.T) {
	dir := t.TempDir()
	for i := range keepRuns + 10 {
		if err := os.MkdirAll(runDir(dir, fmt.Sprintf("20261122-0000%02d-abcdef", i)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	current := "20261122-000003-abcdef" // of a device whose clock was set back
	pruneRuns(dir, current)
	entries, err := os.ReadDir(dir + "/runs")
	if err != nil || len(entries) != keepRuns+1 || entries[0].Name() != current || entries[1].Name() != "20261122-000010-abcdef" {
		t.Errorf("%d are left, first %v: %v", len(entries), entries[:2], err)
	}
}

// started is the state of a run that was at work at these starts of the machine.
func started(boot string, boots ...string) *state {
	st := &state{declared: declared{Boot: boot}, settled: map[string]wire.Event{}, intents: map[string]*intent{}}
	st.events = append(st.events, wire.Event{Type: wire.Started, Boot: boot})
	for _, b := range boots {
		st.events = append(st.events, wire.Event{Type: wire.Rebooted, Boot: b})
	}
	return st
}

func TestInterrupted(t *testing.T) {
	asked := func(boot string) restart {
		return restart{Reason: "x", Addresses: []string{"a"}, Boot: boot, Now: true}
	}
	for _, c := range []struct {
		name     string
		st       *state
		restarts []restart
		want     bool
	}{
		{"the same start", started(bootID()), nil, false},
		{"a power cut", started("old"), nil, true},
		{"a restart that was asked for", started("old"), []restart{asked("old")}, false},
		{"a power cut after one", started("oldest", "old"), []restart{asked("oldest")}, true},
		{"another one after one", started("oldest", "old"), []restart{asked("oldest"), asked("old")}, false},
		{"a power cut before the restart", started("old"), []restart{{Addresses: []string{"a"}, Boot: "old"}}, true},
		{"the executor's restart after one", started("old", bootID()), []restart{asked("old")}, false},
	} {
		c.st.restarts = c.restarts
		if got := (&runner{st: c.st}).interrupted(); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	if _, err := load(nil); err == nil {
		t.Error("a journal without records is a run")
	}
	b, _ := json.Marshal(wire.Event{Type: wire.Started})
	if _, err := load([]journal.Record{{Kind: 3, Data: b}}); err == nil {
		t.Error("a journal without a document is a run")
	}
	if _, err := load([]journal.Record{{Kind: 1, Data: []byte("{}")}, {Kind: 3, Data: []byte("{")}}); err == nil || !strings.Contains(err.Error(), "record 2") {
		t.Errorf("a broken record: %v", err)
	}
}
