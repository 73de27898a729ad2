package settings

import (
	"os"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/integration/lab"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/moduletest"
)

// Wine has no W32Time: a program of the lab's stands for it, which doesn't listen when it is told of a change, and so is started
// anew. What it is configured to is asked of reg.exe.
func TestTimeOnWindows(t *testing.T) {
	m := lab.New(t).Machine(t, lab.Wine)
	x := windowsMachine{machine{t, m, moduletest.OnMachine(t, m)}}
	const parameters = `HKLM\SYSTEM\CurrentControlSet\Services\W32Time\Parameters`
	set := func(name, value string) { m.RunWindows(t, "reg", "add", parameters, "/v", name, "/d", value, "/f") }
	has := func(want ...string) {
		t.Helper()
		x.answers(strings.Join(append([]string{strings.Replace(parameters, "HKLM", "HKEY_LOCAL_MACHINE", 1)}, want...), "\n"), "reg", "query", parameters)
	}
	start := func() string {
		return x.asked("reg", "query", `HKLM\SYSTEM\CurrentControlSet\Services\W32Time`, "/v", "Start")
	}
	const script = `reg query ` + parameters + ` & reg query HKLM\SYSTEM\CurrentControlSet\Services\W32Time /v Start & sc query W32Time`

	if out, err := m.Windows(t.Context(), "sc", "query", "W32Time").Output(); err == nil {
		t.Fatalf("Wine has W32Time now: test with it\n%s", out)
	}
	x.fails("time", `{"servers": ["ntp.example.lan"]}`, "no service W32Time on this device", "hint: `w32tm /register`")

	create := func(source string) {
		m.RunWindows(t, "sc", "create", "W32Time", "binPath=", `C:\windows\system32\lab.exe service W32Time`, "start=", "demand")
		m.RunWindows(t, "sc", "start", "W32Time")
		set("Type", source)
		set("NtpServer", "time.windows.com,0x9")
	}
	create("NTP")
	m.RunWindows(t, "sc", "stop", "W32Time")
	want := `{"servers": ["ntp.example.lan", "192.0.2.1"], "automatic": true}`
	x.d.TakesBack("time", want, script)
	has("NtpServer REG_SZ ntp.example.lan,0x8 192.0.2.1,0x8", "Type REG_SZ NTP")
	if got := start(); !strings.HasSuffix(got, "Start REG_DWORD 0x2") {
		t.Errorf("it starts so:\n%s", got)
	}
	x.plans("time", want, modules.Same)
	x.plans("time", `{"servers": ["192.0.2.1", "ntp.example.lan"]}`, modules.Update)

	// Flags of others stay; while it runs, it is told.
	pid := func() string { return m.Run(t, `pgrep -f 'lab.exe service W32Time$'`) }
	set("NtpServer", "ntp.example.lan,0x9 other.example.lan bare.example.lan")
	before := pid()
	x.d.TakesBack("time", `{"servers": ["NTP.example.lan", "new.example.lan", "bare.example.lan"]}`, script)
	has("NtpServer REG_SZ NTP.example.lan,0x9 new.example.lan,0x8 bare.example.lan", "Type REG_SZ NTP")
	if after := pid(); after == before || after == "" {
		t.Errorf("its process was %s and is %s", before, after)
	}

	x.d.TakesBack("time", `{"automatic": false}`, script)
	has("NtpServer REG_SZ NTP.example.lan,0x9 new.example.lan,0x8 bare.example.lan", "Type REG_SZ NoSync")
	x.plans("time", `{"servers": ["NTP.example.lan", "new.example.lan", "bare.example.lan"], "automatic": false}`, modules.Same)

	// In a domain the list counts for nothing until it is declared.
	set("Type", "NT5DS")
	set("NtpServer", "ntp.example.lan,0x8")
	r := x.d.Plan("time", `{"servers": ["ntp.example.lan"]}`)[0]
	if r.Op != modules.Update || r.Have["source"] != "NT5DS" {
		t.Errorf("in a domain: %s %v %s", r.Op, r.Have, r.Error)
	}
	x.plans("time", `{"automatic": true}`, modules.Same)
	x.d.TakesBack("time", `{"servers": ["ntp.example.lan"]}`, script)
	has("NtpServer REG_SZ ntp.example.lan,0x8", "Type REG_SZ NTP")

	// No list at all comes back, too.
	m.RunWindows(t, "reg", "delete", parameters, "/v", "NtpServer", "/f")
	x.d.TakesBack("time", `{"servers": ["192.0.2.7"]}`, script)

	reset := func() {
		_, _ = m.Windows(t.Context(), "sc", "stop", "W32Time").Output() // unless it has stopped
		m.RunWindows(t, "sc", "delete", "W32Time")
		create("NoSync")
	}
	x.d.Interrupted("time", want, reset, script)

	// One that listens is told, and goes on.
	_, _ = m.Windows(t.Context(), "sc", "stop", "W32Time").Output()
	m.RunWindows(t, "sc", "delete", "W32Time")
	m.RunWindows(t, "sc", "create", "W32Time", "binPath=", `C:\windows\system32\lab.exe service listening`, "start=", "demand")
	m.RunWindows(t, "sc", "start", "W32Time")
	set("Type", "NTP")
	before = m.Run(t, `pgrep -f 'lab.exe service listening$'`)
	x.converged("time", `{"servers": ["192.0.2.8"]}`, modules.Update)
	has("NtpServer REG_SZ 192.0.2.8,0x8", "Type REG_SZ NTP")
	if after := m.Run(t, `pgrep -f 'lab.exe service listening$'`); after != before {
		t.Errorf("its process was %s and is %s", before, after)
	}
	told := m.WindowsPath(`C:\windows\temp\told`)
	if _, err := os.Stat(told); err != nil {
		t.Errorf("nobody told it: %v", err)
	}
	x.d.Interrupted("time", `{"servers": ["192.0.2.9"]}`, func() {
		set("NtpServer", "192.0.2.8,0x8")
		lab.Must(t, os.RemoveAll(told))
	}, `reg query `+parameters+` & if exist C:\windows\temp\told echo told`)
	set("NtpServer", "192.0.2.9,0x8 ") // as an interruption leaves it
	if r := x.d.Plan("time", `{"servers": ["192.0.2.9"]}`)[0]; r.Op != modules.Update || r.Have["current"] != false {
		t.Errorf("nobody told it: %s %v %s", r.Op, r.Have, r.Error)
	}
	x.converged("time", `{"servers": ["192.0.2.9"]}`, modules.Update)
}
