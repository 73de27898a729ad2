package lab

import (
	"context"
	"errors"
	"os"
	"time"
)

// TB is what the lab uses of testing.TB, so that a program that opens a lab doesn't link package testing.
type TB interface {
	Helper()
	Name() string
	Context() context.Context
	Cleanup(func())
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}

// New makes a lab for a test and closes it at the test's end. Where a lab can't run, the test is skipped, or fails if
// the environment has FITOUT_LAB=required. With FITOUT_LAB=off it is always skipped.
func New(t TB) *Lab {
	t.Helper()
	if err := Available(); err != nil {
		unavailable(t, err)
	}
	l, err := Open(t.Context(), Options{Log: logWriter{t}})
	if err != nil {
		t.Fatalf("open a lab: %v", err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close the lab: %v", err)
		}
	})
	return l
}

func unavailable(t TB, err error) {
	t.Helper()
	if os.Getenv("FITOUT_LAB") == "required" {
		t.Fatalf("FITOUT_LAB=required, but %v", err)
	}
	t.Skipf("no lab: %v", err)
}

// Machine boots one machine, gone when t ends.
func (l *Lab) Machine(t TB, kind Kind, opts ...Option) *Machine {
	t.Helper()
	return l.Machines(t, 1, kind, opts...)[0]
}

// Machines boots n machines at once, gone when t ends.
func (l *Lab) Machines(t TB, n int, kind Kind, opts ...Option) []*Machine {
	t.Helper()
	machines, err := l.Boot(t.Context(), n, kind, opts...)
	if errors.Is(err, errors.ErrUnsupported) {
		unavailable(t, err)
	}
	if err != nil {
		t.Fatalf("boot %d %s machines: %v", n, kind, err)
	}
	for _, m := range machines {
		t.Cleanup(func() {
			if err := m.Remove(); err != nil {
				t.Errorf("remove machine %s: %v", m.Name, err)
			}
		})
	}
	return machines
}

// Run runs a shell script as root on the machine and returns its standard output without the last newline. A non-zero
// exit fails the test.
func (m *Machine) Run(t TB, script string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	out, err := m.Exec(ctx, script)
	if err != nil {
		t.Fatalf("on %s: %v\n%s\nit printed: %s", m.Name, err, script, out)
	}
	return out
}

// Must fails the test if err is set: lab.Must(t, m.Crash()).
func Must(t TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("lab: %v", err)
	}
}

type logWriter struct{ t TB }

func (w logWriter) Write(p []byte) (int, error) {
	w.t.Logf("lab: %s", p)
	return len(p), nil
}
