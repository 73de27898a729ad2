package integration

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/integration/lab"
	"github.com/fitout-dev/fitout/integration/lab/winrm"
)

const winrmProfile = `profile: winrm
directories: [{path: 'C:\Sales'}]
files:
  - {path: 'C:\Sales\note.txt', content: "hello\r\n"}
lines:
  - {path: 'C:\Sales\hosts', line: "10.0.0.5 nas", create: true}
commands:
  - {name: once, run: [cmd.exe, /d, /c, 'echo done>C:\Sales\once'], creates: 'C:\Sales\once'}
`

// newWinRMSite reaches a machine by WinRM; connect is what the inventory says besides the password.
func newWinRMSite(t *testing.T, m *lab.Machine, w *lab.WinRM, connect, profile string) *winsite {
	t.Helper()
	s := &winsite{newTechnician(t), m}
	s.env = append(s.env, "FITOUT_SECRET_ADMIN="+w.Password)
	s.write("site.yaml", profile)
	s.write("inventory.yaml", fmt.Sprintf("defaults: {profile: site, connect: {transport: winrm, %s, password: '${secrets.admin}'}}\ndevices: {lt-1: {address: %s, user: %s}}\n",
		connect, m.Addr, w.User))
	return s
}

// TestWinRM brings a Windows machine to its state over WinRM: by HTTPS with a certificate that is kept first, and by plain
// HTTP, where all that goes over the wire is sealed.
func TestWinRM(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	m := l.Machine(t, lab.Wine)
	w := m.WinRMServer(t, winrm.Config{})
	s := newWinRMSite(t, m, w, "auth: basic", winrmProfile)
	s.fitout("plan").exits(3).says(w.Fingerprint[:16]).says("fitout trust")
	s.fitout("trust", "--yes").exits(0)
	bringOverWinRM(t, s)

	sealed := newWinRMSite(t, m, w, "auth: ntlm, tls: false", strings.ReplaceAll(winrmProfile, `C:\Sales`, `C:\Sealed`))
	sealed.fitout("plan").exits(2)
	sealed.fitout("apply", "--yes").exits(0).says("4 changed")
	sealed.fitout("apply", "--yes").exits(0).says("4 unchanged")
	if !sealed.has(`C:\Sealed\once`) {
		t.Error("the command did not run")
	}
	sealed.leavesNothing()
}

// TestWinRMPull has a device fetch a large file, be forbidden to, and be unable to: the file comes in each case.
func TestWinRMPull(t *testing.T) {
	t.Parallel()
	m := lab.New(t).Machine(t, lab.Wine)
	w := m.WinRMServer(t, winrm.Config{})
	content := make([]byte, 3<<20)
	rand.Read(content)
	const fetched, sent = "has fetched content", "so they are sent"
	site := func(name, connect string) (*winsite, func(says, not string)) {
		s := newWinRMSite(t, m, w, "auth: ntlm, tls: false"+connect, "profile: large\nfiles: [{path: 'C:\\"+name+"', source: large}]\n")
		return s, func(says, not string) {
			t.Helper()
			content[0]++ // the device has the one before
			s.write("large", string(content))
			r := s.fitout("apply", "--yes", "-v").exits(0).says("1 changed").says(says)
			if strings.Contains(r.out+r.stderr, not) {
				t.Errorf("%s says %q", name, not)
			}
			if b, err := os.ReadFile(m.WindowsPath(`C:\` + name)); err != nil || !bytes.Equal(b, content) {
				t.Errorf("%s holds %d bytes: %v", name, len(b), err)
			}
			s.fitout("apply", "--yes").exits(0).says("1 unchanged")
		}
	}
	s, pulled := site("pulled", "")
	pulled(fetched, sent)
	_, forbidden := site("forbidden", ", pull: false")
	forbidden("changed", fetched)

	// What leaves the machine may be WinRM's answers alone.
	m.Run(t, "ip rule add pref 10 ipproto 6 sport 5985 lookup main && ip rule add pref 11 ipproto 6 dport 1024-65534 unreachable")
	_, cut := site("cut", "")
	cut(sent, fetched)
	s.leavesNothing()
}

func bringOverWinRM(t *testing.T, s *winsite) {
	s.fitout("plan").exits(2).says(`C:\Sales`)
	if s.has(`C:\Sales`) {
		t.Error("plan has changed the machine")
	}
	s.fitout("apply", "--yes").exits(0).says("4 changed")
	if b, err := os.ReadFile(s.m.WindowsPath(`C:\Sales\note.txt`)); err != nil || string(b) != "hello\r\n" {
		t.Errorf("the file holds %q, %v", b, err)
	}
	s.fitout("apply", "--yes").exits(0).says("4 unchanged")
	s.put(`C:\Sales\note.txt`, "hallo\r\n")
	s.fitout("plan").exits(2).says("note.txt")
	s.fitout("apply", "--yes").exits(0).says("1 changed")
	s.fitout("undo", "last", "--yes").exits(0)
	if b, _ := os.ReadFile(s.m.WindowsPath(`C:\Sales\note.txt`)); string(b) != "hallo\r\n" {
		t.Errorf("undone to %q", b)
	}
	s.leavesNothing()
}

// TestWinRMRefuses: what can't work is said in words, a wrong password is tried once, and a certificate that has changed is
// refused.
func TestWinRMRefuses(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	m := l.Machine(t, lab.Wine)
	w := m.WinRMServer(t, winrm.Config{Users: map[string]winrm.User{
		lab.WindowsUser: {Password: "right"}, "gone": {Password: "right", Disabled: true}, "remote": {Password: "right", Denied: true}}})
	s := newWinRMSite(t, m, w, "auth: ntlm, tls: false", winrmProfile)
	s.fitout("plan").exits(2)

	wrong := *w
	wrong.Password = "wrong"
	newWinRMSite(t, m, &wrong, "auth: ntlm, tls: false", winrmProfile).fitout("plan").exits(3).says("password")
	gone := *w
	gone.User = "gone"
	newWinRMSite(t, m, &gone, "auth: ntlm, tls: false", winrmProfile).fitout("plan").exits(3).says("disabled")
	remote := *w
	remote.User = "remote"
	newWinRMSite(t, m, &remote, "auth: ntlm, tls: false", winrmProfile).fitout("plan").exits(3).says("LocalAccountTokenFilterPolicy")

	tls := newWinRMSite(t, m, w, "auth: ntlm", winrmProfile)
	tls.fitout("trust", "--yes").exits(0)
	tls.fitout("plan").exits(2)
	again := m.WinRMServer(t, winrm.Config{Users: map[string]winrm.User{lab.WindowsUser: {Password: "right"}}})
	m.Run(t, "systemctl restart winrm")
	lab.Must(t, m.AwaitWinRM(t.Context()))
	tls.fitout("plan").exits(3).says("THE CERTIFICATE HAS CHANGED").says("--replace")
	tls.fitout("trust", "--replace", "--yes").exits(0)
	tls.fitout("plan").exits(2)
	if again.Fingerprint == w.Fingerprint {
		t.Error("the certificate is the same")
	}
}
