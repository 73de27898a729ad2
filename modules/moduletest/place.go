package moduletest

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/fitout-dev/fitout/integration/lab"
)

// place is where a machine has what the tests put on it.
type place struct {
	program  string // the package's tests
	contents string // the content store
	requests string // the beginning of the files' names
	folder   string // where the package's tests run as such
}

var (
	posix = place{"/usr/local/lib/fitout-module.test", "/var/tmp/fitout-contents", "/var/tmp/fitout-request-", "/var/tmp/fitout-tests"}
	// Below the system's own folder, where no test looks for changes.
	windows = place{`C:\windows\fitout\module.test.exe`, `C:\windows\fitout\contents`, `C:\windows\fitout\request-`, `C:\windows\fitout\tests`}
	here    = posix // on the machine itself
)

func init() {
	if runtime.GOOS == "windows" {
		here = windows
	}
}

func (d *Device) place() place {
	if d.M.Kind == lab.Wine {
		return windows
	}
	return posix
}

// outside is the path on this host of a container's file.
func (d *Device) outside(name string) string {
	if d.M.Kind == lab.Wine {
		return d.M.WindowsPath(name)
	}
	return filepath.Join(d.M.Root(), name)
}

// run runs the program on the machine for a request.
func (d *Device) run(request string) (string, error) {
	ctx := d.t.Context()
	if d.M.Kind != lab.Wine {
		return d.M.Exec(ctx, "cd /; "+onMachine+"="+request+" "+d.place().program)
	}
	c := d.M.Windows(ctx, d.place().program)
	c.Env = []string{onMachine + "=" + request}
	return c.Output()
}

// says is what a script prints on the machine: sh's, or on Windows a line for cmd.exe. Whether it fails doesn't matter on
// Windows, where asking for what isn't there is a failure.
func (d *Device) says(script string) string {
	d.t.Helper()
	if d.M.Kind != lab.Wine {
		return d.M.Run(d.t, script)
	}
	ctx, cancel := context.WithTimeout(d.t.Context(), 5*time.Minute)
	defer cancel()
	var out, errs strings.Builder
	c := d.M.Windows(ctx)
	c.Line, c.Stdout, c.Stderr = "cmd.exe /d /c "+script, &out, &errs
	code, err := c.Run()
	if err != nil {
		d.t.Fatalf("on %s: %v\n%s\nit printed: %s", d.M.Name, err, script, out.String())
	}
	text := strings.ReplaceAll(out.String(), "\r\n", "\n")
	if code != 0 {
		text += fmt.Sprintf("%s(exit code %d)", strings.ReplaceAll(errs.String(), "\r\n", "\n"), code)
	}
	return text
}
