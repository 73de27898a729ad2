package moduletest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fitout-dev/fitout/integration/lab"
	"github.com/fitout-dev/fitout/modules"
)

const (
	crashCode  = 77
	maxCrashes = 200 // no resource changes more
)

// crashing ends the program before the n-th change, as a power cut does to it; n is counted from 1.
func crashing(n int) func(change string) {
	return func(change string) {
		if n--; n == 0 {
			fmt.Fprintf(os.Stderr, "crashed before %s\n", change)
			os.Exit(crashCode)
		}
	}
}

// Interrupted crashes the apply of want before each single change in turn. reset brings the machine to the state before,
// each time; a further run must end as an undisturbed one does, judged by what the script says (see TakesBack).
func (d *Device) Interrupted(typ, want string, reset func(), script string) {
	d.t.Helper()
	reset()
	d.changes(typ, want)
	undisturbed := d.says(script)
	for n := 1; n <= maxCrashes; n++ {
		reset()
		_, err := d.try(request{Type: typ, Wants: json.RawMessage(want), Timeout: 10 * time.Minute, Crash: n})
		if err == nil {
			if n == 1 {
				d.t.Errorf("%s: no change that could be interrupted was made through host", want)
			}
			return
		}
		_, at, ok := strings.Cut(err.Error(), "crashed before ")
		if !ok {
			d.t.Fatalf("on %s: %v", d.M.Name, err)
		}
		at, _, _ = strings.Cut(at, "\n")
		for _, r := range d.Converge(typ, want) {
			if r.Error != "" || r.Again != modules.Same {
				d.t.Errorf("crashed before %q, a further run does not converge: then %s %v: %s", at, r.Again, r.After, r.Error)
			}
		}
		if diff := cmp.Diff(undisturbed, d.says(script)); diff != "" {
			d.t.Errorf("crashed before %q, a further run ends otherwise (-undisturbed +interrupted):\n%s", at, diff)
		}
	}
	d.t.Errorf("%s: more than %d changes", want, maxCrashes)
}

// Tests runs the package's own tests that match a pattern on the machine, with the package's testdata beside them: the
// fixtures, with their crashes and undo, on the machine's own system. Those that need a lab skip there.
func (d *Device) Tests(pattern string) {
	d.t.Helper()
	p := d.place()
	if _, err := os.Stat("testdata"); err == nil {
		to := d.outside(p.folder + "/testdata")
		must(d.t, os.MkdirAll(to, 0o755))
		if out, err := exec.Command("cp", "-a", "testdata/.", to).CombinedOutput(); err != nil {
			d.t.Fatalf("copy testdata: %v: %s", err, out)
		}
	} else {
		must(d.t, os.MkdirAll(d.outside(p.folder), 0o755))
	}
	args := []string{"-test.v", "-test.timeout=10m", "-test.run=" + pattern}
	var out string
	var err error
	if d.M.Kind == lab.Wine {
		c := d.M.Windows(d.t.Context(), append([]string{p.program}, args...)...)
		c.Env, c.Dir = []string{"FITOUT_LAB=off"}, p.folder
		out, err = c.Output()
	} else {
		out, err = d.M.Exec(d.t.Context(), fmt.Sprintf("cd %s; FITOUT_LAB=off %s '%s'", p.folder, p.program, strings.Join(args, "' '")))
	}
	switch {
	case err != nil:
		d.t.Errorf("%s on %s: %v\n%s", pattern, d.M.Name, err, out)
	case !passed(pattern).MatchString(out):
		d.t.Errorf("%s on %s: no test ran\n%s", pattern, d.M.Name, out)
	}
}

// passed is what shows that a test, as deep as the pattern asks for, has run.
func passed(pattern string) *regexp.Regexp {
	return regexp.MustCompile(`(?m)^ *--- PASS: [^ /]+` + strings.Repeat(`/\S+`, strings.Count(pattern, "/")) + ` \(`)
}
