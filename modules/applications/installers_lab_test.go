package applications

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/integration/lab"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/moduletest"
)

// Products of the packages that the test makes; a version has a code of its own, as major upgrades do.
const (
	code1   = "{11111111-0000-4000-8000-000000000001}"
	code2   = "{11111111-0000-4000-8000-000000000002}"
	scoped  = "{11111111-0000-4000-8000-000000000005}"
	restart = "{11111111-0000-4000-8000-000000000003}"
	broken  = "{11111111-0000-4000-8000-000000000004}"
)

const uninstallKeys = `HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall`

// Packages of Windows Installer and NSIS, made here, asked back by reg.exe, msiexec.exe and the files.
func TestInstallersOnWindows(t *testing.T) {
	l := lab.New(t)
	m := l.Machine(t, lab.Wine)
	all := installerTest{t, l, m, moduletest.OnMachine(t, m), t.TempDir()}
	for _, test := range []struct {
		name string
		run  func(installerTest)
	}{{"msi", testMSI}, {"failures", testMSIFailures}, {"nsis", testNSIS}, {"scope", testScope}, {"from elsewhere", testElsewhere}} {
		t.Run(test.name, func(t *testing.T) {
			x := all
			x.t, x.d = t, all.d.In(t)
			test.run(x)
		})
	}
}

type installerTest struct {
	t   *testing.T
	l   *lab.Lab
	m   *lab.Machine
	d   *moduletest.Device
	dir string
}

func (x installerTest) make(name string, args ...string) {
	x.t.Helper()
	c := exec.Command(name, args...)
	c.Dir = x.dir
	if out, err := c.CombinedOutput(); err != nil {
		x.t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

func (x installerTest) write(name, text string) {
	x.t.Helper()
	lab.Must(x.t, os.WriteFile(filepath.Join(x.dir, name), []byte(text), 0o644))
}

func (x installerTest) read(name string) string {
	x.t.Helper()
	b, err := os.ReadFile(filepath.Join(x.dir, name))
	lab.Must(x.t, err)
	return string(b)
}

// msi makes a package with one file and returns its declaration as a blob.
func (x installerTest) msi(product, name, code, version, condition string) string {
	x.t.Helper()
	x.write("app.txt", name+" "+version+"\n")
	x.write("app.wxs", fmt.Sprintf(`<?xml version="1.0" encoding="utf-8"?>
<Wix xmlns="http://schemas.microsoft.com/wix/2006/wi">
<Product Id="%s" Name="%s" Language="1033" Version="%s" Manufacturer="Example S.A." UpgradeCode="99999999-0000-4000-8000-%s">
<Package InstallerVersion="200" Compressed="yes" InstallScope="perMachine"/>%s
<Upgrade Id="99999999-0000-4000-8000-%s"><UpgradeVersion Minimum="0.0.1" IncludeMinimum="yes" Maximum="9.0.0" Property="OLDFOUND"/></Upgrade>
<Media Id="1" Cabinet="a.cab" EmbedCab="yes"/>
<Property Id="GREETING" Value="none"/>
<Directory Id="TARGETDIR" Name="SourceDir"><Directory Id="ProgramFilesFolder"><Directory Id="D" Name="%s">
<Component Id="C" Guid="22222222-0000-4000-8000-%s"><File Id="F" Source="app.txt" KeyPath="yes"/>
<RegistryValue Root="HKLM" Key="SOFTWARE\%s" Name="Greeting" Type="string" Value="[GREETING]"/></Component></Directory></Directory></Directory>
<Feature Id="Main" Level="1"><ComponentRef Id="C"/></Feature>
<InstallExecuteSequence><RemoveExistingProducts After="InstallInitialize"/></InstallExecuteSequence>
</Product></Wix>`, strings.Trim(code, "{}"), name, version, product, condition, product, name, code[len(code)-13:len(code)-1], strings.ReplaceAll(name, " ", "")))
	x.make("wixl", "-o", "app.msi", "app.wxs")
	return x.d.Content(x.read("app.msi"))
}

func (x installerTest) one(want string) moduletest.Report {
	x.t.Helper()
	r := x.d.Converge("installers", want)
	if len(r) != 1 {
		x.t.Fatalf("%s: %d reports", want, len(r))
	}
	return r[0]
}

func (x installerTest) converges(want string, op modules.Op) moduletest.Report {
	x.t.Helper()
	r := x.one(want)
	if r.Error != "" || r.Op != op || r.Again != modules.Same {
		x.t.Errorf("%s: %s %v, then %s %v: %s", want, r.Op, r.Changes, r.Again, r.After, r.Error)
	}
	return r
}

func (x installerTest) fails(want string, says ...string) {
	x.t.Helper()
	r := x.one(want)
	for _, s := range says {
		if !strings.Contains(r.Error, s) {
			x.t.Errorf("%s: %q doesn't say %q", want, r.Error, s)
		}
	}
}

// content is a file's on the machine, "" where it isn't there.
func (x installerTest) content(path string) string {
	b, _ := os.ReadFile(x.m.WindowsPath(path))
	return strings.TrimSpace(string(b))
}

func (x installerTest) check(what, got, want string) {
	x.t.Helper()
	if got != want {
		x.t.Errorf("%s: %q, want %q", what, got, want)
	}
}

const appFile, app = `C:\Program Files (x86)\Example App\app.txt`, `reg query ` + uninstallKeys + `\` + code1 + ` /v DisplayName /reg:32 & reg query HKLM\SOFTWARE\ExampleApp /reg:32 & type "` + appFile + `"`

func testMSI(x installerTest) {
	v1 := x.msi("00000000000a", "Example App", code1, "1.0.0", "")
	v2 := x.msi("00000000000a", "Example App", code2, "2.0.0", "")
	first := fmt.Sprintf(`{"name": "Example App", "source": %s, "version": "1.0", "arguments": ["GREETING=good \"day\" to all"]}`, v1)
	x.d.TakesBack("installers", first, app)
	x.check("the file", x.content(appFile), "Example App 1.0.0")
	if out := x.m.RunWindows(x.t, "reg", "query", `HKLM\SOFTWARE\ExampleApp`, "/v", "Greeting", "/reg:32"); !strings.Contains(out, `good "day" to all`) {
		x.t.Errorf("the property became %s", out)
	}
	x.converges(first, modules.Same)
	x.converges(fmt.Sprintf(`{"name": "by code", "source": %s, "productCode": %q, "version": "1.0.0"}`, v1, strings.Trim(strings.ToLower(code1), "{}")), modules.Same)

	// Up, down only where that is asked for, and away.
	second := fmt.Sprintf(`{"name": "Example App", "source": %s, "version": "2"}`, v2)
	if r := x.converges(second, modules.Update); !strings.Contains(r.NoUndo, "the installer of Example App 1.0.0 isn't at hand") {
		x.t.Errorf("undo of an upgrade: %s", r.NoUndo)
	}
	x.check("the file after the upgrade", x.content(appFile), "Example App 2.0.0")
	x.fails(first, "Example App 2.0.0 is newer than 1.0", "allowDowngrade: true")
	x.converges(strings.Replace(first, `"1.0"`, `">= 1.0"`, 1), modules.Same)
	// By its own product code the older one isn't there; what they share is the upgrade code.
	older := fmt.Sprintf(`{"name": "by code", "source": %s, "productCode": %q}`, v1, code1)
	x.fails(older, "Example App 2.0.0 is there, which is newer than the package's 1.0.0", code2)
	x.check("the file after a refused downgrade", x.content(appFile), "Example App 2.0.0")
	x.converges(strings.Replace(older, `"name"`, `"allowDowngrade": true, "name"`, 1), modules.Create)
	x.check("the file after a downgrade by code", x.content(appFile), "Example App 1.0.0")
	x.converges(second, modules.Update)
	x.converges(strings.Replace(first, `"version"`, `"allowDowngrade": true, "version"`, 1), modules.Update)
	x.check("the file after the downgrade", x.content(appFile), "Example App 1.0.0")
	x.converges(`{"name": "Example App", "state": "absent"}`, modules.Delete)
	x.check("the file after removal", x.content(appFile), "")
	x.converges(`{"name": "Example App", "state": "absent"}`, modules.Same)

	x.d.Interrupted("installers", first, func() {
		_, _ = x.m.Windows(x.t.Context(), "msiexec", "/x", code1, "/qn").Output()
	}, app)
	x.converges(fmt.Sprintf(`{"name": "by code", "productCode": %q, "state": "absent"}`, code1), modules.Delete)
	if exists(x.m.WindowsPath(`C:\windows\fitout-installers`)) {
		x.t.Error("what the installers needed is left")
	}
}

func testMSIFailures(x installerTest) {
	bad := x.msi("00000000000b", "Broken App", broken, "1.0.0", `<Condition Message="this machine is too small">0</Condition>`)
	x.fails(fmt.Sprintf(`{"name": "Broken App", "source": %s}`, bad), "install Broken App: exit code 1603: a fatal error during installation", "its log says: ")
	x.fails(fmt.Sprintf(`{"name": "Broken App", "source": %s, "productCode": %q}`, bad, code1), "the package is the product "+broken)
	x.fails(fmt.Sprintf(`{"name": "Broken App", "source": %s, "version": "3"}`, bad), "the package has version 1.0.0 of Broken App, and not 3")
	x.fails(fmt.Sprintf(`{"name": "no program", "source": %s}`, x.d.Content("hello")), "neither a program for Windows nor a package")
	damaged := x.d.Content(x.read("app.msi")[:2048])
	x.fails(fmt.Sprintf(`{"name": "damaged", "source": %s}`, damaged), "open ", "damaged.msi")
	x.fails(`{"name": "x", "productCode": "{11111111-0000-4000-8000-000000000001", "state": "absent"}`, "has one brace of two")

	x.msi("00000000000c", "Restart App", restart, "1.0.0", "")
	x.make("msibuild", "app.msi", "-q", "INSERT INTO `InstallExecuteSequence` (`Action`, `Sequence`) VALUES ('ScheduleReboot', 6601)")
	want := fmt.Sprintf(`{"name": "Restart App", "source": %s, "productCode": %q}`, x.d.Content(x.read("app.msi")), restart)
	if r := x.converges(want, modules.Create); r.Reboot != "Restart App: a restart is needed (3010)" {
		x.t.Errorf("reboot: %q", r.Reboot)
	}
}

const toolScript = `Target amd64-unicode
Name "Example Tool"
OutFile "tool.exe"
InstallDir "C:\Tool"
RequestExecutionLevel admin
VIProductVersion 3.4.0.0
VIAddVersionKey FileVersion 3.4
Section
  ; as while another installation is in progress
  IfFileExists C:\busy 0 free
    Delete C:\busy
    SetErrorLevel 1618
    Quit
  free:
  IfFileExists C:\refuse 0 agree
    SetErrorLevel -5
    Quit
  agree:
  SetOutPath $INSTDIR
  File app.txt
  WriteUninstaller "$INSTDIR\un.exe"
  SetRegView 64
  WriteRegStr HKLM "Software\Microsoft\Windows\CurrentVersion\Uninstall\ExampleTool" DisplayName "Example Tool 3.4 (x64)"
  WriteRegStr HKLM "Software\Microsoft\Windows\CurrentVersion\Uninstall\ExampleTool" DisplayVersion 3.4
  WriteRegStr HKLM "Software\Microsoft\Windows\CurrentVersion\Uninstall\ExampleTool" UninstallString "$INSTDIR\un.exe"
  IfFileExists C:\restarts 0 done
    Delete C:\restarts
    SetErrorLevel 1641
  done:
SectionEnd
Section Uninstall
  SetRegView 64
  Delete "$INSTDIR\app.txt"
  Delete "$INSTDIR\un.exe"
  RMDir "$INSTDIR"
  DeleteRegKey HKLM "Software\Microsoft\Windows\CurrentVersion\Uninstall\ExampleTool"
SectionEnd
`

const tool = `reg query ` + uninstallKeys + `\ExampleTool & type "C:\Program Files\A Tool\app.txt"`

func (x installerTest) tool() (content string) {
	x.t.Helper()
	x.write("app.txt", "Example Tool\n")
	x.write("tool.nsi", toolScript)
	x.make("makensis", "-V2", "tool.nsi")
	return x.read("tool.exe")
}

func testNSIS(x installerTest) {
	source := x.d.Content(x.tool())
	want := fmt.Sprintf(`{"name": "tool", "entry": "example tool *", "version": "3.4.0", "source": %s, "arguments": ["/D=C:\\Program Files\\A Tool"]}`, source)
	lab.Must(x.t, os.WriteFile(x.m.WindowsPath(`C:\busy`), nil, 0o644))
	x.converges(want, modules.Create)
	x.check("what says busy", fmt.Sprint(exists(x.m.WindowsPath(`C:\busy`))), "false")
	x.check("the file", x.content(`C:\Program Files\A Tool\app.txt`), "Example Tool")
	x.converges(want, modules.Same)
	x.converges(`{"name": "tool", "entry": "ExampleTool", "state": "absent"}`, modules.Delete)
	x.check("the folder after removal", fmt.Sprint(exists(x.m.WindowsPath(`C:\Program Files\A Tool`))), "false")
	x.d.TakesBack("installers", want, tool)
	x.converges(`{"name": "tool", "entry": "ExampleTool", "state": "absent"}`, modules.Delete)
	lab.Must(x.t, os.WriteFile(x.m.WindowsPath(`C:\restarts`), nil, 0o644))
	x.check("the restart", x.converges(want, modules.Create).Reboot, "tool: a restart was begun (1641)")
	x.check("the restart of an installer that asks for none", x.converges(want, modules.Same).Reboot, "")

	lab.Must(x.t, os.WriteFile(x.m.WindowsPath(`C:\refuse`), nil, 0o644))
	refused := fmt.Sprintf(`{"name": "other", "file": "C:\\Other\\app.txt", "source": %s, "arguments": ["/D=C:\\Other"]}`, source)
	x.fails(refused, "install other: exit code 4294967291", "hint: ")
	// A failure that the profile calls a success is none; what isn't there afterwards is told all the same.
	if r := x.one(strings.Replace(refused, `"name"`, `"exitCodes": [-5], "name"`, 1)); r.Error != "" || r.Again != modules.Create {
		x.t.Errorf("a good exit code: %s, then %s", r.Error, r.Again)
	}
	lab.Must(x.t, os.Remove(x.m.WindowsPath(`C:\refuse`)))
	x.converges(refused, modules.Create)
	x.fails(strings.Replace(refused, `"name"`, `"state": "absent", "name"`, 1), "nothing says how it is removed")
	x.converges(fmt.Sprintf(`{"name": "by value", "registry": "HKLM\\Software\\Microsoft\\Windows\\CurrentVersion\\Uninstall\\ExampleTool\\DisplayVersion", "version": "3.4", "source": %s}`, source), modules.Same)
	x.converges(`{"name": "Example Tool*", "state": "absent"}`, modules.Delete)
}

// As installers of NSIS are made that can do both: by its own MultiUser.nsh.
const bothScript = `Target amd64-unicode
Name "Both Tool"
OutFile "both.exe"
!define MULTIUSER_EXECUTIONLEVEL Highest
!define MULTIUSER_INSTALLMODE_COMMANDLINE
!define MULTIUSER_INSTALLMODE_INSTDIR "Both Tool"
!include MultiUser.nsh
Function .onInit
  SetRegView 64
  !insertmacro MULTIUSER_INIT
FunctionEnd
Function un.onInit
  SetRegView 64
  !insertmacro MULTIUSER_UNINIT
FunctionEnd
Section
  SetOutPath $INSTDIR
  File app.txt
  WriteUninstaller "$INSTDIR\un.exe"
  WriteRegStr SHCTX "Software\Microsoft\Windows\CurrentVersion\Uninstall\BothTool" DisplayName "Both Tool"
  WriteRegStr SHCTX "Software\Microsoft\Windows\CurrentVersion\Uninstall\BothTool" DisplayVersion 1.0
  WriteRegStr SHCTX "Software\Microsoft\Windows\CurrentVersion\Uninstall\BothTool" UninstallString '"$INSTDIR\un.exe" /$MultiUser.InstallMode'
SectionEnd
Section Uninstall
  Delete "$INSTDIR\app.txt"
  Delete "$INSTDIR\un.exe"
  RMDir "$INSTDIR"
  DeleteRegKey SHCTX "Software\Microsoft\Windows\CurrentVersion\Uninstall\BothTool"
SectionEnd
`

func (x installerTest) hasKey(name string) bool {
	x.t.Helper()
	code, err := x.m.Windows(x.t.Context(), "reg", "query", name).Run()
	lab.Must(x.t, err)
	return code == 0
}

// For the machine and for the user, side by side.
func testScope(x installerTest) {
	const key = `\SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall\BothTool`
	there := func(what string, machine, user bool) {
		x.t.Helper()
		x.check(what+": for the machine, for the user", fmt.Sprint(x.hasKey("HKLM"+key), x.hasKey("HKCU"+key)), fmt.Sprint(machine, user))
	}
	x.write("app.txt", "Both Tool\n")
	x.write("both.nsi", bothScript)
	x.make("makensis", "-V2", "both.nsi")
	want := func(scope, state string) string {
		return fmt.Sprintf(`{"name": "Both Tool", "version": "1.0", "source": %s, "scope": %q, "state": %q}`, x.d.Content(x.read("both.exe")), scope, state)
	}
	x.d.TakesBack("installers", want("user", "present"), `reg query HKCU`+key)
	there("the user's", false, true)
	x.converges(want("machine", "present"), modules.Create)
	there("the machine's beside it", true, true)
	x.converges(want("user", "present"), modules.Same)
	x.converges(want("user", "absent"), modules.Delete)
	there("the user's removed", true, false)
	x.converges(want("user", "absent"), modules.Same)
	x.converges(want("machine", "present"), modules.Same)
	x.converges(want("machine", "absent"), modules.Delete)
	there("the machine's removed", false, false)

	// A package that is the user's by itself becomes the machine's.
	const machines, users = `HKLM\Software\Classes\Installer\Products\11111111000000040800000000000050`, `HKCU\Software\Microsoft\Installer\Products\11111111000000040800000000000050`
	x.msi("00000000000d", "Scoped App", scoped, "1.0.0", "")
	x.make("msibuild", "app.msi", "-q", "DELETE FROM `Property` WHERE `Property` = 'ALLUSERS'")
	source := x.d.Content(x.read("app.msi"))
	byCode := func(more string) string {
		return fmt.Sprintf(`{"name": "Scoped App", "productCode": %q, "source": %s%s}`, scoped, source, more)
	}
	for more, want := range map[string]string{"": "false true", `, "scope": "machine"`: "true false"} {
		x.converges(byCode(more), modules.Create)
		x.check("a package, declared with "+more+": for the machine, for the user", fmt.Sprint(x.hasKey(machines), x.hasKey(users)), want)
		x.converges(byCode(more), modules.Same)
		x.converges(byCode(more+`, "state": "absent"`), modules.Delete)
		x.check("a package, removed: for the machine, for the user", fmt.Sprint(x.hasKey(machines), x.hasKey(users)), "false false")
	}
	x.converges(fmt.Sprintf(`{"name": "Scoped App", "source": %s, "scope": "machine"}`, source), modules.Create)
	x.converges(`{"name": "Scoped App", "scope": "machine", "state": "absent"}`, modules.Delete)
}

// From a path of the device, and by HTTP.
func testElsewhere(x installerTest) {
	program := x.tool()
	sum := sha256.Sum256([]byte(program))
	hash := hex.EncodeToString(sum[:])
	lab.Must(x.t, os.WriteFile(x.m.WindowsPath(`C:\share.exe`), []byte(program), 0o644))
	gone := func() {
		x.t.Helper()
		x.converges(`{"name": "Example Tool*", "state": "absent"}`, modules.Delete)
	}
	x.converges(`{"name": "Example Tool*", "path": "C:\\share.exe"}`, modules.Create)
	gone()
	x.converges(`{"name": "Example Tool*", "path": "C:\\share.exe", "hash": "`+strings.ToUpper(hash)+`"}`, modules.Create)
	gone()
	other := strings.Repeat("0", 64)
	x.fails(`{"name": "Example Tool*", "path": "C:\\share.exe", "hash": "`+other+`"}`, "its SHA-256 is "+hash, "nothing was run")
	x.fails(`{"name": "nowhere", "path": "C:\\nowhere.exe"}`, "nowhere.exe", "hint: put the installer there first")

	listener, err := net.Listen("tcp", x.l.Gateway+":0")
	lab.Must(x.t, err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/tool.exe" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(program))
	})}
	go func() { _ = server.Serve(listener) }()
	x.t.Cleanup(func() { _ = server.Close() })
	from := func(path, hash string) string {
		b, err := json.Marshal(map[string]string{"name": "Example Tool*", "url": "http://" + listener.Addr().String() + path, "hash": hash})
		lab.Must(x.t, err)
		return string(b)
	}
	x.fails(from("/nothing.exe", hash), "download http://", "the server answers with status 404")
	x.fails(from("/tool.exe", other), "nothing was run")
	if exists(x.m.WindowsPath(`C:\Tool`)) {
		x.t.Error("a download with another hash was run")
	}
	x.converges(from("/tool.exe", hash), modules.Create)
	gone()
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }
