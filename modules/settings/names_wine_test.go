package settings

import (
	"os"
	"strings"

	"github.com/fitout-dev/fitout/integration/lab"
	"github.com/fitout-dev/fitout/modules"
)

// The lab's Linux side has the same hosts file.
func testWindowsHosts(x windowsMachine) {
	const show = `type C:\windows\system32\drivers\etc\hosts`
	file := x.m.WindowsPath(`C:\windows\system32\drivers\etc\hosts`)
	put := func() { lab.Must(x.t, os.WriteFile(file, []byte("# Windows\r\n10.0.0.6 nas other\r\n"), 0o644)) }
	put()
	want := `[{"name": "nas", "address": "10.0.0.5", "aliases": ["nas.example.lan"]}, {"name": "printer", "address": "10.0.0.9"}]`
	x.d.TakesBack("hosts", want, show)
	x.plans("hosts", want, modules.Same, modules.Same)
	b, err := os.ReadFile(file)
	lab.Must(x.t, err)
	if got, want := string(b), "# Windows\r\n10.0.0.6\tother\r\n10.0.0.5\tnas nas.example.lan\r\n10.0.0.9\tprinter\r\n"; got != want {
		x.t.Errorf("the file holds %q, want %q", got, want)
	}
	x.says("getent hosts nas.example.lan printer | awk '{print $1}'", "10.0.0.5\n10.0.0.9")
	x.d.TakesBack("hosts", `{"name": "nas", "state": "absent"}`, show)
	x.d.Interrupted("hosts", want, put, show)
}

func testWindowsHostname(x windowsMachine) {
	const next = `reg query HKLM\SYSTEM\CurrentControlSet\Control\ComputerName\ComputerName /v ComputerName`
	r := x.d.Converge("hostname", `{"name": "lt-042"}`)
	if r[0].Error != "" || r[0].Again != modules.Same || !strings.Contains(r[0].Reboot, "from its next start on") {
		x.t.Errorf("%+v", r)
	}
	x.answers(`HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Control\ComputerName\ComputerName`+"\nComputerName REG_SZ LT-042", "reg", "query",
		`HKLM\SYSTEM\CurrentControlSet\Control\ComputerName\ComputerName`, "/v", "ComputerName")
	x.plans("hostname", `{"name": "LT-042"}`, modules.Same)
	x.d.TakesBack("hostname", `{"name": "lt-043"}`, next)
}
