//go:build unix

package ssh

import (
	"io"
	"net"
)

// defaultAgent is where an agent listens if SSH_AUTH_SOCK isn't set.
const defaultAgent = ""

func dialAgent(socket string) (io.ReadWriteCloser, error) { return net.Dial("unix", socket) }
