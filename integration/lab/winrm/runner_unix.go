//go:build unix

package winrm

import (
	"os"
	"os/exec"
	"syscall"
)

// native runs lines with /bin/sh, for tests of the protocol where no Windows program can run.
type native struct{}

type unixProcess struct{ *started }

func (native) Start(c Command) (Process, error) {
	line := c.Line
	if c.SkipShell {
		line = "exec " + line
	}
	cmd := exec.Command("/bin/sh", "-c", line)
	cmd.Dir = c.Dir
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p, err := pipes(cmd)
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return unixProcess{p}, nil
}

func (p unixProcess) Wait() uint32 {
	_ = p.cmd.Wait()
	if s, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		if s.Signal() == syscall.SIGINT {
			return 0xC000013A // what Windows says after Ctrl-C
		}
		return 1
	}
	return uint32(p.cmd.ProcessState.ExitCode())
}

func (p unixProcess) Interrupt() { _ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGINT) }
func (p unixProcess) Kill()      { _ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) }
