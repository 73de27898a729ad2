package integration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fitout-dev/fitout/integration/lab"
	"github.com/fitout-dev/fitout/integration/lab/winrm"
)

// prepareWindows gives a machine the state that testdata/undo-windows.yaml changes, but for what prepared does.
func prepareWindows(t *testing.T, m *lab.Machine) {
	t.Helper()
	const environment, driver = `HKLM\SYSTEM\CurrentControlSet\Control\Session Manager\Environment`, `HKLM\SYSTEM\CurrentControlSet\Control\Print\Environments\Windows x64\Drivers\Version-3\PS Driver`
	for _, value := range [][]string{
		{environment, "/v", "EDITOR", "/d", "vi"}, {environment, "/v", "OLD", "/d", "1"},
		{environment, "/v", "PATH", "/t", "REG_EXPAND_SZ", "/d", `%SystemRoot%\system32;C:\Tools;C:\Other`},
		{`HKLM\SOFTWARE\Example`, "/v", "Level", "/t", "REG_DWORD", "/d", "1"},
		{`HKLM\SOFTWARE\Example`, "/v", "Kind", "/d", "text"}, {`HKLM\SOFTWARE\Example`, "/v", "Gone", "/t", "REG_BINARY", "/d", "00ff"},
		{`HKLM\SOFTWARE\Example`, "/v", "Secret", "/d", "old-canary"},
		{`HKLM\SOFTWARE\Old\A\B`, "/v", "x", "/d", "1"}, {`HKLM\SOFTWARE\Old\C`, "/ve", "/t", "REG_MULTI_SZ", "/d", `a\0b`},
		{driver, "/v", "Driver", "/d", "wineps.drv"}, {driver, "/v", "Configuration File", "/d", "wineps.drv"}, {driver, "/v", "Data File", "/d", "wineps.drv"},
		{driver, "/v", "Version", "/t", "REG_DWORD", "/d", "3"},
		// What is made with the first of its kind, and stays.
		{`HKLM\SOFTWARE\Microsoft\SystemCertificates\CA\Certificates`},
	} {
		m.RunWindows(t, slices.Concat([]string{"reg", "add"}, value, []string{"/f"})...)
	}
	for name, text := range map[string]string{
		`Full\one.txt`: "one", `Full\sub\two.txt`: "two", `Hidden\x`: "x",
		`Config\changed.ini`: "old\r\n", `Config\deleted.ini`: "away\r\n", `Config\readonly.ini`: "old\r\n", `Config\attributes.ini`: "a\r\n",
		`Config\secret.ini`: "token=old-canary\r\n", `Config\agent.ini`: "seconds=1\r\n", `Config\app.ini`: "a=1\r\nlevel=low\r\nb=2\r\ndebug=yes\r\nc=3\r\n",
		`Config\wide.ini`:                        "\xff\xfen\x00a\x00m\x00e\x00=\x00x\x00\r\x00\n\x00",
		`windows\system32\drivers\etc\hosts`:     "# Windows\r\n10.0.0.6\told-nas other\r\n",
		`windows\system32\drivers\etc\hosts.old`: "not fitout's",
	} {
		path := m.WindowsPath(`C:\` + name)
		lab.Must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		lab.Must(t, os.WriteFile(path, []byte(text), 0o644))
	}
	m.RunWindows(t, "attrib", "+r", `C:\Config\readonly.ini`)
}

// prepared is what fitout itself can best make, as one that came before would have.
const prepared = `profile: prepared
shortcuts: [{path: 'C:\users\Public\Desktop\Notes.lnk', target: 'C:\windows\notepad.exe', arguments: old, hotkey: Ctrl+Alt+N}]
services:
  - {name: agent, program: 'C:\windows\system32\lab.exe service agent', start: auto, running: true}
  - {name: idle, program: 'C:\windows\system32\lab.exe service idle', start: manual, running: true, description: Idles, dependencies: [RpcSs]}
  - {name: goes, program: 'C:\windows\system32\lab.exe service goes', start: delayed, running: true, displayName: Goes away, account: LocalService}
printers: [{name: First, port: 'LPT1:', driver: PS Driver, location: Cellar, default: true}]
certificates: [{name: old, store: CA, certificate: "${vars.old}"}]
`

// TestWindowsUndo takes back a run of every kind of change, and that too: files, registry and services of the machine must be
// as they were each time, but for what the plan had said.
func TestWindowsUndo(t *testing.T) {
	t.Parallel()
	m := lab.New(t).Machine(t, lab.Wine)
	ca, _ := certificate(t, "Example CA")
	old, thumbprint := certificate(t, "Old CA")
	variables := fmt.Sprintf("variables: {ca: %q, old: %q, oldThumbprint: %s}\n", ca, old, thumbprint)
	s := newWinRMSite(t, m, m.WinRMServer(t, winrm.Config{}), "auth: ntlm, tls: false", prepared+variables)
	s.env = append(s.env, "FITOUT_SECRET_TOKEN=canary-token")
	prepareWindows(t, m)
	s.write("undo.yaml", string(mustRead(t, filepath.Join(here(), "testdata/undo-windows.yaml")))+variables)
	s.write("rendered.tmpl", "of {{.device.name}}\r\n")
	buildMSI(t, s.dir)
	s.fitout("apply", "--yes").exits(0)
	agent := func() string { return m.Run(t, `pgrep -f 'lab.exe service agent$'`) }
	was := agent()

	before := s.snapshot()
	if got := s.fitout("plan", "-p", "undo.yaml", "--json").exits(2).noUndo("lt-1"); len(got) != 1 || got["commands/day"] == "" {
		t.Errorf("the plan says of these that they can't be undone: %v", got)
	}
	applied := s.fitout("apply", "-p", "undo.yaml", "--yes", "--json").exits(0).summary()
	if n := applied.Devices["lt-1"].Changed; n < 45 {
		t.Errorf("only %d resources changed", n)
	}
	after := s.snapshot()
	if changed := differ(before, after); len(changed) < 30 {
		t.Errorf("the run shows in few places only: %v", changed)
	}
	s.fitout("plan", "-p", "undo.yaml").exits(0)
	is := agent()
	if is == was {
		t.Error("the service was not told of its new file")
	}

	r := s.fitout("undo", "last", "--yes").exits(0).says("not undone: commands/day")
	undone := without(s.snapshot(), "/day") // as the plan had said
	for _, name := range differ(before, undone) {
		t.Errorf("the undo leaves of %s (-before the run +after its undo):\n%s\n%s", name, cmp.Diff(before[name], undone[name]), r)
	}
	if agent() == is {
		t.Error("the service was not told that its file is the old one again")
	}
	r = s.fitout("undo", "last", "--yes").exits(0)
	again := s.snapshot()
	for _, name := range differ(after, again) {
		t.Errorf("the undo of the undo leaves of %s (-after the run +after both):\n%s\n%s", name, cmp.Diff(after[name], again[name]), r)
	}
	s.leavesNothing()
}

// left is what a snapshot leaves out, and why.
var left = []string{
	`\Control\ServiceCurrent]`,                                                      // counted up by the service control manager
	`[HKEY_LOCAL_MACHINE\SYSTEM\ControlSet001\`,                                     // CurrentControlSet by its other name
	`[HKEY_CURRENT_USER\Console]`,                                                   // of the first program that runs
	`\CurrentVersion\Installer\UpgradeCodes]`, `\CurrentVersion\Installer\UserData`, // Windows Installer's own
	"/windows/Installer",
}

// snapshot is state, but for what is left out, and what the service control manager says.
func (s *winsite) snapshot() map[string]string {
	s.t.Helper()
	out := s.state()
	maps.DeleteFunc(out, func(name, _ string) bool {
		return slices.ContainsFunc(left, func(l string) bool { return strings.Contains(name, l) })
	})
	// Wine knows the computer's name by its short form alone, which has no lower case.
	const name = `HKLM\SYSTEM [HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services\Tcpip\Parameters]`
	out[name] = strings.ToUpper(out[name])
	for _, service := range []string{"agent", "new", "idle", "goes"} {
		said, err := s.m.Windows(s.t.Context(), "sc", "query", service).Output()
		if err != nil {
			said = "none"
		}
		out["(service "+service+")"] = said
	}
	return out
}

// certificate makes a certificate, as base64, and its thumbprint.
func certificate(t *testing.T, name string) (text, thumbprint string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	lab.Must(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: name, Organization: []string{strings.Repeat("Example S.A. ", 4)}}, NotBefore: time.Now(), NotAfter: time.Now().AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	lab.Must(t, err)
	sum := sha1.Sum(der)
	return base64.StdEncoding.EncodeToString(der), hex.EncodeToString(sum[:])
}

// buildMSI makes app.msi, which has one file.
func buildMSI(t *testing.T, dir string) {
	t.Helper()
	lab.Must(t, os.WriteFile(filepath.Join(dir, "app.txt"), []byte("Example App 1.0\r\n"), 0o644))
	lab.Must(t, os.WriteFile(filepath.Join(dir, "app.wxs"), []byte(`<?xml version="1.0" encoding="utf-8"?>
<Wix xmlns="http://schemas.microsoft.com/wix/2006/wi">
<Product Id="11111111-0000-4000-8000-000000000077" Name="Example App" Language="1033" Version="1.0" Manufacturer="Example S.A." UpgradeCode="99999999-0000-4000-8000-000000000077">
<Package InstallerVersion="200" Compressed="yes" InstallScope="perMachine"/>
<Media Id="1" Cabinet="a.cab" EmbedCab="yes"/>
<Directory Id="TARGETDIR" Name="SourceDir"><Directory Id="ProgramFilesFolder"><Directory Id="D" Name="Example App">
<Component Id="C" Guid="22222222-0000-4000-8000-000000000077"><File Id="F" Source="app.txt" KeyPath="yes"/></Component></Directory></Directory></Directory>
<Feature Id="Main" Level="1"><ComponentRef Id="C"/></Feature>
</Product></Wix>`), 0o644))
	c := exec.Command("wixl", "-o", "app.msi", "app.wxs")
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("wixl: %v\n%s", err, out)
	}
}
