package executor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/windows"
)

// A runner listens at a named pipe: Windows has had sockets with a path only since 2018. Anybody may make a pipe of a name that
// they know, so its name is random and stands in a file of the run's folder, where only those can read it who may join. They,
// administrators and the runner's own user, are those whom the pipe lets in, from this machine.

func socketFile(dir, run string) string { return filepath.Join(runDir(dir, run), "socket") }

// dialSocket joins the runner that listens for a run.
func dialSocket(ctx context.Context, dir, run string) (net.Conn, error) {
	b, err := os.ReadFile(socketFile(dir, run))
	if err != nil {
		return nil, err
	}
	name, err := windows.UTF16PtrFromString(strings.TrimSpace(string(b)))
	if err != nil {
		return nil, err
	}
	// Whoever listens may know who we are, and not act as us.
	const identification = windows.SECURITY_SQOS_PRESENT | windows.SECURITY_IDENTIFICATION
	h, err := windows.CreateFile(name, windows.GENERIC_READ|windows.GENERIC_WRITE, 0, nil, windows.OPEN_EXISTING, windows.FILE_FLAG_OVERLAPPED|identification, 0)
	if err != nil {
		return nil, fmt.Errorf("join run %s: %w", run, err)
	}
	return newPipe(h), ctx.Err()
}

// pipe is one end of a pipe that is connected.
type pipe struct{ *os.File }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

func (pipe) LocalAddr() net.Addr  { return pipeAddr{} }
func (pipe) RemoteAddr() net.Addr { return pipeAddr{} }

func newPipe(h windows.Handle) net.Conn { return pipe{os.NewFile(uintptr(h), "pipe")} }

type pipeListener struct {
	name *uint16
	who  *windows.SecurityAttributes
	next windows.Handle // an end that nobody has joined yet
	end  windows.Handle // an event: set when it is closed
	once sync.Once
}

func listenRunner(dir, run string) (net.Listener, error) {
	l, name, err := listenPipe()
	if err == nil {
		os.Remove(socketFile(dir, run))
		if err = os.WriteFile(socketFile(dir, run), []byte(name), 0o600); err != nil {
			l.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("let sessions join run %s: %w", run, err)
	}
	return l, nil
}

func listenPipe() (*pipeListener, string, error) {
	name := `\\.\pipe\fitout-` + rand.Text()
	user, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return nil, "", err
	}
	sd, err := windows.SecurityDescriptorFromString("D:P(A;;GA;;;SY)(A;;GA;;;BA)(A;;GA;;;" + user.User.Sid.String() + ")")
	if err != nil {
		return nil, "", err
	}
	l := &pipeListener{who: &windows.SecurityAttributes{Length: uint32(unsafe.Sizeof(windows.SecurityAttributes{})), SecurityDescriptor: sd}}
	if l.name, err = windows.UTF16PtrFromString(name); err != nil {
		return nil, "", err
	}
	if l.end, err = windows.CreateEvent(nil, 1, 0, nil); err != nil {
		return nil, "", err
	}
	l.next, err = l.open(windows.FILE_FLAG_FIRST_PIPE_INSTANCE)
	return l, name, err
}

func (l *pipeListener) open(flags uint32) (windows.Handle, error) {
	const buffer = 64 << 10
	h, err := windows.CreateNamedPipe(l.name, windows.PIPE_ACCESS_DUPLEX|windows.FILE_FLAG_OVERLAPPED|flags,
		windows.PIPE_TYPE_BYTE|windows.PIPE_REJECT_REMOTE_CLIENTS, windows.PIPE_UNLIMITED_INSTANCES, buffer, buffer, 0, l.who)
	if err != nil {
		return 0, fmt.Errorf("make a pipe: %w", err)
	}
	return h, nil
}

// Accept waits for somebody to join. It has one caller at a time.
func (l *pipeListener) Accept() (net.Conn, error) {
	h := l.next
	event, err := windows.CreateEvent(nil, 1, 0, nil)
	if err != nil {
		return nil, err
	}
	defer windows.CloseHandle(event)
	o := &windows.Overlapped{HEvent: event}
	err = windows.ConnectNamedPipe(h, o)
	if errors.Is(err, windows.ERROR_IO_PENDING) {
		which, waitErr := windows.WaitForMultipleObjects([]windows.Handle{event, l.end}, false, windows.INFINITE)
		var n uint32
		if waitErr != nil || which != windows.WAIT_OBJECT_0 {
			windows.CancelIoEx(h, o)
			windows.GetOverlappedResult(h, o, &n, true) // nothing writes to o any more
			windows.CloseHandle(h)
			return nil, errors.Join(net.ErrClosed, waitErr)
		}
		err = windows.GetOverlappedResult(h, o, &n, true)
	}
	if err != nil && !errors.Is(err, windows.ERROR_PIPE_CONNECTED) && !errors.Is(err, windows.ERROR_NO_DATA) { // the last: it has left already
		windows.CloseHandle(h)
		return nil, err
	}
	if l.next, err = l.open(0); err != nil {
		windows.CloseHandle(h)
		return nil, err
	}
	return newPipe(h), nil
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { windows.SetEvent(l.end) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return pipeAddr{} }
