package integration

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/integration/lab"
	"github.com/fitout-dev/fitout/integration/lab/winrm"
)

const mixedProfile = `profile: mixed
extends: [baseline-linux, baseline-windows]
packages: [{name: ca-certificates, managed: false}]    # the lab's machines have no archive
variables:
  site: '${device.os == "windows" ? "C:\\Site" : "/srv/site"}'
environment:
  - {name: SITE, value: lux}
directories:
  - {path: /srv/site, mode: "0750", when: device.os == "linux"}
  - {path: 'C:\Site', when: device.os == "windows"}
registry:
  - {path: HKLM\SOFTWARE\Example, name: Site, type: string, value: lux}
  - {path: HKLM\SOFTWARE\Example, name: Level, type: dword, value: "0x1f"}
commands:
  - {name: unix, run: [/bin/sh, -c, 'echo "$1" >/srv/site/mark', sh, '${vars.site}'], creates: /srv/site/mark, when: device.os == "linux"}
  - {name: windows, run: [cmd.exe, /d, /c, 'echo ${vars.site}>C:\Site\mark'], creates: 'C:\Site\mark', when: device.os == "windows"}
`

// TestMixedFleet: one profile brings Debian and Windows machines to their state in one run, over SSH and over WinRM; a plan
// before changes neither, and a second apply finds nothing to do on either.
func TestMixedFleet(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	unix, windows := l.Machine(t, lab.Debian), l.Machine(t, lab.Wine)
	w := windows.WinRMServer(t, winrm.Config{})
	s := &winsite{newTechnician(t), windows}
	s.env = append(s.env, "FITOUT_SECRET_ADMIN="+w.Password)
	s.write("mixed.yaml", mixedProfile)
	s.write("inventory.yaml", fmt.Sprintf(`defaults: {profile: mixed}
devices:
  unix: {address: %s, user: root, connect: {identityFile: %s}}
  win: {address: %s, user: %s, connect: {transport: winrm, auth: ntlm, tls: false, password: "${secrets.admin}"}}
`, unix.Addr, unix.KeyFile, windows.Addr, w.User))
	s.fitout("trust", "--yes").exits(0).says("win: it is reached by HTTP")
	before := s.state()
	s.fitout("plan").exits(2).says("windows only").says("HKLM")
	if d := differ(before, s.state()); len(d) > 0 {
		t.Errorf("plan has changed the Windows machine: %s", strings.Join(d, ", "))
	}
	s.fitout("apply", "--yes").exits(0)
	for line, want := range map[string]string{`reg query HKLM\SOFTWARE\Example /v Level`: "0x1f", `reg query HKLM\SOFTWARE\Example /v Site`: "lux",
		`reg query "HKLM\SYSTEM\CurrentControlSet\Control\Session Manager\Environment" /v SITE`: "lux",
		`reg query HKLM\SYSTEM\CurrentControlSet\Services\LanmanServer\Parameters /v SMB1`:      "0x0",
		`reg query HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Policies\Explorer`:            "0xff",
		`cmd /c type C:\Site\mark`: `C:\Site`} {
		c := windows.Windows(t.Context())
		c.Line = line
		if out, err := c.Output(); err != nil || !strings.Contains(out, want) {
			t.Errorf("%s: %v: %s, want %s", line, err, out, want)
		}
	}
	if out := unix.Run(t, "cat /srv/site/mark; stat -c %a /srv/site; grep SITE /etc/environment"); out != "/srv/site\n750\nSITE=lux" {
		t.Errorf("on Debian: %q", out)
	}
	s.fitout("apply", "--yes").exits(0).says("unix    converged").says("win     converged")
	s.fitout("plan").exits(0)
	s.leavesNothing()
}

// state is all files of the Windows machine's drive C but fitout's own, by their hashes, and each key of its registry.
func (s *winsite) state() map[string]string {
	s.t.Helper()
	out := map[string]string{}
	root := s.m.WindowsPath(`C:\`)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		name := strings.TrimPrefix(path, root)
		switch {
		case err != nil:
			return err
		case strings.Contains(name, "Program Files/fitout"), strings.Contains(strings.ToLower(name), "/temp/"), strings.HasSuffix(name, "state.reg"):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case !d.Type().IsRegular():
			out[name] = d.Type().String()
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		h := sha256.New()
		_, err = io.Copy(h, f)
		out[name] = hex.EncodeToString(h.Sum(nil))
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	// All but the classes of COM, which are most of it.
	for _, hive := range []string{`HKLM\SOFTWARE\Microsoft\Windows`, `HKLM\SOFTWARE\Microsoft\Windows NT`, `HKLM\SOFTWARE\Policies`, `HKLM\SYSTEM`, `HKCU`} {
		c := s.m.Windows(s.t.Context(), "reg", "export", hive, `C:\state.reg`, "/y")
		if said, err := c.Output(); err != nil {
			if strings.HasSuffix(hive, "Policies") { // there may be none
				out[hive] = "none"
				continue
			}
			s.t.Fatalf("%v: %s", err, said)
		}
		b, err := os.ReadFile(s.m.WindowsPath(`C:\state.reg`))
		if err != nil {
			s.t.Fatal(err)
		}
		key := ""
		for line := range strings.Lines(strings.ReplaceAll(string(b), "\x00", "")) {
			if strings.HasPrefix(line, "[") {
				key = hive + " " + strings.TrimSpace(line)
			}
			out[key] += line
		}
	}
	return out
}

// differ names what isn't the same in two states.
func differ(before, after map[string]string) (names []string) {
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if before[name] != after[name] {
			names = append(names, name)
		}
	}
	for name := range before {
		if _, ok := after[name]; !ok {
			names = append(names, name+" (gone)")
		}
	}
	return names
}
