package executor

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// carriers stand between sshd and us.
var carriers = []string{"sh", "dash", "bash", "ash", "ksh", "mksh", "zsh", "fish", "busybox", "sudo", "doas", "su"}

// whoLogsIn finds who has logged in to start this process: nil unless sshd is above it, with nothing between but shells and
// sudo. A fitout that works on its own machine was maybe started in somebody's ssh session, but doesn't come in so.
func whoLogsIn() *login {
	l := &login{}
	for pid, below := os.Getppid(), os.Getpid(); pid > 1; {
		name, parent := process(pid)
		switch {
		case strings.HasPrefix(name, "sshd") || name == "dropbear":
			if l.Server == "" {
				if l.Server = "sshd"; name == "dropbear" {
					l.Server = name
				}
				if !l.read(below) {
					return nil
				}
			}
			l.Servers = append(l.Servers, pid)
		case l.Server != "": // what has started sshd
			return l
		case !slices.Contains(carriers, strings.TrimPrefix(name, "-")):
			return nil
		}
		pid, below = parent, pid
	}
	if l.Server == "" {
		return nil
	}
	return l
}

func process(pid int) (name string, parent int) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", 0
	}
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return "", 0
	}
	if f := strings.Fields(string(b[end+1:])); len(f) > 1 {
		parent, _ = strconv.Atoi(f[1])
	}
	name = string(b[open+1 : end])
	if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err == nil { // the other can be set by the program
		name = filepath.Base(strings.TrimSuffix(exe, " (deleted)"))
	}
	return name, parent
}

// read takes over what sshd has told the first process of the connection.
func (l *login) read(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return false
	}
	env := map[string]string{}
	for v := range strings.SplitSeq(string(b), "\x00") {
		if k, v, ok := strings.Cut(v, "="); ok {
			env[k] = v
		}
	}
	// client address, client port, our address, our port
	f := strings.Fields(env["SSH_CONNECTION"])
	if l.User = env["LOGNAME"]; l.User == "" {
		l.User = env["USER"]
	}
	if len(f) != 4 || l.User == "" {
		return false
	}
	l.Home, l.Address = env["HOME"], f[2]
	l.Port, err = strconv.Atoi(f[3])
	l.Elevated = os.Geteuid() == 0 && l.User != "root"
	return err == nil
}
