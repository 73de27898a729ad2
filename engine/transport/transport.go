// Package transport is how the controller reaches a device: it starts programs there and talks to them over their stdin
// and stdout. Implementations: ssh, winrm, local. All pass the suite in transporttest.
//
//	t, err := ssh.Dial(ctx, ssh.Options{Address: "10.0.3.42", User: "admin"})
//	p, err := t.Start(ctx, transport.Command{Line: "uname -sm"})
//	out, err := io.ReadAll(p.Stdout())
//	exit, err := p.Wait()
//
// A transport promises: host keys and certificates are verified; a secret never becomes part of a command line; a dead
// peer is noticed within 15 seconds; nothing that was read from Stdin is lost silently.
package transport

import (
	"context"
	"io"
	"net/netip"
)

// Transport is one open connection to one device. It is safe for concurrent use: several programs may run at once.
// Nothing is retried behind the caller's back. Close ends all programs that were started through it.
type Transport interface {
	// Start runs a command line in the device's shell (POSIX sh; cmd.exe on Windows). It returns once the program may be
	// written to and read from. Cancelling ctx ends the program (Kill) within one second.
	Start(ctx context.Context, cmd Command) (Process, error)
	Close() error
}

// Command is what Start runs.
type Command struct {
	Line string
	// Elevate runs the line as the device's administrator (package elevate, sudo or doas). Without such configuration, or
	// where the user is root already, the line runs as it is.
	Elevate bool
}

// StartOptions are for StartWith(ctx, line, StartOptions), which ssh and local have beside Start: it is what package
// elevate needs to answer a password prompt.
type StartOptions struct {
	// Terminal gives the program a controlling terminal of its own; stdin, stdout and stderr are that terminal.
	Terminal bool
	// Stderr, if not nil, gets what the program writes there, as it comes, beside Exit.Stderr.
	Stderr io.Writer
}

// Process is a running program on a device. Stdin and Stdout may be used at the same time, each by one goroutine.
// Whoever starts a program reads its Stdout to the end, or kills it. Writing to a program that has ended gives
// io.ErrClosedPipe; reading from or writing to a broken connection gives an Error of kind Lost.
type Process interface {
	Stdin() io.WriteCloser
	Stdout() io.Reader
	// Wait returns when the program has ended and Stdout has been read to its end. An exit code other than 0 is no error;
	// that the context of Start was cancelled is one.
	Wait() (Exit, error)
	// Kill ends the program, or at least this side's interest in it. Stdout then ends, and so does Wait, within a second.
	Kill() error
}

// Exit tells how a program ended. Stderr is the end of what it wrote there, at most 8 KiB.
type Exit struct {
	Code   int
	Signal string
	Stderr string
}

// Uploader is what a transport with a file channel has beside Start (SFTP). An error of kind NoUpload means that the
// device offers none: stream to a program's stdin then.
type Uploader interface {
	Upload(ctx context.Context, path string, r io.Reader) error
}

// Remembering is what a transport is whose device doesn't notice that the controller is gone, and goes on with its programs, as
// the shells of WinRM do: whoever ends waits for Close.
type Remembering interface{ Remembers() }

// Narrow is what a transport is that carries much data slowly, as the messages of WinRM do: a device fetches large contents
// faster by itself. Here is our own end of the connection to it, which isn't valid where something is in between, a proxy.
type Narrow interface{ Here() netip.Addr }

// Kind sorts failures by what the caller may do about them. Decide on it, never on an error's text.
type Kind int

const (
	Unknown      Kind = iota
	NameNotFound      // the address does not resolve
	Refused           // nothing listens there, or a firewall rejects
	TimedOut          // no answer
	HostKey           // unknown, changed or revoked host key or certificate
	Auth              // key or password refused
	Elevation         // sudo or doas refused, or wants a password
	Lost              // the connection broke
	NoUpload          // no file channel
	Protocol          // the peer does not speak the protocol, or no common version or algorithm of it
)

// Error is what every transport returns. Hints are added with package hint.
type Error struct {
	Kind Kind
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }
