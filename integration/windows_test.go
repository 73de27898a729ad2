package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/integration/lab"
)

// winsite is a technician with one Windows machine to work on.
type winsite struct {
	*technician
	m *lab.Machine
}

func (s *winsite) in(t *testing.T) *winsite { return &winsite{s.technician.in(t), s.m} }

// newWinsite reaches the machine by OpenSSH; the port says which shell is the one of those who log in.
func newWinsite(t *testing.T, m *lab.Machine, port int, profile string) *winsite {
	t.Helper()
	s := &winsite{newTechnician(t), m}
	s.write("site.yaml", profile)
	s.write("inventory.yaml", fmt.Sprintf("defaults: {profile: site, connect: {port: %d, identityFile: %s}}\ndevices: {lt-1: {address: %s, user: %s}}\n", port, m.KeyFile, m.Addr, lab.WindowsUser))
	s.fitout("trust", "--yes").exits(0)
	return s
}

// has says whether a file is on drive C.
func (s *winsite) has(path string) bool {
	_, err := os.Stat(s.m.WindowsPath(path))
	return err == nil
}

// put writes a file on drive C.
func (s *winsite) put(path, text string) {
	s.t.Helper()
	if err := os.WriteFile(s.m.WindowsPath(path), []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// services are the names of those that Windows knows, and are fitout's.
func (s *winsite) services() (names []string) {
	s.t.Helper()
	out := s.m.RunWindows(s.t, "reg", "query", `HKLM\SYSTEM\CurrentControlSet\Services`)
	for line := range strings.Lines(out) {
		if name := filepath.Base(strings.ReplaceAll(strings.TrimSpace(line), `\`, "/")); strings.HasPrefix(name, "fitout") {
			names = append(names, name)
		}
	}
	return names
}

// executors is how many processes of ours there are.
func (s *winsite) executors() string {
	s.t.Helper()
	return s.m.Run(s.t, `pgrep -af 'bin.[0-9a-f]*.executor' | grep -v lab.exe | grep -vc cmd.exe || :`)
}

// leavesNothing fails the test unless all that runs need is gone from the machine.
func (s *winsite) leavesNothing() {
	s.t.Helper()
	const dir = `C:\Program Files\fitout`
	left := func() (left []string) {
		left = s.services()
		if n := s.executors(); n != "0" {
			left = append(left, n+" processes")
		}
		filepath.WalkDir(s.m.WindowsPath(dir), func(path string, d os.DirEntry, err error) error {
			if err != nil {
				return nil
			}
			fi, err := d.Info()
			name := d.Name()
			if name == "socket" || name == "key" || strings.HasSuffix(name, ".new") || strings.HasPrefix(name, ".new-") || name == "lock" && err == nil && fi.Size() > 0 {
				left = append(left, path)
			}
			return nil
		})
		return left
	}
	deadline := time.Now().Add(20 * time.Second)
	found := left()
	for len(found) > 0 && time.Now().Before(deadline) {
		found = left()
	}
	if len(found) == 0 {
		return
	}
	var services strings.Builder
	for _, name := range s.services() {
		services.WriteString(s.m.RunWindows(s.t, "reg", "query", `HKLM\SYSTEM\CurrentControlSet\Services\`+name, "/s"))
	}
	s.t.Errorf("left behind: %s\n%s\n%s", strings.Join(found, ", "), &services, s.m.Run(s.t, "ps axo pid,ppid,etime,args"))
}

const windowsProfile = `profile: windows
directories: [{path: 'C:\Sales'}, {path: 'C:\Sales\Reports'}]
commands:
  - {name: once, run: [cmd.exe, /d, /c, 'echo done>C:\Sales\once'], creates: 'C:\Sales\once'}
`

// TestWindows brings a Windows machine to its state over ssh: pushed to, planned, applied, damaged, repaired and undone.
func TestWindows(t *testing.T) {
	t.Parallel()
	machines := lab.New(t).Machines(t, 2, lab.Wine)
	for i, c := range []struct {
		shell string
		port  int
	}{{"cmd.exe", lab.CmdPort}, {"PowerShell", lab.PowerShellPort}} {
		t.Run("over ssh with "+c.shell, func(t *testing.T) {
			t.Parallel()
			newWinsite(t, machines[i], c.port, windowsProfile).converges()
		})
	}
}

func (s *winsite) converges() {
	t, m := s.t, s.m
	s.fitout("plan").exits(2).says(`C:\Sales`)
	if s.has(`C:\Sales`) {
		t.Error("plan has changed the machine")
	}
	s.fitout("apply", "--yes").exits(0).says("3 changed")
	if b, err := os.ReadFile(m.WindowsPath(`C:\Sales\once`)); err != nil || string(b) != "done\r\n" {
		t.Errorf("the file holds %q, %v", b, err)
	}
	s.leavesNothing()
	// What a crash may leave of a service: the service manager doesn't know it, and the next session removes it.
	m.RunWindows(t, "reg", "add", `HKLM\SYSTEM\CurrentControlSet\Services\fitout-run-20260101-000000-aaaaaa`, "/v", "DisplayName", "/d", "half", "/f")
	s.fitout("apply", "--yes").exits(0).says("3 unchanged")
	s.leavesNothing()
	s.fitout("plan").exits(0)
	if err := os.Remove(m.WindowsPath(`C:\Sales\Reports`)); err != nil {
		t.Fatal(err)
	}
	s.fitout("plan").exits(2).says(`C:\Sales\Reports`)
	s.fitout("apply", "--yes").exits(0).says("1 changed")
	s.fitout("undo", "last", "--yes").exits(0)
	if s.has(`C:\Sales\Reports`) {
		t.Error("the folder that was undone is there")
	}
	s.leavesNothing()
	s.fitout("clean").exits(0)
	if s.has(`C:\Program Files\fitout`) {
		t.Error("fitout's folder is there after clean")
	}
	s.fitout("plan").exits(2) // from the beginning
}

// windowsStages is a profile whose run stands still in its middle until the file C:\go is there.
const windowsStages = `profile: stages
directories: [{path: 'C:\first'}]
commands:
  - {name: wait, run: [cmd.exe, /d, /c, 'echo waiting>C:\waiting & for /l %i in (1,0,2) do if exist C:\go (echo waited>C:\waited & exit 0)'], creates: 'C:\waited'}
  - {name: last, run: [cmd.exe, /d, /c, 'echo last>C:\last'], creates: 'C:\last', after: [commands/wait]}
`

func (s *winsite) record(run string) (r recorded) {
	s.t.Helper()
	out := s.fitout("runs", "show", run, "--json").exits(0)
	if err := json.Unmarshal([]byte(out.out), &r); err != nil || len(r.Devices) != 1 {
		s.t.Fatalf("%v\n%s", err, out)
	}
	return r
}

// afresh undoes what windowsStages does.
func (s *winsite) afresh() {
	for _, name := range []string{`C:\first`, `C:\waiting`, `C:\waited`, `C:\go`, `C:\last`} {
		os.Remove(s.m.WindowsPath(name))
	}
}

// TestWindowsRunsGoOn ends controllers and executors in the middle of runs.
func TestWindowsRunsGoOn(t *testing.T) {
	t.Parallel()
	m := lab.New(t).Machine(t, lab.Wine)
	s := newWinsite(t, m, lab.CmdPort, windowsStages)
	s.fitout("facts").exits(0)
	begin := func(s *winsite, args ...string) *running {
		c := s.start(append([]string{"apply", "--yes"}, args...)...)
		defer func() {
			if s.t.Failed() {
				s.t.Logf("%s%s", c.out.String(), c.stderr.String())
				out, _ := s.m.Exec(t.Context(), "ps axf -o pid,ppid,etime,args")
				s.t.Log(out)
			}
		}()
		until(s.t, "the run to stand still", func() bool { return s.has(`C:\waiting`) })
		return c
	}
	done := []string{`directories/C:\first changed`, "commands/wait changed", "commands/last changed"}
	t.Run("the controller is killed", func(t *testing.T) {
		s := s.in(t)
		c := begin(s)
		if got := s.services(); len(got) != 1 {
			t.Errorf("services of ours: %v", got)
		}
		c.Process.Kill()
		c.wait()
		s.fitout("clean").exits(3).says("under way", "hint:")
		s.put(`C:\go`, "")
		until(t, "the run to end", func() bool { return s.has(`C:\last`) })
		s.fitout("attach").exits(0)
		s.record("last").is(t, "changed", done...)
		s.leavesNothing()
		s.afresh()
	})
	t.Run("detached", func(t *testing.T) {
		s := s.in(t)
		s.fitout("apply", "--yes", "--detach").exits(0)
		until(t, "the run to stand still", func() bool { return s.has(`C:\waiting`) })
		c := s.start("attach")
		s.put(`C:\go`, "")
		c.wait().exits(0)
		s.record("last").is(t, "changed", done...)
		s.leavesNothing()
		s.afresh()
	})
	t.Run("the executor is killed", func(t *testing.T) {
		s := s.in(t)
		c := begin(s)
		const waiting = `pgrep -f 'c echo [w]aiting' || :`
		was := s.m.Run(t, waiting)
		s.m.Run(t, `kill -9 $(pgrep -f 'executor.*-run [^ ]*' | head -1)`)
		until(t, "what the executor had at work to end, and one more to begin", func() bool {
			now := s.m.Run(t, waiting)
			return now != "" && now != was && !strings.Contains(now, "\n")
		})
		s.put(`C:\go`, "")
		c.wait().exits(0)
		r := s.record("last")
		if !slices.ContainsFunc(r.Devices[0].Events, func(e wire.Event) bool { return strings.Contains(e.Text, "was interrupted, and goes on") }) {
			t.Error("the run was not interrupted")
		}
		r.is(t, "changed", done...)
		s.leavesNothing()
		s.afresh()
	})
}

// TestWindowsRebootsBelongToARun restarts a machine for a run, which goes on by itself.
func TestWindowsRebootsBelongToARun(t *testing.T) {
	t.Parallel()
	m := lab.New(t).Machine(t, lab.Wine)
	s := newWinsite(t, m, lab.CmdPort, `profile: restarting
run: {reboot: ifNeeded, rebootDelay: 1s}
commands:
  - {name: before, run: [cmd.exe, /d, /c, 'echo done>>C:\before'], unless: [cmd.exe, /d, /c, 'if not exist C:\before if not exist C:\replaced exit 1']}
  - name: update
    run: [reg.exe, add, 'HKLM\SYSTEM\CurrentControlSet\Control\Session Manager', /v, PendingFileRenameOperations, /t, REG_MULTI_SZ, /d, '\??\C:\before\0!\??\C:\replaced', /f]
  - {name: after, run: [cmd.exe, /d, /c, 'echo done>>C:\after'], creates: 'C:\after', after: [commands/update]}
`)
	s.fitout("facts").exits(0)
	boot := func() string {
		id, err := m.BootID(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	was := boot()
	r := s.fitout("apply", "--yes").exits(0).says(`C:\replaced was in use`, "is back")
	if boot() == was {
		t.Errorf("the machine was not restarted:\n%s", r)
	}
	if b, err := os.ReadFile(m.WindowsPath(`C:\after`)); err != nil || len(strings.Fields(string(b))) != 1 || !s.has(`C:\replaced`) {
		t.Errorf("what came after the restart was done %q times, %v", b, err)
	}
	s.leavesNothing()
}

// TestWindowsIsRenamed gives a computer a new name, which comes with a restart, and takes it back.
func TestWindowsIsRenamed(t *testing.T) {
	t.Parallel()
	m := lab.New(t).Machine(t, lab.Wine)
	s := newWinsite(t, m, lab.CmdPort, `profile: renamed
run: {reboot: ifNeeded, rebootDelay: 1s}
hostname: lt-077
commands:
  - {name: after, run: [cmd.exe, /d, /c, 'hostname>>C:\after'], creates: 'C:\after', after: [hostname]}
`)
	// What Windows itself calls the computer, and what it is to be called after its next start.
	names := func() string {
		t.Helper()
		const keys = `HKLM\SYSTEM\CurrentControlSet\Control\ComputerName`
		out := []string{strings.TrimSpace(m.RunWindows(t, "hostname.exe"))}
		for _, key := range []string{`\ActiveComputerName`, `\ComputerName`} {
			f := strings.Fields(m.RunWindows(t, "reg", "query", keys+key, "/v", "ComputerName"))
			out = append(out, f[len(f)-1])
		}
		return strings.ToLower(strings.Join(out, " "))
	}
	boot := func() string {
		t.Helper()
		id, err := m.BootID(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	old := m.Name
	if got, want := names(), strings.Join([]string{old, old, old}, " "); got != want {
		t.Fatalf("the names before: %s, want %s", got, want)
	}
	s.fitout("facts").exits(0)
	before := boot()
	s.fitout("apply", "--yes").exits(0).says("2 changed", "lt-077", "is back")
	renamed := boot()
	if renamed == before {
		t.Error("the machine was not restarted")
	}
	if got := names(); got != "lt-077 lt-077 lt-077" {
		t.Errorf("the names: %s", got)
	}
	if b, err := os.ReadFile(m.WindowsPath(`C:\after`)); err != nil || !strings.EqualFold(string(b), "lt-077\r\n") {
		t.Errorf("the command after the restart left %q, %v", b, err)
	}
	s.leavesNothing()

	s.fitout("plan").exits(0)
	s.fitout("apply", "--yes").exits(0).says("2 unchanged")
	if boot() != renamed {
		t.Error("the machine was restarted once more")
	}

	// The way back needs a restart too, which those who go it have to allow.
	s.fitout("undo", "last", "--yes", "--reboot", "ifNeeded").exits(0).says("commands/after", "is back")
	if got, want := names(), strings.Join([]string{old, old, old}, " "); got != want {
		t.Errorf("the names after undo: %s, want %s", got, want)
	}
	s.leavesNothing()
}
