package winrm

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// Actions, by their last part.
const (
	Create   = "Create"
	Delete   = "Delete"
	Run      = "Command"
	Send     = "Send"
	Receive  = "Receive"
	Signal   = "Signal"
	Identify = "Identify"
)

// uris are the actions as requests name them.
var uris = map[string]string{
	nsTransfer + "/Create": Create, nsTransfer + "/Delete": Delete, nsShell + "/Command": Run, nsShell + "/Send": Send,
	nsShell + "/Receive": Receive, nsShell + "/Signal": Signal, nsIdentify + "/Identify": Identify,
}

// options that each action takes, with the values they may have ([MS-WSMV] 2.2.4 and 3.1.4.5.2).
var options = map[string]map[string]func(string) bool{
	Create: {"WINRS_NOPROFILE": isBoolean, "WINRS_CODEPAGE": isNumber},
	Run:    {"WINRS_CONSOLEMODE_STDIN": isBoolean, "WINRS_SKIP_CMD_SHELL": isBoolean},
}

func isBoolean(s string) bool {
	return slices.ContainsFunc([]string{"TRUE", "FALSE", "1", "0"}, func(v string) bool { return strings.EqualFold(s, v) })
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// shell is what commands are run in.
type shell struct {
	id, user string
	dir      string
	env      []string
	idle     time.Duration
	used     time.Time // guarded by Server.mu, as commands is
	busy     int       // operations under way
	commands map[string]*command
}

func newID() string {
	b := make([]byte, 16)
	rand.Read(b)
	h := strings.ToUpper(hex.EncodeToString(b))
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

// answer carries a request out.
func (s *Server) answer(a *reply, body []byte) {
	m, f := parse(body)
	action := uris[m.action]
	a.req.Action = action
	if len(body) > s.cfg.MaxEnvelopeSize {
		f = faultEnvelopeTooLarge(s.cfg.MaxEnvelopeSize)
	}
	if f == nil && action != "" && s.interfere(a, action) {
		return
	}
	var out []byte
	if f == nil {
		out, f = s.carryOut(a, m, action)
	}
	if f == nil && len(out) > m.maxEnvelope && m.maxEnvelope > 0 {
		f = faultEnvelopeTooLarge(m.maxEnvelope)
	}
	if f != nil {
		status := f.Status
		if status == 0 {
			status = http.StatusInternalServerError
		}
		a.req.Fault = f.Code
		a.send(status, f.answer(m, s.cfg.Hostname))
		return
	}
	a.send(http.StatusOK, out)
}

func (s *Server) carryOut(a *reply, m *message, action string) ([]byte, *Fault) {
	if action == Identify {
		return []byte(`<s:Envelope xml:lang="en-US" xmlns:s="` + nsSoap + `"><s:Header/><s:Body><wsmid:IdentifyResponse xmlns:wsmid="` + nsIdentify +
			`"><wsmid:ProtocolVersion>` + nsWSMan + `</wsmid:ProtocolVersion><wsmid:ProductVendor>Microsoft Corporation</wsmid:ProductVendor>` +
			`<wsmid:ProductVersion>OS: 0.0.0 SP: 0.0 Stack: 3.0</wsmid:ProductVersion></wsmid:IdentifyResponse></s:Body></s:Envelope>`), nil
	}
	switch u, ok := s.lookUp(a.req.User); {
	case !ok || u.Denied:
		return nil, faultDenied()
	case action == "":
		return nil, faultAction(m.action)
	case m.resource != cmdShell:
		return nil, faultResource(m.resource)
	}
	for name, value := range m.options {
		if valid := options[action][name]; valid == nil || !valid(value) {
			return nil, faultOption(name)
		}
	}
	if !s.begin(a.req.User) {
		return nil, sender(codeMaxOperations, "w:QuotaLimit", fmt.Sprintf("The maximum number of concurrent operations for this user has been exceeded (%d).", s.cfg.MaxOperations))
	}
	defer s.end(a.req.User)
	if action == Create {
		return s.create(a, m)
	}
	id := strings.ToUpper(m.selectors["shellid"])
	s.mu.Lock()
	sh := s.shells[id]
	if sh == nil || sh.user != strings.ToLower(baseName(a.req.User)) { // another's shell is as if there were none
		s.mu.Unlock()
		return nil, faultShell(id)
	}
	sh.busy++
	sh.used = time.Now()
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		sh.busy--
		sh.used = time.Now()
		s.mu.Unlock()
	}()
	switch action {
	case Delete:
		s.drop(sh)
		return respond(m, nsTransfer+"/DeleteResponse", ""), nil
	case Run:
		return s.run(sh, m)
	}
	request := m.body.child(nsShell, action)
	command := request.attrOf(action)
	s.mu.Lock()
	c := sh.commands[command]
	s.mu.Unlock()
	if c == nil {
		return nil, faultCommand(command)
	}
	switch action {
	case Send:
		return s.sendTo(a, c, m, request)
	case Receive:
		return s.receive(a, c, m)
	}
	return s.signal(sh, c, m, request)
}

// attrOf finds the CommandId of a request, which Send and Receive have on the stream.
func (e *element) attrOf(action string) string {
	if e == nil {
		return ""
	}
	switch action {
	case Send:
		e = e.child(nsShell, "Stream")
	case Receive:
		e = e.child(nsShell, "DesiredStream")
	}
	if e == nil {
		return ""
	}
	return strings.ToUpper(e.attr("CommandId"))
}

// begin and end count a user's operations.
func (s *Server) begin(user string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.operations[user] >= s.cfg.MaxOperations {
		return false
	}
	s.operations[user]++
	return true
}

func (s *Server) end(user string) {
	s.mu.Lock()
	s.operations[user]--
	s.mu.Unlock()
}

func (s *Server) create(a *reply, m *message) ([]byte, *Fault) {
	asked := m.body.child(nsShell, "Shell")
	if asked == nil {
		return nil, faultSchema("the body has no Shell")
	}
	in, out := strings.Fields(asked.child(nsShell, "InputStreams").text()), strings.Fields(asked.child(nsShell, "OutputStreams").text())
	if !slices.Equal(in, []string{"stdin"}) || !slices.Equal(out, []string{"stdout", "stderr"}) {
		return nil, faultSchema("the streams of a shell are stdin, stdout and stderr")
	}
	sh := &shell{id: newID(), user: strings.ToLower(baseName(a.req.User)), dir: asked.child(nsShell, "WorkingDirectory").text(), idle: s.cfg.IdleTimeout,
		used: time.Now(), commands: map[string]*command{}}
	if id := asked.attr("ShellId"); id != "" {
		sh.id = strings.ToUpper(id)
	}
	for _, name := range []string{"IdleTimeOut", "IdleTimeout"} {
		if e := asked.child(nsShell, name); e != nil {
			d, err := duration(e.text())
			if err != nil {
				return nil, faultSchema(err.Error())
			}
			sh.idle = min(d, s.cfg.IdleTimeout)
		}
	}
	if env := asked.child(nsShell, "Environment"); env != nil {
		for _, v := range env.Children {
			sh.env = append(sh.env, v.attr("Name")+"="+v.Text)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	own := 0
	for _, other := range s.shells {
		if other.user == sh.user {
			own++
		}
	}
	if own >= s.cfg.MaxShellsPerUser {
		return nil, sender(codeMaxShells, "w:QuotaLimit", fmt.Sprintf("The WS-Management service cannot process the request. The maximum number of concurrent shells "+
			"for this user has been exceeded (%d). Close existing shells or raise the quota for this user.", s.cfg.MaxShellsPerUser))
	}
	if s.shells[sh.id] != nil {
		return nil, sender(codeInvalidParameter, "w:InvalidParameter", "There is a shell with the ShellId "+sh.id+" already.")
	}
	s.shells[sh.id] = sh
	return respond(m, nsTransfer+"/CreateResponse", `<x:ResourceCreated><a:Address>http://`+escape(s.cfg.Hostname)+`:5985/wsman</a:Address><a:ReferenceParameters>`+
		`<w:ResourceURI>`+cmdShell+`</w:ResourceURI><w:SelectorSet><w:Selector Name="ShellId">`+sh.id+`</w:Selector></w:SelectorSet></a:ReferenceParameters></x:ResourceCreated>`+
		`<rsp:Shell><rsp:ShellId>`+sh.id+`</rsp:ShellId><rsp:ResourceUri>`+cmdShell+`</rsp:ResourceUri><rsp:Owner>`+escape(s.cfg.Hostname+`\`+sh.user)+
		`</rsp:Owner><rsp:InputStreams>stdin</rsp:InputStreams><rsp:OutputStreams>stdout stderr</rsp:OutputStreams></rsp:Shell>`), nil
}

func (s *Server) run(sh *shell, m *message) ([]byte, *Fault) {
	asked := m.body.child(nsShell, "CommandLine")
	line := asked.child(nsShell, "Command")
	if line.text() == "" {
		return nil, faultSchema("the body has no CommandLine with a Command")
	}
	c := Command{Line: strings.TrimSpace(line.Text), SkipShell: isTrue(m.options["WINRS_SKIP_CMD_SHELL"]), Dir: sh.dir, Env: sh.env}
	for _, e := range asked.Children {
		if e.is(nsShell, "Arguments") {
			c.Line += " " + e.Text
		}
	}
	id := newID()
	if given := asked.attr("CommandId"); given != "" {
		id = strings.ToUpper(given)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shells[sh.id] != sh {
		return nil, faultShell(sh.id)
	}
	for _, other := range sh.commands {
		if !other.over() {
			return nil, sender(codeConcurrency, "w:Concurrency", "The WS-Management service cannot process the request: a command is running in this shell.")
		}
	}
	console := true // without the option, stdin is a console's
	if v, ok := m.options["WINRS_CONSOLEMODE_STDIN"]; ok {
		console = isTrue(v)
	}
	started, err := start(s.cfg.Runner, c, console)
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return nil, receiver(win32FileNotFound, "w:InternalError", "The system cannot find the file specified.")
	case err != nil:
		return nil, receiver(win32Directory, "w:InternalError", err.Error())
	}
	sh.commands[id] = started
	return respond(m, nsShell+"/CommandResponse", "<rsp:CommandResponse><rsp:CommandId>"+id+"</rsp:CommandId></rsp:CommandResponse>"), nil
}

// patience is how long an operation may take.
func (s *Server) patience(m *message) <-chan time.Time {
	d := s.cfg.OperationTimeout
	if m.timeout > 0 {
		d = min(d, m.timeout)
	}
	return time.After(d)
}

func (s *Server) sendTo(a *reply, c *command, m *message, request *element) ([]byte, *Fault) {
	var data []byte
	end := false
	for _, e := range request.Children {
		if !e.is(nsShell, "Stream") || e.attr("Name") != "stdin" {
			return nil, faultSchema("what is sent goes to stdin")
		}
		b, err := base64.StdEncoding.DecodeString(e.text())
		if err != nil {
			return nil, faultSchema("what is sent is no base64")
		}
		data = append(data, b...)
		end = end || isTrue(e.attr("End"))
	}
	switch c.type_(data, end, s.patience(m), a.conn.wire.gone) {
	case errTimedOut:
		return nil, faultTimedOut()
	case errEnded:
		return nil, receiver(win32BrokenPipe, "w:InternalError", "The pipe has been ended.")
	}
	return respond(m, nsShell+"/SendResponse", "<rsp:SendResponse/>"), nil
}

func (s *Server) receive(a *reply, c *command, m *message) ([]byte, *Fault) {
	limit := min(m.maxEnvelope, s.cfg.MaxEnvelopeSize)
	const envelope = 3000 // what is around the streams
	got, err := c.take((limit-envelope)/4*3, s.patience(m), a.conn.wire.gone)
	switch err {
	case errTimedOut:
		return nil, faultTimedOut()
	case errInProgress:
		return nil, sender(codeReceiveInProgress, "w:Concurrency", "A Receive for this command is under way.")
	case errAborted:
		return nil, faultAborted()
	}
	var b strings.Builder
	b.WriteString("<rsp:ReceiveResponse>")
	for _, st := range got.streams {
		fmt.Fprintf(&b, `<rsp:Stream Name="%s" CommandId="%s"`, st.name, c.idIn(m))
		if st.end {
			b.WriteString(` End="true"`)
		}
		fmt.Fprintf(&b, ">%s</rsp:Stream>", base64.StdEncoding.EncodeToString(st.data))
	}
	if got.done {
		fmt.Fprintf(&b, `<rsp:CommandState CommandId="%s" State="%s/CommandState/Done"><rsp:ExitCode>%d</rsp:ExitCode></rsp:CommandState>`, c.idIn(m), nsShell, got.code)
	} else {
		fmt.Fprintf(&b, `<rsp:CommandState CommandId="%s" State="%s/CommandState/Running"/>`, c.idIn(m), nsShell)
	}
	b.WriteString("</rsp:ReceiveResponse>")
	return respond(m, nsShell+"/ReceiveResponse", b.String()), nil
}

// idIn is the command's id as the request spells it.
func (c *command) idIn(m *message) string {
	return escape(m.body.child(nsShell, Receive).child(nsShell, "DesiredStream").attr("CommandId"))
}

func (s *Server) signal(sh *shell, c *command, m *message, request *element) ([]byte, *Fault) {
	switch code := request.child(nsShell, "Code").text(); strings.TrimPrefix(code, nsShell+"/signal/") {
	case "terminate", "Terminate":
		c.end()
		s.mu.Lock()
		for id, other := range sh.commands {
			if other == c {
				delete(sh.commands, id)
			}
		}
		s.mu.Unlock()
	case "ctrl_c", "ctrl_break":
		c.process.Interrupt()
	default:
		return nil, sender(codeInvalidParameter, "w:InvalidParameter", "No such signal: "+code)
	}
	return respond(m, nsShell+"/SignalResponse", "<rsp:SignalResponse/>"), nil
}

// drop ends a shell with all that runs in it.
func (s *Server) drop(sh *shell) {
	s.mu.Lock()
	delete(s.shells, sh.id)
	var commands []*command
	for _, c := range sh.commands {
		commands = append(commands, c)
	}
	s.mu.Unlock()
	for _, c := range commands {
		c.end()
	}
}

// DropShells ends all shells, as a restart of the service does.
func (s *Server) DropShells() {
	s.mu.Lock()
	var all []*shell
	for _, sh := range s.shells {
		all = append(all, sh)
	}
	s.mu.Unlock()
	for _, sh := range all {
		s.drop(sh)
	}
}

// Shells is how many there are.
func (s *Server) Shells() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.shells)
}

// expire ends the shells that nobody has used for too long.
func (s *Server) expire() {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-s.closed:
			return
		case <-tick.C:
		}
		s.mu.Lock()
		var idle []*shell
		for _, sh := range s.shells {
			if sh.busy == 0 && time.Since(sh.used) > sh.idle {
				idle = append(idle, sh)
			}
		}
		s.mu.Unlock()
		for _, sh := range idle {
			s.drop(sh)
		}
	}
}
