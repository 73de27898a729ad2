package scripts

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/modules/host"
	"github.com/google/go-cmp/cmp"
)

func cmdExe(line string) []string { return []string{"cmd.exe", "/d", "/c", line} }

// Guards as programs of Windows answer them: in the command's folder, with its environment.
func TestGuardsOnWindows(t *testing.T) {
	dir, elsewhere := t.TempDir(), filepath.Join(t.TempDir(), "els éwhere")
	must(t, os.Mkdir(elsewhere, 0o755))
	must(t, os.Mkdir(filepath.Join(dir, "tools"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "tools", "mark.bat"), []byte("@echo x>>%1\r\n"), 0o644))
	for _, c := range []struct {
		name   string
		want   Command
		reason string // before the first run
		then   string // after it
		marks  string // the file that each run adds a line to, in dir
		err    string
	}{
		{"unless", Command{Run: cmdExe("echo x>>%WHERE%"), Unless: cmdExe("if not exist %WHERE% exit 3"), Environment: map[string]string{"WHERE": "unless"}},
			"unless: exit status 3", "unless: exit status 0", "unless", ""},
		{"onlyIf", Command{Run: cmdExe("echo x>>%WHERE%"), OnlyIf: cmdExe("if exist %WHERE% exit 4"), Environment: map[string]string{"WHERE": "onlyIf"}},
			"onlyIf: exit status 0", "onlyIf: exit status 4", "onlyIf", ""},
		{"unless says no", Command{Run: cmdExe("echo x>>%WHERE%"), Unless: cmdExe("if not %WHERE%.==no. exit 1"), Environment: map[string]string{"WHERE": "no"}},
			"unless: exit status 0", "", "", ""},
		{"onlyIf says no", Command{Run: cmdExe("exit 9"), OnlyIf: cmdExe("exit -1")}, "onlyIf: exit status 4294967295", "", "", ""},
		{"both must ask", Command{Run: cmdExe("exit 9"), OnlyIf: cmdExe("exit 0"), Unless: cmdExe("exit 0")}, "unless: exit status 0", "", "", ""},
		{"creates in another folder", Command{Run: cmdExe(`echo x>>creates& echo y>"` + elsewhere + `\there"`), Creates: elsewhere + `\there`},
			"creates: " + elsewhere + `\there is missing`, "creates: " + elsewhere + `\there exists`, "creates", ""},
		{"not satisfied", Command{Run: cmdExe("echo x>>vain"), Unless: cmdExe("exit 5")}, "unless: exit status 5", "", "vain", "its guard still asks for it (unless: exit status 5)"},
		{"a guard's program missing", Command{Run: cmdExe("echo x>>missing"), Unless: []string{`C:\no such.exe`}}, `unless: C:\no such.exe is missing`, "", "missing", "its guard still asks for it"},
		{"programs in the folder", Command{Run: []string{`tools\mark.bat`, "inside"}, Creates: filepath.Join(dir, "inside")}, "is missing", "exists", "inside", ""},
		{"good exit statuses", Command{Run: cmdExe("echo x>>good& exit 7"), Unless: cmdExe("if not exist good exit 1"), ExitCodes: []int{7}}, "unless: exit status 1", "unless: exit status 0", "good", ""},
		{"zero not among them", Command{Run: cmdExe("echo x>>zero"), Unless: cmdExe("if not exist zero exit 1"), ExitCodes: []int{7}}, "unless: exit status 1", "", "zero", "exit status 0"},
		{"a negative one", Command{Run: cmdExe("echo x>>negative& exit -1978335189"), Unless: cmdExe("if not exist negative exit 1"), ExitCodes: []int{-1978335189}},
			"unless: exit status 1", "unless: exit status 0", "negative", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.want.Name, c.want.Directory = c.name, dir
			h := host.New("/")
			_, reason, _, err := converge(t, h, c.want)
			if !strings.Contains(reason, c.reason) {
				t.Errorf("before: %q, want %q in it", reason, c.reason)
			}
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("error %v, want %q", err, c.err)
			}
			if c.then != "" {
				op, reason, _, err := converge(t, h, c.want)
				if op != "same" || !strings.Contains(reason, c.then) || err != nil {
					t.Errorf("a second time: %s, %q, %v, want %q", op, reason, err, c.then)
				}
			}
			if c.marks != "" {
				if b, err := os.ReadFile(filepath.Join(dir, c.marks)); string(b) != "x\r\n" {
					t.Errorf("it ran %d times, want 1 (%v)", strings.Count(string(b), "x"), err)
				}
			} else if _, err := os.Stat(filepath.Join(dir, "no")); err == nil {
				t.Error("it ran, though its guard said no")
			}
		})
	}
	if _, _, _, err := converge(t, host.New("/"), Command{Name: "x", Run: cmdExe("exit 0"), OnlyIf: []string{"no-such-program"}}); err == nil || !strings.Contains(err.Error(), "onlyIf: run no-such-program") {
		t.Errorf("onlyIf without its program: %v", err)
	}
}

const tells = "FITOUT_TEST_TELLS" // a file into which this program writes what it was handed, instead of running tests

// handed is what a program got.
type handed struct {
	Args  []string
	Stdin string
}

func init() {
	if name := os.Getenv(tells); name != "" {
		in, err := io.ReadAll(os.Stdin)
		b, _ := json.Marshal(handed{os.Args[1:], string(in)})
		if err == nil && os.WriteFile(name, b, 0o644) == nil {
			os.Exit(0)
		}
		os.Exit(1)
	}
}

// PowerShell takes its command line apart as C's library does, and so does this program, which bears its name here. What is
// behind -Command has to arrive as it was written: whatever comes then is PowerShell's own language.
func TestPowerShellGetsWhatIsWritten(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	must(t, err)
	b, err := os.ReadFile(self)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "powershell.exe"), b, 0o755))
	t.Setenv("PATH", dir+";"+os.Getenv("PATH"))
	for i, script := range []string{
		`Get-Date`,
		`Set-Content C:\x\a.txt "a  b"; $y = 'c  d'; "$y $env:PATH $(1 + 1)"`,
		`"100% %PATH% %1 %% !PATH!" | Out-File a^b & c && d > e < f`,
		`cd C:\Program Files\`, `"C:\Program Files\"`, `two \\`, `"C:\\" "\" \"`, `\"`, `"`, `""`, `"""`, `'it''s'`,
		"`\"quoted`\" `$not `n", `& "C:\a b\c.exe" --% /x:"y z"`, `@{a=1;b="2"}.Keys | % { $_ }`,
		`é ü ß — 日本語 😀 ñ`, "first\nsecond\r\n\tthird", ` leads and trails `, ``, `-Command`, `/c "x y"`, `*.txt ?`,
	} {
		file := filepath.Join(dir, fmt.Sprint(i))
		want := handed{[]string{"-NoProfile", "-Command", script}, "s3cret %PATH% \"^&\\ é\r\n\x1a\n" + script}
		command := Command{Name: "x", Run: append([]string{"powershell.exe"}, want.Args...), Stdin: want.Stdin, Environment: map[string]string{tells: file}, Creates: file}
		if op, reason, _, err := converge(t, host.New("/"), command); op != "create" || err != nil {
			t.Errorf("%q: %s (%s): %v", script, op, reason, err)
			continue
		}
		b, err := os.ReadFile(file)
		must(t, err)
		var got handed
		must(t, json.Unmarshal(b, &got))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q arrives otherwise (-written +arrived):\n%s", script, diff)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
