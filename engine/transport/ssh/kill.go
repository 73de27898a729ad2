package ssh

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"time"

	gossh "golang.org/x/crypto/ssh"
)

// A program is killed by SSH's "signal" request. OpenSSH refuses that in root's own sessions ("requires privilege
// separation"), and lets programs live on when a connection ends. So root's shells tell their process id first, on stderr
// where it is taken out again, and one more exec kills the process group.
const (
	pidMark   = "fitout-pid:"
	tellPID   = "echo " + pidMark + "$$ >&2; "
	maxBefore = 16 << 10 // what a shell's startup files may say before that
)

// killGrace is how long to wait for a kill to take effect.
const killGrace = 700 * time.Millisecond

// pidFilter takes the line with the process id out of stderr.
type pidFilter struct {
	next  io.Writer
	held  []byte
	pid   int
	known chan struct{} // closed once pid is set, or won't be
	done  bool
}

func newPIDFilter(next io.Writer) *pidFilter {
	return &pidFilter{next: next, known: make(chan struct{})}
}

func (f *pidFilter) Write(p []byte) (int, error) {
	if f.done {
		return f.next.Write(p)
	}
	f.held = append(f.held, p...)
	before, rest, found := bytes.Cut(f.held, []byte(pidMark))
	number, after, whole := bytes.Cut(rest, []byte("\n"))
	switch {
	case found && whole:
		f.pid, _ = strconv.Atoi(string(number))
		f.held = append(before[:len(before):len(before)], after...)
		f.flush()
	case len(f.held) > maxBefore:
		f.flush()
	}
	return len(p), nil
}

// flush passes on what was held back, and looks no further.
func (f *pidFilter) flush() {
	if f.done {
		return
	}
	f.done = true
	f.next.Write(f.held)
	f.held = nil
	close(f.known)
}

// sendKill has the device end the program. It returns once that is done, or was tried for killGrace.
func (p *process) sendKill() {
	p.ch.SendRequest("signal", false, gossh.Marshal(struct{ Name string }{"KILL"}))
	if p.pid == nil {
		return
	}
	late := time.NewTimer(killGrace)
	defer late.Stop()
	select {
	case <-p.pid.known:
	case <-late.C:
		return
	}
	if p.pid.pid <= 1 {
		return
	}
	ch, reqs, err := p.t.client.OpenChannel("session", nil)
	if err != nil {
		return
	}
	defer ch.Close()
	line := fmt.Sprintf("kill -KILL -%d", p.pid.pid)
	if _, err := ch.SendRequest("exec", false, gossh.Marshal(struct{ Line string }{line})); err != nil {
		go gossh.DiscardRequests(reqs)
		return
	}
	for {
		select {
		case _, open := <-reqs: // the exit status, or the end
			if open {
				go gossh.DiscardRequests(reqs)
			}
			return
		case <-late.C:
			go gossh.DiscardRequests(reqs)
			return
		}
	}
}
