package host

import (
	"fmt"
	"os/exec"
	"syscall"
)

func ownGroup(cmd *exec.Cmd) {}

func runAs(cmd *exec.Cmd, name string) error {
	return fmt.Errorf("run as %s: not possible on windows", name)
}

func setLine(cmd *exec.Cmd, line string) {
	if line != "" {
		cmd.SysProcAttr = &syscall.SysProcAttr{CmdLine: syscall.EscapeArg(cmd.Path) + " " + line}
	}
}
