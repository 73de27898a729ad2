package ssh

import (
	"io"
	"net"
	"os"
	"strings"
)

// defaultAgent is the pipe of the OpenSSH agent that comes with Windows.
const defaultAgent = `\\.\pipe\openssh-ssh-agent`

func dialAgent(socket string) (io.ReadWriteCloser, error) {
	if strings.HasPrefix(socket, `\\`) {
		return os.OpenFile(socket, os.O_RDWR, 0)
	}
	return net.Dial("unix", socket)
}
