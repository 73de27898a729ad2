//go:build unix

package winrm

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// server is WS-Management's shell over /bin/sh, by HTTPS with Basic: as much of it as the tests of messages need. What Windows
// is strict about is the lab's server's business.
type server struct {
	*httptest.Server
	t testing.TB

	mu       sync.Mutex
	shells   map[string]*serverShell
	log      []string                                               // actions
	hook     func(action string, w http.ResponseWriter) (done bool) // answers instead
	envelope int
	refused  int // logins
	run      func(line string) (*serverCommand, error)
}

type serverShell struct {
	id       string
	commands map[string]*serverCommand
}

type serverCommand struct {
	stdin io.WriteCloser
	kill  func()
	mu    sync.Mutex
	news  chan struct{}
	out   bytes.Buffer
	err   bytes.Buffer
	ended bool
	code  int
}

const (
	testUser     = `Administrator`
	testPassword = "correct horse"
)

func newServer(t testing.TB) *server {
	s := &server{t: t, shells: map[string]*serverShell{}, envelope: maxEnvelope, run: inShell}
	s.Server = httptest.NewUnstartedServer(s)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(func() {
		s.mu.Lock()
		for _, sh := range s.shells {
			sh.end()
		}
		s.mu.Unlock()
		s.CloseClientConnections()
		s.Server.Close()
	})
	return s
}

func (s *server) address() string { return strings.TrimPrefix(s.URL, "https://") }

func (s *server) options() Options {
	return Options{Address: s.address(), User: testUser, Password: func() (string, error) { return testPassword, nil }, Auth: basic,
		Fingerprint: fingerprint(s.Certificate())}
}

// requested is what was asked for since the last time.
func (s *server) requested() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	log := s.log
	s.log = nil
	return log
}

// request is what a message asks.
type request struct {
	Header struct {
		Action      string
		SelectorSet struct{ Selector string }
		OptionSet   struct {
			Option []struct {
				Name string `xml:",attr"`
				Text string `xml:",chardata"`
			}
		}
	}
	Body struct {
		CommandLine struct{ Command string }
		Send        struct {
			Stream struct {
				CommandId string `xml:",attr"`
				End       bool   `xml:",attr"`
				Text      string `xml:",chardata"`
			}
		}
		Receive struct {
			DesiredStream struct {
				CommandId string `xml:",attr"`
			}
		}
		Signal struct {
			CommandId string `xml:",attr"`
		}
	}
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	if user != testUser || password != testPassword {
		s.mu.Lock()
		s.refused++
		s.mu.Unlock()
		w.Header().Set("WWW-Authenticate", `Basic realm="WSMAN"`)
		w.Header().Add("WWW-Authenticate", "Negotiate")
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	body, err := io.ReadAll(r.Body)
	var q request
	if err := cmp.Or(err, xml.Unmarshal(body, &q)); err != nil || r.URL.Path != "/wsman" || r.Header.Get("Content-Type") != soapType {
		s.fault(w, 1, fmt.Sprint("malformed: ", err))
		return
	}
	action := q.Header.Action[strings.LastIndex(q.Header.Action, "/")+1:]
	s.mu.Lock()
	s.log = append(s.log, action)
	hook, sh := s.hook, s.shells[q.Header.SelectorSet.Selector]
	s.mu.Unlock()
	if hook != nil && hook(action, w) {
		return
	}
	if len(body) > s.envelope {
		s.fault(w, envelopeTooLarge, "the envelope has "+fmt.Sprint(len(body)))
		return
	}
	switch {
	case action == "Create":
		sh = &serverShell{id: rand.Text(), commands: map[string]*serverCommand{}}
		s.mu.Lock()
		s.shells[sh.id] = sh
		s.mu.Unlock()
		s.reply(w, fmt.Sprintf(`<x:ResourceCreated><w:SelectorSet><w:Selector Name="ShellId">%s</w:Selector></w:SelectorSet></x:ResourceCreated>`, sh.id))
		return
	case action == "Get":
		s.reply(w, fmt.Sprintf(`<cfg:Config><cfg:MaxEnvelopeSizekb>%d</cfg:MaxEnvelopeSizekb></cfg:Config>`, s.envelope>>10))
		return
	case sh == nil:
		s.fault(w, unexpectedSelectors, "no such shell")
		return
	case action == "Delete":
		s.mu.Lock()
		delete(s.shells, sh.id)
		s.mu.Unlock()
		sh.end()
		s.reply(w, "")
		return
	case action == "Command":
		for _, o := range q.Header.OptionSet.Option {
			if o.Text != "FALSE" {
				s.fault(w, 2, o.Name)
				return
			}
		}
		id := rand.Text()
		c, err := s.run(q.Body.CommandLine.Command)
		if err != nil {
			s.fault(w, 3, err.Error())
			return
		}
		s.mu.Lock()
		sh.commands[id] = c
		s.mu.Unlock()
		s.reply(w, fmt.Sprintf(`<rsp:CommandResponse><rsp:CommandId>%s</rsp:CommandId></rsp:CommandResponse>`, id))
		return
	}
	s.mu.Lock()
	c := sh.commands[q.Body.Send.Stream.CommandId+q.Body.Receive.DesiredStream.CommandId+q.Body.Signal.CommandId]
	s.mu.Unlock()
	if c == nil {
		s.fault(w, invalidCommandHandle, "no such command")
		return
	}
	switch action {
	case "Send":
		data, err := base64.StdEncoding.DecodeString(q.Body.Send.Stream.Text)
		if err == nil {
			_, err = c.stdin.Write(data)
		}
		if err != nil {
			s.fault(w, pipeClosingResult, err.Error())
			return
		}
		if q.Body.Send.Stream.End {
			c.stdin.Close()
		}
		s.reply(w, "<rsp:SendResponse/>")
	case "Signal":
		c.kill()
		s.mu.Lock()
		for id, x := range sh.commands {
			if x == c {
				delete(sh.commands, id)
			}
		}
		s.mu.Unlock()
		s.reply(w, "<rsp:SignalResponse/>")
	case "Receive":
		select {
		case <-c.news:
		case <-time.After(poll):
			s.fault(w, operationTimedOut, "nothing yet")
			return
		case <-r.Context().Done():
			return
		}
		s.reply(w, c.take())
	}
}

func (s *server) reply(w http.ResponseWriter, body string) { s.write(w, http.StatusOK, body) }

func (s *server) fault(w http.ResponseWriter, code uint32, text string) {
	s.write(w, http.StatusInternalServerError, fmt.Sprintf(`<s:Fault><s:Code><s:Value>s:Receiver</s:Value><s:Subcode><s:Value>w:Some</s:Value></s:Subcode></s:Code>`+
		`<s:Reason><s:Text xml:lang="">reason</s:Text></s:Reason><s:Detail><f:WSManFault Code="%d" Machine="x"><f:Message>%s</f:Message></f:WSManFault></s:Detail></s:Fault>`, code, text))
}

func (s *server) write(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", soapType)
	w.WriteHeader(status)
	fmt.Fprintf(w, `<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Header/><s:Body>%s</s:Body></s:Envelope>`, body)
}

// inShell runs a line in a POSIX shell.
func inShell(line string) (*serverCommand, error) {
	cmd := exec.Command("/bin/sh", "-c", line)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c := &serverCommand{news: make(chan struct{}, 1)}
	var err error
	if c.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = commandWriter{c, &c.out}, commandWriter{c, &c.err}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c.kill = func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	go func() {
		cmd.Wait()
		c.end(cmd.ProcessState.ExitCode())
	}()
	return c, nil
}

// commandWriter keeps output until it is asked for.
type commandWriter struct {
	c *serverCommand
	b *bytes.Buffer
}

func (w commandWriter) Write(b []byte) (int, error) {
	w.c.mu.Lock()
	w.b.Write(b)
	w.c.mu.Unlock()
	w.c.tell()
	return len(b), nil
}

func (c *serverCommand) end(code int) {
	c.mu.Lock()
	c.ended, c.code = true, code
	c.mu.Unlock()
	c.stdin.Close()
	c.tell()
}

func (c *serverCommand) tell() {
	select {
	case c.news <- struct{}{}:
	default:
	}
}

func (sh *serverShell) end() {
	for _, c := range sh.commands {
		c.kill()
	}
}

// take is what a Receive tells.
func (c *serverCommand) take() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b strings.Builder
	b.WriteString("<rsp:ReceiveResponse>")
	piece := func(name string, from *bytes.Buffer) {
		if from.Len() > 0 {
			fmt.Fprintf(&b, `<rsp:Stream Name="%s" CommandId="x">%s</rsp:Stream>`, name, base64.StdEncoding.EncodeToString(from.Next(200<<10)))
		}
	}
	piece("stdout", &c.out)
	piece("stderr", &c.err)
	if c.ended && c.out.Len()+c.err.Len() == 0 {
		fmt.Fprintf(&b, `<rsp:CommandState CommandId="x" State="http://schemas.microsoft.com/wbem/wsman/1/windows/shell/CommandState/Done"><rsp:ExitCode>%d</rsp:ExitCode></rsp:CommandState>`, c.code)
	}
	if c.ended || c.out.Len()+c.err.Len() > 0 {
		c.tell()
	}
	b.WriteString("</rsp:ReceiveResponse>")
	return b.String()
}
