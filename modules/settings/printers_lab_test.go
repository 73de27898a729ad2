package settings

import (
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/integration/lab"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/moduletest"
)

func TestPrintersCheck(t *testing.T) {
	for want, p := range map[string]Printer{
		"":                     {Name: "Office", Port: modules.Ptr("LPT1:")},
		"can't be a printer's": {Name: `\\server\queue`},
		"false can't be":       {Name: "Office", Default: modules.Ptr(false)},
		"port: empty":          {Name: "Office", Port: modules.Ptr("")},
		"driver: empty":        {Name: "Office", Driver: modules.Ptr("")},
	} {
		if err := (Printers{}).Check(p); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(hint.Text(err), want)) {
			t.Errorf("%+v: %v, want %q", p, err, want)
		}
	}
}

// Queues of the spooler, asked back by reg.exe: they are keys, with the default one among the user's values.
func TestPrintersOnWindows(t *testing.T) {
	m := lab.New(t).Machine(t, lab.Wine)
	x := windowsMachine{machine{t, m, moduletest.OnMachine(t, m)}}
	const driver = `HKLM\SYSTEM\CurrentControlSet\Control\Print\Environments\Windows x64\Drivers\Version-3\PS Driver`
	for _, value := range []string{"Driver", "Configuration File", "Data File"} {
		m.RunWindows(t, "reg", "add", driver, "/v", value, "/d", "wineps.drv", "/f")
	}
	m.RunWindows(t, "reg", "add", driver, "/v", "Version", "/t", "REG_DWORD", "/d", "3", "/f")
	const printers = `reg query HKLM\SYSTEM\CurrentControlSet\Control\Print\Printers /s /v Port & reg query HKLM\SYSTEM\CurrentControlSet\Control\Print\Printers /s /v Description & reg query "HKCU\Software\Microsoft\Windows NT\CurrentVersion\Windows" /v Device & reg query "HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Ports"`
	x.fails("printers", `{"name": "Office", "port": "C:\\office.prn", "driver": "No Such Driver"}`, `the driver "No Such Driver" isn't installed`)
	x.fails("printers", `{"name": "Office"}`, "a new one needs a port and a driver")
	want := `{"name": "Office", "port": "C:\\office.prn", "driver": "PS Driver", "comment": "Colour", "location": "Second floor"}`
	x.d.TakesBack("printers", want, printers)
	x.plans("printers", want, modules.Same)
	x.answers(`HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Control\Print\Printers\Office`+"\nPort REG_SZ C:\\office.prn",
		"reg", "query", `HKLM\SYSTEM\CurrentControlSet\Control\Print\Printers\Office`, "/v", "Port")
	x.converged("printers", `{"name": "First", "port": "LPT1:", "driver": "PS Driver", "default": true}`, modules.Create)
	x.d.TakesBack("printers", `{"name": "Office", "default": true}`, printers)
	x.converged("printers", `{"name": "Office", "state": "absent"}`, modules.Delete)
	x.d.Interrupted("printers", want, func() {
		x.d.Converge("printers", `{"name": "Office", "state": "absent"}`)
	}, printers)
}
