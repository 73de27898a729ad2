package lab

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

func TestWine(t *testing.T) {
	l := New(t)
	start := time.Now()
	machines := l.Machines(t, 2, Wine)
	t.Logf("2 machines in %s", time.Since(start))
	seen := map[string]bool{}
	for _, m := range machines {
		if got := sshRun(t, m, "hostname"); got != m.Name {
			t.Errorf("hostname over ssh: %q, want %q", got, m.Name)
		}
		if got := m.Run(t, "systemctl is-system-running || systemctl --failed"); got != "running" {
			t.Errorf("%s: systemd is %s", m.Name, got)
		}
		start := time.Now()
		if got := m.RunWindows(t, "cmd.exe", "/c", "ver"); !strings.Contains(got, "Microsoft Windows 10.0") {
			t.Errorf("ver: %q", got)
		}
		t.Logf("a program starts and ends in %s", time.Since(start))
		guid := m.RunWindows(t, "reg", "query", `HKLM\Software\Microsoft\Cryptography`, "/v", "MachineGuid")
		if seen[guid] || !strings.Contains(guid, "REG_SZ") {
			t.Errorf("MachineGuid: %s", guid)
		}
		seen[guid] = true
		if got := m.RunWindows(t, "cmd.exe", "/c", "echo %COMPUTERNAME%"); got != strings.ToUpper(m.Name) {
			t.Errorf("COMPUTERNAME is %s", got)
		}
	}
	m := machines[0]

	for _, code := range []int{0, 1, 255, 1603, 3010, -1073741819} {
		c := m.Windows(t.Context())
		c.Line = fmt.Sprintf("cmd.exe /c exit %d", code)
		if got, err := c.Run(); err != nil || got != int(uint32(code)) {
			t.Errorf("exit code %d, %v; want %d", got, err, code)
		}
	}
	m.RunWindows(t, "cmd.exe", "/c", `echo from inside>C:\users\public\note.txt`)
	if b, err := os.ReadFile(m.WindowsPath(`C:\users\Public\note.txt`)); err != nil || string(b) != "from inside\r\n" {
		t.Errorf("the file from outside: %q, %v", b, err)
	}

	// Every byte, and more than any pipe holds.
	want := make([]byte, 8<<20)
	rand.Read(want)
	var got bytes.Buffer
	c := m.Windows(t.Context(), "lab.exe", "copy")
	c.Stdin, c.Stdout = bytes.NewReader(want), &got
	if code, err := c.Run(); err != nil || code != 0 || !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%d bytes came back, code %d, %v", got.Len(), code, err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if _, err := m.Windows(ctx, "lab.exe", "run", `C:\code`, `C:\`, "lab.exe sleep 600").Run(); err == nil {
		t.Error("a program that was killed ended well")
	}
	Must(t, await(t.Context(), "the program's end", func() bool {
		return m.Run(t, "pgrep -f 'sleep 60[0]' || :") == ""
	}))
}
