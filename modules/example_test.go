package modules_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/host"
)

// Motd is the message of the day.
type Motd struct {
	// What users read when they log on.
	Text *string `json:"text,omitzero" fit:"managed,short" title:"Text" example:"Property of Example S.A."`
	// Whether there is a message.
	State string `json:"state,omitzero" fit:"state" enum:"present,absent" title:"State"`
}

// Motds implements Motd.
type Motds struct{}

const motdFile = "/etc/motd"

// Platforms are where the type exists.
func (Motds) Platforms() []string { return []string{"linux"} }

// Observe reads the file.
func (Motds) Observe(_ context.Context, h *host.Host, _ Motd) (Motd, error) {
	b, err := h.ReadFile(motdFile)
	if errors.Is(err, fs.ErrNotExist) {
		return Motd{State: modules.Absent}, nil
	}
	return Motd{Text: modules.Ptr(strings.TrimSuffix(string(b), "\n"))}, err
}

// Apply writes or removes the file.
func (Motds) Apply(_ context.Context, h *host.Host, want, _ Motd) (modules.Outcome, error) {
	if want.State == modules.Absent {
		return modules.Outcome{}, h.Remove(motdFile)
	}
	text := ""
	if want.Text != nil {
		text = *want.Text + "\n"
	}
	return modules.Outcome{}, h.WriteFile(motdFile, text, host.Attr{})
}

// A type in full, and what is made of it.
func Example() {
	motd := modules.Define("motd", Motds{})
	root, err := os.MkdirTemp("", "motd")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(root)
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
		panic(err)
	}

	ctx, h := context.Background(), host.New(root)
	want, err := motd.Decode([]byte(`{"text": "Hello"}`))
	if err != nil {
		panic(err)
	}
	for range 2 {
		have := motd.Observe(ctx, h, []any{want})[0].Have
		op, changes := motd.Diff(want, have, h.Living())
		fmt.Println(op, changes)
		if op != modules.Same {
			motd.Apply(ctx, h, []any{want}, []any{have})
		}
	}
	// Output:
	// create [{text <nil> Hello}]
	// same []
}
