package winrm

import (
	"io"
	"os/exec"
)

// A Runner runs command lines.
type Runner interface {
	// Start starts a command. An error means that nothing runs.
	Start(Command) (Process, error)
}

// A Command as a client asks for it.
type Command struct {
	Line      string
	SkipShell bool // the line is a program and its arguments, not cmd.exe's
	Dir       string
	Env       []string // NAME=value, on top of the server's own
}

// A Process that was started, with all processes that it starts.
type Process interface {
	Stdin() io.WriteCloser
	Stdout() io.Reader
	Stderr() io.Reader
	Wait() uint32 // the whole exit code, once both outputs have been read
	Interrupt()   // Ctrl-C
	Kill()        // ends all of it
}

// started is a Process made with os/exec; the platforms embed it.
type started struct {
	cmd         *exec.Cmd
	stdin       io.WriteCloser
	stdout, err io.Reader
}

func (p *started) Stdin() io.WriteCloser { return p.stdin }
func (p *started) Stdout() io.Reader     { return p.stdout }
func (p *started) Stderr() io.Reader     { return p.err }

func pipes(cmd *exec.Cmd) (*started, error) {
	p := &started{cmd: cmd}
	var err error
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if p.stdout, err = cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	p.err, err = cmd.StderrPipe()
	return p, err
}
