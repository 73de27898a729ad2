//go:build linux

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/fitout-dev/fitout/integration/lab"
)

// TestStorm is a short storm: each kind of fault once.
func TestStorm(t *testing.T) {
	if testing.Short() {
		t.Skip("breaks machines for a minute")
	}
	st := &storm{lab: lab.New(t), seed: 5, machines: 2, kind: lab.Debian, kinds: kinds}
	for i := range kinds {
		st.rounds = append(st.rounds, i)
	}
	st.check(t)
}

func (st *storm) check(t *testing.T) {
	st.dir, st.log, st.repeat = filepath.Join(os.TempDir(), "fitout-faults"), t.Output(), "go run ./integration/faults -seed 5"
	if err := st.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", st.table())
	for _, r := range st.failures() {
		t.Errorf("round %d: %s: %v %v", r.n, r, r.breaches, r.err)
	}
	if len(st.done) != len(st.rounds) {
		t.Errorf("%d rounds of %d were carried out", len(st.done), len(st.rounds))
	}
}
