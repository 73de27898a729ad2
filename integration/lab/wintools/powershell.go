//go:build windows

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// powershell is a stand-in for `powershell.exe -c LINE`, for there is no PowerShell under Wine. It is constructed from
// Microsoft's documentation (about_Parsing, about_Quoting_Rules, about_PowerShell_exe), not recorded from one: it knows
// commands separated by ";", quoting, variables of the environment, $LASTEXITCODE, echo and exit, and calls of programs,
// and refuses all else rather than guess. As there, the exit code is 1 for any program that fails, unless exit says more.
func powershell(script string) (int, error) {
	p := &shell{text: script}
	for {
		words, more, err := p.command()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1, nil
		}
		if done, code := p.do(words); done {
			return code, nil
		}
		if !more {
			break
		}
	}
	if p.failed {
		return 1, nil
	}
	return 0, nil
}

type word struct {
	text   string
	quoted bool // it began with a quotation mark
}

type shell struct {
	text     string
	lastCode uint32
	failed   bool
}

// command reads words up to the end of a command.
func (s *shell) command() (words []word, more bool, err error) {
	var w *strings.Builder
	quoted := false
	add := func(text string) {
		if w == nil {
			w = &strings.Builder{}
		}
		w.WriteString(text)
	}
	end := func() {
		if w != nil {
			words = append(words, word{w.String(), quoted})
		}
		w, quoted = nil, false
	}
	for s.text != "" {
		c := s.text[0]
		rest := s.text[1:]
		switch {
		case c == ' ' || c == '\t':
			end()
		case c == ';' || c == '\n':
			end()
			s.text = rest
			return words, true, nil
		case c == '\'':
			quoted = quoted || w == nil
			text, after, ok := untilQuote(rest)
			if !ok {
				return nil, false, errors.New("The string is missing the terminator: '.")
			}
			add(text)
			rest = after
		case c == '"':
			quoted = quoted || w == nil
			add("")
			if rest, err = s.inQuotes(rest, add); err != nil {
				return nil, false, err
			}
		case c == '`' && rest != "":
			add(rest[:1])
			rest = rest[1:]
		case c == '$':
			var value string
			if value, rest, err = s.variable(rest); err != nil {
				return nil, false, err
			}
			add(value)
		case c == '&' && w == nil && len(words) == 0: // the call operator
		case strings.IndexByte("&|<>(){}@#", c) >= 0 && (c != '#' && c != '@' || w == nil):
			return nil, false, fmt.Errorf("the lab's PowerShell knows no %q", c)
		default:
			add(s.text[:1])
		}
		s.text = rest
	}
	end()
	return words, false, nil
}

func untilQuote(s string) (text, rest string, ok bool) {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "'")
		if !found {
			return "", "", false
		}
		b.WriteString(before)
		if !strings.HasPrefix(after, "'") {
			return b.String(), after, true
		}
		b.WriteByte('\'')
		s = after[1:]
	}
}

func (s *shell) inQuotes(text string, add func(string)) (rest string, err error) {
	escapes := map[byte]string{'n': "\n", 't': "\t", 'r': "\r", '0': "\x00"}
	for text != "" {
		c := text[0]
		switch {
		case c == '"' && strings.HasPrefix(text, `""`):
			add(`"`)
			text = text[2:]
		case c == '"':
			return text[1:], nil
		case c == '`' && len(text) > 1:
			if e, ok := escapes[text[1]]; ok {
				add(e)
			} else {
				add(text[1:2])
			}
			text = text[2:]
		case c == '$':
			var value string
			if value, text, err = s.variable(text[1:]); err != nil {
				return "", err
			}
			add(value)
		default:
			add(text[:1])
			text = text[1:]
		}
	}
	return "", errors.New(`The string is missing the terminator: ".`)
}

// variable is the value of what follows a dollar sign. One that isn't set is nothing.
func (s *shell) variable(text string) (value, rest string, err error) {
	n := 0
	for n < len(text) && (text[n] == ':' || text[n] == '_' || text[n]|0x20 >= 'a' && text[n]|0x20 <= 'z' || text[n] >= '0' && text[n] <= '9') {
		n++
	}
	name, rest := text[:n], text[n:]
	kind, of, _ := strings.Cut(strings.ToLower(name), ":")
	switch {
	case name == "" && (rest == "" || rest[0] != '(' && rest[0] != '{'):
		return "$", rest, nil
	case kind == "env":
		return os.Getenv(of), rest, nil
	case kind == "lastexitcode":
		return strconv.Itoa(int(int32(s.lastCode))), rest, nil
	case name == "", kind == "input":
		return "", "", fmt.Errorf("the lab's PowerShell knows no $%s%.1s", name, rest)
	}
	return "", rest, nil
}

// do runs a command; done means that it was the last.
func (s *shell) do(words []word) (done bool, code int) {
	if len(words) == 0 {
		return false, 0
	}
	switch name := strings.ToLower(words[0].text); name {
	case "exit":
		if len(words) > 1 {
			code, _ = strconv.Atoi(words[1].text)
		}
		return true, code
	case "echo", "write-output":
		for _, w := range words[1:] {
			fmt.Print(w.text, "\r\n") // each is an object, and has a line
		}
		s.failed = false
		return false, 0
	}
	path, err := exec.LookPath(words[0].text)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s : The term '%[1]s' is not recognized as the name of a cmdlet, function, script file, or operable program.\r\n", words[0].text)
		s.failed = true
		return false, 0
	}
	// Windows PowerShell puts a word into quotation marks where it has blanks, and leaves those inside it alone.
	line := `"` + path + `"`
	for _, w := range words[1:] {
		switch {
		case w.text == "":
			// an empty word is lost
		case strings.ContainsAny(w.text, " \t") && !strings.HasPrefix(w.text, `"`):
			line += ` "` + w.text + `"`
		default:
			line += " " + w.text
		}
	}
	cmd := &exec.Cmd{Path: path, SysProcAttr: &syscall.SysProcAttr{CmdLine: line}, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	err = cmd.Run()
	s.failed = err != nil
	if cmd.ProcessState != nil {
		s.lastCode = uint32(cmd.ProcessState.ExitCode())
	}
	return false, 0
}
