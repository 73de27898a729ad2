// Package demo boots lab machines for `fitout demo --machines`.
package demo

import (
	"context"
	"os"

	"github.com/fitout-dev/fitout/engine/cli"
	"github.com/fitout-dev/fitout/integration/lab"
)

// Machines boots n Debian machines; close ends them and removes all that was made.
func Machines(ctx context.Context, n int) ([]cli.DemoMachine, func(), error) {
	l, err := lab.Open(ctx, lab.Options{Log: os.Stderr})
	if err != nil {
		return nil, nil, err
	}
	booted, err := l.Boot(ctx, n, lab.Debian)
	if err != nil {
		l.Close()
		return nil, nil, err
	}
	machines := make([]cli.DemoMachine, len(booted))
	for i, m := range booted {
		machines[i] = cli.DemoMachine{Name: m.Name, Address: m.Addr, User: m.User, IdentityFile: m.KeyFile, KnownHosts: m.KnownHosts, Run: m.Exec}
	}
	return machines, func() { l.Close() }, nil
}
