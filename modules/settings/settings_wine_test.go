package settings

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/fitout-dev/fitout/integration/lab"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/moduletest"
)

// What is declared, asked of Windows' own tools, as far as Wine has them.
func TestOnWindows(t *testing.T) {
	m := lab.New(t).Machine(t, lab.Wine)
	all := windowsMachine{machine{t, m, moduletest.OnMachine(t, m)}}
	for _, test := range []struct {
		name string
		run  func(windowsMachine)
	}{{"registry", testRegistry}, {"registry of users", testRegistryUsers}, {"registryKeys", testRegistryKeys}, {"hives", testHives}, {"timezone", testWindowsZone},
		{"environment", testWindowsEnvironment}, {"shortcuts", testShortcuts}, {"tasks", testTasks},
		{"hosts", testWindowsHosts}, {"hostname", testWindowsHostname}} {
		t.Run(test.name, func(t *testing.T) { test.run(windowsMachine{all.in(t)}) })
	}
}

type windowsMachine struct{ machine }

// asked is what a program of Windows says, a blank for each row of blanks, without lines that are empty.
func (x windowsMachine) asked(args ...string) string {
	x.t.Helper()
	var lines []string
	for line := range strings.Lines(x.m.RunWindows(x.t, args...)) {
		if line = strings.Join(strings.Fields(line), " "); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

func (x windowsMachine) answers(want string, args ...string) {
	x.t.Helper()
	if got := x.asked(args...); got != want {
		x.t.Errorf("%q says\n%s\nwant\n%s", args, got, want)
	}
}

const registryTypes = `[
	{"path": "HKLM\\SOFTWARE\\Example\\Types", "type": "string", "value": "the default"},
	{"path": "hklm\\SOFTWARE\\Example\\Types", "name": "dword", "type": "dword", "value": 4294967295},
	{"path": "HKEY_LOCAL_MACHINE\\SOFTWARE\\Example\\Types", "name": "hex", "type": "dword", "value": "0x10"},
	{"path": "HKLM\\SOFTWARE\\Example\\Types", "name": "qword", "type": "qword", "value": "18446744073709551615"},
	{"path": "HKLM\\SOFTWARE\\Example\\Types", "name": "string", "type": "string", "value": "Ünï ☃ \ud83d\ude00"},
	{"path": "HKLM\\SOFTWARE\\Example\\Types", "name": "expand", "type": "expandString", "value": "%SystemRoot%\\x"},
	{"path": "HKLM\\SOFTWARE\\Example\\Types", "name": "multi", "type": "multiString", "value": ["a", "b c"]},
	{"path": "HKLM\\SOFTWARE\\Example\\Types", "name": "multi none", "type": "multiString", "value": []},
	{"path": "HKLM\\SOFTWARE\\Example\\Types", "name": "binary", "type": "binary", "value": "DE,ad be ef"},
	{"path": "HKLM\\SOFTWARE\\Example\\Types", "name": "none", "type": "none"}]`

func testRegistry(x windowsMachine) {
	const example = `reg query HKLM\SOFTWARE\Example /s`
	x.d.TakesBack("registry", registryTypes, example)
	for _, r := range x.d.Plan("registry", registryTypes) {
		if r.Op != modules.Same {
			x.t.Errorf("a second time: %s %v %s", r.Op, r.Changes, r.Error)
		}
	}
	for name, want := range map[string]string{
		"dword": "dword REG_DWORD 0xffffffff", "hex": "hex REG_DWORD 0x10",
		"expand": `expand REG_EXPAND_SZ %SystemRoot%\x`, "multi": `multi REG_MULTI_SZ a\0b c`, "binary": "binary REG_BINARY DEADBEEF", "none": "none REG_NONE",
	} {
		x.answers(`HKEY_LOCAL_MACHINE\SOFTWARE\Example\Types`+"\n"+want, "reg", "query", `HKLM\SOFTWARE\Example\Types`, "/v", name)
	}
	x.answers(`HKEY_LOCAL_MACHINE\SOFTWARE\Example\Types`+"\n(Default) REG_SZ the default", "reg", "query", `HKLM\SOFTWARE\Example\Types`, "/ve")

	// Wine's reg query shows no REG_QWORD.
	x.m.RunWindows(x.t, "reg", "export", `HKLM\SOFTWARE\Example\Types`, `C:\types.reg`, "/y")
	b, err := os.ReadFile(x.m.WindowsPath(`C:\types.reg`))
	lab.Must(x.t, err)
	if exported := strings.ReplaceAll(string(b), "\x00", ""); !strings.Contains(exported, `"qword"=hex(b):ff,ff,ff,ff,ff,ff,ff,ff`) {
		x.t.Errorf("reg export says\n%s", exported)
	}

	// What somebody else has written: another type, another value, another case of the name.
	x.m.RunWindows(x.t, "reg", "add", `HKLM\SOFTWARE\Example\Types`, "/v", "dword", "/t", "REG_SZ", "/d", "4294967295", "/f")
	x.m.RunWindows(x.t, "reg", "add", `HKLM\SOFTWARE\Example\Types`, "/v", "MULTI", "/t", "REG_MULTI_SZ", "/d", `b c\0a`, "/f")
	want := `[{"path": "HKLM\\SOFTWARE\\Example\\Types", "name": "dword", "type": "dword", "value": 4294967295},
		{"path": "HKLM\\SOFTWARE\\Example\\Types", "name": "multi", "type": "multiString", "value": ["a", "b c"]}]`
	x.plans("registry", want, modules.Update, modules.Update)
	x.d.TakesBack("registry", want, example)

	// The two views are two places.
	x.converged("registry", `[{"path": "HKLM\\SOFTWARE\\Example\\Views", "name": "a", "type": "string", "value": "64"},
		{"path": "HKLM\\SOFTWARE\\Example\\Views", "name": "a", "view": 32, "type": "string", "value": "32"}]`, modules.Create, modules.Create)
	x.answers(`HKEY_LOCAL_MACHINE\SOFTWARE\Example\Views`+"\na REG_SZ 64", "reg", "query", `HKLM\SOFTWARE\Example\Views`, "/v", "a", "/reg:64")
	x.answers(`HKEY_LOCAL_MACHINE\SOFTWARE\Example\Views`+"\na REG_SZ 32", "reg", "query", `HKLM\SOFTWARE\Example\Views`, "/v", "a", "/reg:32")

	x.d.TakesBack("registry", `{"path": "HKLM\\SOFTWARE\\Example\\Types", "name": "qword", "state": "absent"}`, example)
	x.plans("registry", `{"path": "HKLM\\SOFTWARE\\Nothing", "name": "x", "state": "absent"}`, modules.Same)
	x.d.Interrupted("registry", `[{"path": "HKLM\\SOFTWARE\\Deep\\er", "name": "a", "type": "dword", "value": 1}]`, func() {
		_, _ = x.m.Windows(x.t.Context(), "reg", "delete", `HKLM\SOFTWARE\Deep`, "/f").Output()
	}, `reg query HKLM\SOFTWARE\Deep /s`)
}

func testRegistryUsers(x windowsMachine) {
	const environment = `reg query HKCU\Software\Example /s`
	want := `{"path": "HKCU\\Software\\Example", "name": "a", "user": "root", "type": "dword", "value": 1}`
	x.d.TakesBack("registry", want, environment)
	x.converged("registry", `{"path": "HKCU\\Software\\Example", "name": "a", "user": "all", "type": "dword", "value": 2}`, modules.Update)
	x.answers(`HKEY_CURRENT_USER\Software\Example`+"\na REG_DWORD 0x2", "reg", "query", `HKCU\Software\Example`)
	x.fails("registry", `{"path": "HKCU\\Software\\Example", "name": "a", "user": "nobody-here", "type": "dword", "value": 1}`, `no user "nobody-here"`)
	x.fails("registry", `{"path": "HKCU\\Software\\Example", "name": "a", "type": "dword", "value": 1}`, "which each user has another of", "hint: add `user:`")
}

func testRegistryKeys(x windowsMachine) {
	const old = `reg query HKLM\SOFTWARE\Old /s`
	x.m.RunWindows(x.t, "reg", "add", `HKLM\SOFTWARE\Old\A\B`, "/v", "x", "/d", "1", "/f")
	x.m.RunWindows(x.t, "reg", "add", `HKLM\SOFTWARE\Old\C`, "/ve", "/t", "REG_BINARY", "/d", "00ff", "/f")
	want := `{"path": "HKLM\\SOFTWARE\\Old", "state": "absent"}`
	x.d.TakesBack("registryKeys", want, old)
	x.plans("registryKeys", want, modules.Same)
	x.d.TakesBack("registryKeys", `{"path": "HKLM\\SOFTWARE\\Old\\New\\Key"}`, old)
	x.d.Interrupted("registryKeys", want, func() {
		x.m.RunWindows(x.t, "reg", "add", `HKLM\SOFTWARE\Old\A\B`, "/v", "x", "/d", "1", "/f")
	}, old)

	big := `[{"path": "HKLM\\SOFTWARE\\Big", "name": "a", "type": "binary", "value": "` + strings.Repeat("00", maxTree) + `"}]`
	x.converged("registry", big, modules.Create)
	r := x.d.Converge("registryKeys", `{"path": "HKLM\\SOFTWARE\\Big", "state": "absent"}`)
	if r[0].Again != modules.Same || !strings.Contains(r[0].NoUndo, "more than the 256 KiB") {
		x.t.Errorf("a key of more than is kept: %+v", r)
	}
	x.fails("registryKeys", `{"path": "HKLM\\Software", "state": "absent"}`, "Windows can't do without")
}

func testWindowsEnvironment(x windowsMachine) {
	const machine, user = `HKLM\SYSTEM\CurrentControlSet\Control\Session Manager\Environment`, `HKCU\Environment`
	query := func(key, name, want string) {
		x.t.Helper()
		_, got, _ := strings.Cut(x.asked("reg", "query", key, "/v", name), "\n")
		if got != want {
			x.t.Errorf("%s of %s is %q, want %q", name, key, got, want)
		}
	}
	all := `reg query "` + machine + `" & reg query "` + user + `"`
	want := `[{"name": "HTTP_PROXY", "value": "http://proxy.example.lan:3128"}, {"name": "SALES", "value": "%SystemDrive%\\Sales"},
		{"name": "HALF", "value": "50%"}, {"name": "SALES", "user": "root", "value": "%USERPROFILE%\\Sales"}, {"name": "MINE", "user": "all", "value": ""}]`
	x.d.TakesBack("environment", want, all)
	query(machine, "HTTP_PROXY", "HTTP_PROXY REG_SZ http://proxy.example.lan:3128")
	query(machine, "SALES", `SALES REG_EXPAND_SZ %SystemDrive%\Sales`)
	query(machine, "HALF", "HALF REG_SZ 50%")
	query(user, "SALES", `SALES REG_EXPAND_SZ %USERPROFILE%\Sales`)
	query(user, "MINE", "MINE REG_SZ")
	if got := x.asked("cmd.exe", "/c", "echo %SALES% %HTTP_PROXY%"); got != `C:\users\root\Sales http://proxy.example.lan:3128` {
		x.t.Errorf("a program has %s", got)
	}
	// A type in which programs would see the percent signs.
	x.m.RunWindows(x.t, "reg", "add", machine, "/v", "SALES", "/t", "REG_SZ", "/d", `%SystemDrive%\Sales`, "/f")
	x.plans("environment", want, modules.Same, modules.Update, modules.Same, modules.Same, modules.Same)
	x.converged("environment", want)
	query(machine, "SALES", `SALES REG_EXPAND_SZ %SystemDrive%\Sales`)

	// Entries of PATH come and go one by one.
	x.m.RunWindows(x.t, "reg", "add", machine, "/v", "PATH", "/t", "REG_EXPAND_SZ", "/d", `%SystemRoot%\system32;"C:\Program Files\Old\";;C:\Tools\;C:\OTHER`, "/f")
	path := `[{"name": "PATH", "add": ["c:\\tools", "C:\\Program Files\\New"], "remove": ["c:\\program files\\OLD"]}]`
	x.d.TakesBack("environment", path, all)
	query(machine, "PATH", `PATH REG_EXPAND_SZ %SystemRoot%\system32;;C:\Tools\;C:\OTHER;C:\Program Files\New`)
	x.plans("environment", path, modules.Same)
	x.d.TakesBack("environment", `{"name": "path", "remove": ["C:\\other"]}`, all)
	x.plans("environment", `[{"name": "NO_SUCH", "remove": ["C:\\other"]}, {"name": "NO_SUCH", "state": "absent"}]`, modules.Same, modules.Same)
	x.d.TakesBack("environment", `{"name": "NEW_PATH", "user": "root", "add": ["%USERPROFILE%\\bin"]}`, all)
	query(user, "NEW_PATH", `NEW_PATH REG_EXPAND_SZ %USERPROFILE%\bin`)
	x.d.Interrupted("environment", path, func() {
		x.m.RunWindows(x.t, "reg", "add", machine, "/v", "PATH", "/t", "REG_EXPAND_SZ", "/d", `%SystemRoot%\system32;C:\Program Files\Old`, "/f")
	}, all)
	x.d.TakesBack("environment", `{"name": "HALF", "state": "absent"}`, all)
}

func testShortcuts(x windowsMachine) {
	const list = `dir /b C:\users\Public\Desktop & type C:\users\Public\Desktop\Example.lnk`
	want := `{"path": "C:\\users\\Public\\Desktop\\Example.lnk", "target": "C:\\windows\\system32\\lab.exe", "arguments": "--kiosk \"a b\" Ü",
		"workingDirectory": "C:\\windows", "icon": "C:\\windows\\system32\\shell32.dll,3", "description": "Ünï ☃", "hotkey": "ctrl + ALT+e", "window": "maximized"}`
	x.d.TakesBack("shortcuts", want, list)
	x.plans("shortcuts", want, modules.Same)
	b, err := os.ReadFile(x.m.WindowsPath(`C:\users\Public\Desktop\Example.lnk`))
	lab.Must(x.t, err)
	// The header and the texts, as [MS-SHLLINK] has them.
	for _, has := range []string{"L\x00\x00\x00\x01\x14\x02\x00", utf16Text(`--kiosk "a b" Ü`), utf16Text("Ünï ☃"), utf16Text(`C:\windows\system32\shell32.dll`), "\x03\x00\x00\x00\x03\x00\x00\x00E\x06"} {
		if !strings.Contains(string(b), has) {
			x.t.Errorf("the shortcut holds no %q: %q", has, b)
		}
	}
	x.plans("shortcuts", `{"path": "C:\\users\\Public\\Desktop\\Example.lnk", "target": "c:\\Windows\\System32\\LAB.exe"}`, modules.Same)
	x.d.TakesBack("shortcuts", `{"path": "C:\\users\\Public\\Desktop\\Example.lnk", "target": "C:\\windows\\notepad.exe", "hotkey": "", "icon": "", "arguments": ""}`, list)
	for _, r := range x.d.Plan("shortcuts", want) {
		if r.Have["description"] != "Ünï ☃" || r.Have["window"] != "maximized" || r.Have["hotkey"] != "" || r.Have["icon"] != "" {
			x.t.Errorf("what wasn't declared is %v", r.Have)
		}
	}
	x.fails("shortcuts", `{"path": "C:\\users\\Public\\Desktop\\Env.lnk", "target": "%SystemRoot%\\notepad.exe"}`, "is no absolute path")
	x.d.Interrupted("shortcuts", want, func() {
		_, _ = x.m.Windows(x.t.Context(), "cmd", "/c", "del", `C:\users\Public\Desktop\Example.lnk`).Output()
	}, list)
	x.d.TakesBack("shortcuts", `{"path": "C:\\users\\Public\\Desktop\\Example.lnk", "state": "absent"}`, list)
	lab.Must(x.t, os.WriteFile(x.m.WindowsPath(`C:\users\Public\Desktop\Broken.lnk`), []byte("no shortcut"), 0o644))
	x.fails("shortcuts", `{"path": "C:\\users\\Public\\Desktop\\Broken.lnk", "target": "C:\\windows\\notepad.exe"}`, "Broken.lnk", "hint: the file is damaged")
}

func utf16Text(s string) string {
	var b strings.Builder
	for _, u := range utf16.Encode([]rune(s)) {
		b.WriteByte(byte(u))
		b.WriteByte(byte(u >> 8))
	}
	return b.String()
}

// Wine keeps of tasks what is no trigger, account or program, and runs none: so none of that is proven here.
func testTasks(x windowsMachine) {
	const list = `type C:\windows\system32\tasks\Example\Backup`
	const absent = `{"name": "Example\\Backup", "state": "absent"}`
	want := `{"name": "Example\\Backup", "program": "C:\\windows\\system32\\lab.exe", "description": "Saves the sales database", "triggers": ["daily at 03:00"], "enabled": true}`
	made := x.d.Converge("tasks", want)[0]
	if made.Error != "" || made.Op != modules.Create || made.After["description"] != "Saves the sales database" || made.After["enabled"] != true {
		x.t.Errorf("made: %+v", made)
	}
	if made.Again == modules.Same {
		x.t.Error("Wine keeps triggers and programs now: test them")
	}
	b, err := os.ReadFile(x.m.WindowsPath(`C:\windows\system32\tasks\Example\Backup`))
	if err != nil || !strings.Contains(string(b), "<Description>Saves the sales database</Description>") {
		x.t.Errorf("the task's file: %s %v", b, err)
	}
	x.d.TakesBack("tasks", `{"name": "\\Example\\Backup", "description": "Other", "enabled": false}`, list)
	x.converged("tasks", absent, modules.Delete) // Wine leaves the end of a longer definition in its file
	x.d.Converge("tasks", want)
	x.d.TakesBack("tasks", absent, list)
	x.plans("tasks", absent, modules.Same)
	x.fails("tasks", `{"name": "None", "enabled": true}`, "no task None on this device", "say by `program`")
}

// Wine loads the hives of users who aren't logged on, and forgets what was changed in them when they are unloaded: reading them,
// and that they are let go, can be seen here.
func testHives(x windowsMachine) {
	const hive = "WINE REGISTRY Version 2\n\n[Software\\\\Example] 1700000000\n\"a\"=dword:00000001\n\"b\"=\"text\"\n"
	for _, folder := range []string{`C:\users\Default`, `C:\users\bob`} {
		lab.Must(x.t, os.MkdirAll(x.m.WindowsPath(folder), 0o755))
		lab.Must(x.t, os.WriteFile(x.m.WindowsPath(folder+`\NTUSER.DAT`), []byte(hive), 0o644))
	}
	const bob = "S-1-5-21-1-2-3-1001"
	x.m.RunWindows(x.t, "reg", "add", `HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion\ProfileList\`+bob, "/v", "ProfileImagePath", "/t", "REG_EXPAND_SZ", "/d", `%SystemDrive%\users\bob`, "/f")
	for _, user := range []string{"default", bob} {
		x.plans("registry", `[{"path": "HKCU\\Software\\Example", "name": "a", "user": "`+user+`", "type": "dword", "value": 1},
			{"path": "HKCU\\Software\\Example", "name": "b", "user": "`+user+`", "type": "string", "value": "text"},
			{"path": "HKCU\\Software\\Example", "name": "b", "user": "`+user+`", "type": "string", "value": "other"},
			{"path": "HKCU\\Software\\Example", "name": "c", "user": "`+user+`", "type": "string", "value": "new"}]`, modules.Same, modules.Same, modules.Update, modules.Create)
	}
	for _, r := range x.d.Plan("registry", `{"path": "HKCU\\Software\\Example", "name": "a", "user": "all", "state": "absent"}`) {
		if r.Op != modules.Delete || !strings.Contains(fmt.Sprint(r.Have["kept"]), bob) {
			x.t.Errorf("of all: %s %v %s", r.Op, r.Have, r.Error)
		}
	}
	for _, r := range x.d.Converge("registry", `{"path": "HKCU\\Software\\Example", "name": "c", "user": "default", "type": "string", "value": "new"}`) {
		if r.Error != "" || r.Op != modules.Create {
			x.t.Errorf("a change: %s, then %s: %s", r.Op, r.Again, r.Error)
		}
	}
	if left := x.asked("reg", "query", "HKU"); strings.Contains(left, "fitout") {
		x.t.Errorf("left loaded:\n%s", left)
	}
	lab.Must(x.t, os.Remove(x.m.WindowsPath(`C:\users\bob\NTUSER.DAT`)))
	x.fails("registry", `{"path": "HKCU\\Software\\Example", "name": "a", "user": "`+bob+`", "type": "dword", "value": 1}`, "hive of "+bob, "NTUSER.DAT")
}

// Wine takes its zone from the system below it, and can't set another one: so what can be seen is what it tells.
func testWindowsZone(x windowsMachine) {
	r := x.d.Plan("timezone", `{"name": "Etc/UTC"}`)[0]
	if r.Error != "" || r.Have["windows"] == nil {
		x.t.Fatalf("the zone: %+v", r)
	}
	if r.Have["windows"] == "UTC" && r.Op != modules.Same {
		x.t.Errorf("UTC is not UTC: %+v", r)
	}
	x.plans("timezone", `{"name": "Asia/Kolkata"}`, modules.Update)
	x.fails("timezone", `{"name": "Europe/Luxemburg"}`, `Windows has no time zone "Europe/Luxemburg"`, `did you mean "Europe/Luxembourg"?`)
	if r := x.d.Converge("timezone", `{"name": "Asia/Tokyo"}`)[0]; !strings.HasPrefix(r.Error, "set the time zone: ") || !strings.Contains(string(r.Back), `"windows"`) {
		x.t.Errorf("another zone: %+v", r)
	}
}
