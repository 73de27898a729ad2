package winrm

import (
	"crypto/rand"
	"encoding/xml"
	"fmt"
	"strings"
	"time"

	masterzen "github.com/masterzen/winrm"
	"github.com/masterzen/winrm/soap"
)

// The requests are masterzen/winrm's, made by its functions, except two that it can't be told to make otherwise: a shell with
// an idle time-out, and a command that reads a pipe (WINRS_CONSOLEMODE_STDIN is always TRUE there, and Windows then reads
// stdin as a console's: it ends at Ctrl-Z and mangles bytes). Its Client isn't used: it knows no context, loses the errors of
// Send, sizes chunks before base64 makes them larger, and polls for ever. Its answers' parsers pass over damage in silence,
// so that reply.go has its own.

const (
	shellURI  = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell/cmd"
	configURI = "http://schemas.microsoft.com/wbem/wsman/1/config"
	anonymous = "http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous"

	createAction  = "http://schemas.xmlsoap.org/ws/2004/09/transfer/Create"
	getAction     = "http://schemas.xmlsoap.org/ws/2004/09/transfer/Get"
	commandAction = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell/Command"
)

const (
	// poll is how long a Receive may stay without an answer: short enough to notice a dead server in time.
	poll = 8 * time.Second
	// leeway is how much later than that an answer may come.
	leeway = 6 * time.Second
	// slow is for what Windows may really take that long for: the first logon of a user, a program that reads its stdin late.
	slow = 3 * time.Minute
	// idle is how long a shell outlives us, should we disappear.
	idle = 15 * time.Minute
)

// maxEnvelope is what every Windows accepts, and the most that we want to be sent at once.
const (
	maxEnvelope   = 153600
	replyEnvelope = 512000
)

type requests struct{ url string }

func (q requests) parameters(timeout time.Duration) *masterzen.Parameters {
	return masterzen.NewParameters(duration(timeout), "en-US", replyEnvelope)
}

func duration(d time.Duration) string { return fmt.Sprintf("PT%.3fS", d.Seconds()) }

// message begins a request of our own.
func (q requests) message(action, resource, shell string, options ...*soap.HeaderOption) *soap.SoapMessage {
	m := soap.NewMessage()
	h := m.Header().To(q.url).ReplyTo(anonymous).MaxEnvelopeSize(replyEnvelope).Id(messageID()).Locale("en-US").
		Timeout(duration(slow)).Action(action).ResourceURI(resource)
	if shell != "" {
		h.ShellId(shell)
	}
	for _, o := range options {
		h.AddOption(o)
	}
	h.Build()
	return m
}

func messageID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("uuid:%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func (q requests) create() string {
	m := q.message(createAction, shellURI, "", soap.NewHeaderOption("WINRS_NOPROFILE", "FALSE"), soap.NewHeaderOption("WINRS_CODEPAGE", "65001"))
	shell := m.CreateBodyElement("Shell", soap.DOM_NS_WIN_SHELL)
	m.CreateElement(shell, "IdleTimeOut", soap.DOM_NS_WIN_SHELL).SetContent(duration(idle))
	m.CreateElement(shell, "InputStreams", soap.DOM_NS_WIN_SHELL).SetContent("stdin")
	m.CreateElement(shell, "OutputStreams", soap.DOM_NS_WIN_SHELL).SetContent("stdout stderr")
	return m.String()
}

// command runs a line in cmd.exe.
func (q requests) command(shell, line string) string {
	m := q.message(commandAction, shellURI, shell, soap.NewHeaderOption("WINRS_CONSOLEMODE_STDIN", "FALSE"), soap.NewHeaderOption("WINRS_SKIP_CMD_SHELL", "FALSE"))
	body := m.CreateBodyElement("CommandLine", soap.DOM_NS_WIN_SHELL)
	m.CreateElement(body, "Command", soap.DOM_NS_WIN_SHELL).SetContent(escape(line))
	return m.String()
}

func escape(s string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(s)) // a strings.Builder takes all
	return b.String()
}

func (q requests) receive(shell, command string) string {
	return masterzen.NewGetOutputRequest(q.url, shell, command, "stdout stderr", q.parameters(poll)).String()
}

func (q requests) send(shell, command string, data []byte, end bool) string {
	return masterzen.NewSendInputRequest(q.url, shell, command, data, end, q.parameters(slow)).String()
}

// terminate ends a command, or tells that we are done with one that has ended.
func (q requests) terminate(shell, command string) string {
	return masterzen.NewSignalRequest(q.url, shell, command, q.parameters(poll)).String()
}

func (q requests) delete(shell string) string {
	return masterzen.NewDeleteShellRequest(q.url, shell, q.parameters(poll)).String()
}

// config asks for the server's limits. It needs an administrator.
func (q requests) config() string {
	m := q.message(getAction, configURI, "")
	m.NewBody()
	return m.String()
}

// sendRoom is how much stdin fits an envelope of a size: base64 makes 4 bytes of 3.
func sendRoom(envelope int) int {
	const around = 4 << 10 // what is around it has about 2,200
	return (envelope - around) / 4 * 3
}
