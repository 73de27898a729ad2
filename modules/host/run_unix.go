//go:build unix

package host

import (
	"fmt"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// ownGroup makes cancelling end the program's children too.
func ownGroup(cmd *exec.Cmd) (started func() (release func())) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return func() func() { return func() {} }
}

func runAs(cmd *exec.Cmd, name string) error {
	u, err := user.Lookup(name)
	if err != nil {
		return fmt.Errorf("run as %s: %w", name, err)
	}
	uid, _ := strconv.ParseUint(u.Uid, 10, 32)
	gid, _ := strconv.ParseUint(u.Gid, 10, 32)
	ids, err := u.GroupIds()
	if err != nil {
		return fmt.Errorf("groups of %s: %w", name, err)
	}
	cred := &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	for _, id := range ids {
		n, _ := strconv.ParseUint(id, 10, 32)
		cred.Groups = append(cred.Groups, uint32(n))
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	cmd.Env = append(cmd.Env, "HOME="+u.HomeDir, "USER="+name, "LOGNAME="+name)
	if cmd.Dir == "" {
		cmd.Dir = u.HomeDir
	}
	return nil
}

// commandLine: arguments arrive one by one here.
func commandLine(*exec.Cmd, string) error { return nil }
