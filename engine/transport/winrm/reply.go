package winrm

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// reply is what a server's envelope says, as far as it is of interest.
type reply struct {
	shell, command string
	output         []output
	done           bool
	exit           int64
	hasExit        bool
	envelope       int // MaxEnvelopeSizekb of the configuration, in bytes
	fault          *fault
}

// output is a piece of stdout or stderr.
type output struct {
	stream string
	data   []byte
}

// fault is a WS-Management fault.
type fault struct {
	code    uint32 // of WSManFault: a Windows error
	subcode string
	text    string
}

func (f *fault) Error() string {
	text := strings.Join(strings.Fields(f.text), " ")
	if text == "" {
		text = f.subcode
	}
	if f.code != 0 {
		return fmt.Sprintf("%s (%d)", text, f.code)
	}
	return text
}

// Codes of faults (wsmerror.h, winerror.h).
const (
	accessDenied          = 5
	brokenPipe            = 109
	pipeClosing           = 232
	operationAborted      = 995
	brokenPipeResult      = 0x8007006d
	pipeClosingResult     = 0x800700e8
	operationAbortedHR    = 0x800703e3
	accessDeniedResult    = 0x80070005
	envelopeTooLarge      = 2150858790
	operationTimedOut     = 2150858793
	encodingLimit         = 2150858805
	invalidSelectors      = 2150858813
	quotaLimit            = 2150858815
	maxEnvelopeExceeded   = 2150858824
	serverEnvelopeLimit   = 2150858825
	unexpectedSelectors   = 2150858843 // no such shell
	shellAlreadyClosed    = 2150859082
	invalidShellHandle    = 2150859084
	invalidCommandHandle  = 2150859085
	commandAlreadyClosed  = 2150859087
	quotaMaxShells        = 2150859173
	quotaMaxOperations    = 2150859174
	quotaUser             = 2150859175
	quotaSystem           = 2150859176
	quotaMaxShellUsers    = 2150859179
	remoteShellsForbidden = 2150859180
	commandTerminated     = 2150859212
	remoteAccessDisabled  = 2150859229
	streamDisconnected    = 2150859230
	quotaMaxShellsPPQ     = 2150859236
	quotaMaxUsersPPQ      = 2150859237
)

// timedOut is the answer to a Receive that had nothing to tell.
func (f *fault) timedOut() bool {
	return f.code == operationTimedOut || f.code == 0 && strings.HasSuffix(f.subcode, "TimedOut")
}

// noShell says that the server has dropped the shell.
func (f *fault) noShell() bool {
	switch f.code {
	case invalidSelectors, unexpectedSelectors, shellAlreadyClosed, invalidShellHandle, streamDisconnected, operationAborted, operationAbortedHR:
		return true
	}
	return f.code == 0 && strings.HasSuffix(f.subcode, "InvalidSelectors")
}

// noReader says that the program doesn't read its stdin any more.
func (f *fault) noReader() bool {
	switch f.code {
	case brokenPipe, brokenPipeResult, pipeClosing, pipeClosingResult, invalidCommandHandle, commandAlreadyClosed, commandTerminated:
		return true
	}
	return false
}

var errReply = errors.New("the answer is no WS-Management message")

// parseReply reads an envelope. What doesn't parse, or isn't base64 where it should be, is an error: output must not get
// lost in silence.
func parseReply(b []byte) (*reply, error) {
	b, lifted := lift(b)
	d := xml.NewDecoder(bytes.NewReader(b))
	r := &reply{}
	p := replyParser{reply: r, lifted: lifted}
	for {
		t, err := d.RawToken()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errReply, err)
		}
		switch t := t.(type) {
		case xml.StartElement:
			if len(p.path) == 0 && t.Name.Local != "Envelope" || len(p.path) > 64 {
				return nil, errReply
			}
			p.start(t)
		case xml.EndElement:
			if len(p.path) == 0 {
				return nil, errReply
			}
			if err := p.end(t.Name.Local); err != nil {
				return nil, fmt.Errorf("%w: %w", errReply, err)
			}
		case xml.CharData:
			if len(p.path) > 0 {
				p.text = append(p.text, t...)
			}
		}
	}
	if !p.complete || len(p.path) > 0 {
		return nil, errReply
	}
	return r, nil
}

// lift takes long pieces of output out of an envelope and leaves "*NUMBER" for each: encoding/xml looks at every character, and
// takes ten times as long as all else.
func lift(b []byte) (rest []byte, pieces [][]byte) {
	const long = 4 << 10
	for len(b) > long {
		before, after, ok := cut(b, "Stream ")
		if !ok {
			break
		}
		tag, content, ok := cut(after, ">")
		n := bytes.IndexByte(content, '<')
		if !ok || n < long || bytes.HasSuffix(tag, []byte("/")) {
			rest, b = append(append(rest, before...), "Stream "...), after
			continue
		}
		rest = fmt.Appendf(append(rest, b[:len(b)-len(content)]...), "*%d", len(pieces))
		pieces = append(pieces, content[:n])
		b = content[n:]
	}
	return append(rest, b...), pieces
}

// replyParser follows the elements by their local names: prefixes differ between servers.
type replyParser struct {
	*reply
	lifted   [][]byte
	path     []xml.StartElement
	text     []byte
	complete bool
}

func (p *replyParser) start(e xml.StartElement) {
	p.path = append(p.path, e.Copy())
	p.text = p.text[:0]
	switch e.Name.Local {
	case "Fault":
		if p.fault == nil {
			p.fault = &fault{}
		}
	case "WSManFault":
		if n, err := strconv.ParseUint(attr(e, "Code"), 10, 32); err == nil && p.fault != nil {
			p.fault.code = uint32(n)
		}
	case "CommandState":
		p.done = p.done || strings.HasSuffix(attr(e, "State"), "/CommandState/Done")
	}
}

func (p *replyParser) within(name string) bool {
	for _, e := range p.path {
		if e.Name.Local == name {
			return true
		}
	}
	return false
}

func (p *replyParser) end(name string) error {
	e := p.path[len(p.path)-1]
	p.path = p.path[:len(p.path)-1]
	if e.Name.Local != name {
		return fmt.Errorf("%s ends where %s should", name, e.Name.Local)
	}
	p.complete = len(p.path) == 0
	text := p.text
	p.text = p.text[:0]
	value := func() string { return strings.TrimSpace(string(text)) }
	switch name {
	case "Stream":
		if i, ok := strings.CutPrefix(string(text[:min(len(text), 20)]), "*"); ok {
			n, err := strconv.Atoi(i)
			if err != nil || n < 0 || n >= len(p.lifted) || p.lifted[n] == nil {
				return errReply
			}
			text, p.lifted[n] = p.lifted[n], nil // once: a server must not make much of little
		}
		data := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
		n, err := base64.StdEncoding.Decode(data, text)
		if err != nil {
			return fmt.Errorf("output: %w", err)
		}
		if n > 0 {
			p.output = append(p.output, output{attr(e, "Name"), data[:n]})
		}
	case "ExitCode":
		n, err := strconv.ParseInt(value(), 10, 64)
		if err != nil {
			return fmt.Errorf("exit code: %w", err)
		}
		p.exit, p.hasExit = n, true
	case "Selector":
		if attr(e, "Name") == "ShellId" {
			p.shell = value()
		}
	case "ShellId":
		if p.shell == "" {
			p.shell = value()
		}
	case "CommandId":
		p.command = value()
	case "MaxEnvelopeSizekb":
		if n, err := strconv.Atoi(value()); err == nil && n > 0 && n < 1<<20 {
			p.envelope = n << 10
		}
	case "Value":
		if p.fault != nil && p.within("Subcode") {
			_, p.fault.subcode, _ = cutLast(value(), ":")
		}
	case "Text", "Message", "ProviderFault":
		// The message of the innermost element tells most, and comes last.
		if p.fault != nil && value() != "" {
			p.fault.text = value()
		}
	}
	return nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return "", s, false
	}
	return s[:i], s[i+len(sep):], true
}

func attr(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}
