package host

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/fitout-dev/fitout/modules/hint"
)

func runAs(cmd *exec.Cmd, name string) error {
	return hint.New(fmt.Errorf("run as %s: not possible on Windows, where that takes a password", name), "leave user out, or let a task run it")
}

// commandLine gives a program its arguments as it understands them. Windows hands over one text, which programs take apart
// themselves: most of them as C's library does, which exec sees to, but cmd.exe and what it runs by other rules. A line is
// handed over as it is.
func commandLine(cmd *exec.Cmd, line string) error {
	if line != "" {
		cmd.SysProcAttr.CmdLine = syscall.EscapeArg(cmd.Path) + " " + line
		return nil
	}
	name := strings.ToLower(filepath.Base(cmd.Path))
	switch {
	case name == "cmd.exe":
		if line, ok := shellLine(cmd.Args); ok {
			cmd.SysProcAttr.CmdLine = line
		}
	case strings.HasSuffix(name, ".bat"), strings.HasSuffix(name, ".cmd"):
		line, err := batchLine(cmd.Path, cmd.Args[1:])
		if err != nil {
			return err
		}
		shell, err := exec.LookPath("cmd.exe")
		if err != nil {
			return err
		}
		cmd.Path, cmd.SysProcAttr.CmdLine = shell, line
	}
	return nil
}

// shellLine is a line for cmd.exe: what comes behind /c or /k is its own language. One argument stands as it is; of several
// those with blanks in them are quoted. With /s, cmd.exe takes away the outermost quotation marks and nothing else.
func shellLine(args []string) (string, bool) {
	for i, a := range args[1:] {
		if !strings.EqualFold(a, "/c") && !strings.EqualFold(a, "/k") {
			continue
		}
		var b strings.Builder
		b.WriteString(syscall.EscapeArg(args[0]))
		for _, option := range args[1 : i+1] {
			b.WriteString(" " + syscall.EscapeArg(option))
		}
		rest := args[i+2:]
		if len(rest) > 1 {
			rest = append([]string(nil), rest...)
			for j, r := range rest {
				if r == "" || strings.ContainsAny(r, " \t") && !strings.Contains(r, `"`) {
					rest[j] = `"` + r + `"`
				}
			}
		}
		b.WriteString(" /s " + a + ` "` + strings.Join(rest, " ") + `"`)
		return b.String(), true
	}
	return "", false
}

// batchLine runs a batch file by cmd.exe, which looks for variables and operators in all that it is handed.
func batchLine(path string, args []string) (string, error) {
	for _, a := range args {
		if i := strings.IndexAny(a, "\"%\r\n\x00"); i >= 0 {
			return "", hint.New(fmt.Errorf("%s is a batch file: an argument can't hold %q, which cmd.exe would take for its own", path, a[i:i+1]),
				"hand it over by environment, or write the line for cmd.exe yourself: run: [cmd.exe, /d, /c, ...]")
		}
	}
	var b strings.Builder
	b.WriteString(`cmd.exe /d /v:off /s /c "` + `"` + path + `"`)
	for _, a := range args {
		b.WriteString(` "` + a + `"`)
	}
	return b.String() + `"`, nil
}
