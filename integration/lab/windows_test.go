package lab

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
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
	if _, err := m.Windows(ctx, "cmd.exe", "/c", "lab.exe sleep 600").Run(); err == nil {
		t.Error("a program that was killed ended well")
	}
	if got := m.Run(t, "pgrep -f 'sleep 60[0]' || :"); got != "" {
		t.Errorf("what a program started outlived it: %s", got)
	}
}

// A restart is one of Windows: what was registered for it happens, and what is kept is kept.
func TestWineRestarts(t *testing.T) {
	l := New(t)
	m := l.Machine(t, Wine)
	ctx := t.Context()
	reg := func(args ...string) string { return m.RunWindows(t, append([]string{"reg"}, args...)...) }
	query := func(key, name string) string { return reg("query", key, "/v", name) }
	prepare := func(round string) {
		reg("add", `HKCU\Software\Lab`, "/v", "Kept", "/d", round, "/f")
		reg("add", `HKLM\Software\Microsoft\Windows\CurrentVersion\RunOnce`, "/v", "Lab", "/f",
			"/d", `reg.exe add HKCU\Software\Lab /v RunOnce /d `+round+` /f`)
		m.RunWindows(t, "cmd.exe", "/c", "echo "+round+`>C:\new.txt& echo old>C:\old.txt`)
		reg("add", `HKLM\System\CurrentControlSet\Control\Session Manager`, "/v", "PendingFileRenameOperations", "/t", "REG_MULTI_SZ", "/f",
			"/d", `\??\C:\new.txt\0!\??\C:\old.txt`)
	}
	check := func(round string) {
		t.Helper()
		for _, name := range []string{"Kept", "RunOnce"} {
			if got := query(`HKCU\Software\Lab`, name); !strings.HasSuffix(strings.TrimSpace(got), round) {
				t.Errorf("%s: %s is %s", round, name, got)
			}
		}
		if got := m.RunWindows(t, "cmd.exe", "/c", `type C:\old.txt`); got != round {
			t.Errorf("%s: the file that was to be renamed is %q", round, got)
		}
		if got := m.RunWindows(t, "sc", "query", "LabService"); !strings.Contains(got, "RUNNING") {
			t.Errorf("%s: the service: %s", round, got)
		}
	}
	m.RunWindows(t, "sc", "create", "LabService", "binPath=", `C:\windows\system32\lab.exe service LabService`, "start=", "auto")

	prepare("reboot")
	start := time.Now()
	Must(t, m.Reboot(ctx))
	t.Logf("rebooted in %s", time.Since(start))
	check("reboot")

	last := ""
	for how, args := range map[string][]string{"shutdown.exe": {"shutdown", "/r", "/t", "0"}, "ExitWindowsEx": {"lab", "exit-windows"}} {
		last = how
		prepare(how)
		id, err := m.BootID(ctx)
		Must(t, err)
		_, _ = m.Windows(ctx, args...).Run() // its answer may be lost with the machine
		Must(t, m.WaitReboot(ctx, id))
		check(how)
	}

	Must(t, m.Crash())
	Must(t, m.Start(ctx))
	check(last)

	guid := query(`HKLM\Software\Microsoft\Cryptography`, "MachineGuid")
	Must(t, m.Reset(ctx))
	if query(`HKLM\Software\Microsoft\Cryptography`, "MachineGuid") == guid {
		t.Error("the MachineGuid survived a reset")
	}
	if _, err := m.Windows(ctx, "reg", "query", `HKCU\Software\Lab`).Output(); err == nil {
		t.Error("the registry survived a reset")
	}
}

func TestWineHasWhatWindowsHas(t *testing.T) {
	l := New(t)
	m := l.Machine(t, Wine)

	// hosts is where Windows has it, and names are looked up in it.
	m.RunWindows(t, "cmd.exe", "/c", `echo 192.0.2.7 nas.example.lan>>C:\windows\system32\drivers\etc\hosts`)
	if got := m.Run(t, "getent hosts nas.example.lan"); !strings.HasPrefix(got, "192.0.2.7") {
		t.Errorf("nas.example.lan is %q", got)
	}

	var archive bytes.Buffer
	z := gzip.NewWriter(&archive)
	w := tar.NewWriter(z)
	big := strings.Repeat("0123456789abcdef", 1<<16)
	for name, content := range map[string]string{"a.txt": "a\r\n", "deep/er/b.bin": big} {
		Must(t, w.WriteHeader(&tar.Header{Name: name, Size: int64(len(content)), Mode: 0o644, ModTime: time.Unix(1700000000, 0)}))
		_, err := w.Write([]byte(content))
		Must(t, err)
	}
	Must(t, w.Close())
	Must(t, z.Close())
	m.RunWindows(t, "cmd.exe", "/c", `mkdir C:\unpacked`)
	unpack := func(stdin []byte, args ...string) (int, string) {
		t.Helper()
		var stderr bytes.Buffer
		c := m.Windows(t.Context(), append([]string{"tar.exe"}, args...)...)
		c.Stdin, c.Stderr = bytes.NewReader(stdin), &stderr
		code, err := c.Run()
		Must(t, err)
		return code, stderr.String()
	}
	for _, args := range [][]string{{"-xf", "-", "-C", `C:\unpacked`}, {"-xzf", "-", "-C", `\unpacked`}, {"xfC", "-", `C:\unpacked`}} {
		Must(t, os.RemoveAll(m.WindowsPath(`C:\unpacked\deep`)))
		if code, stderr := unpack(archive.Bytes(), args...); code != 0 || stderr != "" {
			t.Errorf("tar %q: %d, %s", args, code, stderr)
		}
		if b, err := os.ReadFile(m.WindowsPath(`C:\unpacked\deep\er\b.bin`)); err != nil || string(b) != big {
			t.Errorf("tar %q unpacked %d bytes, %v", args, len(b), err)
		}
	}
	for _, test := range []struct {
		stdin []byte
		args  []string
		want  string
	}{
		{[]byte("no archive"), []string{"-xf", "-"}, "tar: Error opening archive: Unrecognized archive format"},
		{archive.Bytes()[:archive.Len()/2], []string{"-xf", "-", "-C", `C:\unpacked`}, "tar: "},
		{nil, []string{"-xf", `C:\nowhere.tar`}, `tar: Error opening archive: Failed to open 'C:\nowhere.tar'`},
		{archive.Bytes(), []string{"-xf", "-", "-C", `C:\nowhere`}, `tar: could not chdir to 'C:\nowhere'`},
	} {
		if code, stderr := unpack(test.stdin, test.args...); code != 1 || !strings.HasPrefix(stderr, test.want) {
			t.Errorf("tar %q: %d, %q; want 1, %q", test.args, code, stderr, test.want)
		}
	}
}
