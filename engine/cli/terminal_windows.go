package cli

import (
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/windows"
)

const terminate = syscall.SIGTERM

// enableColors asks the console to understand escape sequences; those before Windows 10 can't.
func enableColors(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	var mode uint32
	if windows.GetConsoleMode(windows.Handle(f.Fd()), &mode) != nil {
		return false
	}
	return windows.SetConsoleMode(windows.Handle(f.Fd()), mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING) == nil
}
