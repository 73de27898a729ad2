package run

import (
	"fmt"
	"strings"

	"github.com/fitout-dev/fitout/engine/executor/bundle"
	"github.com/fitout-dev/fitout/modules/hint"
)

// cmdexe speaks to Windows. WinRM and OpenSSH hand a line to cmd.exe, unless PowerShell is OpenSSH's DefaultShell; so each
// line is a call of cmd.exe that both understand in the same way. Its rules:
//
//   - What cmd.exe is to do stands in one pair of quotation marks, without $, ` and another quotation mark in it: PowerShell
//     would take those for its own. Folders with blanks in their names are entered by cd, which needs no quotation marks.
//   - PowerShell gives a program that is its whole line its own stdin and stdout, so bytes pass as they are. (It reads stdin
//     itself only where a line names $input.)
//
// The executor's folder is %ProgramFiles%\fitout, which nobody but administrators can make or be the first in, and which
// AppLocker's default rules let programs run from. Everybody can make folders in %ProgramData%, and so be there before us.
// Who may not make it works in %LOCALAPPDATA%\fitout; an administrator, who may, never runs anything from there. The
// executor itself gives its folder to administrators alone, and looks at its path at each start: see its package.
type cmdexe struct{}

// plain are the characters of a folder's name that mean nothing to cmd.exe or PowerShell.
func plain(name string) bool { return !strings.ContainsAny(name, "\"$`%!^&|<>()=;,'\r\n") }

// windowsDir divides a folder of the inventory's choice; without one, name is that of our own folders.
func (t Target) windowsDir() (parent, name string, err error) {
	dir := strings.TrimRight(t.Dir, `\`)
	i := strings.LastIndexByte(dir, '\\')
	if parent, name = dir[:i+1], dir[i+1:]; dir == "" {
		name = "fitout"
	}
	if !plain(dir) || strings.ContainsAny(name, " \t") || dir != "" && i < 0 {
		return "", "", fmt.Errorf("%s can't be the executor's folder on Windows: choose one with a drive, and a name without blanks and signs", t.Dir)
	}
	return parent, name, nil
}

// windowsFolder enters the executor's folder, which is made where it is missing.
func (t Target) windowsFolder() (string, error) {
	parent, name, err := t.windowsDir()
	enter := func(parent string) string {
		return fmt.Sprintf(`cd /d %s%s || cd /d %s && md %s && cd %s`, parent, name, parent, name, name)
	}
	places := enter(parent)
	if t.Dir == "" {
		places = enter(`%ProgramFiles%\`) + " || " + enter(`%LOCALAPPDATA%\`)
	}
	return "(" + places + ") 2>nul || (echo " + noFolderLine + " & exit 73)", err
}

// clean removes the executor's folder, and the services of runs that stopped half-way. A lock that is held can't be renamed.
func (cmdexe) clean(t Target) (string, error) {
	parent, name, err := t.windowsDir()
	places := "cd /d " + parent + name
	if t.Dir == "" {
		places = `cd /d %ProgramFiles%\fitout || cd /d %LOCALAPPDATA%\fitout`
	}
	return cmdLine(`(` + places + `) 2>nul || exit 0 & (if exist lock ren lock lock.free || exit 75) & ` +
		`(for /d %r in (runs\*) do %SystemRoot%\System32\sc.exe delete fitout-run-%~nxr) >nul 2>nul & cd .. & rd /s /q ` + name), err
}

func cmdLine(commands string) string { return `cmd.exe /d /s /c "` + commands + `"` }

// start runs the executor where it is, and else says what the device is and what can unpack an executor there.
func (cmdexe) start(t Target, e *bundle.Executor) (string, error) {
	folder, err := t.windowsFolder()
	if err != nil {
		return "", err
	}
	root := ""
	if t.Root != "" && t.Root != "/" {
		if !plain(t.Root) || strings.ContainsAny(t.Root, " \t") {
			return "", fmt.Errorf("%s can't be a device's root on Windows: choose a folder without blanks and signs in its name", t.Root)
		}
		root = " -root " + t.Root
	}
	exe := `bin\` + e.Hash + `\executor.exe`
	missing := missingLine + " Windows %PROCESSOR_ARCHITECTURE%;%PROCESSOR_ARCHITEW6432%"
	return cmdLine(fmt.Sprintf(`%s & if exist %s (%s -dir . -size %d%s) else if exist %s (echo %s %s not there) else (echo %s %s not there)`,
		folder, exe, exe, e.Size, root, tarExe, missing, byTar, missing, byPowerShell)), nil
}

// What unpacks an executor: Windows' own tar, since 2018, or .NET. Both read stdin to its end. The second is experimental: there is
// no PowerShell where fitout is tested, so it has never run.
const (
	tarExe       = `%SystemRoot%\System32\tar.exe`
	byTar        = "tar"
	byPowerShell = "powershell"
	// unzip writes what gzip holds to a file without a buffer, which nobody would flush.
	unzip = `%SystemRoot%\System32\WindowsPowerShell\v1.0\powershell.exe -NoProfile -NonInteractive -Command ` +
		`(New-Object IO.Compression.GZipStream([Console]::OpenStandardInput(),[IO.Compression.CompressionMode]::Decompress))` +
		`.CopyTo((New-Object IO.FileStream((Join-Path (Get-Location).Path executor.exe),[IO.FileMode]::Create,[IO.FileAccess]::Write,[IO.FileShare]::Read,1)))`
)

// push takes the executor from stdin. It hashes itself and takes its place; a name that it can't have is one that a run uses.
func (cmdexe) push(t Target, e *bundle.Executor, c carriage) (string, error) {
	folder, err := t.windowsFolder()
	if err != nil {
		return "", err
	}
	unpack := tarExe + ` -xzf -`
	if c.unpacker != byTar {
		unpack = unzip
	}
	return cmdLine(fmt.Sprintf(`%s & (if not exist bin md bin) & md bin\.new-%s && cd bin\.new-%s && %s && .\executor.exe -dir ..\.. -install %s & cd ..\.. & rd /s /q bin\.new-%s`,
		folder, c.id, c.id, unpack, e.Hash, c.id)), nil
}

// windowsArch turns "AMD64;" into Go's name; of a 32-bit shell the second is the machine's.
func windowsArch(s string) string {
	shell, machine, _ := strings.Cut(s, ";")
	if machine != "" && !strings.HasPrefix(machine, "%") {
		shell = machine
	}
	return strings.ToLower(shell)
}

// windowsWords turns how a line ended there into a cause and a remedy. Windows says it in its own language, so the codes of its
// errors count first, where cmd.exe passes them on.
func windowsWords(code int, said, out string) error {
	low := strings.ToLower(said + "\n" + out)
	is := func(n int, texts ...string) bool {
		if n != 0 && (code == n || code == n&0xff) {
			return true
		}
		for _, t := range texts {
			if strings.Contains(low, t) {
				return true
			}
		}
		return false
	}
	err := fmt.Errorf("exit status %d: %s", code, said)
	if said == "" {
		err = fmt.Errorf("exit status %d, and nothing was said", code)
	}
	switch {
	case strings.Contains(out, noFolderLine):
		return hint.New(fmt.Errorf("there is no place for fitout's folder: neither %%ProgramFiles%% nor %%LOCALAPPDATA%% can be written to"),
			"log in as an administrator, or as a user who has a profile on the device")
	case is(1260, "blocked by group policy", "blocked by your administrator", "blocked by your system administrator"):
		return hint.New(fmt.Errorf("the device's policy forbids fitout's executor: %w", err),
			`AppLocker, WDAC or a software restriction is in force: allow programs in %%ProgramFiles%%\fitout, or the executor by its hash`)
	case is(225, "contains a virus", "potentially unwanted software"):
		return hint.New(fmt.Errorf("the device's virus scanner has blocked fitout's executor: %w", err),
			`look at its protection history, report the false alarm, and exclude %%ProgramFiles%%\fitout from scanning until it is known`)
	case is(112, "not enough space on the disk", "disk is full"):
		return hint.New(fmt.Errorf("no space left on the device: %w", err), "free some space there: fitout needs about 15 MB in its folder")
	case is(216, "not compatible with the version of windows"), is(193, "not a valid win32 application"):
		return hint.New(fmt.Errorf("the device can't run the executor: %w", err), "its processor is of another kind than %%PROCESSOR_ARCHITECTURE%% says, or the file is damaged: `fitout clean` removes it")
	case is(19, "write protected"):
		return hint.New(fmt.Errorf("the device's file system is read-only: %w", err), "a write filter, maybe (uwfmgr): end it for the time of the run")
	case is(0, "access is denied"):
		return hint.New(err, "log in as an administrator; where one is refused too, a virus scanner or a policy may forbid the executor: see the event log under CodeIntegrity, AppLocker or Windows Defender")
	}
	return err
}
