package files_test

import (
	"os"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/integration/lab"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/files"
	"github.com/fitout-dev/fitout/modules/hint"
)

func TestAccessCheck(t *testing.T) {
	for says, a := range map[string]struct {
		access []files.Access
		exact  bool
		owner  string
	}{
		"":                                  {access: []files.Access{{Who: "S-1-5-32-544", Rights: "full"}, {Who: `CORP\alice`, Rights: "0x1200a9"}}, exact: true, owner: "Administrators"},
		`access: who: is empty`:             {access: []files.Access{{Rights: "full"}}},
		`access: who: "S-1-5-32-" is no`:    {access: []files.Access{{Who: "S-1-5-32-", Rights: "full"}}},
		`owner: "S-1-5-x" is no SID`:        {owner: "S-1-5-x"},
		`"write" are no rights`:             {access: []files.Access{{Who: "alice", Rights: "write"}}},
		"a file is no directory":            {access: []files.Access{{Who: "alice", Rights: "read", DirectoryOnly: true}}},
		"no access that could be exact":     {exact: true},
		"nobody would be allowed anything":  {access: []files.Access{}, exact: true},
		"nobody would be allowed anything;": {access: []files.Access{{Who: "Everyone", Rights: "full", Deny: true}}, exact: true},
	} {
		f := files.File{Path: `C:\x`, Access: a.access, AccessExact: a.exact}
		if a.owner != "" {
			f.Owner = &a.owner
		}
		err := (files.Files{}).Check(f)
		if says = strings.TrimSuffix(says, ";"); says == "" && err != nil || says != "" && (err == nil || !strings.Contains(hint.Text(err), says)) {
			t.Errorf("%v, want %q", err, says)
		}
	}
}

// Wine keeps of an access control list what modes can express: the owner's rights and everybody's.
func testWindowsAccess(w windows) {
	w.folder(`C:\Rights`)
	mode := func(name string) os.FileMode {
		w.t.Helper()
		i, err := os.Stat(w.m.WindowsPath(name))
		lab.Must(w.t, err)
		return i.Mode() & 0o222
	}
	w.put(`C:\Rights\a.txt`, "a")
	want := `{"path": "C:\\Rights\\a.txt", "access": [{"who": "everyone", "rights": "modify"}]}`
	if r := w.converged("files", want, modules.Update); r[0].NoUndo != "" || !strings.Contains(string(r[0].Back), `"security"`) {
		w.t.Errorf("undo by %s %s", r[0].Back, r[0].NoUndo)
	}
	if got := mode(`C:\Rights\a.txt`); got&0o002 == 0 {
		w.t.Errorf("others can't write: %v", got)
	}
	w.converged("files", strings.Replace(want, "everyone", "S-1-1-0", 1), modules.Same)
	w.converged("files", strings.Replace(want, "modify", "read", 1), modules.Update)
	if got := mode(`C:\Rights\a.txt`); got != 0o200 {
		w.t.Errorf("after others may read alone, the mode is %v", got)
	}
	w.has(`C:\Rights\a.txt`, "a")

	// A new file, one with new content, and exactly who is listed: attrib sees that the owner may read alone, and outside it is a mode.
	exact := `"accessExact": true, "access": [{"who": "SYSTEM", "rights": "full"}, {"who": "root", "rights": "read"}, {"who": "Everyone", "rights": "read"}]}`
	const show = `attrib C:\Rights\b.txt & type C:\Rights\b.txt`
	w.d.TakesBack("files", `{"path": "C:\\Rights\\b.txt", `+w.content("b")+`, `+exact, show)
	if got := mode(`C:\Rights\b.txt`); got != 0 {
		w.t.Errorf("the new file's mode is %v", got)
	}
	w.put(`C:\Rights\c.txt`, "c")
	w.d.TakesBack("files", `{"path": "C:\\Rights\\c.txt", `+w.content("new")+`, `+exact, `attrib C:\Rights\c.txt & type C:\Rights\c.txt`)
	w.d.Interrupted("files", `{"path": "C:\\Rights\\d.txt", `+w.content("new")+`, `+exact, func() {
		_ = os.Remove(w.m.WindowsPath(`C:\Rights\d.txt`))
		w.put(`C:\Rights\d.txt`, "d")
	}, `attrib C:\Rights\d.txt & type C:\Rights\d.txt`)

	// A folder, and its way back.
	w.converged("directories", `{"path": "C:\\Rights\\folder", "access": [{"who": "Everyone", "rights": "read"}]}`, modules.Create)
	w.d.TakesBack("directories", `{"path": "C:\\Rights\\folder", "state": "absent"}`, `dir /b C:\Rights`)

	// One who isn't there, beside others who are: the rest goes on.
	reports := w.d.Converge("files", `[{"path": "C:\\Rights\\e.txt", "access": [{"who": "nobodyhere", "rights": "read"}]}, {"path": "C:\\Rights\\f.txt", "owner": "nobodyhere"}, {"path": "C:\\Rights\\g.txt"}]`)
	for i, says := range []string{`access: no account "nobodyhere" on this device`, `owner: no account "nobodyhere"`, ""} {
		if !strings.Contains(reports[i].Error, says) || says == "" && (reports[i].Error != "" || reports[i].Again != modules.Same) {
			w.t.Errorf("%d: %q, want %q", i, reports[i].Error, says)
		}
	}
	if w.file(`C:\Rights\e.txt`) != "(missing)" {
		w.t.Error("a file whose access names no one was made")
	}
	w.converged("files", `{"path": "C:\\Rights\\g.txt", "owner": "root"}`, modules.Same)
	// Wine says yes to any owner and keeps the old one, which the proof finds out.
	if r := w.d.Converge("files", `{"path": "C:\\Rights\\g.txt", "owner": "Administrators"}`); r[0].Op != modules.Update || r[0].Again != modules.Update {
		w.t.Errorf("another owner: %s, then %s", r[0].Op, r[0].Again)
	}
}
