package files_test

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/integration/lab"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/moduletest"
)

// What is declared, looked at from outside of Windows and with its own tools.
func TestOnWindows(t *testing.T) {
	m := lab.New(t).Machine(t, lab.Wine)
	d := moduletest.OnMachine(t, m)
	for _, test := range []struct {
		name string
		run  func(windows)
	}{{"files", testWindowsFiles}, {"attributes", testWindowsAttributes}, {"access", testWindowsAccess}, {"directories", testWindowsDirectories},
		{"lines", testWindowsLines}, {"links", testWindowsLinks}, {"in use", testWindowsInUse}} {
		t.Run(test.name, func(t *testing.T) { test.run(windows{t, m, d.In(t)}) })
	}
}

type windows struct {
	t *testing.T
	m *lab.Machine
	d *moduletest.Device
}

func (w windows) content(text string) string { return `"content": ` + w.d.Content(text) }

func (w windows) converged(typ, want string, ops ...modules.Op) []moduletest.Report {
	w.t.Helper()
	reports := w.d.Converge(typ, want)
	for i, r := range reports {
		if r.Error != "" || r.Again != modules.Same || i < len(ops) && r.Op != ops[i] {
			w.t.Errorf("%s %s: %s %v, then %s %v, want %v; %s", typ, want, r.Op, r.Changes, r.Again, r.After, ops, r.Error)
		}
	}
	return reports
}

func (w windows) fails(typ, want string, texts ...string) {
	w.t.Helper()
	for _, r := range w.d.Converge(typ, want) {
		for _, text := range texts {
			if !strings.Contains(r.Error, text) {
				w.t.Errorf("%s: says %q, not %q", want, r.Error, text)
			}
		}
	}
}

// file is what is in a file, from outside.
func (w windows) file(name string) string {
	w.t.Helper()
	b, err := os.ReadFile(w.m.WindowsPath(name))
	if errors.Is(err, fs.ErrNotExist) {
		return "(missing)"
	}
	lab.Must(w.t, err)
	return string(b)
}

func (w windows) has(name, want string) {
	w.t.Helper()
	if got := w.file(name); got != want {
		w.t.Errorf("%s holds %q, want %q", name, got, want)
	}
}

// put makes a file from outside.
func (w windows) put(name, text string) {
	w.t.Helper()
	lab.Must(w.t, os.WriteFile(w.m.WindowsPath(name), []byte(text), 0o644))
}

func (w windows) folder(name string) {
	w.t.Helper()
	lab.Must(w.t, os.MkdirAll(w.m.WindowsPath(name), 0o755))
}

func testWindowsFiles(w windows) {
	w.folder(`C:\Sales`)
	w.converged("files", `[{"path": "C:\\Sales\\motd.txt", `+w.content("Property of Example S.A.\r\n")+`}, {"path": "C:/Sales/empty"}]`, modules.Create, modules.Create)
	w.has(`C:\Sales\motd.txt`, "Property of Example S.A.\r\n")
	w.has(`C:\Sales\empty`, "")
	w.put(`C:\Sales\motd.txt`, "damaged")
	const show = `type C:\Sales\motd.txt & dir /b C:\Sales`
	want := `{"path": "c:\\sales\\MOTD.txt", ` + w.content("new") + `}`
	w.d.TakesBack("files", want, show)
	w.d.TakesBack("files", `{"path": "C:\\Sales\\motd.txt", "state": "absent"}`, `if exist C:\Sales\motd.txt type C:\Sales\motd.txt`)
	w.d.Interrupted("files", want, func() { w.put(`C:\Sales\motd.txt`, "damaged again") }, show)

	// Group and mode are nothing that Windows has, and don't count.
	w.converged("files", `{"path": "C:\\Sales\\motd.txt", "group": "nobody", "mode": "0600"}`, modules.Same)

	// What is replaced stays beside it.
	w.put(`C:\Sales\old.ini`, "old")
	w.converged("files", `{"path": "C:\\Sales\\old.ini", "backup": true, `+w.content("new")+`}`, modules.Update)
	entries, err := os.ReadDir(w.m.WindowsPath(`C:\Sales`))
	lab.Must(w.t, err)
	kept := 0
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "old.ini.") && strings.HasSuffix(e.Name(), "~") {
			kept++
			w.has(`C:\Sales\`+e.Name(), "old")
		}
	}
	if kept != 1 {
		w.t.Errorf("%d backups of old.ini", kept)
	}

	// A path of more than 260 characters.
	long := `C:\Sales\` + strings.Repeat("a", 150) + `\` + strings.Repeat("b", 150)
	json := strings.ReplaceAll(long, `\`, `\\`)
	w.converged("directories", `{"path": "`+json+`"}`, modules.Create)
	w.converged("files", `{"path": "`+json+`\\c.txt", `+w.content("deep")+`}`, modules.Create)
	w.has(long+`\c.txt`, "deep")
	w.converged("files", `{"path": "`+json+`\\c.txt", "state": "absent"}`, modules.Delete)
}

func testWindowsAttributes(w windows) {
	w.folder(`C:\Attributes`)
	w.put(`C:\Attributes\a.ini`, "old")
	const show = `attrib C:\Attributes\a.ini & type C:\Attributes\a.ini`
	w.d.TakesBack("files", `{"path": "C:\\Attributes\\a.ini", "attributes": {"hidden": true, "readOnly": true}}`, show)
	if got := w.m.RunWindows(w.t, "attrib", `C:\Attributes\a.ini`); !strings.Contains(strings.Split(got, "C:")[0], "H") || !strings.Contains(strings.Split(got, "C:")[0], "R") {
		w.t.Errorf("attrib says %q", got)
	}
	// A file that is read-only is replaced, and stays so.
	w.d.TakesBack("files", `{"path": "C:\\Attributes\\a.ini", `+w.content("new")+`}`, show)
	w.converged("files", `{"path": "C:\\Attributes\\a.ini", "attributes": {"hidden": true, "readOnly": true}}`, modules.Same)
	w.converged("files", `{"path": "C:\\Attributes\\new.ini", `+w.content("x")+`, "attributes": {"readOnly": true}}`, modules.Create)
	w.converged("files", `{"path": "C:\\Attributes\\new.ini", "state": "absent"}`, modules.Delete)
	w.d.TakesBack("directories", `{"path": "C:\\Attributes\\Hidden", "attributes": {"hidden": true}}`, `dir /b /a C:\Attributes`)
}

func testWindowsDirectories(w windows) {
	w.d.TakesBack("directories", `[{"path": "C:\\Deep\\er\\still"}, {"path": "C:/Deep/other"}]`, `dir /b /s C:\Deep`)
	w.put(`C:\Deep\er\still\x.txt`, "x")
	w.d.TakesBack("directories", `{"path": "C:\\Deep", "recursive": true, "attributes": {"hidden": true}}`, `attrib C:\Deep & attrib C:\Deep\er`)
	w.put(`C:\Deep\readonly.txt`, "y")
	w.m.RunWindows(w.t, "attrib", "+r", `C:\Deep\readonly.txt`)
	w.d.TakesBack("directories", `{"path": "c:\\deep", "state": "absent", "recursive": true}`, `if exist C:\Deep\er\still\x.txt type C:\Deep\er\still\x.txt`)
	if _, err := os.Stat(w.m.WindowsPath(`C:\Deep`)); !errors.Is(err, fs.ErrNotExist) {
		w.t.Errorf("C:\\Deep is still there: %v", err)
	}
	w.d.Interrupted("directories", `{"path": "C:\\One\\Two\\Three"}`, func() {
		lab.Must(w.t, os.RemoveAll(w.m.WindowsPath(`C:\One`)))
	}, `dir /b /s C:\One`)
}

func testWindowsLines(w windows) {
	w.folder(`C:\Lines`)
	w.put(`C:\Lines\crlf.ini`, "[a]\r\nx=1\r\n")
	w.put(`C:\Lines\utf16.ini`, "\xff\xfe[\x00a\x00]\x00\r\x00\n\x00\xe9\x00=\x001\x00\r\x00\n\x00")
	w.put(`C:\Lines\big.ini`, "\xfe\xff\x00x\x00\n")
	w.put(`C:\Lines\bom.ini`, "\xef\xbb\xbfx=1\r\n")
	w.converged("lines", `[{"path": "C:\\Lines\\crlf.ini", "line": "x=2", "match": "^x="}, {"path": "C:\\Lines\\crlf.ini", "line": "y=1"},
		{"path": "C:\\Lines\\utf16.ini", "line": "é=2", "match": "^é="}, {"path": "c:/lines/BIG.ini", "line": "y"}, {"path": "C:\\Lines\\bom.ini", "line": "x=2", "match": "^x="}]`,
		modules.Update, modules.Create, modules.Update, modules.Create, modules.Update)
	w.has(`C:\Lines\crlf.ini`, "[a]\r\nx=2\r\ny=1\r\n")
	w.has(`C:\Lines\utf16.ini`, "\xff\xfe[\x00a\x00]\x00\r\x00\n\x00\xe9\x00=\x002\x00\r\x00\n\x00")
	w.has(`C:\Lines\big.ini`, "\xfe\xff\x00x\x00\n\x00y\x00\n")
	w.has(`C:\Lines\bom.ini`, "\xef\xbb\xbfx=2\r\n")
	w.d.TakesBack("lines", `{"path": "C:\\Lines\\crlf.ini", "match": "^.=", "id": "all", "state": "absent"}`, `type C:\Lines\crlf.ini`)
	w.d.Interrupted("lines", `{"path": "C:\\Lines\\i.ini", "line": "a=1", "match": "^a="}`, func() { w.put(`C:\Lines\i.ini`, "a=0\r\nb=0\r\n") }, `type C:\Lines\i.ini`)
}

func testWindowsLinks(w windows) {
	w.folder(`C:\Links\target`)
	w.put(`C:\Links\target\x.txt`, "x")
	// Wine makes no junctions: what is refused leaves nothing behind.
	w.fails("links", `{"path": "C:\\Links\\junction", "target": "C:\\Links\\target"}`, "make a junction")
	w.fails("links", `{"path": "C:\\Links\\symbolic", "target": "C:\\Links\\target\\x.txt"}`, "made no symbolic link")
	if got := w.m.RunWindows(w.t, "cmd.exe", "/c", `dir /b /a C:\Links`); strings.TrimSpace(got) != "target" {
		w.t.Errorf("in C:\\Links are %q", got)
	}
	w.has(`C:\Links\target\x.txt`, "x")
}

// What is in use is changed when Windows starts again. The test itself holds it.
func testWindowsInUse(w windows) {
	w.d.Tests("TestInUse")
	w.folder(`C:\Used`)
	w.d.Tests("TestInUse")
	w.has(`C:\Used\changed.txt`, "old")
	lab.Must(w.t, w.m.Reboot(w.t.Context()))
	w.has(`C:\Used\changed.txt`, "newer")
	w.has(`C:\Used\gone.txt`, "(missing)")
	w.has(`C:\Used\free.txt`, "last")
	w.has(`C:\Used\freeabsent.txt`, "last")
	entries, err := os.ReadDir(w.m.WindowsPath(`C:\Used`))
	if err != nil || len(entries) != 3 {
		w.t.Errorf("C:\\Used holds %v (%v)", entries, err)
	}
}
