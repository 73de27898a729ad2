// Package setup knows programs that install applications on Windows: packages of Windows Installer and the executables that
// Inno Setup, NSIS, InstallShield and WiX make.
//
//	kind := setup.Recognise(head)                       // from the file's first bytes
//	silent := kind.Silent()                             // what makes it ask nothing
//	p, err := setup.OpenPackage(`C:\x\app.msi`)         // product code, version, name
//	have, err := setup.Installed(p.ProductCode)         // nil where it isn't
//	entries, err := setup.Entries()                     // what "Apps & features" lists
//
// What decides on bytes and texts alone is here for all platforms; what asks Windows is in the files named _windows.
package setup

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf16"
)

// Kind is who made an installer.
type Kind string

const (
	MSI           Kind = "msi"
	Inno          Kind = "inno"
	NSIS          Kind = "nsis"
	InstallShield Kind = "installshield"
	WiX           Kind = "wix"
	EXE           Kind = "exe" // any other
)

// HeadSize is how much of a file Recognise needs: the marks are in the program, what it installs comes after.
const HeadSize = 4 << 20

// IsPackage says whether a file is a compound file, which among installers only packages of Windows Installer are.
func IsPackage(head []byte) bool {
	return bytes.HasPrefix(head, []byte{0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1})
}

// Recognise tells the kind of a file from its beginning, or "" where it is no program for Windows at all.
func Recognise(head []byte) Kind {
	if IsPackage(head) {
		return MSI
	}
	if !bytes.HasPrefix(head, []byte("MZ")) {
		return ""
	}
	wide := func(s string) []byte { return encode(s) }
	for _, m := range []struct {
		kind Kind
		mark []byte
	}{
		{WiX, []byte(".wixburn")},                      // a section's name
		{NSIS, []byte("\xEF\xBE\xAD\xDENullsoftInst")}, // the first header's
		{Inno, []byte("Inno Setup Setup Data (")},
		{Inno, []byte("JR.Inno.Setup")}, // the manifest's
		{InstallShield, wide("InstallShield")},
		{InstallShield, []byte("InstallShield.Setup")},
	} {
		if bytes.Contains(head, m.mark) {
			return m.kind
		}
	}
	return EXE
}

// Silent is what makes an installer of a kind ask nothing, or nil where that isn't known.
func (k Kind) Silent() []string {
	switch k {
	case MSI:
		return []string{"/qn", "/norestart"}
	case Inno:
		return []string{"/VERYSILENT", "/SUPPRESSMSGBOXES", "/NORESTART", "/SP-"}
	case NSIS:
		return []string{"/S"}
	case InstallShield:
		return []string{"/s", "/v/qn"}
	case WiX:
		return []string{"/quiet", "/norestart"}
	}
	return nil
}

// SilentRemoval is the same for the program that an entry of a kind names for its removal.
func (k Kind) SilentRemoval() []string {
	switch k {
	case Inno:
		return []string{"/VERYSILENT", "/SUPPRESSMSGBOXES", "/NORESTART"}
	case NSIS:
		return []string{"/S"}
	case WiX:
		return []string{"/uninstall", "/quiet", "/norestart"}
	}
	return nil
}

// Scope is what makes an installer of a kind install for the machine or for the user who runs it.
func (k Kind) Scope(scope string) ([]string, bool) {
	machine := scope == "machine"
	pick := func(a, b string) ([]string, bool) {
		if machine {
			return strings.Fields(a), true
		}
		return strings.Fields(b), true
	}
	switch k {
	case MSI: // MSIINSTALLPERUSER counts with ALLUSERS=2 alone, and Wine, which doesn't know it, takes that for the machine
		return pick("ALLUSERS=1", "ALLUSERS=2 MSIINSTALLPERUSER=1")
	case Inno:
		return pick("/ALLUSERS", "/CURRENTUSER")
	case NSIS:
		return pick("/AllUsers", "/CurrentUser")
	}
	return nil, false
}

// Line is a command line from which an installer gets args.
func (k Kind) Line(args []string) string {
	out := make([]string, len(args))
	for i, a := range args {
		name, value, isProperty := strings.Cut(a, "=")
		switch {
		case k == MSI && isProperty && isName(name): // NAME="a value", a quotation mark doubled
			out[i] = a
			if value == "" || strings.ContainsAny(value, " \t\"") {
				out[i] = name + `="` + strings.ReplaceAll(value, `"`, `""`) + `"`
			}
		case k == NSIS && strings.HasPrefix(a, "/D="): // it takes all up to the line's end, and no quotation marks
			out[i] = a
		default:
			out[i] = quote(a)
		}
	}
	return strings.Join(out, " ")
}

func isName(s string) bool {
	return s != "" && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.") == ""
}

// quote writes an argument as CommandLineToArgvW reads it.
func quote(a string) string {
	if a != "" && !strings.ContainsAny(a, " \t\"") {
		return a
	}
	var b strings.Builder
	b.WriteByte('"')
	slashes := 0
	for _, c := range []byte(a) {
		switch c {
		case '\\':
			slashes++
		case '"': // backslashes before it count double
			b.WriteString(strings.Repeat(`\`, slashes+1))
			slashes = 0
		default:
			slashes = 0
		}
		b.WriteByte(c)
	}
	b.WriteString(strings.Repeat(`\`, slashes) + `"`)
	return b.String()
}

var exe = regexp.MustCompile(`(?i)\.exe`)

// Program divides a command line, as an uninstall entry has it, into the program and the rest. Many of them don't quote a
// path with blanks: it then ends with the first .exe.
func Program(line string) (program, rest string, err error) {
	line = strings.TrimSpace(line)
	if after, ok := strings.CutPrefix(line, `"`); ok {
		if program, rest, ok = strings.Cut(after, `"`); !ok {
			return "", "", fmt.Errorf("%s: a quotation mark is missing", line)
		}
	} else if at := exe.FindStringIndex(line); at != nil {
		program, rest = line[:at[1]], line[at[1]:]
	} else {
		program, rest, _ = strings.Cut(line, " ")
	}
	if program == "" {
		return "", "", fmt.Errorf("%q names no program", line)
	}
	return program, strings.TrimSpace(rest), nil
}

// CheckCode returns a product code as Windows writes it, or says what is wrong with it. Braces may be missing.
func CheckCode(code string) (string, error) {
	bare := strings.TrimSuffix(strings.TrimPrefix(code, "{"), "}")
	if n := len(code) - len(bare); n == 1 {
		return "", fmt.Errorf("%q has one brace of two", code)
	}
	parts := strings.Split(bare, "-")
	lengths := []int{8, 4, 4, 4, 12}
	ok := len(parts) == len(lengths)
	for i := 0; ok && i < len(parts); i++ {
		ok = len(parts[i]) == lengths[i] && strings.Trim(strings.ToLower(parts[i]), "0123456789abcdef") == ""
	}
	if !ok {
		return "", fmt.Errorf("%q is no product code", code)
	}
	return "{" + strings.ToUpper(bare) + "}", nil
}

// CompareVersions orders versions by their numbers, of which missing ones are 0. ok is false where one of them isn't made
// of numbers.
func CompareVersions(a, b string) (order int, ok bool) {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(x), len(y)) {
		m, okM := part(x, i)
		n, okN := part(y, i)
		if !okM || !okN {
			return 0, false
		}
		if order == 0 && m != n {
			order = -1
			if m > n {
				order = 1
			}
		}
	}
	return order, true
}

func part(parts []string, i int) (uint64, bool) {
	if i >= len(parts) {
		return 0, true
	}
	n, err := strconv.ParseUint(strings.TrimSpace(parts[i]), 10, 64)
	return n, err == nil
}

// Exit codes that aren't failures: https://learn.microsoft.com/windows/win32/msi/error-codes
const (
	RebootStarted = 1641
	RebootNeeded  = 3010
	Busy          = 1618
	NotInstalled  = 1605
)

// Words says what an exit code of Windows Installer means; most other installers use the same ones.
func Words(code int) string {
	return map[int]string{
		1601: "Windows Installer can't be reached: its service may be disabled",
		1602: "it was cancelled",
		1603: "a fatal error during installation",
		1604: "it was suspended, and is incomplete",
		1605: "the product isn't installed",
		1612: "the package that it was installed from is needed, and isn't there",
		1613: "the package needs a newer Windows Installer",
		1618: "another installation is in progress",
		1619: "the package can't be opened",
		1620: "the file is no package of Windows Installer, or a damaged one",
		1622: "the log file can't be written",
		1624: "a transform can't be applied",
		1625: "a policy of the system forbids it",
		1631: "Windows Installer's service can't start it",
		1632: "the folder for temporary files is full or can't be used",
		1633: "the package isn't for this kind of processor",
		1638: "another version of the product is installed",
		1639: "an argument is wrong",
		1641: "a restart was begun",
		1642: "the product that is to be updated isn't there",
		1643: "a policy of the system forbids the update",
		1644: "a policy of the system forbids one of the customizations",
		1645: "Windows Installer doesn't permit it from a remote desktop",
		1651: "a product that is managed can't be changed by the user",
		3010: "a restart is needed",
	}[code]
}

// LogText is a log of Windows Installer as text, which is UTF-16 as a rule.
func LogText(b []byte) string {
	if !bytes.HasPrefix(b, []byte{0xFF, 0xFE}) {
		return string(b)
	}
	units := make([]uint16, (len(b)-2)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(b[2+2*i:])
	}
	return string(utf16.Decode(units))
}

// LogTail is what a log says of a failure: the lines before the first action that failed, or else the last ones.
func LogTail(text string, lines int) string {
	all := strings.FieldsFunc(strings.ReplaceAll(text, "\r\n", "\n"), func(r rune) bool { return r == '\n' })
	end := len(all)
	for i, l := range all {
		if strings.Contains(l, "Return value 3") || strings.Contains(l, "return value 3") {
			end = i + 1
			break
		}
	}
	return strings.Join(all[max(0, end-lines):end], "\n")
}

func encode(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}
