package services

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/integration/lab"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/moduletest"
)

// The services are a program of the lab's, which Wine's service control manager runs; sc.exe and reg.exe are asked about them.
func TestOnWindows(t *testing.T) {
	m := lab.New(t).Machine(t, lab.Wine)
	all := windowsMachine{machine{t, m, moduletest.OnMachine(t, m)}}
	for _, test := range []struct {
		name string
		run  func(windowsMachine)
	}{{"made and removed", testMadeOnWindows}, {"configured", testConfiguredOnWindows}, {"dependent", testDependentOnWindows}, {"errors", testErrorsOnWindows}} {
		t.Run(test.name, func(t *testing.T) { test.run(windowsMachine{all.in(t)}) })
	}
}

type windowsMachine struct{ machine }

// has checks values of a service's key.
func (x windowsMachine) has(service string, want ...string) {
	x.t.Helper()
	var lines []string
	for line := range strings.Lines(x.m.RunWindows(x.t, "reg", "query", `HKLM\SYSTEM\CurrentControlSet\Services\`+service)) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	all := strings.Join(lines, "\n")
	for _, w := range want {
		if !strings.Contains(all+"\n", w+"\n") {
			x.t.Errorf("%s has no %q:\n%s", service, w, all)
		}
	}
}

// runs says what sc says of a service: RUNNING, STOPPED, or "" where there is none.
func (x windowsMachine) runs(service, want string) {
	x.t.Helper()
	out, err := x.m.Windows(x.t.Context(), "sc", "query", service).Output()
	if want == "" {
		if err == nil {
			x.t.Errorf("%s is still there: %s", service, out)
		}
		return
	}
	if err != nil || !strings.Contains(out, want) {
		x.t.Errorf("%s isn't %s: %s %v", service, want, out, err)
	}
}

// pid is a service's process.
func (x windowsMachine) pid(service string) string {
	x.t.Helper()
	for _, r := range x.d.Plan("services", `{"name": "`+service+`", "running": true}`) {
		if r.Have["active"] != "running" {
			x.t.Errorf("%s is %v", service, r.Have["active"])
		}
	}
	return strings.TrimSpace(x.m.Run(x.t, `pgrep -f 'lab.exe service `+service+`$'`))
}

func (x windowsMachine) tell(want string) string {
	x.t.Helper()
	c := x.m.Windows(x.t.Context(), `C:\windows\fitout\module.test.exe`)
	c.Env = []string{notifyRequest + "=" + want}
	out, err := c.Output()
	if err != nil {
		x.t.Error(err)
	}
	return out
}

// agent is an entry for a service that runs the lab's program.
func agent(name, more string) string {
	return fmt.Sprintf(`{"name": %q, "program": "C:\\windows\\system32\\lab.exe service %s"%s}`, name, name, more)
}

const everything = `reg query HKLM\SYSTEM\CurrentControlSet\Services\Example /s & sc query Example`

func testMadeOnWindows(x windowsMachine) {
	want := agent("Example", `, "start": "auto", "running": true, "displayName": "Example agent", "description": "Reports to Example S.A.", "account": "LocalService"`)
	x.d.TakesBack("services", want, everything)
	x.has("Example", "Start REG_DWORD 0x2", "DisplayName REG_SZ Example agent", "Description REG_SZ Reports to Example S.A.", `ObjectName REG_SZ NT AUTHORITY\LocalService`)
	x.runs("Example", "RUNNING")
	x.plans(want, modules.Same)

	x.d.TakesBack("services", `{"name": "Example", "running": false}`, everything)
	x.runs("Example", "STOPPED")
	x.converged(`{"name": "Example", "running": true}`)
	x.d.TakesBack("services", `{"name": "Example", "state": "absent"}`, everything)
	x.runs("Example", "")
	x.plans(`{"name": "Example", "state": "absent"}`, modules.Same)
	x.plans(`{"name": "Example", "running": false, "enabled": false}`, modules.Same)
	x.d.Interrupted("services", want, func() { x.converged(`{"name": "Example", "state": "absent"}`) }, everything)
}

func testConfiguredOnWindows(x windowsMachine) {
	x.converged(agent("Example", `, "start": "manual"`))
	x.d.TakesBack("services", `{"name": "Example", "enabled": true}`, everything)
	x.has("Example", "Start REG_DWORD 0x2")
	x.d.TakesBack("services", `{"name": "Example", "enabled": false}`, everything)
	x.has("Example", "Start REG_DWORD 0x3")
	x.d.TakesBack("services", `{"name": "Example", "masked": true, "running": false}`, everything)
	x.has("Example", "Start REG_DWORD 0x4")
	x.fails(`{"name": "Example", "running": true}`, "Example is disabled", "start: manual")
	x.converged(`{"name": "Example", "masked": false, "running": true}`)
	x.runs("Example", "RUNNING")
	x.d.TakesBack("services", `{"name": "Example", "program": "\"C:\\windows\\system32\\lab.exe\" service Example", "displayName": "Other", "description": "", "account": "NT AUTHORITY\\NetworkService", "dependencies": ["RpcSs"]}`, everything)
	x.has("Example", `ImagePath REG_SZ "C:\windows\system32\lab.exe" service Example`, "DependOnService REG_MULTI_SZ RpcSs")
	x.d.TakesBack("services", `{"name": "Example", "start": "delayed"}`, everything)
	x.plans(`{"name": "Example", "account": "NetworkService", "dependencies": ["rpcss"]}`, modules.Same)
	x.d.TakesBack("services", `{"name": "Example", "dependencies": []}`, everything)
}

func testDependentOnWindows(x windowsMachine) {
	// Wine starts no dependencies by itself.
	x.converged(`[` + agent("Base", `, "running": true`) + `, ` + agent("Middle", `, "dependencies": ["Base"], "running": true`) + `, ` + agent("Top", `, "dependencies": ["Middle"], "running": true`) + `, ` + agent("Idle", `, "dependencies": ["Base"]`) + `]`)
	for _, name := range []string{"Base", "Middle", "Top"} {
		x.runs(name, "RUNNING")
	}
	before := x.pid("Base") + x.pid("Top")
	if said := x.tell(`{"name": "Base"}`); said != "" {
		x.t.Error(said)
	}
	for _, name := range []string{"Base", "Middle", "Top"} {
		x.runs(name, "RUNNING")
	}
	x.runs("Idle", "STOPPED")
	if after := x.pid("Base") + x.pid("Top"); after == before {
		x.t.Errorf("after a notification it is still process %s", after)
	}
	x.converged(`{"name": "Base", "running": false}`)
	for _, name := range []string{"Base", "Middle", "Top"} {
		x.runs(name, "STOPPED")
	}
	if said := x.tell(`{"name": "Base"}`); said != "" {
		x.t.Error(said)
	}
	x.runs("Base", "STOPPED")
}

func testErrorsOnWindows(x windowsMachine) {
	x.converged(agent("Example", `, "running": false`))
	x.fails(`{"name": "Exampel", "running": true}`, "no service Exampel on this device", "did you mean Example?")
	x.fails(`{"name": "Gone", "program": "C:\\no\\such.exe", "running": true}`, "start service Gone: ")
	x.converged(`{"name": "Gone", "state": "absent"}`)
}
