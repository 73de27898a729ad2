package setup

import (
	"strings"
	"testing"
)

func TestRecognise(t *testing.T) {
	for want, head := range map[Kind]string{
		MSI:           "\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1 and more",
		NSIS:          "MZ... \xEF\xBE\xAD\xDENullsoftInst...",
		Inno:          "MZ... Inno Setup Setup Data (6.2.0)",
		WiX:           "MZ... .wixburn8",
		InstallShield: "MZ..." + string(encode("InstallShield Setup Launcher")),
		EXE:           "MZ... PE",
		"":            "#!/bin/sh",
	} {
		if got := Recognise([]byte(head)); got != want {
			t.Errorf("%q is %q, want %q", head, got, want)
		}
	}
}

func TestLine(t *testing.T) {
	for _, c := range []struct {
		kind Kind
		want string
		args []string
	}{
		{MSI, `/i "C:\a b\x.msi" /qn A="b c" B="say ""x""" C=d E=""`, []string{"/i", `C:\a b\x.msi`, "/qn", "A=b c", `B=say "x"`, "C=d", "E="}},
		{EXE, `"/dir=\"C:\x\""`, []string{`/dir="C:\x"`}},
		{NSIS, `/S /D=C:\Program Files\x`, []string{"/S", `/D=C:\Program Files\x`}},
		{Inno, `"/DIR=C:\Program Files\x\\" "" /A`, []string{`/DIR=C:\Program Files\x\`, "", "/A"}},
	} {
		if got := c.kind.Line(c.args); got != c.want {
			t.Errorf("%s: %s, want %s", c.kind, got, c.want)
		}
	}
}

func TestProgram(t *testing.T) {
	for line, want := range map[string][2]string{
		`"C:\Program Files\x\un.exe" /a "b c"`: {`C:\Program Files\x\un.exe`, `/a "b c"`},
		`C:\Program Files\x\UN.EXE /a`:         {`C:\Program Files\x\UN.EXE`, "/a"},
		`rundll32 x.dll,Remove`:                {"rundll32", "x.dll,Remove"},
		`MsiExec.exe /X{1}`:                    {"MsiExec.exe", "/X{1}"},
	} {
		program, rest, err := Program(line)
		if err != nil || program != want[0] || rest != want[1] {
			t.Errorf("%s is %q and %q, %v", line, program, rest, err)
		}
	}
	for _, bad := range []string{"", "  ", `"C:\x`} {
		if p, _, err := Program(bad); err == nil {
			t.Errorf("%q is %q", bad, p)
		}
	}
}

// The log of a failure is read around its first cause, in the encoding it has.
func TestLog(t *testing.T) {
	text := "one\r\nCustomAction X returned 1\r\nAction ended: InstallFinalize. Return value 3.\r\nclean\r\nup\r\n"
	wide := append([]byte{0xFF, 0xFE}, encode(text)...)
	if got := LogTail(LogText(wide), 2); got != "CustomAction X returned 1\nAction ended: InstallFinalize. Return value 3." {
		t.Errorf("got %q", got)
	}
	if got := LogTail(LogText([]byte("a\nb\nc\n")), 2); got != "b\nc" {
		t.Errorf("got %q", got)
	}
}

func FuzzProgram(f *testing.F) {
	f.Add(`"C:\x y\un.exe" /S`)
	f.Add(`C:\x y\un.exe /S`)
	f.Fuzz(func(t *testing.T, line string) {
		if p, rest, err := Program(line); err == nil && (p == "" || !strings.Contains(line, p) || !strings.Contains(line, rest)) {
			t.Errorf("%q gives %q and %q", line, p, rest)
		}
	})
}
