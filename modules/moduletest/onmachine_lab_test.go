package moduletest_test

import (
	"context"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/integration/lab"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/fitout-dev/fitout/modules/moduletest"
)

// Pair is two folders, so that there is something between its changes.
type Pair struct {
	// Where they are, without the last letter.
	Path  string `json:"path" fit:"key" title:"Path"`
	State string `json:"state,omitzero" fit:"state" enum:"present,absent" title:"State"`
	// How many of them there are.
	Count *int `json:"count,omitzero" fit:"managed" title:"Count"`
}

type Pairs struct{}

func (p Pairs) Observe(_ context.Context, h *host.Host, want Pair) (Pair, error) {
	have := Pair{Path: want.Path, Count: modules.Ptr(0), State: modules.Absent}
	for _, letter := range []string{"a", "b"} {
		if h.Exists(want.Path + letter) {
			*have.Count++
			have.State = ""
		}
	}
	if have.State == modules.Absent {
		have.Count = nil
	}
	return have, nil
}

func (p Pairs) Apply(_ context.Context, h *host.Host, want, have Pair) (modules.Outcome, error) {
	for i, letter := range []string{"a", "b"} {
		name := want.Path + letter
		var err error
		switch wanted := want.State != modules.Absent && i < *want.Count; {
		case !wanted:
			err = h.Remove(name)
		case !h.Exists(name):
			err = h.Mkdir(name, host.Attr{})
		}
		if err != nil {
			return modules.Outcome{}, err
		}
	}
	return modules.Outcome{}, nil
}

func TestMain(m *testing.M) {
	moduletest.Main(m, modules.Define("pairs", Pairs{}))
}

// The machinery itself, on each kind of system: a type is observed, applied, undone and crashed there.
func TestOnMachine(t *testing.T) {
	l := lab.New(t)
	for _, test := range []struct {
		kind         lab.Kind
		path, folder string
		list, os     string
	}{
		{lab.Debian, "/srv/pair-", "/srv", "ls -A /srv", "linux"},
		{lab.Wine, `C:\\users\\public\\pair-`, `C:\users\Public`, `dir /b C:\users\public`, "windows"},
	} {
		t.Run(string(test.kind), func(t *testing.T) {
			m := l.Machine(t, test.kind)
			d := moduletest.OnMachine(t, m)
			want := `{"path": "` + test.path + `", "count": 2}`
			if r := d.Plan("pairs", want); len(r) != 1 || r[0].Op != modules.Create || r[0].Error != "" {
				t.Errorf("plan: %+v", r)
			}
			d.TakesBack("pairs", want, test.list)
			d.Interrupted("pairs", want, func() {
				lab.Must(t, removeBelow(outside(m, test.folder), "pair-", host.TempPrefix))
			}, test.list)
			d.Tests("TestThere/" + test.os)
		})
	}
}

func outside(m *lab.Machine, name string) string {
	if m.Kind == lab.Wine {
		return m.WindowsPath(name)
	}
	return m.Root() + name
}

func removeBelow(folder string, prefixes ...string) error {
	entries, err := os.ReadDir(folder)
	for _, e := range entries {
		for _, p := range prefixes {
			if err == nil && strings.HasPrefix(e.Name(), p) {
				err = os.RemoveAll(folder + "/" + e.Name())
			}
		}
	}
	return err
}

// TestThere runs on the machines.
func TestThere(t *testing.T) {
	t.Run(runtime.GOOS, func(t *testing.T) {
		if _, err := os.Stat("testdata"); err == nil {
			t.Error("this package has no testdata")
		}
	})
}
