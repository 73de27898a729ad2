package scripts

import (
	"os"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/integration/lab"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/moduletest"
)

// Lines for cmd.exe, arguments and exit statuses, as programs of Windows have them.
func TestOnWindows(t *testing.T) {
	m := lab.New(t).Machine(t, lab.Wine)
	d := moduletest.OnMachine(t, m)
	lab.Must(t, os.MkdirAll(m.WindowsPath(`C:\Commands`), 0o755))
	one := func(want string) moduletest.Report {
		t.Helper()
		r := d.Converge("commands", want)
		if len(r) != 1 {
			t.Fatalf("%s: %+v", want, r)
		}
		return r[0]
	}
	has := func(name, want string) {
		t.Helper()
		b, err := os.ReadFile(m.WindowsPath(name))
		if got := strings.TrimSpace(string(b)); err != nil || got != want {
			t.Errorf("%s holds %q, want %q (%v)", name, got, want, err)
		}
	}

	first := `{"name": "first", "run": ["cmd.exe", "/d", "/c", "echo \"a b\" & echo 100%>\"C:\\Commands\\the first\""], "creates": "C:\\Commands\\the first"}`
	if r := one(first); r.Op != modules.Create || r.Again != modules.Same || r.Error != "" {
		t.Errorf("first: %+v", r)
	}
	has(`C:\Commands\the first`, "100%")
	if r := one(first); r.Op != modules.Same {
		t.Errorf("a second time: %+v", r)
	}

	// Each argument arrives as it was written, also where it comes by a batch file.
	lab.Must(t, os.WriteFile(m.WindowsPath(`C:\Commands\my batch.bat`), []byte("@echo %1 %2>C:\\Commands\\batch\r\n@echo done\r\n"), 0o644))
	if r := one(`{"name": "batch", "run": ["C:\\Commands\\my batch.bat", "a  b", "c^;"], "creates": "C:\\Commands\\batch"}`); r.Error != "" || r.Again != modules.Same {
		t.Errorf("batch: %+v", r)
	}
	has(`C:\Commands\batch`, `"a  b" "c^;"`)
	if r := one(`{"name": "batch", "run": ["C:\\Commands\\my batch.bat", "%PATH%"], "creates": "C:\\Commands\\none"}`); !strings.Contains(r.Error, "is a batch file") {
		t.Errorf("a percent sign: %+v", r)
	}

	for status, want := range map[string]struct{ reboot, err string }{
		"0": {}, "3010": {reboot: "asks for a restart (exit status 3010)"}, "1641": {reboot: "asks for a restart (exit status 1641)"}, "1603": {err: "exit status 1603"},
	} {
		r := one(`{"name": "status", "run": ["cmd.exe", "/d", "/c", "exit ` + status + `"]}`)
		if !strings.Contains(r.Reboot, want.reboot) || want.reboot == "" && r.Reboot != "" || !strings.Contains(r.Error, want.err) || want.err == "" && r.Error != "" {
			t.Errorf("exit status %s: %+v", status, r)
		}
	}
	if r := one(`{"name": "strict", "exitCodes": [0], "run": ["cmd.exe", "/d", "/c", "exit 3010"]}`); !strings.Contains(r.Error, "exit status 3010") {
		t.Errorf("a status that isn't among the good ones: %+v", r)
	}
	if r := one(`{"name": "other", "user": "alice", "run": ["cmd.exe", "/d", "/c", "exit 0"]}`); !strings.Contains(r.Error, "not possible on Windows") {
		t.Errorf("another user: %+v", r)
	}
	if r := one(`{"name": "none", "run": ["no-such-program"]}`); !strings.Contains(r.Error, "install it first") {
		t.Errorf("no program: %+v", r)
	}
	for _, test := range []string{"TestGuardsOnWindows", "TestPowerShellGetsWhatIsWritten", "TestSecretsStayHidden", "TestCancelEndsChildren"} {
		d.Tests(test)
	}
}
