package main

import (
	"os/exec"
	"syscall"
)

// command has cmd.exe run a line as it stands: it doesn't understand arguments that are quoted as other programs do.
func command(line string) *exec.Cmd {
	cmd := exec.Command("cmd.exe")
	cmd.SysProcAttr = &syscall.SysProcAttr{CmdLine: `cmd.exe /d /s /c "` + line + `"`}
	return cmd
}
