package lab

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Wine machine has more ways in than Port 22, where root has a Unix shell: WindowsUser logs in with the lab's key, and what
// is run goes to Windows as OpenSSH for Windows hands it on.
const (
	WindowsUser    = "Administrator"
	CmdPort        = 2222 // with cmd.exe, Wine's
	PowerShellPort = 2223 // with a stand-in for PowerShell that was constructed from its documentation: see wintools/powershell.go
)

// A WindowsCommand is a program of a Wine machine to run, as exec.Cmd is one of this host. Its streams are binary-clean.
type WindowsCommand struct {
	Line           string   // the command line as Windows has it: the program's name or path first, quotes where it has blanks
	Env            []string // NAME=VALUE, besides what the machine has
	Dir            string   // where it runs; default: C:\
	Stdin          io.Reader
	Stdout, Stderr io.Writer

	ctx context.Context
	m   *Machine
}

// Windows prepares a Windows program: its name or path (C:\x\y.exe) and arguments, quoted as most programs for Windows
// understand it. Set Line for those that don't, such as cmd.exe.
func (m *Machine) Windows(ctx context.Context, args ...string) *WindowsCommand {
	return &WindowsCommand{Line: WindowsLine(args...), ctx: ctx, m: m}
}

// WindowsLine is the command line from which a program for Windows gets args.
func WindowsLine(args ...string) string {
	var b strings.Builder
	for i, arg := range args {
		if i > 0 {
			b.WriteByte(' ')
		}
		if arg != "" && !strings.ContainsAny(arg, " \t\n\v\"") {
			b.WriteString(arg)
			continue
		}
		b.WriteByte('"')
		slashes := 0 // before a quotation mark they count double
		for _, c := range []byte(arg) {
			switch c {
			case '\\':
				slashes++
			case '"':
				b.WriteString(strings.Repeat(`\`, slashes+1))
				slashes = 0
			default:
				slashes = 0
			}
			b.WriteByte(c)
		}
		b.WriteString(strings.Repeat(`\`, slashes) + `"`)
	}
	return b.String()
}

// Run runs the program and returns its exit code, whole: 3010 is 3010. err is about running it, not about its code. When
// the context ends, the program and its children are killed.
func (c *WindowsCommand) Run() (code int, err error) {
	m := c.m
	if m.Kind != Wine {
		return 0, fmt.Errorf("%s is not a Windows machine", m.Name)
	}
	leader, err := m.leader()
	if err != nil {
		return 0, err
	}
	codeFile := "var/tmp/lab-code-" + randomHex(8)
	defer os.Remove(filepath.Join(m.Root(), codeFile))
	cmd := exec.CommandContext(c.ctx, "nsenter", append(enter(leader), "/usr/local/bin/wine64", "lab.exe", "run",
		`Z:\`+strings.ReplaceAll(codeFile, "/", `\`), cmp.Or(c.Dir, `C:\`), c.Line)...)
	cmd.Env = append(append(slices.Clone(machineEnv), c.Env...), runMark+codeFile)
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, c.Stdout, c.Stderr
	if c.Stderr == nil {
		cmd.Stderr = &stderr
	}
	group(cmd)
	cmd.WaitDelay = time.Second // what the program left running may keep stdout open
	err = cmd.Run()
	if c.ctx.Err() != nil {
		return 0, errors.Join(context.Cause(c.ctx), m.killMarked(runMark+codeFile))
	}
	b, readErr := os.ReadFile(filepath.Join(m.Root(), codeFile))
	if readErr != nil {
		return 0, fmt.Errorf("run %s: %w: %s", c.Line, errors.Join(err, readErr), bytes.TrimSpace(stderr.Bytes()))
	}
	n, err := strconv.ParseUint(string(b), 10, 32)
	return int(n), err
}

// runMark is in the environment of what one WindowsCommand started, children of children included: Windows has no process
// groups that a signal would reach.
const runMark = "FITOUT_LAB_RUN="

func (m *Machine) killMarked(mark string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err := m.Exec(ctx, `for e in /proc/[0-9]*/environ; do
		if grep -qzxF '`+mark+`' "$e" 2>/dev/null; then e=${e#/proc/}; kill -KILL "${e%/environ}" || :; fi
	done`)
	return err
}

// Output runs the program and returns its standard output without the last line end. A code other than 0 is an error that
// holds the standard error.
func (c *WindowsCommand) Output() (string, error) {
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	code, err := c.Run()
	if err == nil && code != 0 {
		err = fmt.Errorf("run %s: exit code %d: %s", c.Line, code, bytes.TrimSpace(stderr.Bytes()))
	}
	return strings.TrimSuffix(strings.TrimSuffix(stdout.String(), "\n"), "\r"), err
}

// RunWindows runs a Windows program and returns its standard output without the last line end. A code other than 0 fails the test.
func (m *Machine) RunWindows(t TB, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	out, err := m.Windows(ctx, args...).Output()
	if err != nil {
		t.Fatalf("on %s: %v\nit printed: %s", m.Name, err, out)
	}
	return out
}

// WindowsPath is the path on this host of a Wine machine's file, C:\x\y or Z:\x\y (the Linux side), so that a test can
// look at it from outside. Case counts here, as it does not on Windows.
func (m *Machine) WindowsPath(name string) string {
	name = strings.ReplaceAll(name, `\`, "/")
	if rest, ok := cutDrive(name, 'z'); ok {
		return filepath.Join(m.Root(), rest)
	}
	if rest, ok := cutDrive(name, 'c'); ok {
		name = rest
	}
	return filepath.Join(m.Root(), winePrefix, "drive_c", name)
}

func cutDrive(name string, drive byte) (string, bool) {
	if len(name) >= 2 && name[1] == ':' && name[0]|0x20 == drive {
		return name[2:], true
	}
	return name, false
}
