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
		`access: who: "Everyone" is named`:  {access: []files.Access{{Who: "Everyone", Rights: "read"}, {Who: "Everyone", Rights: "full"}}},
		"are the same account":              {access: []files.Access{{Who: "Users", Rights: "read"}, {Who: "S-1-5-32-545", Rights: "read"}}},
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

// Wine keeps of an access control list what modes can express, which is what everybody may do: modes are looked at from outside.
func testWindowsAccess(w windows) {
	w.folder(`C:\Rights`)
	others := func(name string, want os.FileMode) {
		w.t.Helper()
		i, err := os.Stat(w.m.WindowsPath(name))
		lab.Must(w.t, err)
		if got := i.Mode() & 0o006; got != want {
			w.t.Errorf("%s: others have %v, want %v", name, got, want)
		}
	}
	w.put(`C:\Rights\a.txt`, "a")
	want := `{"path": "C:\\Rights\\a.txt", "access": [{"who": "everyone", "rights": "modify"}]}`
	back := w.converged("files", want, modules.Update)[0].Back
	others(`C:\Rights\a.txt`, 0o006)
	w.converged("files", strings.Replace(want, "everyone", "S-1-1-0", 1), modules.Same)
	again := w.converged("files", string(back), modules.Update)[0].Back
	others(`C:\Rights\a.txt`, 0o004)
	w.converged("files", string(again), modules.Update)
	others(`C:\Rights\a.txt`, 0o006)
	w.has(`C:\Rights\a.txt`, "a")

	// A new file, and one with new content: exactly who is listed. Of everybody's right to write Wine lets go, of the one to read not.
	exact := `"accessExact": true, "access": [{"who": "SYSTEM", "rights": "full"}, {"who": "root", "rights": "full"}, {"who": "Everyone", "rights": "read"}]}`
	open := func(name, text string) {
		w.t.Helper()
		w.put(name, text)
		lab.Must(w.t, os.Chmod(w.m.WindowsPath(name), 0o666))
	}
	w.d.TakesBack("files", `{"path": "C:\\Rights\\b.txt", `+w.content("b")+`, `+exact, `type C:\Rights\b.txt`)
	others(`C:\Rights\b.txt`, 0o004)
	open(`C:\Rights\c.txt`, "c")
	back = w.converged("files", `{"path": "C:\\Rights\\c.txt", `+w.content("new")+`, `+exact, modules.Update)[0].Back
	others(`C:\Rights\c.txt`, 0o004)
	w.converged("files", string(back), modules.Update)
	others(`C:\Rights\c.txt`, 0o006)
	w.has(`C:\Rights\c.txt`, "c")
	w.d.Interrupted("files", `{"path": "C:\\Rights\\d.txt", `+w.content("new")+`, `+exact, func() { open(`C:\Rights\d.txt`, "d") }, `type C:\Rights\d.txt`)
	others(`C:\Rights\d.txt`, 0o004)

	// A folder, and its way back.
	w.converged("directories", `{"path": "C:\\Rights\\folder", "access": [{"who": "Everyone", "rights": "read"}]}`, modules.Create)
	w.d.TakesBack("directories", `{"path": "C:\\Rights\\folder", "state": "absent"}`, `dir /b C:\Rights`)

	// One who is named twice, as the device alone knows, and one who isn't there, beside others who are: the rest goes on.
	reports := w.d.Converge("files", `[{"path": "C:\\Rights\\h.txt", "access": [{"who": "root", "rights": "read"}, {"who": "S-1-5-21-0-0-0-1000", "rights": "full"}]}, {"path": "C:\\Rights\\e.txt", "access": [{"who": "nobodyhere", "rights": "read"}]}, {"path": "C:\\Rights\\f.txt", "owner": "nobodyhere"}, {"path": "C:\\Rights\\g.txt"}]`)
	for i, says := range []string{"are the same account", `access: no account "nobodyhere" on this device`, `owner: no account "nobodyhere"`, ""} {
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
