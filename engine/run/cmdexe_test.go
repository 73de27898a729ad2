package run

import (
	"archive/tar"
	"compress/gzip"
	"io"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/engine/executor/bundle"
	"github.com/fitout-dev/fitout/modules/hint"
)

// TestWindowsLinesSuitBothShells: what cmd.exe is to do stands in one pair of quotation marks, and PowerShell changes nothing in it.
func TestWindowsLinesSuitBothShells(t *testing.T) {
	e := &bundle.Executor{OS: "windows", Arch: "amd64", Hash: strings.Repeat("a", 64), Size: 12345}
	for _, target := range []Target{{}, {Dir: `C:\Tools here\fitout`}, {Root: `D:\image`}} {
		for what, line := range map[string]func() (string, error){
			"start":                func() (string, error) { return cmdexe{}.start(target, e) },
			"push":                 func() (string, error) { return cmdexe{}.push(target, e, carriage{id: "1", unpacker: byTar}) },
			"push with PowerShell": func() (string, error) { return cmdexe{}.push(target, e, carriage{id: "1", unpacker: byPowerShell}) },
			"clean":                func() (string, error) { return cmdexe{}.clean(target) },
		} {
			s, err := line()
			if err != nil {
				t.Errorf("%s: %v", what, err)
				continue
			}
			inner, ok := strings.CutPrefix(s, `cmd.exe /d /s /c "`)
			inner, closed := strings.CutSuffix(inner, `"`)
			if !ok || !closed || strings.ContainsAny(inner, "\"$`\r\n") {
				t.Errorf("%s isn't one call of cmd.exe that PowerShell leaves alone: %s", what, s)
			}
			if len(s) > 2000 { // cmd.exe takes 8191, WinRM's shells less with what they add
				t.Errorf("%s has %d characters", what, len(s))
			}
		}
	}
	for _, dir := range []string{`C:\a b`, `C:\a&b`, `C:\%TEMP%\x`, "C:\\a\"b", `fitout`, "C:\\$x"} {
		if s, err := (cmdexe{}).start(Target{Dir: dir}, e); err == nil {
			t.Errorf("%s is taken as a folder: %s", dir, s)
		}
	}
}

func TestMissed(t *testing.T) {
	for line, want := range map[string]*missing{
		"fitout-missing Linux x86_64 not there":                                 {"linux", "amd64", "", "not there"},
		"fitout-missing Darwin arm64 a part of its path is not safe":            {"darwin", "arm64", "", "a part of its path is not safe"},
		"fitout-missing Windows AMD64;%PROCESSOR_ARCHITEW6432% tar not there\r": {"windows", "amd64", "tar", "not there"},
		"fitout-missing Windows x86;AMD64 powershell not there":                 {"windows", "amd64", "powershell", "not there"},
		"fitout-missing Windows ARM64; tar it is not whole: 1 bytes of 2":       {"windows", "arm64", "tar", "it is not whole: 1 bytes of 2"},
		"fitout-missing": nil, "Welcome to fitout-missing a b c": nil, "": nil,
	} {
		got := missed(line)
		if (got == nil) != (want == nil) || got != nil && *got != *want {
			t.Errorf("%q: %+v", line, got)
		}
	}
}

// The texts are those that Windows shows for these errors (net helpmsg N); constructed, not recorded.
func TestWindowsWords(t *testing.T) {
	for _, c := range []struct {
		code       int
		said, hint string
	}{
		{1, "This program is blocked by group policy. For more information, contact your system administrator.", "AppLocker"},
		{1260 & 0xff, "Dieses Programm wurde durch eine Gruppenrichtlinie geblockt.", "AppLocker"},
		{225, "", "virus scanner"},
		{1, "Operation did not complete successfully because the file contains a virus or potentially unwanted software.", "exclude"},
		{1, "There is not enough space on the disk.", "free some space"},
		{216, "", "processor"},
		{5, "Access is denied.", "administrator"},
		{1, "The media is write protected.", "write filter"},
	} {
		if err := windowsWords(c.code, c.said, ""); !strings.Contains(hint.Of(err)+err.Error(), c.hint) {
			t.Errorf("%d %q: %v, hint: %s", c.code, c.said, err, hint.Of(err))
		}
	}
	if err := windowsWords(73, "", "fitout-nofolder\r\n"); !strings.Contains(err.Error(), "no place") {
		t.Error(err)
	}
	if err := windowsWords(1, "Something else.", ""); hint.Of(err) != "" || !strings.Contains(err.Error(), "Something else.") {
		t.Errorf("what isn't known: %v", err)
	}
}

// TestArchive: tar reads from the archive what gzip was given.
func TestArchive(t *testing.T) {
	for _, size := range []int{1, 511, 512, 513, 100_000} {
		content := strings.Repeat("x", size)
		compressed, err := zip([]byte(content))
		if err != nil {
			t.Fatal(err)
		}
		a, err := archive(&bundle.Executor{Size: int64(size)}, compressed)
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(a)
		if err != nil {
			t.Fatal(err)
		}
		r := tar.NewReader(z)
		h, err := r.Next()
		if err != nil || h.Name != "executor.exe" {
			t.Fatalf("%v, %v", h, err)
		}
		if got, err := io.ReadAll(r); err != nil || string(got) != content {
			t.Errorf("%d bytes of %d, %v", len(got), size, err)
		}
		if _, err := r.Next(); err != io.EOF {
			t.Errorf("after the file: %v", err)
		}
	}
}
