package scripts

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/host"
)

var typ = modules.Define("commands", Commands{})

// converge does what the executor does with one command, and says what it did.
func converge(t *testing.T, h *host.Host, want Command) (modules.Op, string, modules.Outcome, error) {
	t.Helper()
	o := typ.Observe(t.Context(), h, []any{want})[0]
	if o.Err != nil {
		return "", "", modules.Outcome{}, o.Err
	}
	op, _ := typ.Diff(want, o.Have, true)
	reason := o.Have.(Command).Reason
	if op == modules.Same {
		return op, reason, modules.Outcome{}, nil
	}
	r := typ.Apply(t.Context(), h, []any{want}, []any{o.Have})[0]
	return op, reason, r.Outcome, r.Err
}

func sh(script string) []string { return []string{"/bin/sh", "-c", script} }

func needShell(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs /bin/sh")
	}
}

func TestGuards(t *testing.T) {
	needShell(t)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.Mkdir(at("bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, script := range map[string]string{"bin/mark": `touch "$1"`, "bin/marked": `test -e "$1"`} {
		if err := os.WriteFile(at(name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name   string
		want   Command
		reason string // a part of it, before the first run
		runs   string // what the first three applies are
		err    string
	}{
		{"creates", Command{Run: sh("echo x >> " + at("a")), Creates: at("a")}, "is missing", "create same same", ""},
		{"unless", Command{Run: sh("echo x >> " + at("b")), Unless: []string{"test", "-e", at("b")}}, "unless: exit status 1", "create same same", ""},
		{"onlyIf", Command{Run: sh("touch " + at("c")), OnlyIf: sh("! test -e " + at("c"))}, "onlyIf: exit status 0", "create same same", ""},
		{"onlyIf says no", Command{Run: sh("exit 9"), OnlyIf: sh("exit 3")}, "onlyIf: exit status 3", "same same same", ""},
		{"no guard", Command{Run: sh("true")}, "every apply", "create create create", ""},
		{"all must ask", Command{Run: sh("exit 9"), Creates: at("d"), Unless: sh("true")}, "unless: exit status 0", "same same same", ""},
		{"only when notified", Command{Run: sh("exit 9"), OnNotifyOnly: true}, "only when notified", "same same same", ""},
		{"a guard's program missing", Command{Run: sh("true"), Unless: []string{at("nosuch")}}, "nosuch is missing", "create", "guard still asks for it (unless: "},
		{"onlyIf's program missing", Command{Run: sh("true"), OnlyIf: []string{at("nosuch")}}, "", "", "onlyIf: run "},
		{"guard not satisfied", Command{Run: sh("true"), Creates: at("never")}, "never is missing", "create", "still asks for it (creates: " + at("never")},
		{"failure", Command{Run: sh("echo out; echo no luck >&2; exit 3"), Creates: at("e")}, "e is missing", "create", "exit status 3: no luck"},
		{"other exit statuses", Command{Run: sh("touch " + at("f") + "; exit 3"), ExitCodes: []int{0, 3}, Creates: at("f")}, "f is missing", "create same", ""},
		{"zero not among them", Command{Run: sh("true"), ExitCodes: []int{7}}, "every", "create", "exit status 0"},
		{"missing program", Command{Run: []string{at("nosuch")}}, "every", "create", "nosuch"},
		{"directory", Command{Run: sh("touch g"), Directory: dir, Creates: at("g")}, "g is missing", "create same", ""},
		{"a program in it, guards too", Command{Run: []string{"bin/mark", "k"}, Directory: dir, Unless: []string{"./bin/marked", "k"}}, "unless: exit status 1", "create same", ""},
		{"environment, guards too", Command{Run: sh(`touch "$WHERE"`), Unless: sh(`test -e "$WHERE"`), Environment: map[string]string{"WHERE": at("h")}}, "exit status 1", "create same", ""},
		{"stdin", Command{Run: sh("cat > " + at("i")), Stdin: "from stdin", Unless: sh("grep -qx 'from stdin' " + at("i"))}, "exit status 2", "create same", ""},
		{"nothing on stdin", Command{Run: sh("cat; touch " + at("j")), Creates: at("j")}, "j is missing", "create same", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.want.Name = c.name
			h := host.New("/")
			for i, want := range strings.Fields(c.runs + " ") {
				op, reason, out, err := converge(t, h, c.want)
				if string(op) != want {
					t.Fatalf("apply %d: %s (%s), want %s; error %v", i+1, op, reason, want, err)
				}
				if i == 0 && !strings.Contains(reason, c.reason) {
					t.Errorf("reason %q, want %q in it", reason, c.reason)
				}
				if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
					t.Fatalf("error %v, want %q", err, c.err)
				}
				if c.name == "no guard" && out.Unproven == "" {
					t.Error("nothing says that it is unproven")
				}
			}
			if c.runs == "" {
				if _, _, _, err := converge(t, h, c.want); err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want %q", err, c.err)
				}
			}
		})
	}
}

func TestNotified(t *testing.T) {
	needShell(t)
	file := filepath.Join(t.TempDir(), "count")
	h := host.New("/")
	want := Command{Name: "x", Run: sh("echo x >> " + file), Creates: file, OnNotifyOnly: true}
	for range 2 {
		if err := typ.Notify(t.Context(), h, want); err != nil {
			t.Fatal(err)
		}
	}
	want.OnlyIf = []string{"false"}
	if err := typ.Notify(t.Context(), h, want); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(file); string(b) != "x\nx\n" {
		t.Errorf("ran %d times, want 2: onlyIf holds for a notification, creates doesn't", strings.Count(string(b), "x"))
	}
}

func TestCancelEndsTheProgram(t *testing.T) {
	needShell(t)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	r := typ.Apply(ctx, host.New("/"), []any{Command{Name: "x", Run: sh("echo before; sleep 60 & wait")}}, []any{Command{}})[0]
	if !errors.Is(r.Err, context.DeadlineExceeded) || !strings.Contains(r.Err.Error(), "before") {
		t.Errorf("error %v, want the deadline and what the program said", r.Err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %s", took)
	}
}

func TestSecretsStayHidden(t *testing.T) {
	says := sh(`echo "$P"; cat >&2; exit 1`)
	if runtime.GOOS == "windows" {
		says = []string{"cmd.exe", "/d", "/c", `echo %P%& more 1>&2& exit 1`}
	}
	var log bytes.Buffer
	h := host.New("/", host.WithSecrets([]string{"s3cret"}), host.WithLog(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	_, _, _, err := converge(t, h, Command{Name: "x", Run: says, Stdin: "s3cret", Environment: map[string]string{"P": "s3cret"}})
	if err == nil || strings.Contains(err.Error()+log.String(), "s3cret") || !strings.Contains(err.Error(), host.Marker) {
		t.Errorf("error %v, log %s: want the marker instead of the secret", err, &log)
	}
}

func TestOtherRoot(t *testing.T) {
	h := host.New(t.TempDir())
	want := Command{Name: "x", Run: sh("true")}
	if o := typ.Observe(t.Context(), h, []any{want})[0]; !errors.Is(o.Err, host.ErrNeedsSystem) {
		t.Errorf("observe: %v", o.Err)
	}
	if err := typ.Notify(t.Context(), h, want); !errors.Is(err, host.ErrNeedsSystem) {
		t.Errorf("notify: %v", err)
	}
}

func TestCheck(t *testing.T) {
	for _, bad := range []Command{
		{}, {Run: []string{""}}, {Run: sh("x"), Unless: []string{}}, {Run: sh("x"), OnlyIf: []string{""}},
		{Run: sh("x\x00")}, {Run: sh("x"), Environment: map[string]string{"A=B": ""}}, {Run: []string{"~/bin/x"}},
	} {
		if err := typ.Check(bad); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
}

func TestInverse(t *testing.T) {
	if _, err := typ.Inverse(Command{}, Command{}); err == nil || err.Error() != "what a command did is not known" {
		t.Error(err)
	}
}
